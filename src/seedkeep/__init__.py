"""Shared ground of hashall, rehome and qbt-rules: one way to do each common thing."""

__version__ = "0.1.0"

"""Measurements beside the tests: they print figures and never fail a build."""

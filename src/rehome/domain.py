"""Seeding roots, as hashall knows them."""

from hashall.domain import Domain, find_root

__all__ = ["Domain", "find_root"]

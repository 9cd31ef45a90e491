"""Turning duplicates into hardlinks: facts from the catalog, a plan, and its careful execution."""

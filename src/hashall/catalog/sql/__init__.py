"""The catalog's migrations: numbered files, applied in order, each in one transaction."""

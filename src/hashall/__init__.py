"""The truth: a catalog of every file, and the only code that changes files."""

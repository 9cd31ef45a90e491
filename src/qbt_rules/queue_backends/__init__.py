"""Where jobs are kept.  All SQL and all Redis commands about jobs are in here."""

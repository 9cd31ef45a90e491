"""The commands of `qbt-rules`, one module for each area; light to import."""

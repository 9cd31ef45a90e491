"""What the Makefile calls; nothing here is installed with the programs."""

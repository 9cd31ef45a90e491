"""The commands of rehome, one module a group.  Everything heavy is imported where it is used."""

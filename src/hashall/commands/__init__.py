"""The commands of hashall, one module a group.  Everything heavy is imported where it is used."""

"""Placement: on which filesystem a group of torrents lives, and how it gets there."""

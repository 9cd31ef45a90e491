"""What helps a torrent that could not be mapped, by how its problem begins."""

from __future__ import annotations

_OR_REMOVE = "or remove the torrent from qBittorrent if it is not wanted any more"
_BEFORE_A_LOOK = {  # none of its files was held against the catalog
    "missing on disk": f"bring them back, {_OR_REMOVE}",
    "wrong size on disk": f"let qBittorrent check it, {_OR_REMOVE}",
    "unreadable on disk": "see to the disk, or let this user read the folder",
    "path map not proved": f"give the pair to rehome.path_map, {_OR_REMOVE}",
    "unknown filesystem": "see to the mount",
    "incomplete:": f"let it complete, {_OR_REMOVE}",
    "busy:": "wait until that has ended",
}
_WAYS_OUT = {**_BEFORE_A_LOOK, "errored:": f"start or check it in qBittorrent, {_OR_REMOVE}"}


def with_way_out(problem: str) -> str:
    """A problem, and behind it what a person can do; as it is where nothing is known to help."""
    for beginning, way_out in _WAYS_OUT.items():
        if problem.startswith(beginning):
            return f"{problem}; {way_out}"
    return problem


def kept_from_looking(problem: str) -> bool:
    """Whether no hash was looked up because of it: then a missing one says nothing of a scan."""
    return problem.startswith(tuple(_BEFORE_A_LOOK))

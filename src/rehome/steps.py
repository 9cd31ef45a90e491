"""Steps with their inverses.

Steps are plain values, so that another process can replay the journal.  An inverse must be
harmless when its step never ran.  Paths are absolute and ours, unless they are named `client_…`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, get_args

from rehome.parts import Copy, Direction, Link, Was, Witness

# `phase` orders undoing: nothing of an older phase is undone while a newer one is stuck.


@dataclass(frozen=True)
class Nothing:
    """The inverse of a step that leaves nothing of its own behind."""

    phase: ClassVar[int] = 0

    def inverse(self) -> Step:
        return self


@dataclass(frozen=True)
class MakeStaging:
    """Create this run's own directory on the target side; what is in it is ours to remove."""

    phase: ClassVar[int] = 1
    path: str
    undo_remove: tuple[str, ...] = ()  # directories that did not exist before, deepest first

    def inverse(self) -> Step:
        return RemoveStaging(self.path, self.undo_remove)


@dataclass(frozen=True)
class RemoveStaging:
    phase: ClassVar[int] = 1
    path: str
    then_remove: tuple[str, ...] = ()

    def inverse(self) -> Step:
        return Nothing()


@dataclass(frozen=True)
class FillPayload:
    """Copy each distinct content once, while everything still seeds."""

    phase: ClassVar[int] = 2
    copies: tuple[Copy, ...]

    def inverse(self) -> Step:
        return Nothing()  # lies in staging


@dataclass(frozen=True)
class VerifyReuse:
    """Read the bytes that the target side has and compare their SHA-256, before relying on them."""

    phase: ClassVar[int] = 2
    files: tuple[Witness, ...]

    def inverse(self) -> Step:
        return Nothing()


@dataclass(frozen=True)
class BuildView:
    """Hardlink the files of one save path together, in staging."""

    phase: ClassVar[int] = 3
    root: str
    links: tuple[Link, ...]

    def inverse(self) -> Step:
        return Nothing()  # lies in staging


@dataclass(frozen=True)
class ProveFolder:
    """Let the client make a folder, to prove that what it calls so is what we call so."""

    phase: ClassVar[int] = 2
    path: str
    client_path: str

    def inverse(self) -> Step:
        return RemoveFolder(self.path)


@dataclass(frozen=True)
class ProveAway:
    """Let the client make a folder where a lost disk was, to prove that it sees none there either.

    Where it still saw the files it would carry them across by itself.  That it may make folders
    there is also what going back would need.  A run that is resumed proves it anew: the disk may
    have come back meanwhile and be unmounted for us only.
    """

    phase: ClassVar[int] = 4  # as `Recheck`
    path: str
    client_path: str
    then_remove: tuple[str, ...] = ()  # directories that did not exist before, deepest first

    def inverse(self) -> Step:
        return RemoveStaging(self.path, self.then_remove)


@dataclass(frozen=True)
class RemoveFolder:
    """Remove a folder if it is empty."""

    phase: ClassVar[int] = 2
    path: str

    def inverse(self) -> Step:
        return Nothing()


@dataclass(frozen=True)
class Recheck:
    """Gather all facts again: copying may have taken hours, and this is the last safe moment."""

    phase: ClassVar[int] = 4
    plan_id: str
    asked_for: str
    torrents: tuple[str, ...]
    direction: Direction = Direction.DEMOTE

    def inverse(self) -> Step:
        return Nothing()


@dataclass(frozen=True)
class StopTorrents:
    phase: ClassVar[int] = 5
    torrents: tuple[Was, ...]

    def inverse(self) -> Step:
        return StartTorrents(self.torrents)


@dataclass(frozen=True)
class StartTorrents:
    """Bring every torrent back to the kind of state it had."""

    phase: ClassVar[int] = 13
    torrents: tuple[Was, ...]

    def inverse(self) -> Step:
        return StopTorrents(self.torrents)


@dataclass(frozen=True)
class SetManagement:
    """Automatic management and the path for unfinished data, from what they are to what is needed.

    Both have to be out of the way: automatic management ignores a given path, and a left-over
    download path makes a later recheck move the whole payload.
    """

    phase: ClassVar[int] = 6
    torrent_id: str
    auto_tmm: bool
    client_download_path: str
    was_auto_tmm: bool
    was_client_download_path: str

    def inverse(self) -> Step:
        return type(self)(
            self.torrent_id,
            self.was_auto_tmm,
            self.was_client_download_path,
            self.auto_tmm,
            self.client_download_path,
        )


@dataclass(frozen=True)
class MoveFiles:
    """Rename files from below one root to below another on one filesystem, never over anything.

    `empty` are those of `names` that have no bytes.  A client that was killed and started again in
    the middle of a switch makes such files anew where it looks for them; they may be removed.
    """

    phase: ClassVar[int] = 7
    src_root: str
    dst_root: str
    names: tuple[str, ...]
    empty: tuple[str, ...]
    then_remove: tuple[str, ...] = ()  # directories, removed afterwards if they are empty
    undo_remove: tuple[str, ...] = ()  # the same, for the inverse

    def inverse(self) -> Step:
        return MoveFiles(
            self.dst_root,
            self.src_root,
            self.names,
            self.empty,
            self.undo_remove,
            self.then_remove,
        )


@dataclass(frozen=True)
class Hide(MoveFiles):
    """Take the sources out of the client's sight, on their own filesystem."""


@dataclass(frozen=True)
class Adopt(MoveFiles):
    """Take files that already lie in their place on the target side into the view, so that the
    client finds the place empty; `Place` puts them back.
    """


@dataclass(frozen=True)
class Place(MoveFiles):
    """Put the staged view where the client now looks."""

    phase: ClassVar[int] = 9


@dataclass(frozen=True)
class Reveal(MoveFiles):
    """Put the hidden source back where it was: the client no longer looks there, and it stays."""

    phase: ClassVar[int] = 9


@dataclass(frozen=True)
class Relocate:
    """Tell the client where the torrent lives, while nothing of it lies on either side.

    Done when the client has taken it; `AwaitPlaces` waits for the outcome.
    """

    phase: ClassVar[int] = 8
    torrent_id: str
    client_from: str
    client_to: str
    from_root: str
    to_root: str
    names: tuple[str, ...]
    empty: tuple[str, ...]  # of `names`; see MoveFiles

    def inverse(self) -> Step:
        return Relocate(
            self.torrent_id,
            self.client_to,
            self.client_from,
            self.to_root,
            self.from_root,
            self.names,
            self.empty,
        )


@dataclass(frozen=True)
class AwaitPlaces:
    """Wait until the client shows every torrent at its new place and at rest, all at once."""

    phase: ClassVar[int] = 8
    places: tuple[tuple[str, str], ...]  # torrent id, client's path

    def inverse(self) -> Step:
        return Nothing()


@dataclass(frozen=True)
class CheckFiles:
    """Look on the disk: progress in the client is no proof of data."""

    phase: ClassVar[int] = 10
    root: str
    sizes: tuple[tuple[str, int], ...]  # name below root, bytes

    def inverse(self) -> Step:
        return Nothing()


@dataclass(frozen=True)
class SetCategory:
    """Change the category, while automatic management is off: so nothing moves."""

    phase: ClassVar[int] = 11
    torrent_id: str
    category: str
    was_category: str

    def inverse(self) -> Step:
        return SetCategory(self.torrent_id, self.was_category, self.category)


@dataclass(frozen=True)
class KeepManaged(SetManagement):
    """Give the torrent back to automatic management, which finds it where its category says."""

    phase: ClassVar[int] = 12


Step = (
    Nothing
    | MakeStaging
    | RemoveStaging
    | FillPayload
    | VerifyReuse
    | BuildView
    | ProveFolder
    | ProveAway
    | RemoveFolder
    | Recheck
    | StopTorrents
    | StartTorrents
    | SetManagement
    | MoveFiles
    | Hide
    | Adopt
    | Place
    | Reveal
    | Relocate
    | AwaitPlaces
    | CheckFiles
    | SetCategory
    | KeepManaged
)
STEP_KINDS: dict[str, type[Step]] = {kind.__name__: kind for kind in get_args(Step)}

"""The client's part of a relocation: stop, re-path, start, and wait until what it says is true.

The facts behind the waiting are in docs/architecture/qbittorrent.md.  Nothing here may ever cause a
torrent to download: a torrent that begins to is stopped at once, and the run fails.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hashall.presence import lies_at
from hashall.qbittorrent import INCOMPLETE_SUFFIX
from rehome.model import (
    CheckFiles,
    ProveAway,
    ProveFolder,
    Relocate,
    Running,
    SetCategory,
    SetManagement,
    Was,
)
from rehome.presence import regular_at
from seedkeep import clock
from seedkeep.errors import Partial, Refused, SeedError
from seedkeep.torrent_client import ClientRefused, Torrent, TorrentClient, TorrentState

POLL_S = 0.1
PROOF_S = 3.0  # a folder shows at once; network filesystems may take a moment
MOST_LOOKS = 3  # how often a torrent without its files is started again


class NotSettled(SeedError):
    """The client did not reach the expected state in time."""

    code = "not-settled"
    torrents: frozenset[str] = frozenset()  # those that did not


class WouldDownload(SeedError):
    """A torrent wanted bytes after what we did.  It was stopped."""

    code = "would-download"
    torrents: frozenset[str] = frozenset()


class Unproved(Refused):
    """The client does not see the folders that we see."""

    code = "path-map-unproved"


class InTheWay(SeedError):
    """Files lie where nothing may lie while the client changes a location."""

    code = "in-the-way"
    torrents: frozenset[str] = frozenset()  # whose files they are


@dataclass(frozen=True)
class ClientSwitch:
    client: TorrentClient
    timeout_s: float

    def rest(self, torrents: Sequence[str], *, quiet: int = 0) -> None:
        """Wait until none is moving or checking, as each is for a moment after a client's start."""
        self._settle(
            torrents, lambda t: not t.state.is_busy, "finish what it is doing", quiet=quiet
        )

    def stop(self, torrents: Sequence[Was]) -> None:
        """Stop all; returns when every one is stopped, or has nothing to stop."""
        ids = [was.torrent_id for was in torrents]
        self.rest(ids)
        self.client.stop(ids)

    def start(self, torrents: Sequence[Was]) -> None:
        """Bring each torrent to the kind of state it had, and see that it is whole there.

        A client that was started again while files were away says "missing files"; a start makes
        it look once more, and what was stopped before is stopped again afterwards.
        """
        ids = [was.torrent_id for was in torrents]
        wanted = {was.torrent_id: was.running for was in torrents}
        self.rest(ids)
        self._bring_back(wanted)
        for _ in range(MOST_LOOKS):
            self._settle(
                ids,
                lambda t: _is_lost(t) or (t.progress == 1 and _is(t, wanted[t.torrent_id])),
                "seed again",
                quiet=2,
            )
            lost = [t.torrent_id for t in self.client.torrents(ids) if _is_lost(t)]
            if not lost:
                return
            self._look_again(lost)
            self._bring_back(wanted)
        lasting = NotSettled(
            "qBittorrent does not find the files of a torrent",
            detail="\n".join(_describe(t) for t in self.client.torrents(lost)),
            hint="look whether qBittorrent sees the same folders as we do",
        )
        lasting.torrents = frozenset(lost)
        raise lasting

    def _bring_back(self, wanted: Mapping[str, Running]) -> None:
        kinds: dict[Running, list[str]] = {kind: [] for kind in Running}
        for torrent in self.client.torrents(wanted):
            if not _is_lost(torrent):
                kinds[wanted[torrent.torrent_id]].append(torrent.torrent_id)
        self.client.stop(kinds[Running.STOPPED])
        self.client.start(kinds[Running.RUNNING])
        self.client.set_force_start(kinds[Running.FORCED], True)

    def _look_again(self, ids: Sequence[str]) -> None:
        """Let the client look for files once more; torrents that it finds end stopped, whole."""
        self.client.look_again(ids)
        self.rest(ids, quiet=2)
        # What the client has forgotten altogether would be downloaded if it were started.
        forgotten = [t.torrent_id for t in self.client.torrents(ids) if _is_lost(t)]
        if forgotten:
            self.client.recheck(forgotten)
            self.rest(forgotten, quiet=2)

    def not_ours(self, places: Mapping[str, Collection[str]]) -> frozenset[str]:
        """Torrents that somebody removed, or moved to where this run never put them.

        `places` has for each torrent the save paths that it can have through this run.
        """
        found = {torrent.torrent_id: torrent for torrent in self.client.torrents(places)}
        return frozenset(
            torrent_id
            for torrent_id, paths in places.items()
            if torrent_id not in found
            or not any(same_path(found[torrent_id].save_path, path) for path in paths)
        )

    def at(self, places: Mapping[str, str]) -> frozenset[str]:
        """Torrents (id → a place) that the client shows at their place."""
        shown = self.client.torrents(places)
        return frozenset(
            t.torrent_id for t in shown if same_path(t.save_path, places[t.torrent_id])
        )

    def heal(self, places: Mapping[str, str], show_files: Callable[[frozenset[str]], None]) -> None:
        """Mend torrents that a restarted client has lost at their new place (id → its path).

        A change of location makes 4.5 forget what such a torrent has, and then check all of it
        (measured).  So it has to find its files where it looks for them first.
        """
        self.rest(list(places), quiet=2)
        lost = [
            torrent.torrent_id
            for torrent in self.client.torrents(places)
            if _is_lost(torrent) and same_path(torrent.save_path, places[torrent.torrent_id])
        ]
        if lost:
            show_files(frozenset(lost))
            self._look_again(lost)

    def prove_folder(self, step: ProveFolder) -> None:
        """Let the client make a folder, and look whether it is where we believe it to be.

        In a container the client's `/pool` may be another folder than ours, or none at all; its
        torrents would then show 100 % and serve nothing.
        """
        self._make_folder(
            step,
            hint="check path_map in the configuration, and that qBittorrent's container"
            " has the pool mounted",
        )

    def prove_away(self, step: ProveAway) -> None:
        """The same where a lost disk was: the client must see the bare mount point, as we do."""
        try:
            self._make_folder(
                step,
                hint="it may still see the lost disk, or path_map is wrong: unmount it for"
                " qBittorrent too (restart its container), and begin again",
            )
        except ClientRefused as why:
            folder = os.path.dirname(step.path)
            raise Unproved(
                f"qBittorrent cannot make a folder in {os.path.dirname(step.client_path)}",
                detail=f"{why.detail}; so it could not be brought back there",
                hint=f"make an empty folder {folder} that qBittorrent may write in, and begin"
                " again; it is out of sight as soon as something is mounted there",
            ) from why

    def _make_folder(self, step: ProveFolder | ProveAway, hint: str) -> None:
        ours = Path(step.path)
        if ours.exists():
            raise InTheWay(f"{ours} exists already", hint="remove it and begin again")
        self.client.make_folder(step.client_path)
        deadline = clock.monotonic() + PROOF_S
        while not ours.is_dir():
            if clock.monotonic() > deadline:
                raise Unproved(
                    f"qBittorrent's {step.client_path} is not our {step.path}",
                    detail="it was told to make that folder, and the folder is not there",
                    hint=hint,
                )
            clock.sleep(POLL_S)

    def manage(self, steps: Sequence[SetManagement]) -> None:
        """Set automatic management and the download path, in the order that lets both happen."""
        wanted = {step.torrent_id: step for step in steps}
        managed = [t.torrent_id for t in self.client.torrents(wanted) if t.auto_tmm]
        self.client.set_auto_management([k for k in managed if not wanted[k].auto_tmm], False)
        self.client.set_download_paths(
            {
                torrent.torrent_id: wanted[torrent.torrent_id].client_download_path
                for torrent in self.client.torrents(wanted)
                if not wanted[torrent.torrent_id].auto_tmm
                and torrent.download_path != wanted[torrent.torrent_id].client_download_path
            }
        )
        off = [t.torrent_id for t in self.client.torrents(wanted) if not t.auto_tmm]
        self.client.set_auto_management([k for k in off if wanted[k].auto_tmm], True)
        self._all_there(wanted)

    def categorise(self, steps: Sequence[SetCategory]) -> None:
        """Set categories, while automatic management is off: nothing moves."""
        wanted = {step.torrent_id: step.category for step in steps}
        now = {t.torrent_id: t.category for t in self.client.torrents(wanted)}
        for category in sorted(set(wanted.values())):
            ids = [key for key in now if wanted[key] == category != now[key]]
            if ids:
                self.client.set_category(ids, category)
        self._all_there(wanted)

    def _all_there(self, ids: Collection[str]) -> None:
        missing = set(ids) - {torrent.torrent_id for torrent in self.client.torrents(ids)}
        if missing:
            gone = NotSettled(
                "a torrent is gone from qBittorrent", detail="\n".join(sorted(missing))
            )
            gone.torrents = frozenset(missing)
            raise gone

    def relocate(self, steps: Sequence[Relocate]) -> None:
        """Change the locations of torrents while nothing of them lies on either side.

        With the source still in place the client would copy it across filesystems by itself; with
        files at the target it would owe a full check.
        """
        wanted = {step.torrent_id: step for step in steps}
        self.rest(list(wanted))
        moving: dict[str, str] = {}
        for torrent in self.client.torrents(wanted):
            step = wanted[torrent.torrent_id]
            if same_path(torrent.save_path, step.client_to):
                continue
            for root in (Path(step.from_root), Path(step.to_root)):
                _refuse_files_at(root, step)
                if torrent.progress < 1:
                    _refuse_downloads_at(root, step)
            moving[step.torrent_id] = step.client_to
        self.client.set_locations(moving)

    def await_places(self, places: Mapping[str, str], *, quiet: int = 0) -> None:
        """Wait until each torrent (id → the client's path) is at its place and at rest.

        Trustworthy as soon as it is not "moving": a fall-back can only come when files lay at the
        target, and placing them by a rename that never replaces proves that none did (measured).
        """
        self._settle(
            list(places),
            lambda t: not t.state.is_busy and same_path(t.save_path, places[t.torrent_id]),
            "show every torrent at its new place",
            quiet=quiet,
        )

    def check(self, step: CheckFiles) -> None:
        """Look on the disk for every file and its size."""
        for name, size in step.sizes:
            stamp = regular_at(Path(step.root) / name)
            if stamp is None or stamp.size != size:
                found = "nothing" if stamp is None else f"{stamp.size} bytes"
                raise Partial(
                    f"{Path(step.root) / name} is not complete", detail=f"{found}, not {size} bytes"
                )

    def _settle(
        self, ids: Collection[str], good: Callable[[Torrent], bool], what: str, *, quiet: int
    ) -> None:
        """Poll until `good` holds for every torrent, over `quiet` refreshes of the client.

        Raises:
            WouldDownload: One wants bytes; all are stopped.
            NotSettled: Time is up.
        """
        if not ids:
            return
        calm_s = quiet * self.client.refresh_interval()
        deadline = clock.monotonic() + self.timeout_s + calm_s
        good_since: float | None = None
        while True:
            torrents = self.client.torrents(ids)
            self._refuse_download(torrents)
            now = clock.monotonic()
            if len(torrents) == len(set(ids)) and all(good(t) for t in torrents):
                good_since = now if good_since is None else good_since
                if now - good_since >= calm_s:
                    return
            else:
                good_since = None
            if now > deadline:
                late = NotSettled(
                    f"qBittorrent did not {what} within {self.timeout_s:.0f} s",
                    detail="\n".join(_describe(t) for t in torrents if not good(t))
                    or f"of {len(ids)} torrents it shows {len(torrents)}",
                )
                fine = {t.torrent_id for t in torrents if good(t)}
                late.torrents = frozenset(ids) - fine
                raise late
            clock.sleep(POLL_S)

    def _refuse_download(self, torrents: Sequence[Torrent]) -> None:
        wanting = [t for t in torrents if t.state.is_downloading]
        if wanting:
            self.client.stop([t.torrent_id for t in torrents])
            stopped = WouldDownload(
                "a torrent wanted to download after it was relocated; it was stopped",
                detail="\n".join(_describe(t) for t in wanting),
            )
            stopped.torrents = frozenset(t.torrent_id for t in wanting)
            raise stopped


def _refuse_files_at(root: Path, step: Relocate) -> None:
    for name in step.names:
        if lies_at(root / name):
            found = InTheWay(
                f"{root / name} appeared while its torrent was being relocated",
                hint="see what put it there; the run can be rolled back",
            )
            found.torrents = frozenset({step.torrent_id})
            raise found


def _refuse_downloads_at(root: Path, step: Relocate) -> None:
    """The client takes along what it has begun, to beside the whole files, and counts on it."""
    for name in step.names:
        begun = root / f"{name}{INCOMPLETE_SUFFIX}"
        if lies_at(begun):
            found = InTheWay(
                f"qBittorrent has begun to download {begun} anew",
                hint="stop that torrent in qBittorrent, and move the file away",
            )
            found.torrents = frozenset({step.torrent_id})
            raise found


def _is(torrent: Torrent, running: Running) -> bool:
    if running is Running.STOPPED:
        return torrent.state is TorrentState.STOPPED_UP
    if running is Running.FORCED:
        return torrent.force_start and torrent.state.is_seeding
    return torrent.state.is_seeding or torrent.state is TorrentState.QUEUED_UP


def _is_lost(torrent: Torrent) -> bool:
    """The client looked for its files and did not find them; or has not looked since."""
    broken = torrent.state in (TorrentState.MISSING_FILES, TorrentState.ERROR)
    return broken or (torrent.state.is_stopped and torrent.progress < 1)


def same_path(one: str, other: str) -> bool:
    return os.path.normpath(one) == os.path.normpath(other)


def _describe(torrent: Torrent) -> str:
    return (
        f"{torrent.torrent_id} {torrent.state.value} {torrent.progress:.1%} at {torrent.save_path}"
    )

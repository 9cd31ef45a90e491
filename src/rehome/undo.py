"""Decide how a committed run is taken back while its source is kept.  Pure.

It is the switch once more, the other way: nothing is copied, since the hidden source has the bytes.
What the run had placed is hidden, and retired like any source.  Files of it that somebody has
removed meanwhile are no hindrance: then this is the way back.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeVar

from rehome.codec import to_json
from rehome.copy_lost import left_on_it, prove_away
from rehome.model import (
    Adopt,
    AwaitPlaces,
    CheckFiles,
    Direction,
    Fingerprint,
    Hide,
    KeepManaged,
    Place,
    Plan,
    ProveFolder,
    Relocate,
    Retirement,
    Reveal,
    Running,
    SetCategory,
    SetManagement,
    StartTorrents,
    Step,
    StopTorrents,
    TorrentMove,
    Verdict,
    Was,
)
from rehome.planner import OWN_PREFIX

AnyStep = TypeVar("AnyStep", bound=Step)


@dataclass(frozen=True)
class Present:
    """What a torrent of the run is like now."""

    torrent_id: str
    running: Running
    category: str
    auto_tmm: bool
    client_download_path: str


@dataclass(frozen=True)
class Now:
    """Everything that taking a run back depends on."""

    run_id: int
    torrents: Mapping[str, Present]  # by id; without those that are gone from the client
    placed: Mapping[str, Fingerprint]  # by path: what is left of the files that the run placed
    absent: tuple[str, ...]  # folders of the source that are not there now, deepest first
    # The disk of the copy is given up: folders on it that are not there now, deepest first.
    lost_folders: tuple[str, ...] | None = None  # None: it is not given up


def plan_undo(original: Plan, now: Now) -> Plan:
    """The plan that brings `original` back, from what is there now."""
    moves = tuple(_back(move, now) for move in original.torrents if move.torrent_id in now.torrents)
    plan_id = _plan_id(original, now)
    hides = [hide for place in _of(Place, original) if (hide := _hide(place, plan_id, now))]
    return Plan(
        plan_id=plan_id,
        direction=Direction.UNDO,
        asked_for=original.asked_for,
        verdict=Verdict.REUSE,
        payload_hash=original.payload_hash,
        total_bytes=original.total_bytes,
        bytes_to_copy=0,
        bytes_freed=0 if now.lost_folders is not None else original.bytes_to_copy,
        source_devices=original.target_devices,
        target_devices=original.source_devices,
        torrents=moves,
        staging=f"{_of(Hide, original)[0].src_root}/{OWN_PREFIX}{plan_id}",
        steps=tuple(_steps(original, moves, hides, now, plan_id)),
        retire=tuple(_retirements(original, hides, now)),
        warnings=() if now.lost_folders is None else left_on_it(original),
    )


def source_files(original: Plan) -> dict[str, str]:
    """SHA-256 of each file of the source, by the path that it had before it was hidden."""
    return {path_before(item): item.sha256 for item in original.retire}


def path_before(item: Retirement) -> str:
    return str(Path(item.hidden_root).parent / item.name)


def _plan_id(original: Plan, now: Now) -> str:
    facts = [original.plan_id, now.run_id, to_json(list(now.torrents.values()))]
    facts += [] if now.lost_folders is None else ["copy lost", to_json(now.lost_folders)]
    text = json.dumps([*facts, {path: to_json(seen) for path, seen in now.placed.items()}])
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _back(move: TorrentMove, now: Now) -> TorrentMove:
    present = now.torrents[move.torrent_id]
    return TorrentMove(
        torrent_id=move.torrent_id,
        name=move.name,
        running=present.running,
        category=present.category,
        save_path=move.target_path,
        target_path=move.save_path,
        client_save_path=move.client_target_path,
        client_target_path=move.client_save_path,
        target_category=_category_after(move, present),
        auto_tmm=present.auto_tmm,
        target_auto_tmm=move.auto_tmm,
        root_name=move.root_name,
        file_names=move.file_names,
    )


def _category_after(move: TorrentMove, present: Present) -> str:
    """Its category of before, unless somebody gave it another one since."""
    return move.category if present.category == move.target_category else present.category


def _hide(place: Place, plan_id: str, now: Now) -> Hide | None:
    """Takes away what is left of one placed view; its folders go if the run had made them."""
    names = tuple(name for name in place.names if f"{place.dst_root}/{name}" in now.placed)
    if not names:
        return None
    hidden = f"{place.dst_root}/{OWN_PREFIX}{plan_id}-hidden"
    made = (*_dirs_below(hidden, names), hidden)
    empty = tuple(name for name in names if name in place.empty)
    return Hide(place.dst_root, hidden, names, empty, place.undo_remove, made)


def _dirs_below(root: str, names: Sequence[str]) -> tuple[str, ...]:
    dirs = {f"{root}/{parent}" for name in names for parent in PurePosixPath(name).parents[:-1]}
    return tuple(sorted(dirs, key=lambda path: (-path.count("/"), path)))


def _steps(
    original: Plan, moves: Sequence[TorrentMove], hides: Sequence[Hide], now: Now, plan_id: str
) -> list[Step]:
    asked = {step.torrent_id: step for step in _of(Relocate, original)}
    was = tuple(Was(move.torrent_id, move.running) for move in moves)
    folders = {(move.target_path, move.client_target_path) for move in moves}
    probe = f"{OWN_PREFIX}{plan_id}-probe"
    steps: list[Step] = [
        ProveFolder(f"{ours}/{probe}", f"{theirs}/{probe}") for ours, theirs in sorted(folders)
    ]
    if now.lost_folders is not None:
        places = sorted({(move.save_path, move.client_save_path) for move in moves})
        steps += [prove_away(*place, plan_id, now.lost_folders) for place in places]
    steps.append(StopTorrents(was))
    steps += _unmanaged(moves, now)
    steps += hides
    steps += [
        Relocate(
            move.torrent_id,
            move.client_save_path,
            move.client_target_path,
            move.save_path,
            move.target_path,
            asked[move.torrent_id].names,
            asked[move.torrent_id].empty,
        )
        for move in moves
    ]
    steps.append(AwaitPlaces(tuple((m.torrent_id, m.client_target_path) for m in moves)))
    steps += [_show(hide, now) for hide in _of(Hide, original)]
    steps += [back for hide in hides if (back := _reveal(hide, original))]
    steps += _checks(original)
    steps += _hand_back(original, moves)
    steps.append(StartTorrents(was))
    if moves:
        return steps
    return [s for s in steps if not isinstance(s, StopTorrents | AwaitPlaces | StartTorrents)]


def _show(hide: Hide, now: Now) -> Place:
    """Puts the source back; taken back in its turn, folders that were not there go too."""
    paths = [f"{hide.src_root}/{name}" for name in hide.names]
    made = tuple(top for top in now.absent if any(path.startswith(f"{top}/") for path in paths))
    return Place(hide.dst_root, hide.src_root, hide.names, hide.empty, hide.undo_remove, made)


def _unmanaged(moves: Sequence[TorrentMove], now: Now) -> list[Step]:
    found: list[Step] = []
    for move in moves:
        present = now.torrents[move.torrent_id]
        if present.auto_tmm or present.client_download_path:
            found.append(
                SetManagement(
                    move.torrent_id, False, "", present.auto_tmm, present.client_download_path
                )
            )
    return found


def _reveal(hide: Hide, original: Plan) -> Reveal | None:
    """What lay in its place before the run came goes back there."""
    ours = adopted(original)
    names = tuple(name for name in hide.names if f"{hide.src_root}/{name}" in ours)
    if not names:
        return None
    empty = tuple(name for name in names if name in hide.empty)
    return Reveal(hide.dst_root, hide.src_root, names, empty, hide.undo_remove)


def adopted(original: Plan) -> frozenset[str]:
    """Paths of files that lay in their place before the run came."""
    return frozenset(f"{s.src_root}/{name}" for s in _of(Adopt, original) for name in s.names)


def _checks(original: Plan) -> list[Step]:
    sizes: dict[str, list[tuple[str, int]]] = {}
    for item in original.retire:
        sizes.setdefault(str(Path(item.hidden_root).parent), []).append((item.name, item.seen.size))
    return [CheckFiles(root, tuple(sorted(sizes[root]))) for root in sorted(sizes)]


def _hand_back(original: Plan, moves: Sequence[TorrentMove]) -> list[Step]:
    """Category, automatic management and the path for unfinished data as they were before."""
    paths = {
        step.torrent_id: step.was_client_download_path
        for step in _of(SetManagement, original)
        if not isinstance(step, KeepManaged)
    }
    steps: list[Step] = [
        SetCategory(move.torrent_id, move.target_category, move.category)
        for move in moves
        if move.target_category != move.category
    ]
    steps += [
        KeepManaged(move.torrent_id, move.target_auto_tmm, path, False, "")
        for move in moves
        if (path := paths.get(move.torrent_id, "")) or move.target_auto_tmm
    ]
    return steps


def _retirements(original: Plan, hides: Sequence[Hide], now: Now) -> list[Retirement]:
    hidden = {f"{h.src_root}/{name}": (h.dst_root, name) for h in hides for name in h.names}
    found = {}
    for item in original.retire:
        if item.witness in hidden and item.witness not in adopted(original):
            root, name = hidden[item.witness]
            found[item.witness] = Retirement(
                root, name, now.placed[item.witness], item.sha256, path_before(item)
            )
    return [found[path] for path in sorted(found)]


def _of(kind: type[AnyStep], plan: Plan) -> list[AnyStep]:
    return [step for step in plan.steps if isinstance(step, kind)]

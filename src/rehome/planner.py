"""Decide what a demotion or a promotion would do.  Reads nothing, changes nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from rehome.codec import to_json
from rehome.config import Layout
from rehome.facts import Facts, FileFact, TorrentFact
from rehome.model import (
    Adopt,
    AwaitPlaces,
    Blocker,
    BuildView,
    CheckFiles,
    Copy,
    Direction,
    FillPayload,
    Hide,
    KeepManaged,
    MakeStaging,
    Place,
    Plan,
    ProveFolder,
    Recheck,
    Relocate,
    Retirement,
    Reveal,
    SetCategory,
    SetManagement,
    StartTorrents,
    Step,
    StopTorrents,
    TorrentMove,
    Verdict,
    VerifyReuse,
    Was,
    Witness,
)
from rehome.policy import find_blockers
from rehome.view_builder import Content, View, content_of, links_for, views_of

OWN_PREFIX = ".seedkeep-"


def plan_group(facts: Facts, layout: Layout) -> Plan:
    """Plan moving one group to the other side.

    Equal facts give an equal plan: `apply` plans again from fresh facts and refuses if the answer
    is no longer the one that the person approved.
    """
    decided = decide(facts, layout)
    return decided if decided.verdict in (Verdict.BLOCK, Verdict.SKIP) else carry_out(facts, layout)


def decide(facts: Facts, layout: Layout) -> Plan:
    """The decision with its sums and reasons; not yet how it would be done.  Cheap."""
    asked = next((t for t in facts.torrents if t.torrent_id == facts.asked_for), None)
    to_copy = _missing_contents(facts, layout.reuse_floor)
    if asked is not None and asked.arrived and not facts.open_runs:
        plan = _outline(facts, frozenset(), Verdict.SKIP)
        return replace(plan, bytes_freed=0) if plan.bytes_freed else plan
    blockers = tuple(find_blockers(facts, layout, to_copy))
    if blockers:
        return _outline(facts, to_copy, Verdict.BLOCK, blockers)
    return _outline(facts, to_copy)


def carry_out(facts: Facts, layout: Layout) -> Plan:
    """The plan with all its steps, of a group that `decide` lets go."""
    plan = _outline(facts, _missing_contents(facts, layout.reuse_floor))
    return _with_steps(replace(plan, plan_id=fingerprint(facts)[:12]), facts, layout)


def with_cleanup(plan: Plan) -> Plan:
    """The same promotion, after which the pool's copy goes instead of staying without a torrent.

    A demotion is returned as it is: its source always goes.
    """
    steps = tuple(step for step in plan.steps if not isinstance(step, Reveal))
    return replace(plan, steps=steps, keep_source=False)


def fingerprint(facts: Facts) -> str:
    """SHA-256 of the facts, without what changes all the time and decides nothing by itself."""
    stable = replace(facts, free_bytes=0, open_runs=(), kept_runs=())
    text = json.dumps(to_json(stable), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _outline(
    facts: Facts,
    to_copy: frozenset[Content],
    verdict: Verdict | None = None,
    blockers: tuple[Blocker, ...] = (),
) -> Plan:
    """Everything but the steps; without a verdict the group goes."""
    tops = [(str(torrent.save_path), torrent.files) for torrent in facts.torrents]
    hidden = {f"{top}/{file.name}" for top, files in tops for file in files}
    staying = {name for link in facts.links for name in link.names} - hidden
    freed = sum(
        link.size
        for link in facts.links
        if link.nlink == len(link.names) and hidden.issuperset(link.names)
    )
    return Plan(
        plan_id="",  # of what is not carried out; see `carry_out`
        direction=facts.direction,
        asked_for=facts.asked_for,
        verdict=verdict or (Verdict.MOVE if to_copy else Verdict.REUSE),
        payload_hash=facts.payload_hash,
        total_bytes=sum([size for size, _ in _wanted(facts.torrents)]),
        bytes_to_copy=sum([size for size, _ in to_copy]),
        bytes_freed=freed,
        source_devices=facts.source_devices,
        target_devices=facts.target_devices,
        staying=tuple(sorted(staying)),
        torrents=tuple([_move_of(torrent) for torrent in facts.torrents]),
        blockers=blockers,
    )


def _missing_contents(facts: Facts, floor: int) -> frozenset[Content]:
    """What the target side does not have, or has in too small a file to be worth a link."""
    return _wanted(facts.torrents) - _available(facts, floor).keys()


def _wanted(torrents: Sequence[TorrentFact]) -> frozenset[Content]:
    """Each distinct content of the group."""
    return frozenset(
        [(f.size, f.sha256) for torrent in torrents for f in torrent.files if f.sha256 is not None]
    )


def _move_of(torrent: TorrentFact) -> TorrentMove:
    return TorrentMove(
        torrent_id=torrent.torrent_id,
        name=torrent.name,
        running=torrent.running,
        category=torrent.category,
        save_path=str(torrent.save_path),
        target_path=str(torrent.target_path or ""),
        client_save_path=torrent.client_save_path,
        client_target_path=torrent.client_target_path,
        target_category=torrent.target_category,
        auto_tmm=torrent.auto_tmm,
        target_auto_tmm=torrent.target_auto_tmm,
        root_name=torrent.root_name,
        file_names=tuple([file.name for file in torrent.files]),
    )


@dataclass(frozen=True)
class _Source:
    torrent: TorrentFact
    file: FileFact

    @property
    def path(self) -> Path:
        return self.torrent.save_path / self.file.name


def _contents(torrents: Sequence[TorrentFact]) -> dict[Content, _Source]:
    """Each distinct content of the group, with the first file that has it."""
    found: dict[Content, _Source] = {}
    for torrent in torrents:
        for file in torrent.files:
            content = content_of(file)
            if content is not None and content not in found:
                found[content] = _Source(torrent, file)
    return found


def _available(facts: Facts, floor: int) -> dict[Content, Witness]:
    """Contents that need no copy: on the target side already, in their place or elsewhere.

    A link to another payload's file makes two groups one, which then move together for ever.  So
    of a payload that is not there as a whole, files below `floor` bytes are copied all the same.
    """
    elsewhere = {
        (reuse.size, reuse.sha256): Witness(reuse.path, reuse.sha256, reuse.seen)
        for reuse in reversed(facts.reusable)  # so that the first path wins
    }
    in_place: dict[Content, Witness] = {}
    for target in facts.target_files:
        if target.seen is not None and target.sha256 is not None and not target.used_by:
            content = (target.seen.size, target.sha256)
            in_place.setdefault(content, Witness(target.path, target.sha256, target.seen))
    if not elsewhere:
        return in_place
    found = in_place | elsewhere
    if facts.direction is Direction.PROMOTE or _wanted(facts.torrents) <= found.keys():
        return found
    return in_place | {c: witness for c, witness in elsewhere.items() if c[0] >= floor}


def _with_steps(plan: Plan, facts: Facts, layout: Layout) -> Plan:
    staging = layout.target_root(facts.direction) / f"{OWN_PREFIX}{plan.plan_id}"
    views = views_of(facts.torrents)
    present = frozenset(target.path for target in facts.target_files if target.exists)
    prepare, available = _prepare(facts, staging, layout.reuse_floor)
    steps = [MakeStaging(str(staging), facts.new_dirs), *_proofs(plan, layout), *prepare]
    switch_in: list[Step] = []
    switch_out: list[Step] = []
    for number, view in enumerate(views):
        staged = str(staging / f"view-{number}")
        lying = frozenset(name for name in view.names if str(view.root / name) in present)
        links = links_for(view, available, present=lying)
        if links:
            steps.append(BuildView(staged, links))
        if lying:
            adopted = tuple(sorted(lying))
            switch_in.append(Adopt(str(view.root), staged, adopted, _empty(view, adopted)))
        empty = _empty(view, view.names)
        switch_out.append(Place(staged, str(view.root), view.names, empty, (), facts.new_dirs))
    group = tuple(torrent.torrent_id for torrent in facts.torrents)
    steps.append(Recheck(plan.plan_id, plan.asked_for, group, plan.direction))
    hides = _hides(facts, plan.plan_id)
    steps += [*_take_away(facts), *hides, *switch_in]
    moves = [_relocate(torrent) for torrent in facts.torrents]
    steps += [*moves, AwaitPlaces(tuple((move.torrent_id, move.client_to) for move in moves))]
    keep_source = facts.direction is Direction.PROMOTE
    steps += [*switch_out, *(_reveals(hides) if keep_source else ())]
    steps += [*(_check(view) for view in views), *_hand_over(facts)]
    steps.append(StartTorrents(_was(facts.torrents)))
    return replace(
        plan,
        staging=str(staging),
        steps=tuple(steps),
        keep_source=keep_source,
        retire=_retirements(facts, plan.plan_id),
    )


def _reveals(hides: Sequence[Hide]) -> list[Step]:
    return [
        Reveal(hide.dst_root, hide.src_root, hide.names, hide.empty, hide.undo_remove)
        for hide in hides
    ]


def _hand_over(facts: Facts) -> list[Step]:
    """Categories first, while nothing is managed; then management, which finds nothing to move."""
    steps: list[Step] = [
        SetCategory(torrent.torrent_id, torrent.target_category, torrent.category)
        for torrent in facts.torrents
        if torrent.target_category != torrent.category
    ]
    steps += [
        KeepManaged(torrent.torrent_id, True, "", False, "")
        for torrent in facts.torrents
        if torrent.target_auto_tmm
    ]
    return steps


def _proofs(plan: Plan, layout: Layout) -> list[Step]:
    """Let the client show that its stash and its pool are ours, before hours are spent copying."""
    root = layout.target_root(plan.direction)
    folders = {(str(root), layout.path_map.to_client(root))}
    folders |= {(move.save_path, move.client_save_path) for move in plan.torrents}
    name = f"{OWN_PREFIX}{plan.plan_id}-probe"
    return [ProveFolder(f"{ours}/{name}", f"{theirs}/{name}") for ours, theirs in sorted(folders)]


def _prepare(facts: Facts, staging: Path, floor: int) -> tuple[list[Step], dict[Content, str]]:
    """Steps that bring each content to the target side, and where it lies from then on."""
    contents, available = _contents(facts.torrents), _available(facts, floor)
    copies: list[Copy] = []
    witnesses: list[Witness] = []
    lies_at: dict[Content, str] = {}
    for content, source in sorted(contents.items(), key=lambda item: item[1].path):
        if (witness := available.get(content)) is not None:
            witnesses.append(witness)
            lies_at[content] = witness.path
            continue
        target = str(staging / "payload" / f"{len(copies):06d}")
        seen = source.file.seen
        assert seen is not None  # blocked before
        copies.append(Copy(str(source.path), target, content[1], seen))
        lies_at[content] = target
    witnesses += _adopted_unread(facts, witnesses)
    steps: list[Step] = []
    if copies:
        steps.append(FillPayload(tuple(copies)))
    if witnesses:
        steps.append(VerifyReuse(tuple(witnesses)))
    return steps, lies_at


def _adopted_unread(facts: Facts, witnesses: Sequence[Witness]) -> list[Witness]:
    """Files that stay in their place although another one with their bytes is the witness."""
    read = {witness.seen.inode for witness in witnesses}
    unread = (it for it in facts.target_files if it.seen and it.seen.inode not in read)
    found = {
        it.seen: Witness(it.path, it.sha256, it.seen) for it in unread if it.seen and it.sha256
    }
    return [*found.values()]


def _take_away(facts: Facts) -> list[Step]:
    """Stop, and free from automatic management."""
    steps: list[Step] = [StopTorrents(_was(facts.torrents))]
    steps += [
        SetManagement(torrent.torrent_id, False, "", torrent.auto_tmm, torrent.client_download_path)
        for torrent in facts.torrents
        if torrent.auto_tmm or torrent.client_download_path
    ]
    return steps


def _hides(facts: Facts, plan_id: str) -> list[Hide]:
    """Hide what lies on the source side."""
    steps = []
    empties = {t.save_path / f.name for t in facts.torrents for f in t.files if not f.size}
    for root, names in _sources(facts.torrents):
        hidden = hidden_root(root, plan_id)
        made = (*_dirs_below(hidden, names), str(hidden))
        empty = tuple(name for name in names if root / name in empties)
        steps.append(Hide(str(root), str(hidden), names, empty, (), made))
    return steps


def hidden_root(save_path: Path, plan_id: str) -> Path:
    """Where a save path's files wait for their retirement, on their own filesystem."""
    return save_path / f"{OWN_PREFIX}{plan_id}-hidden"


def _sources(torrents: Sequence[TorrentFact]) -> list[tuple[Path, tuple[str, ...]]]:
    """Files to hide by save path; a path that several torrents share is hidden once."""
    claimed: set[Path] = set()
    by_root: dict[Path, list[str]] = {}
    for torrent in torrents:
        for file in torrent.files:
            path = torrent.save_path / file.name
            if path not in claimed:
                claimed.add(path)
                by_root.setdefault(torrent.save_path, []).append(file.name)
    return [(root, tuple(sorted(by_root[root]))) for root in sorted(by_root)]


def _dirs_below(root: Path, names: Sequence[str]) -> tuple[str, ...]:
    """Directories on the way to `names`, deepest first."""
    dirs = {str(root / parent) for name in names for parent in PurePosixPath(name).parents}
    dirs.discard(str(root))
    return tuple(sorted(dirs, key=lambda path: (-path.count("/"), path)))


def _was(torrents: Sequence[TorrentFact]) -> tuple[Was, ...]:
    return tuple(Was(torrent.torrent_id, torrent.running) for torrent in torrents)


def _relocate(torrent: TorrentFact) -> Relocate:
    return Relocate(
        torrent.torrent_id,
        torrent.client_save_path,
        torrent.client_target_path,
        str(torrent.save_path),
        str(torrent.target_path),
        tuple(file.name for file in torrent.files),
        tuple(file.name for file in torrent.files if not file.size),
    )


def _empty(view: View, names: Sequence[str]) -> tuple[str, ...]:
    sizes = {name: size for name, (size, _) in view.contents}
    return tuple(name for name in names if not sizes[name])


def _check(view: View) -> CheckFiles:
    return CheckFiles(str(view.root), tuple((name, size) for name, (size, _) in view.contents))


def _retirements(facts: Facts, plan_id: str) -> tuple[Retirement, ...]:
    hidden_names = {
        root / name: (root, name) for root, names in _sources(facts.torrents) for name in names
    }
    found: dict[Path, Retirement] = {}
    for torrent in facts.torrents:
        for file in torrent.files:
            path = torrent.save_path / file.name
            root, name = hidden_names[path]
            assert file.seen is not None
            assert file.sha256 is not None
            assert torrent.target_path is not None
            found.setdefault(
                path,
                Retirement(
                    str(hidden_root(root, plan_id)),
                    name,
                    file.seen,
                    file.sha256,
                    str(torrent.target_path / file.name),
                ),
            )
    return tuple(found[path] for path in sorted(found))

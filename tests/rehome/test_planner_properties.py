"""What holds for every plan, whatever the group looks like."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.support.facts_builder import LAYOUT, POOL, STASH, steps, torrent_id
from tests.support.model_disk import ModelDisk
from tests.support.random_facts import groups, promotions

from rehome import planfile
from rehome.batch import Scope, make_batch
from rehome.config import Layout
from rehome.facts import Facts, TorrentFact
from rehome.model import (
    Adopt,
    AwaitPlaces,
    BuildView,
    CheckFiles,
    Direction,
    FillPayload,
    Hide,
    KeepManaged,
    MakeStaging,
    MoveFiles,
    Nothing,
    Place,
    Plan,
    ProveFolder,
    Recheck,
    Relocate,
    Reveal,
    SetCategory,
    SetManagement,
    StartTorrents,
    Step,
    StopTorrents,
    Verdict,
    VerifyReuse,
)
from rehome.planner import fingerprint, hidden_root, plan_group, with_cleanup

pytestmark = pytest.mark.repeated
# relocation.md: prepare while all seeds, then stop, free, hide, re-path, place, look, start.
ORDER: tuple[type[Step], ...] = (
    *(MakeStaging, ProveFolder, FillPayload, VerifyReuse, BuildView, Recheck),
    *(StopTorrents, SetManagement, Hide, Adopt),
    *(Relocate, AwaitPlaces, Place, Reveal, CheckFiles),
    *(SetCategory, KeepManaged, StartTorrents),
)
ANY = st.one_of(groups(), promotions())
MOVABLE = st.one_of(groups(may_block=False), promotions(may_block=False))


def movable(known: Facts, layout: Layout = LAYOUT) -> Plan:
    """The plan of a group that nothing keeps on stash."""
    made = plan_group(known, layout)
    assume(made.verdict in (Verdict.MOVE, Verdict.REUSE))
    return made


def sources(known: Facts) -> set[str]:
    return {str(t.save_path / f.name) for t in known.torrents for f in t.files}


def targets(known: Facts) -> dict[str, str | None]:
    return {str(t.target_path) + "/" + f.name: f.sha256 for t in known.torrents for f in t.files}


@given(ANY)
def test_equal_facts_give_an_equal_plan_byte_for_byte(known: Facts) -> None:
    one, two = plan_group(known, LAYOUT), plan_group(replace(known), LAYOUT)
    assert planfile.dumps(one) == planfile.dumps(two)


@given(ANY, st.integers(0, 10**15))
def test_free_space_alone_never_changes_which_plan_it_is(known: Facts, free: int) -> None:
    assert fingerprint(known) == fingerprint(replace(known, free_bytes=free))


@given(ANY)
def test_a_blocked_group_has_no_steps_and_a_group_with_steps_no_blockers(known: Facts) -> None:
    made = plan_group(known, LAYOUT)
    assert (made.verdict is Verdict.BLOCK) == bool(made.blockers)
    assert bool(made.steps) == (made.verdict in (Verdict.MOVE, Verdict.REUSE))
    assert bool(made.retire) == bool(made.steps)


@given(ANY)
def test_every_plan_survives_its_file(known: Facts) -> None:
    made = plan_group(known, LAYOUT)
    assert planfile.loads(planfile.dumps(made)) == made


@given(MOVABLE, st.sampled_from([0, 0, 1, 20, 10**9]))
def test_each_content_is_copied_at_most_once_and_only_what_the_pool_lacks_or_is_too_small(
    known: Facts, floor: int
) -> None:
    made = movable(known, replace(LAYOUT, reuse_floor=floor))
    copies = [c for step in steps(made, FillPayload) for c in step.copies]
    copied = Counter((c.seen.size, c.sha256) for c in copies)
    assert set(copied.values()) <= {1}
    wanted = {(f.size, f.sha256) for t in known.torrents for f in t.files}
    in_place = {(t.seen.size, t.sha256 or "") for t in known.target_files if t.seen}
    elsewhere = {(r.size, r.sha256) for r in known.reusable}
    whole = wanted <= in_place | elsewhere or known.direction is Direction.PROMOTE
    taken = {(size, sha256) for size, sha256 in elsewhere if whole or size >= floor}
    assert copied.keys() == wanted - in_place - taken
    assert made.bytes_to_copy == sum(size for size, _ in copied)
    assert (made.verdict is Verdict.MOVE) == bool(copied)


@given(MOVABLE)
def test_what_is_reused_is_read_before_anything_relies_on_it(known: Facts) -> None:
    made = movable(known)
    read = {file.path for step in steps(made, VerifyReuse) for file in step.files}
    linked = {link.source for step in steps(made, BuildView) for link in step.links}
    assert {path for path in linked if not path.startswith(f"{made.staging}/")} <= read


@given(MOVABLE)
def test_each_source_file_is_hidden_once_and_retired_once(known: Facts) -> None:
    made = movable(known)
    hidden = [f"{step.src_root}/{name}" for step in steps(made, Hide) for name in step.names]
    assert sorted(hidden) == sorted(sources(known))
    aside = [f"{step.dst_root}/{name}" for step in steps(made, Hide) for name in step.names]
    assert sorted(f"{r.hidden_root}/{r.name}" for r in made.retire) == sorted(aside)


@given(MOVABLE)
def test_what_is_shown_again_is_what_was_hidden_and_only_in_a_promotion(known: Facts) -> None:
    made = movable(known)
    hidden = [(s.src_root, s.dst_root, s.names) for s in steps(made, Hide)]
    shown = [(s.dst_root, s.src_root, s.names) for s in steps(made, Reveal)]
    promoted = known.direction is Direction.PROMOTE
    assert shown == (hidden if promoted else [])
    assert made.keep_source == promoted
    assert not steps(with_cleanup(made), Reveal)


@given(promotions())
def test_a_promotion_copies_nothing(known: Facts) -> None:
    made = plan_group(known, LAYOUT)
    assert not steps(made, FillPayload)
    if made.verdict is Verdict.REUSE:
        assert made.bytes_to_copy == 0


@given(MOVABLE)
def test_a_category_changes_only_where_it_is_another_one_and_before_management(
    known: Facts,
) -> None:
    made = movable(known)
    assert [(s.torrent_id, s.category, s.was_category) for s in steps(made, SetCategory)] == [
        (t.torrent_id, t.target_category, t.category)
        for t in known.torrents
        if t.target_category != t.category
    ]
    assert [s.torrent_id for s in steps(made, KeepManaged)] == [
        t.torrent_id for t in known.torrents if t.target_auto_tmm
    ]
    for keep in steps(made, KeepManaged):
        assert any(off.torrent_id == keep.torrent_id for off in steps(made, SetManagement))


@given(MOVABLE)
def test_the_plan_of_an_applied_plan_is_empty(known: Facts) -> None:
    made = movable(known)
    there = replace(known, torrents=tuple(_arrived(t) for t in known.torrents))
    again = plan_group(there, LAYOUT)
    assert (again.verdict, again.steps, again.retire) == (Verdict.SKIP, (), ())
    assert (again.bytes_to_copy, again.bytes_freed) == (0, 0)
    assert made.steps != ()


def _arrived(torrent: TorrentFact) -> TorrentFact:
    assert torrent.target_path is not None
    return replace(torrent, arrived=True, save_path=torrent.target_path)


@settings(max_examples=40)
@given(st.lists(ANY, max_size=4), st.integers(0, 20_000), st.integers(1, 4))
def test_no_batch_has_a_step_for_a_group_that_stays_and_keeps_its_limits(
    several: list[Facts], most: int, limit: int
) -> None:
    plans = [
        replace(plan_group(known, LAYOUT), asked_for=torrent_id(number))
        for number, known in enumerate(several)
    ]
    scope = Scope(all_eligible=True, max_bytes=most, limit=limit)
    made = make_batch(plans, scope, Direction.DEMOTE, free_bytes=10_000, margin=0)
    for plan in made.groups:
        assert bool(plan.steps) == (plan.verdict in (Verdict.MOVE, Verdict.REUSE))
        assert bool(plan.blockers) == (plan.verdict is Verdict.BLOCK)
    assert len(made.executable) <= limit
    assert sum(plan.total_bytes for plan in made.executable) <= most
    assert made.bytes_to_copy <= 10_000
    assert len(made.groups) + len(made.left_out) == len(plans)
    freed = [plan.bytes_freed for plan in made.executable]
    assert freed == sorted(freed, reverse=True)
    assert made == make_batch(reversed(plans), scope, Direction.DEMOTE, free_bytes=10_000, margin=0)


@given(MOVABLE)
def test_each_file_of_each_torrent_is_placed_once_and_looked_for(known: Facts) -> None:
    made = movable(known)
    placed = [f"{step.dst_root}/{name}" for step in steps(made, Place) for name in step.names]
    assert sorted(placed) == sorted(targets(known))
    looked = {f"{step.root}/{name}" for step in steps(made, CheckFiles) for name, _ in step.sizes}
    assert looked == set(placed)


@given(MOVABLE)
def test_promise_1_what_is_retired_has_a_witness_of_the_same_bytes_that_the_run_places(
    known: Facts,
) -> None:
    made = movable(known)
    bytes_at = targets(known)
    for item in made.retire:
        assert bytes_at[item.witness] == item.sha256


@given(MOVABLE)
def test_each_torrent_is_stopped_relocated_and_started_once(known: Facts) -> None:
    made = movable(known)
    ids = [t.torrent_id for t in known.torrents]
    (stop,), (start,) = steps(made, StopTorrents), steps(made, StartTorrents)
    assert [was.torrent_id for was in stop.torrents] == ids
    assert stop.torrents == start.torrents
    assert [step.torrent_id for step in steps(made, Relocate)] == ids


@given(MOVABLE)
def test_management_is_switched_off_exactly_where_it_would_be_in_the_way(known: Facts) -> None:
    made = movable(known)
    freed = {
        step.torrent_id: (step.was_auto_tmm, step.was_client_download_path)
        for step in steps(made, SetManagement)
    }
    assert freed == {
        t.torrent_id: (t.auto_tmm, t.client_download_path)
        for t in known.torrents
        if t.auto_tmm or t.client_download_path
    }
    for step in steps(made, SetManagement):
        assert (step.auto_tmm, step.client_download_path) == (False, "")


@given(MOVABLE)
def test_steps_come_in_the_order_of_a_relocation(known: Facts) -> None:
    ranks = [ORDER.index(type(step)) for step in movable(known).steps]
    assert ranks == sorted(ranks)


@given(MOVABLE)
def test_phases_never_go_back_so_that_undoing_never_meets_an_older_one_first(known: Facts) -> None:
    phases = [step.phase for step in movable(known).steps]
    assert phases == sorted(phases)


@given(MOVABLE)
def test_the_inverse_of_an_inverse_is_the_step_itself_where_something_is_left_behind(
    known: Facts,
) -> None:
    for step in movable(known).steps:
        back = step.inverse()
        if isinstance(back, Nothing):
            assert isinstance(
                step, FillPayload | VerifyReuse | BuildView | Recheck | AwaitPlaces | CheckFiles
            )  # lies in staging, or only looked
        elif isinstance(step, MoveFiles):
            again = back.inverse()
            assert isinstance(again, MoveFiles)
            assert vars(again) == vars(step)
        elif not isinstance(step, MakeStaging | ProveFolder):
            assert back.inverse() == step


@given(MOVABLE)
def test_no_step_touches_anything_but_the_sources_staging_and_the_targets(known: Facts) -> None:
    made = movable(known)
    hidden = {str(hidden_root(t.save_path, made.plan_id)) for t in known.torrents}
    mine = {*sources(known), *targets(known)}
    for step in made.steps:
        for path in changed_paths(step):
            in_ours = any(path.startswith(f"{root}/") for root in {made.staging, *hidden})
            assert in_ours or path in mine, f"{step} touches {path}"


def changed_paths(step: Step) -> list[str]:
    """Files that a step makes or moves."""
    if isinstance(step, FillPayload):
        return [copy.target for copy in step.copies]
    if isinstance(step, BuildView):
        return [f"{step.root}/{link.name}" for link in step.links]
    if isinstance(step, MoveFiles):
        return [f"{root}/{name}" for root in (step.src_root, step.dst_root) for name in step.names]
    return []


@given(MOVABLE)
def test_only_directories_that_the_run_makes_may_be_removed(known: Facts) -> None:
    made = movable(known)
    for step in made.steps:
        removable: tuple[str, ...] = ()
        if isinstance(step, MakeStaging):
            removable = step.undo_remove
        elif isinstance(step, MoveFiles):
            removable = (*step.then_remove, *step.undo_remove)
        for path in removable:
            assert path in known.new_dirs or f"/.seedkeep-{made.plan_id}" in path


@given(MOVABLE)
def test_staging_lies_on_the_target_side_and_bears_the_name_of_its_plan(known: Facts) -> None:
    made = movable(known)
    assert Path(made.staging).parent == (STASH if known.direction is Direction.PROMOTE else POOL)
    assert PurePosixPath(made.staging).name == f".seedkeep-{made.plan_id}"


@given(MOVABLE)
def test_performed_on_a_disk_the_plan_brings_all_bytes_to_their_places(known: Facts) -> None:
    made, disk = movable(known), ModelDisk.of(known)
    for step in made.steps:
        disk.perform(step)
    for path, sha256 in targets(known).items():
        assert disk.files[path] == sha256
    assert sources(known) <= disk.files.keys() if made.keep_source else True
    for item in () if made.keep_source else made.retire:
        assert disk.files[f"{item.hidden_root}/{item.name}"] == item.sha256


@given(MOVABLE)
def test_with_cleanup_no_source_is_in_its_place_any_more(known: Facts) -> None:
    made, disk = with_cleanup(movable(known)), ModelDisk.of(known)
    for step in made.steps:
        disk.perform(step)
    assert not sources(known) & disk.files.keys()
    for item in made.retire:
        assert disk.files[f"{item.hidden_root}/{item.name}"] == item.sha256


@given(MOVABLE, st.data())
def test_undone_from_any_step_the_disk_is_as_it_was(known: Facts, data: st.DataObject) -> None:
    made, disk = movable(known), ModelDisk.of(known)
    before = dict(disk.files)
    begun = made.steps[: data.draw(st.integers(0, len(made.steps)))]
    skipped = data.draw(st.booleans())  # the newest was intended, and never ran
    for step in begun[: len(begun) - skipped]:
        disk.perform(step)
    for step in reversed(begun):
        disk.perform(step.inverse())
    assert disk.files == before


@given(MOVABLE)
def test_freed_are_at_most_the_bytes_of_the_inodes_that_go(known: Facts) -> None:
    made = movable(known)
    assert made.bytes_freed == sum(link.size for link in known.links)

"""A job: rules in order on torrents of a client, live and as a dry run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.qbt_rules.rules_stage import RulesStage, one, outcomes, rules_stage
from tests.qbt_rules.told_disk import ToldDisk

from qbt_rules.record import MOST_UNKNOWN


@pytest.fixture(params=["4.5", "5.1"])
def stage(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[RulesStage]:
    with rules_stage(tmp_path, request.param) as prepared:
        yield prepared


@pytest.fixture
def newer(tmp_path: Path) -> Iterator[RulesStage]:
    with rules_stage(tmp_path) as prepared:
        yield prepared


# -- rules and torrents


def test_a_rule_acts_on_the_torrents_that_fit_and_on_no_other(stage: RulesStage) -> None:
    stage.add("Film.1080p")
    stage.add("Film.720p")
    result = stage.run(one(
        "{field: info.name, operator: matches, value: '1080'}", "{type: add_tag, params: {tag: hd}}"
    ))  # fmt: skip
    assert {name: torrent.tags for name, torrent in stage.torrents().items()} == {
        "Film.1080p": ("hd",),
        "Film.720p": (),
    }
    assert (result["torrents_processed"], result["rules_matched"]) == (2, 1)
    assert (result["actions_executed"], result["actions_skipped"]) == (1, 0)
    assert outcomes(result) == [("add_tag", "Film.1080p", "done")]


def test_run_twice_a_job_finds_nothing_to_do(stage: RulesStage) -> None:
    stage.add("a")
    rules = one(
        "{}",
        "{type: set_category, params: {category: films}}",
        "{type: set_tags, params: {tags: [x, y]}}",
        "{type: set_upload_limit, params: {limit: 1 MB/s}}",
        "{type: set_download_limit, params: {limit: 2 MB/s}}",
        "{type: set_share_limits, params: {ratio: 2}}",
        "{type: remove_tag, params: {tag: z}}",
        "{type: rename, params: {name: b}}",
        "stop",
    )
    first = stage.run(rules)
    second = stage.run()
    assert (first["actions_executed"], first["actions_skipped"]) == (7, 1)
    assert (second["actions_executed"], second["actions_skipped"]) == (0, 8)
    (torrent,) = stage.torrents().values()
    assert (torrent.name, torrent.category, torrent.tags) == ("b", "films", ("x", "y"))
    assert (torrent.upload_limit, torrent.download_limit) == (1_000_000, 2_000_000)
    assert torrent.ratio_limit == 2
    assert torrent.state.is_stopped


def test_starting_and_forcing_are_done_once(newer: RulesStage) -> None:
    newer.add("a", stopped=True)
    assert newer.run(one("{}", "start"))["actions_executed"] == 1
    assert newer.run(one("{}", "start"))["actions_executed"] == 0
    assert newer.run(one("{}", "force_start"))["actions_executed"] == 1
    assert newer.run(one("{}", "force_start"))["actions_executed"] == 0
    assert newer.run(one("{}", "stop", "start"))["actions_executed"] == 2
    (torrent,) = newer.torrents().values()
    assert not torrent.state.is_stopped


def test_set_tags_leaves_these_tags_and_no_others(newer: RulesStage) -> None:
    newer.add("a", tags=("old", "x"))
    newer.add("b")
    newer.run(one("{}", "{type: set_tags, params: {tags: [x, y]}}"))
    assert {torrent.tags for torrent in newer.torrents().values()} == {("x", "y")}
    newer.run(one("{}", "{type: set_tags, params: {tags: []}}"))
    assert {torrent.tags for torrent in newer.torrents().values()} == {()}


def test_share_limits_that_are_not_given_stay(stage: RulesStage) -> None:
    torrent_id = stage.add("a")
    stage.connect().set_share_limits([torrent_id], 3.0, 500, None)
    stage.run(one("{}", "{type: set_share_limits, params: {seeding_time: 2d}}"))
    (torrent,) = stage.torrents().values()
    assert (torrent.ratio_limit, torrent.seeding_time_limit) == (3.0, 2_880)


def test_the_next_rule_sees_what_the_one_before_did(stage: RulesStage) -> None:
    stage.add("a")
    rules = """
        rules:
          - name: first
            actions: [{type: add_tag, params: {tag: seen}}]
          - name: second
            conditions: {field: info.tags, operator: "==", value: seen}
            actions: [{type: set_category, params: {category: c}}]
    """
    for dry_run in (True, False):
        result = stage.run(rules, dry_run=dry_run)
        assert [row["action"] for row in result["actions"]] == ["add_tag", "set_category"]
    (torrent,) = stage.torrents().values()
    assert torrent.category == "c"


def test_a_rule_that_stops_keeps_its_torrents_from_later_rules(newer: RulesStage) -> None:
    newer.add("a")
    newer.add("b")
    newer.run("""
        rules:
          - name: first
            stop_on_match: true
            conditions: {field: info.name, operator: "==", value: a}
            actions: [{type: add_tag, params: {tag: first}}]
          - name: second
            actions: [{type: add_tag, params: {tag: second}}]
    """)
    assert {name: torrent.tags for name, torrent in newer.torrents().items()} == {
        "a": ("first",),
        "b": ("second",),
    }


def test_a_job_for_one_torrent_touches_no_other(newer: RulesStage) -> None:
    chosen = newer.add("a")
    newer.add("b")
    result = newer.run(one("{}", "{type: add_tag, params: {tag: t}}"), hash=chosen)
    assert result["torrents_processed"] == 1
    assert newer.torrents()["b"].tags == ()
    missing = newer.run(hash="f" * 40)
    assert missing["torrents_processed"] == 0
    assert missing["warnings"] == [f"qBittorrent has no torrent {'f' * 40}"]


def test_a_job_that_no_rule_runs_in_says_so(newer: RulesStage) -> None:
    newer.add("a")
    rule = one("{context: on_added}", "{type: add_tag, params: {tag: t}}")
    assert newer.run(rule, context="on_added")["warnings"] == []
    mistyped = newer.run(rule, context="onadded")
    assert mistyped["warnings"] == ["no rule that is on runs in the context onadded"]
    (none,) = newer.run(rule, context=None)["warnings"]
    assert none.startswith("no rule runs in a job without a context")


def test_every_family_of_the_client_can_be_asked(newer: RulesStage) -> None:
    newer.add("a")
    result = newer.run(one(
        """
      all:
        - {field: files.count, operator: "==", value: 1}
        - {field: files.name, operator: contains, value: a}
        - {field: trackers.url, operator: contains, value: "127.0.0.1"}
        - {field: trackers.count, operator: "==", value: 1}
        - {field: peers.count, operator: "==", value: 0}
        - {field: properties.pieces_num, operator: ">", value: 0}
        - {field: properties.addition_date, operator: newer_than, value: 1h}
        - {field: transfer.dl_info_speed, operator: "==", value: 0}
        - {field: app.save_path, operator: contains, value: /}
        - {field: app.version, operator: contains, value: v5}
        - {field: time.hour, operator: ">=", value: 0}
        - {field: time.weekday, operator: contains, value: day}
      none:
        - {field: webseeds.url, operator: contains, value: http}
""",
        "{type: add_tag, params: {tag: all}}",
    ))  # fmt: skip
    assert result["actions_executed"] == 1, result


# -- unknown


def test_a_rule_does_not_act_on_what_it_does_not_know_and_says_why(newer: RulesStage) -> None:
    newer.add("a")
    result = newer.run("""
        rules:
          - name: disk
            conditions: {none: [{field: links.outside, operator: ">", value: 0}]}
            actions: [stop]
          - name: other
            actions: [{type: add_tag, params: {tag: t}}]
    """)
    assert outcomes(result) == [("add_tag", "a", "done")]
    (unknown,) = result["unknown"]
    assert unknown["rule"] == "disk"
    assert "there is no catalog" in unknown["reasons"][0]
    assert result["unknown_count"] == 1


def test_what_an_older_client_does_not_tell_is_unknown(tmp_path: Path) -> None:
    with rules_stage(tmp_path, "4.5") as older:
        older.add("a")
        result = older.run(one("{field: info.popularity, operator: '<', value: 1}", "stop"))
    assert result["actions"] == []
    assert result["unknown"][0]["reasons"] == [
        "info.popularity < 1: qBittorrent does not tell popularity"
    ]


def test_the_list_of_what_is_unknown_is_bounded_and_counted(newer: RulesStage) -> None:
    for number in range(3):
        newer.add(f"t{number}")
    condition = "{field: links.outside, operator: '==', value: 0}"
    rules = "rules:\n" + "".join(
        f"  - {{name: r{n}, conditions: {condition}, actions: [stop]}}\n" for n in range(20)
    )
    result = newer.run(rules)
    assert result["unknown_count"] == 60
    assert len(result["unknown"]) == MOST_UNKNOWN


# -- a dry run

ACTIONS = [
    "stop", "start", "force_start", "recheck", "reannounce", "queue_top",
    "{type: add_tag, params: {tags: [x, y]}}", "{type: remove_tag, params: {tag: x}}",
    "{type: set_tags, params: {tags: [z]}}", "{type: set_category, params: {category: c}}",
    "{type: set_upload_limit, params: {limit: 5 KB/s}}", "{type: rename, params: {name: other}}",
    "{type: delete_torrent}", "{type: delete_torrent, params: {delete_files: true}}",
    "{type: set_share_limits, params: {ratio: 1}}", "rehome_demote",
    "{type: set_location, params: {location: /elsewhere}}",
]  # fmt: skip
CONDITIONS = [
    "{}", "{field: info.tags, operator: contains, value: x}",
    "{field: info.category, operator: '==', value: c}",
    "{field: info.state, operator: contains, value: stopped}",
    "{field: info.name, operator: '!=', value: b}",
    "{field: info.up_limit, operator: '>', value: 0}",
]  # fmt: skip
some_rules = st.lists(
    st.tuples(
        st.sampled_from(CONDITIONS),
        st.lists(st.sampled_from(ACTIONS), min_size=1, max_size=3),
        st.booleans(),
    ),
    min_size=1,
    max_size=5,
)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(some_rules)
def test_a_dry_run_lists_what_a_live_run_then_does(
    tmp_path_factory: pytest.TempPathFactory, chosen: list[tuple[str, list[str], bool]]
) -> None:
    rules = "rules:\n" + "".join(
        f"  - name: r{n}\n    stop_on_match: {str(last).lower()}\n    conditions: {condition}\n"
        f"    actions: [{', '.join(actions)}]\n"
        for n, (condition, actions, last) in enumerate(chosen)
    )
    lists = []
    for dry_run in (True, False):
        with rules_stage(tmp_path_factory.mktemp("copy")) as copy:
            copy.add("a")
            copy.add("b", tags=("x",), stopped=True)
            before = copy.torrents()
            result = copy.run(rules, dry_run=dry_run)
            if dry_run:
                assert copy.torrents() == before
            lists.append(result)
    dry, live = lists
    assert [row["outcome"] for row in dry["actions"] if row["outcome"] == "done"] == []
    # The client that does not queue is asked only by the live run.
    assert _same(dry) == _same(live)
    assert dry["actions_skipped"] == live["actions_skipped"]


def _same(result: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    words = {"would be done": "done", "failed": "done"}
    return [
        (row["rule"], row["action"], row["hash"], words.get(row["outcome"], row["outcome"]))
        for row in result["actions"]
    ]


# -- guards


def test_a_torrent_is_deleted_and_its_files_stay(stage: RulesStage) -> None:
    stage.add("a")
    stage.run(one("{}", "delete_torrent", "stop"))
    assert stage.torrents() == {}
    assert (stage.folder / "data/a").exists()


def test_a_job_deletes_no_more_than_its_limit(tmp_path: Path) -> None:
    with rules_stage(tmp_path, max_deletes=2) as stage:
        for name in "abcd":
            stage.add(name)
        rules = one("{}", "delete_torrent")
        dry = stage.run(rules, dry_run=True)
        result = stage.run(rules)
        assert len(stage.torrents()) == 2
    assert result["outcomes"] == {"done": 2, "refused": 2}
    assert dry["outcomes"] == {"would be done": 2, "refused": 2}
    assert "which is its limit" in result["actions"][0]["reason"]


def test_files_are_not_deleted_where_nothing_is_known_of_other_copies(newer: RulesStage) -> None:
    newer.add("a")
    result = newer.run(one("{}", "{type: delete_torrent, params: {delete_files: true}}"))
    assert outcomes(result) == [("delete_torrent", "a", "refused")]
    assert "there is no catalog" in result["actions"][0]["reason"]
    assert list(newer.torrents()) == ["a"]


def test_files_go_when_the_disk_says_that_they_may(newer: RulesStage) -> None:
    disk = newer.disk = ToldDisk()
    first, second = newer.add("a"), newer.add("b")
    newer.run(one(
        "{}", "{type: delete_torrent, params: {delete_files: true, allow_last_copy: true}}"
    ))  # fmt: skip
    assert newer.torrents() == {}
    assert not (newer.folder / "data/a").exists()
    leaving, allowed = disk.asked[0][1]
    assert sorted(leaving) == sorted([first, second])
    assert allowed is True
    assert disk.asked[-1] == ("forget", None)


def test_files_stay_when_the_disk_says_why(newer: RulesStage) -> None:
    newer.disk = ToldDisk(why_not="another torrent needs /stash/a")
    newer.add("a")
    result = newer.run(one("{}", "{type: delete_torrent, params: {delete_files: true}}"))
    assert result["actions"][0]["reason"] == "another torrent needs /stash/a"
    assert list(newer.torrents()) == ["a"]


@pytest.mark.parametrize("same", [False, None])
def test_a_location_on_another_filesystem_is_left_to_rehome(
    newer: RulesStage, same: bool | None
) -> None:
    newer.disk = ToldDisk(same=same)
    newer.add("a")
    target = newer.folder / "other"
    result = newer.run(one("{}", f"{{type: set_location, params: {{location: {target}}}}}"))
    assert outcomes(result) == [("set_location", "a", "refused")]
    assert "rehome_demote moves between filesystems" in result["actions"][0]["reason"]


def test_a_location_on_the_same_filesystem_is_set_once(stage: RulesStage) -> None:
    stage.disk = ToldDisk()
    stage.add("a")
    target = stage.folder / "other"
    rules = one("{}", f"{{type: set_location, params: {{location: {target}}}}}")
    assert stage.run(rules)["actions_executed"] == 1
    assert (target / "a").exists()
    assert stage.run(rules)["actions_skipped"] == 1

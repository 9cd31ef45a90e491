"""A rule file is read as a whole: into rules, or into every mistake with its line."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.qbt_rules.language.subjects import one_rule

from qbt_rules.language.action_table import ACTIONS, GLOBAL, UNLIMITED
from qbt_rules.language.rulefile import BadRules, load_rules, parse_rules, read_rules
from qbt_rules.language.values import Gather, Group, Leaf, RuleBook
from seedkeep.errors import Misused
from seedkeep.yaml_file import Document

REQUIREMENT = """
rules:
  - name: "Auto-categorize HD content on add"
    enabled: true
    stop_on_match: true
    conditions:
      context: on_added
      all:
        - field: info.name
          operator: matches
          value: '(?i).*(1080p|2160p|4k).*'
    actions:
      - type: set_category
        params:
          category: "Movies-HD"
      - type: add_tag
        params:
          tag: "hd"
  - name: "Cleanup old completed torrents"
    conditions:
      context: scheduled
      all:
        - {field: info.state, operator: in, value: ["uploading", "pausedUP", "stalledUP"]}
        - {field: info.completion_on, operator: older_than, value: "30 days"}
        - {field: info.ratio, operator: ">=", value: 2.0}
    actions:
      - type: delete_torrent
        params:
          delete_files: false
"""


def mistakes(text: str) -> str:
    with pytest.raises(BadRules) as refused:
        parse_rules(dedent(text).strip("\n"))
    assert refused.value.exit_code == 2
    return refused.value.detail


def with_condition(condition: str) -> str:
    return f"rules:\n  - name: a\n    conditions:\n      {condition}\n    actions: [stop]\n"


def with_action(action: str) -> str:
    return f"rules:\n  - name: a\n    actions:\n      - {action}\n"


def test_the_example_of_the_requirement_is_a_rule_book() -> None:
    book = parse_rules(REQUIREMENT)
    first, second = book.rules
    assert first.contexts == frozenset({"on_added"})
    assert first.stop_on_match
    assert not second.stop_on_match
    assert [action.type for action in first.actions] == ["set_category", "add_tag"]
    assert first.actions[0].params == {"category": "Movies-HD", "create": True}
    assert first.actions[1].params == {"tags": ("hd",)}
    assert second.actions[0].params == {"delete_files": False, "allow_last_copy": False}
    assert book.warnings == ()


def test_a_job_runs_the_rules_of_its_context_in_file_order_and_those_without_one() -> None:
    book = parse_rules("""
rules:
  - {name: both, conditions: {context: [a, b]}, actions: [stop]}
  - {name: every, actions: [stop]}
  - {name: only b, conditions: {context: b}, actions: [stop]}
  - {name: off, enabled: false, actions: [stop]}
""")

    def names(context: str | None) -> list[str]:
        return [rule.name for rule in book.for_context(context)]

    assert names("a") == ["both", "every"]
    assert names("b") == ["both", "every", "only b"]
    assert names(None) == ["every"]


def test_a_rule_without_conditions_fits_everything() -> None:
    assert one_rule("conditions: {context: manual}").condition == Group(
        Gather.ALL, (), "rules.yml:3:5"
    )


def test_references_are_filled_in_and_keep_their_type() -> None:
    book = parse_rules("""
refs:
  vars: {most: 2.5, days: 30, sites: [one, two], who: me}
  conditions:
    old: {field: info.completion_on, operator: older_than, value: "${vars.days} days"}
    done:
      - $ref: conditions.old
      - {field: info.ratio, operator: ">", value: "${vars.most}"}
  actions:
    mark:
      - {type: add_tag, params: {tag: "by-${vars.who}"}}
      - stop
rules:
  - name: a
    conditions:
      all:
        - $ref: conditions.done
        - {field: info.category, operator: in, value: "${vars.sites}"}
    actions:
      - $ref: actions.mark
      - recheck
""")
    (rule,) = book.rules
    done, category = rule.condition.parts
    assert isinstance(done, Group)
    old, ratio = done.parts
    assert isinstance(old, Leaf)
    assert isinstance(ratio, Leaf)
    assert isinstance(category, Leaf)
    assert (old.value, ratio.value, category.value) == ("30 days", 2.5, ["one", "two"])
    assert [action.type for action in rule.actions] == ["add_tag", "stop", "recheck"]
    assert rule.actions[0].params["tags"] == ("by-me",)


@pytest.mark.parametrize(
    ("action", "params"),
    [
        ("{type: add_tag, params: {tags: [a, b]}}", {"tags": ("a", "b")}),
        ('{type: rename, params: {name: " a\\nb "}}', {"name": "a b"}),  # as the client does
        ("{type: add_tag, params: {tag: 'a, b'}}", {"tags": ("a", "b")}),
        ("{type: set_tags, params: {tags: []}}", {"tags": ()}),
        ("{type: set_upload_limit, params: {limit: 5 MB/s}}", {"limit": 5_000_000}),
        ("{type: set_download_limit, params: {limit: 0}}", {"limit": 0}),
        (
            "{type: set_share_limits, params: {ratio: 2, seeding_time: 14d}}",
            {"ratio": 2.0, "seeding_time": 20_160, "inactive_seeding_time": None},
        ),
        (
            "{type: set_share_limits, params: {ratio: none, seeding_time: global}}",
            {"ratio": UNLIMITED, "seeding_time": GLOBAL, "inactive_seeding_time": None},
        ),
        (
            "{type: set_share_limits, params: {seeding_time: 20s, inactive_seeding_time: '0'}}",
            {"ratio": None, "seeding_time": 1, "inactive_seeding_time": 0},
        ),
        ("{type: set_auto_management}", {"enabled": True}),
        ("{type: set_location, params: {path: /stash/x}}", {"location": "/stash/x"}),
        ("{type: rehome_demote, params: {retain: 24h}}", {"retain": 86_400.0}),
        ("{type: rehome_demote}", {"retain": None}),
        ("{type: payload_verify, params: {sample: 5%}}", {"sample": 0.05}),
        ("{type: hashall_scan, params: {paths: /stash}}", {"paths": ("/stash",)}),
        (
            "{type: notify, params: {url: 'http://a/b', message: hello}}",
            {"url": "http://a/b", "message": "hello"},
        ),
        ("queue_top", {}),
    ],
)  # fmt: skip
def test_parameters_come_typed_and_complete(action: str, params: dict[str, object]) -> None:
    ((found,),) = [rule.actions for rule in parse_rules(with_action(action)).rules]
    assert found.params == params


@pytest.mark.parametrize(
    ("text", "action", "warning"),
    [
        (with_action("pause"), "stop", "rules.yml:4:9: pause is the old word; write stop"),
        (with_action("{type: resume}"), "start", "resume is the old word; write start"),
        (
            with_action("{type: delete_torrent, params: {keep_files: true}}"),
            "delete_torrent",
            "keep_files is the old word; write delete_files",
        ),
        (
            "rules:\n  - {name: a, conditions: {trigger: on_added}, actions: [stop]}\n",
            "stop",
            "rules.yml:2:28: trigger is the old word; write context",
        ),
    ],
)
def test_old_files_work_with_a_warning(text: str, action: str, warning: str) -> None:
    book = parse_rules(text)
    assert [found.type for rule in book.rules for found in rule.actions] == [action]
    assert len(book.warnings) == 1
    assert warning in book.warnings[0]


def test_keep_files_is_the_opposite_of_delete_files() -> None:
    for keep in (True, False):
        text = with_action(f"{{type: delete_torrent, params: {{keep_files: {str(keep).lower()}}}}}")
        assert parse_rules(text).rules[0].actions[0].params["delete_files"] is not keep


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        ("[]", "rules.yml", "a rule file begins with `rules:`"),
        ("", "rules.yml", "a rule file begins with `rules:`"),
        ("schedule: []\nrules: []", "rules.yml:1:1", "the schedule stands in config.yml"),
        ("rules: [{name: a, actions: [stop], all: []}]", "1:36", "all stands below conditions"),
        (
            "rules: [{name: a, actions: [stop], conditions: }]",
            "1:36",
            "conditions is empty; leave it out in a rule that fits every torrent",
        ),
        (
            with_condition("{field: info.ratio, operator: '', value: 2}"),
            "4:27",
            "write > and < in quotes",
        ),
        (with_action("{type: pause_torrent}"), "4:9", "did you mean stop?"),
        (with_action("{type: delet_torent}"), "4:9", "did you mean delete_torrent?"),
        (with_action("{type: add_tag, tag: a}"), "4:25", "tag stands in params: {tag: ...}"),
        (with_action("{add_tag: a}"), "4:9", "written {type: add_tag, params: {tag: new}}"),
        ("rules: {}", "rules.yml:1:1", "rules must be a list"),
        ("rule: []\nrules: []", "rules.yml:1:1", "a rule file has no rule; did you mean rules?"),
        ("rules: [a]", "rules.yml:1:9", "a rule is a mapping"),
        ("rules: [{actions: [stop]}]", "rules.yml:1:9", "a rule needs a name"),
        ("rules: [{name: a}]", "rules.yml:1:9", "actions must be a list"),
        ("rules: [{name: a, actions: [stop], enable: 1}]", "1:36", "did you mean enabled?"),
        ("rules: [{name: a, actions: [stop], enabled: 1}]", "1:36", "must be true or false"),
        (with_condition("{field: info.nmae, operator: ==, value: a}"), "4:8", "info.name?"),
        (with_condition("{field: info.name, operator: ==}"), "3:5", "needs value"),
        (with_condition("{field: [a], operator: ==, value: 1}"), "3:5", "must be text"),
        (with_condition("{field: info.name, op: ==, value: 1}"), "4:26", "a condition has no op"),
        (with_condition("{al: []}"), "4:8", "conditions has no al; did you mean all?"),
        (with_condition("{all: []}"), "4:8", "with something in it"),
        (with_condition("{all: [1]}"), "4:14", "a condition is a mapping"),
        (with_condition("{any: }"), "4:8", "any must be a list"),
        (with_condition("{context: []}"), "4:8", "context must be a name"),
        (with_condition("{context: a, trigger: b}"), "4:20", "are the same"),
        (with_condition("{all: [{$ref: conditions.x}]}"), "4:15", "refs has no conditions.x"),
        (with_condition("{all: [{$ref: actions.x}]}"), "4:15", "must be like conditions.name"),
        (with_condition("{all: [{$ref: conditions.x, any: []}]}"), "4:14", "stands alone"),
        (
            with_condition("{field: info.name, operator: ==, value: '${vars.x}'}"),
            "4:40",
            "refs has no vars.x",
        ),
        (
            with_condition("{field: info.name, operator: ==, value: '${x}'}"),
            "4:40",
            "must be like ${vars.name}",
        ),
        (with_action("{type: delet_torrent}"), "4:9", "did you mean delete_torrent?"),
        (with_action("{type: explode}"), "4:9", "there is no action explode"),
        (with_action("[1]"), "4:10", "an action is written {type: add_tag"),
        (with_action("{type: add_tag}"), "4:9", "add_tag needs tags"),
        (with_action("{type: add_tag, params: []}"), "4:9", "add_tag needs tags"),
        (with_action("{type: add_tag, params: [a]}"), "4:25", "params must be a mapping"),
        (with_action("{type: add_tag, param: {tag: a}}"), "4:25", "did you mean params?"),
        (with_action("{type: add_tag, params: {tag: a, tags: b}}"), "4:9", "give one"),
        (with_action("{type: add_tag, params: {tag: ''}}"), "4:9", "must name a tag"),
        (with_action("{type: stop, params: {now: true}}"), "4:9", "stop has no parameter now"),
        (
            with_action("{type: set_upload_limit, params: {limit: 3GB/s}}"),
            "4:9",
            "at most 2147483647 bytes a second",
        ),
        (
            with_action(f"{{type: set_download_limit, params: {{limit: {2**31}}}}}"),
            "4:9",
            "at most 2147483647 bytes a second",
        ),
        (
            with_action(f"{{type: set_share_limits, params: {{ratio: 1{'0' * 400}}}}}"),
            "4:9",
            "ratio of set_share_limits: must be a number",
        ),
        (
            with_action("{type: delete_torrent, params: {keep_files: true, delete_files: true}}"),
            "4:9",
            "contradict each other",
        ),
        (
            with_action("{type: delete_torrent, params: {delete_files: 1}}"),
            "4:9",
            "must be true or false",
        ),
        (with_action("{type: set_upload_limit, params: {limit: -1}}"), "4:9", "0 is no limit"),
        (with_action("{type: set_upload_limit, params: {limit: fast}}"), "4:9", "is not a size"),
        (with_action("{type: set_share_limits, params: {ratio: much}}"), "4:9", '"global"'),
        (with_action("{type: set_share_limits, params: {seeding_time: -5}}"), "4:9", "minutes"),
        (with_action("{type: payload_verify, params: {sample: 0%}}"), "4:9", "must be like 5%"),
        (with_action("{type: hashall_scan, params: {paths: stash}}"), "4:9", "from the root"),
        (
            with_action("{type: notify, params: {url: 'file:///etc', message: a}}"),
            "4:9",
            "must begin with http://",
        ),
        ("refs: []\nrules: []", "1:1", "refs is a mapping"),
        ("refs: {var: {}}\nrules: []", "1:8", "refs has no var"),
        ("refs: {vars: []}\nrules: []", "1:8", "refs.vars must be a mapping"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_place(text: str, place: str, said: str) -> None:
    lines = [line for line in mistakes(text).split("\n") if said in line]
    assert lines, mistakes(text)
    assert f"{place}:" in lines[0] or lines[0].startswith(f"{place}:")


def test_every_mistake_of_a_file_is_told_at_once() -> None:
    told = mistakes("""
        rules:
          - name: a
            conditions: {field: info.nmae, operator: ==, value: 1}
            actions: [explode]
          - name: a
            actions: [stop]
    """)
    assert len(told.split("\n")) == 3
    assert "rules.yml:5:5: 'a' is also at rules.yml:2:5" in told


def test_references_in_a_circle_are_found() -> None:
    told = mistakes("""
        refs:
          conditions:
            a: {any: [{$ref: conditions.b}]}
            b: {all: [{$ref: conditions.a}]}
          actions:
            x: [{$ref: actions.x}]
        rules:
          - name: a
            conditions: {$ref: conditions.a}
            actions: [{$ref: actions.x}]
    """)
    assert "conditions.a contains itself" in told
    assert "actions.x contains itself" in told


def test_a_text_cannot_contain_a_list() -> None:
    told = mistakes("""
        refs: {vars: {list: [a]}}
        rules:
          - name: a
            conditions: {field: info.name, operator: ==, value: "x ${vars.list}"}
            actions: [stop]
    """)
    assert "so it must stand alone" in told


def test_very_many_mistakes_are_cut() -> None:
    told = mistakes("rules:\n" + "  - 1\n" * 80)
    assert told.split("\n")[-1] == "and 30 more"


def test_a_file_that_is_no_yaml_or_is_missing_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rules.yml"
    with pytest.raises(Misused):
        load_rules(path)
    path.write_text("rules: [")
    with pytest.raises(Misused):
        load_rules(path)
    path.write_text(REQUIREMENT)
    assert isinstance(load_rules(path), RuleBook)


WORDS = [
    "rules",
    "refs",
    "name",
    "conditions",
    "actions",
    "all",
    "any",
    "none",
    "field",
    "operator",
    "value",
    "type",
    "params",
    "$ref",
    "context",
    "vars",
    "tag",
]
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(anything)
def test_whatever_is_in_the_file_the_answer_is_rules_or_mistakes(data: object) -> None:
    try:
        book = read_rules(Document("r", data, {}))
    except BadRules as why:
        told = why.detail
    else:
        told = "nothing wrong"
        assert all(rule.actions for rule in book.rules)
    assert told


def test_every_action_says_what_it_does() -> None:
    assert all(kind.does and kind.type == name for name, kind in ACTIONS.items())


def test_mistakes_are_told_in_the_order_of_the_file() -> None:
    text = """
    rules:
      - name: a
        conditions: {field: info.ratio, operator: "=", value: 2}
        actions: [explode]
        enabled: 5
      - name: a
        nmae: b
        actions: []
    """
    with pytest.raises(BadRules) as caught:
        parse_rules(text)
    lines = [int(line.split(":")[1]) for line in caught.value.detail.splitlines()]
    assert lines == sorted(lines)
    assert len(lines) == 6


def test_a_rules_file_whose_folder_cannot_be_searched_is_no_bug(tmp_path: Path) -> None:
    """As root everything can be; a name that is too long fails in the same way."""
    with pytest.raises(Misused, match="cannot read"):
        load_rules(tmp_path / ("x" * 300))


def test_a_rules_file_that_is_not_there_is_told_with_what_makes_one(tmp_path: Path) -> None:
    with pytest.raises(Misused, match="there is no rules file") as caught:
        load_rules(tmp_path / "rules.yml")
    assert "qbt-rules init" in caught.value.hint

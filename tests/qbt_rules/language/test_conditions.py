"""Conditions: three values, cheap parts first, and an account of what decided."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.qbt_rules.language.subjects import NOW, Told, condition_of, judge, naive, verdict_of

from qbt_rules.language.conditions import combine, compile_condition, cost_of, explain
from qbt_rules.language.fields import Cost
from qbt_rules.language.values import Condition, Gather, Group, Leaf, Unknown, Verdict

# Flags, so that a leaf's verdict can be chosen freely; of different cost, so that order changes.
FLAGS = ("info.auto_tmm", "info.seq_dl", "info.force_start", "properties.is_private")


def leaf(name: str) -> Leaf:
    return Leaf(name, "==", True, "here")


trees: st.SearchStrategy[Condition] = st.recursive(
    st.sampled_from(FLAGS).map(leaf),
    lambda parts: st.builds(
        lambda gather, some: Group(gather, tuple(some), "here"),
        st.sampled_from(list(Gather)),
        st.lists(parts, min_size=1, max_size=4),
    ),
    max_leaves=12,
)
truths = st.fixed_dictionaries({name: st.sampled_from([True, False, None]) for name in FLAGS})


def told(chosen: dict[str, Verdict]) -> dict[str, object]:
    return {name: Unknown("?") if value is None else value for name, value in chosen.items()}


@given(trees, truths)
def test_a_tree_says_what_the_truth_tables_say(tree: Condition, chosen: dict[str, Verdict]) -> None:
    assert judge(tree, told(chosen)) is naive(tree, chosen)


@given(trees, truths)
def test_an_explanation_comes_to_the_same_verdict(
    tree: Condition, chosen: dict[str, Verdict]
) -> None:
    assert explain(tree, Told(told(chosen)), NOW).verdict is naive(tree, chosen)


@given(trees, truths)
def test_what_was_unknown_never_turns_a_settled_verdict_over(
    tree: Condition, chosen: dict[str, Verdict]
) -> None:
    verdict = judge(tree, told(chosen))
    open_names = [name for name in FLAGS if chosen[name] is None]
    for filling in itertools.product([True, False], repeat=len(open_names)):
        full = {**chosen, **dict(zip(open_names, filling, strict=True))}
        if verdict is not None:
            assert judge(tree, told(full)) is verdict


@pytest.mark.parametrize("verdicts", list(itertools.product([True, False, None], repeat=2)))
def test_none_is_the_opposite_of_any(verdicts: tuple[Verdict, Verdict]) -> None:
    some = combine(Gather.ANY, list(verdicts))
    assert combine(Gather.NONE, list(verdicts)) is (None if some is None else not some)


def test_none_around_something_unknown_is_no_go_ahead() -> None:
    conditions = "none:\n  - {field: links.outside, operator: '>', value: 0}"
    assert verdict_of(conditions, links_outside=0) is True
    assert verdict_of(conditions, links_outside=Unknown("the catalog is stale")) is None


def test_a_value_of_another_kind_is_unknown_and_harms_no_other_torrent() -> None:
    conditions = "none:\n  - {field: app.max_active, operator: '>', value: 3}"
    assert verdict_of(conditions, app_max_active="four") is None
    whole = explain(condition_of(conditions), Told({"app.max_active": "four"}), NOW)
    assert "cannot be compared" in whole.parts[0].reason


def test_several_groups_in_one_mapping_all_have_to_hold() -> None:
    conditions = """
any:
  - {field: info.ratio, operator: ">", value: 2}
  - {field: info.num_complete, operator: ">", value: 50}
none:
  - {field: info.tags, operator: "==", value: keep}
"""
    assert verdict_of(conditions, info_ratio=3, info_num_complete=0, info_tags=["a"]) is True
    assert verdict_of(conditions, info_ratio=3, info_num_complete=0, info_tags=["keep"]) is False
    assert verdict_of(conditions, info_ratio=1, info_num_complete=0, info_tags=["a"]) is False


def test_a_bare_list_means_all() -> None:
    conditions = """
- {field: info.ratio, operator: ">", value: 2}
- {field: info.num_complete, operator: ">", value: 50}
"""
    assert verdict_of(conditions, info_ratio=3, info_num_complete=60) is True
    assert verdict_of(conditions, info_ratio=3, info_num_complete=6) is False


def test_a_dear_field_is_not_asked_when_a_cheap_one_decides() -> None:
    condition = condition_of("""
all:
  - {field: files.name, operator: contains, value: sample}
  - {field: payload.status, operator: "==", value: complete}
  - {field: info.ratio, operator: ">", value: 2}
""")
    subject = Told({"info.ratio": 1.0, "payload.status": "complete", "files.name": ["sample.mkv"]})
    assert compile_condition(condition, NOW)(subject) is False
    assert subject.asked == ["info.ratio"]


def test_a_group_costs_what_its_dearest_field_costs() -> None:
    condition = condition_of("""
any:
  - {field: info.ratio, operator: ">", value: 2}
  - none:
      - {field: links.outside, operator: ">", value: 0}
""")
    assert cost_of(condition) is Cost.DISK


def test_an_explanation_shows_what_was_seen_and_which_part_decided() -> None:
    condition = condition_of("""
all:
  - {field: info.ratio, operator: ">", value: 2}
  - {field: info.name, operator: contains, value: Film}
  - {field: links.outside, operator: "==", value: 0}
""")
    told_values = {
        "info.ratio": 1.5,
        "info.name": "A Film",
        "links.outside": Unknown("not scanned"),
    }
    whole = explain(condition, Told(told_values), NOW)
    ratio, name, outside = whole.parts
    assert (whole.verdict, ratio.verdict, name.verdict, outside.verdict) == (
        False,
        False,
        True,
        None,
    )
    assert (ratio.seen, name.seen, outside.reason) == (1.5, "A Film", "not scanned")
    assert (ratio.decided, name.decided, outside.decided) == (True, False, False)
    assert ratio.text == "info.ratio > 2"


@given(trees, truths)
def test_changing_what_did_not_decide_changes_nothing(
    tree: Condition, chosen: dict[str, Verdict]
) -> None:
    whole = explain(tree, Told(told(chosen)), NOW)
    if whole.verdict is None or not whole.parts:
        return
    deciding = [part for part in whole.parts if part.decided]
    assert deciding
    gather = Gather(whole.text)
    assert combine(gather, [part.verdict for part in deciding]) is whole.verdict

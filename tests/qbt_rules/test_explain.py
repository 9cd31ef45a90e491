"""`qbt-rules explain HASH` tells why rules act or do not; `qbt-rules schema` helps editors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.qbt_rules.rules_stage import RulesStage, rules_stage

from qbt_rules.cli import cli
from qbt_rules.language.schema import rules_schema
from seedkeep import console

RULES = """
rules:
  - name: films
    conditions:
      context: on_added
      all:
        - {field: info.name, operator: contains, value: Film}
        - {field: info.ratio, operator: ">", value: 2}
        - {field: links.outside, operator: "==", value: 0}
    actions: [stop]
  - name: off
    enabled: false
    actions: [stop]
  - name: all
    actions: [stop]
"""


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RulesStage]:
    with rules_stage(tmp_path) as prepared:
        prepared.rules(RULES)
        monkeypatch.setenv("QBT_RULES_CONFIG_DIR", str(tmp_path))
        monkeypatch.setenv("QBT_RULES_QBITTORRENT_HOST", prepared.client.url)
        monkeypatch.setenv("HASHALL_DB", str(tmp_path / "none.db"))
        yield prepared


def asked(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    ended = console.run(cli, list(words), "qbt-rules")
    said = capsys.readouterr()
    assert ended == code, said.err
    return said.out if code == 0 else said.err


def test_every_rule_is_told_with_what_was_seen_and_what_decided(
    stage: RulesStage, capsys: pytest.CaptureFixture[str]
) -> None:
    torrent_id = stage.add("A.Film")
    said = asked(capsys, "explain", torrent_id.upper(), "--context", "on_added")
    assert "films (" in said
    assert "): would not act" in said
    assert "  yes     info.name contains 'Film'   (seen: A.Film)" in said
    assert "* no      info.ratio > 2   (seen: 0" in said
    assert "unknown links.outside == 0   (there is no catalog" in said
    assert "it is switched off" in said
    assert said.count(": would act") == 1


def test_the_flag_says_the_same_as_the_command(
    stage: RulesStage, capsys: pytest.CaptureFixture[str]
) -> None:
    torrent_id = stage.add("A.Film")
    told = asked(capsys, "explain", torrent_id)
    assert "it runs in jobs of the context on_added only" in told
    assert asked(capsys, "--explain", torrent_id) == told
    as_json = json.loads(asked(capsys, "explain", torrent_id, "--rule", "all", "--json"))
    (found,) = as_json["explained"]
    assert (found["rule"], found["runs"], found["condition"]["verdict"]) == (
        "all",
        True,
        True,
    )
    assert "no such rule" in asked(capsys, "explain", torrent_id, "--rule", "nobody")


@pytest.mark.parametrize(
    ("wanted", "said"), [("f" * 40, "has no torrent"), ("film", "is not a torrent id")]
)
def test_a_torrent_that_is_not_there_is_an_error(
    stage: RulesStage, capsys: pytest.CaptureFixture[str], wanted: str, said: str
) -> None:
    assert said in asked(capsys, "explain", wanted, code=2)


def test_the_schema_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert json.loads(asked(capsys, "schema")) == json.loads(json.dumps(rules_schema()))

"""`qbt-rules explain HASH` tells why rules act or do not; `qbt-rules schema` helps editors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.qbt_rules.rules_stage import RulesStage, rules_stage
from tests.support.rules_app import Answering, Api

from qbt_rules.api_models import ExplainAnswer
from qbt_rules.checks import ClientCheck
from qbt_rules.cli import cli
from qbt_rules.language.schema import rules_schema
from seedkeep import console
from seedkeep.errors import Unreachable

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
    told = asked(capsys, "explain", torrent_id, "--rule", "al", code=2)
    assert "there is no rule 'al'\nhint: did you mean 'all'?" in told


@pytest.mark.parametrize(
    ("wanted", "said"), [("f" * 40, "has no torrent"), ("film", "is not a torrent id")]
)
def test_a_torrent_that_is_not_there_is_an_error(
    stage: RulesStage, capsys: pytest.CaptureFixture[str], wanted: str, said: str
) -> None:
    assert said in asked(capsys, "explain", wanted, code=2)


def test_the_api_tells_the_same_tree(stage: RulesStage, tmp_path: Path) -> None:
    torrent_id = stage.add("A.Film")
    (tmp_path / "api").mkdir()
    with Api.opened(tmp_path / "api", explain=stage.engine().explain) as api:
        answer = api.get(f"/api/explain?hash={torrent_id.upper()}&context=on_added")
        told = ExplainAnswer.model_validate(answer)
        assert told.model_dump() == answer
        assert (told.hash, [rule.rule for rule in told.rules]) == (
            torrent_id,
            ["films", "off", "all"],
        )
        films, off, last = told.rules
        assert (films.runs, films.contexts, films.condition.verdict) == (True, ["on_added"], False)
        assert [part.verdict for part in films.condition.parts] == [True, False, None]
        assert [part.decided for part in films.condition.parts] == [False, True, False]
        assert films.condition.parts[0].seen == "A.Film"
        assert "there is no catalog" in films.condition.parts[2].reason
        assert (off.enabled, last.condition.verdict) == (False, True)
        one = api.get(f"/api/explain?hash={torrent_id}&rule=all")
        assert [rule["rule"] for rule in one["rules"]] == ["all"]


def test_what_the_api_cannot_explain_is_an_error_of_its_own_kind(
    stage: RulesStage, tmp_path: Path
) -> None:
    (tmp_path / "api").mkdir()
    with Api.opened(tmp_path / "api", explain=stage.engine().explain) as api:
        nobody = f"/api/explain?hash={'f' * 40}"
        assert api.reason("GET", "/api/explain") == "hash is needed"
        assert "64 hex digits" in api.reason("GET", "/api/explain?hash=film")
        assert "control characters" in api.reason("GET", f"{nobody}&rule=%00")
        assert "has no torrent" in api.reason("GET", nobody, 404)
        assert api.ask("GET", nobody, key=None).status_code == 401
        api.rules_file.write_text("rules: 7")
        assert api.ask("GET", nobody).status_code == 422
    answering = Answering(Unreachable("nobody answers"))
    away = replace(api.service, client=ClientCheck(answering.connect))
    refused = Api(api.queue, api.rules_file, away).reason("GET", nobody, 503)
    assert refused == "qBittorrent is out of reach: nobody answers"


def test_the_schema_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert json.loads(asked(capsys, "schema")) == json.loads(json.dumps(rules_schema()))

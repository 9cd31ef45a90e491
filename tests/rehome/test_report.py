"""Reports over everything, why one torrent is where it is, and whether the configuration fits."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from tests.support.facts_builder import codes
from tests.support.gathering import Stage
from tests.support.relocating import NO_WAIT, SimulatedLab, another_film

from rehome import planning, render_html, render_report
from rehome.cli import cli
from rehome.config_check import ConfigCheck, Weight
from rehome.explain import REMEDIES, Explanation
from rehome.model import Direction, Verdict
from rehome.report import Report
from seedkeep import console
from seedkeep.setting_types import SaveRule
from seedkeep.torrent_client import TorrentState

HOSTILE = "<script>alert(1)</script> & \x1b[2J"


def library(scene: Stage) -> list[str]:
    """One that may go, with a sibling; one in a library; one on both sides; one on the pool."""
    one = scene.seed(1, {"One/1.mkv": "one " * 9}, name=HOSTILE)
    ids = [one, scene.sibling(2, one, "cross")]
    ids.append(scene.seed(3, {"Three/3.mkv": "three"}))
    (scene.media / "3.mkv").hardlink_to(scene.seeding / "Three/3.mkv")
    ids.append(scene.seed(4, {"Both/4.mkv": "both sides"}))
    ids.append(scene.seed(5, {"Again/4.mkv": "both sides"}, save_path=scene.pool_seeding))
    ids.append(scene.seed(6, {"Cold/6.mkv": "cold"}, save_path=scene.pool_seeding / "cold"))
    ids.append(scene.seed(7, {"Away/7.mkv": "away"}, save_path=scene.stash / "away"))
    scene.look()
    return ids


def reported(scene: Stage) -> Report:
    return planning.report(scene.gatherer())


def explained(scene: Stage, torrent_id: str) -> Explanation:
    return planning.explain_one(scene.gatherer(), torrent_id)


def checked(scene: Stage) -> ConfigCheck:
    return planning.check_configuration(scene.gatherer())


# -- report


def test_a_report_has_what_may_go_what_stays_and_what_lies_twice(scene: Stage) -> None:
    ids = library(scene)
    made = reported(scene)
    assert made.torrents == 7
    assert [(e.torrent, e.decision, e.torrents) for e in made.demotions.eligible] == [
        (ids[0], Verdict.MOVE, 2),
        (ids[3], Verdict.REUSE, 1),
    ]
    assert [entry.torrent for entry in made.demotions.blocked] == [ids[2]]
    assert made.demotions.reasons == (("outside-link", 1),)
    assert (made.demotions.bytes_freed, made.demotions.bytes_to_copy) == (46, 36)
    assert [entry.torrent for entry in made.promotions.eligible] == [ids[4]]
    assert made.promotions.reasons == (("no-blind-copy", 1),)
    (both,) = made.duplicates
    assert (both.on_stash, both.on_pool) == (
        str(scene.seeding / "Both"),
        str(scene.pool_seeding / "Again"),
    )
    assert (both.total_bytes, both.torrents_on_stash, both.torrents_on_pool) == (10, 1, 1)


def test_a_report_says_of_each_group_what_a_plan_of_it_says(scene: Stage) -> None:
    library(scene)
    made = reported(scene)
    for entry in made.demotions.blocked:
        assert [b.code for b in entry.blockers] == codes(scene.plan(entry.torrent))
    for entry in (*made.promotions.eligible, *made.promotions.blocked):
        assert scene.plan(entry.torrent, Direction.PROMOTE).verdict is entry.decision


def test_as_text_it_has_sums_reasons_and_no_control_characters(scene: Stage) -> None:
    library(scene)
    text = render_report.report(reported(scene))
    assert "demotions (stash → pool): 2 may go, 36 B to copy, 46 B freed on stash" in text
    assert "promotions (pool → stash): 1 may go" in text
    assert "1 by outside-link" in text
    assert "on both sides: 1 payloads, 10 B" in text
    assert "\x1b" not in text


class _Page(HTMLParser):
    """Every tag with its attributes, and whether each that was opened was closed."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_as_html_it_is_one_page_that_needs_nothing_else_and_trusts_no_name(scene: Stage) -> None:
    library(scene)
    text = render_html.page(reported(scene))
    page = _Page()
    page.feed(text)
    assert page.open == []
    assert not {"script", "link", "img", "iframe"} & set(page.tags)
    assert not {name for name, _ in page.attributes} & {"src", "href", "onload"}
    assert "url(" not in text
    assert "@import" not in text
    assert "&lt;script&gt;alert(1)" in text
    assert "\x1b" not in text
    assert page.tags.count("details") == 2  # what stays, in each direction
    assert str(scene.media / "3.mkv") in text


def test_a_report_over_nothing_is_a_report(scene: Stage) -> None:
    scene.look()
    made = reported(scene)
    assert (made.torrents, made.duplicates) == (0, ())
    assert "0 may go" in render_report.report(made)
    assert "None may go." in render_html.page(made)


# -- explain


def test_what_a_library_uses_is_explained_with_the_librarys_path(scene: Stage) -> None:
    ids = library(scene)
    made = explained(scene, ids[2])
    assert (made.lives_on, made.could_go_to, made.may_go) == ("stash", "pool", False)
    assert [name.path for name in made.names if name.outside] == [str(scene.media / "3.mkv")]
    assert made.remedies == (("outside-link", REMEDIES["outside-link"]),)
    text = render_report.explanation(made)
    assert "is on stash and stays there, because:" in text
    assert str(scene.media / "3.mkv") in text
    assert "what would change it:" in text


def test_what_may_go_is_explained_with_the_command(scene: Stage) -> None:
    ids = library(scene)
    text = render_report.explanation(explained(scene, ids[1]))
    assert f"rehome plan --demote --torrent-hash {ids[1]}" in text
    assert ids[0][:12] in text
    assert "\x1b" not in text


def test_what_is_on_the_pool_is_explained_by_what_stash_lacks(scene: Stage) -> None:
    ids = library(scene)
    made = explained(scene, ids[5])
    assert (made.lives_on, made.could_go_to) == ("pool", "stash")
    assert [b.code for b in made.decision.blockers] == ["no-blind-copy"]
    back = explained(scene, ids[4])
    assert back.may_go
    assert "rehome plan --promote" in render_report.explanation(back)


def test_what_seeds_from_elsewhere_is_left_alone(scene: Stage) -> None:
    ids = library(scene)
    made = explained(scene, ids[6])
    assert made.lives_on == "elsewhere"
    assert "from neither stash nor pool" in render_report.explanation(made)


def test_every_blocker_of_the_policy_has_a_remedy() -> None:
    source = Path(planning.__file__).with_name("policy.py").read_text()
    source += Path(planning.__file__).with_name("batch.py").read_text()
    words = {part.split('"')[1] for part in source.split("Blocker(")[1:] if '"' in part[:40]}
    assert {word for word in words if word} <= REMEDIES.keys()
    assert len(words) >= 10


def test_runs_of_the_group_are_named(lab: SimulatedLab) -> None:
    film = another_film(lab, "Film")
    lab.look()
    lab.apply(lab.plan(film), NO_WAIT)
    lab.look()
    with lab.app() as app:
        made = app.explain(film)
    assert made.lives_on == "pool"
    (run,) = made.runs
    assert (run.kind, run.status) == ("demote", "retired")
    assert f"{run.run_id}: demote" in render_report.explanation(made)


# -- config check


def weights(made: ConfigCheck) -> list[tuple[Weight, str]]:
    return [(finding.weight, finding.sentence) for finding in made.findings]


def test_a_sound_configuration_is_said_to_be_sound(scene: Stage) -> None:
    library(scene)
    made = checked(scene)
    assert made.findings == ()
    assert (made.torrents, made.on_stash, made.on_pool, made.elsewhere) == (7, 4, 2, 1)
    text = render_report.config_check(made)
    assert text.endswith("the configuration can be used")
    assert "7 torrents: 4 on stash, 2 on the pool, 1 elsewhere" in text
    assert f"1 elsewhere\n  {scene.stash / 'away'}: Torrent 7\n" in text


def test_each_rule_says_how_many_torrents_it_fits_and_where_they_go(scene: Stage) -> None:
    scene.save_paths = (
        SaveRule(category="films", pool=scene.pool_seeding / "cold", pool_category="cold"),
        SaveRule(tag="never", pool=scene.pool_seeding / "x"),
    )
    scene.client.filed = {"cold": "", "films": ""}
    scene.seed(1, {"F/f": "f"}, category="films")
    scene.seed(2, {"G/g": "g"}, save_path=scene.pool_seeding / "cold", category="cold")
    scene.look()
    made = checked(scene)
    used = {(use.direction, use.number): use for use in made.rules}
    forth, back = used[Direction.DEMOTE, 1], used[Direction.PROMOTE, 1]
    assert (forth.torrents, back.torrents) == (1, 1)
    assert forth.examples == (f"{scene.seeding} → {scene.pool_seeding / 'cold'}",)
    assert back.examples == (f"{scene.pool_seeding / 'cold'} → {scene.seeding}",)
    assert [weight for weight, _ in weights(made)] == [Weight.WARNING]
    assert "rule 2 fits no torrent of today" in render_report.config_check(made)


def test_what_would_block_is_an_error_before_any_plan_is_made(scene: Stage) -> None:
    scene.save_paths = (SaveRule(category="films", pool_category="nobody made it"),)
    scene.seed(1, {"F/f": "f"}, category="films")
    scene.look()
    made = checked(scene)
    assert not made.is_sound
    assert weights(made) == [
        (Weight.ERROR, "qBittorrent has no category 'nobody made it'; make it there")
    ]


def test_folders_that_are_none_here_and_trackers_that_nobody_tells_are_warnings(
    scene: Stage,
) -> None:
    scene.save_paths = (SaveRule(tracker="example.org", pool=scene.pool_seeding / "t"),)
    scene.seed(1, {"F/f": "f"})
    scene.client.put(2, "/data/somewhere", {"G/g": 1}, state=TorrentState.MISSING_FILES)
    scene.look()
    text = render_report.config_check(checked(scene))
    assert "path_map may lack a pair" in text
    assert "/data/somewhere → /data/somewhere" in text
    assert "1 torrents show no tracker" in text


def test_roots_that_no_scan_covers_are_errors_since_nothing_could_move(scene: Stage) -> None:
    scene.libraries = ()
    scene.seed(1, {"F/f": "f"})
    made = checked(scene)
    assert not made.is_sound
    never = "this root was never scanned to its end; run `hashall scan` on it"
    assert (Weight.ERROR, never) in weights(made)
    assert any("no library_roots are named" in sentence for _, sentence in weights(made))


@contextmanager
def unreadable(*folders: Path) -> Iterator[None]:
    """Root reads everything: the system call says no in place of the permissions."""
    inodes, real = {folder.stat().st_ino for folder in folders}, os.scandir

    def scandir(fd: int) -> Any:
        if isinstance(fd, int) and os.fstat(fd).st_ino in inodes:
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(fd)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "scandir", scandir)
        yield


def test_a_folder_that_the_scan_could_not_read_makes_the_configuration_unusable(
    scene: Stage,
) -> None:
    scene.seed(1, {"F/f": "f"})
    closed = scene.seeding / "closed"
    closed.mkdir()
    with unreadable(closed):
        scene.look()
    made = checked(scene)
    assert not made.is_sound
    text = render_report.config_check(made)
    assert "error: the last scan met: " in text
    assert f"\n  {closed}" in text
    assert "can be used" not in text


def test_all_that_the_scan_of_a_root_could_not_read_is_named(scene: Stage) -> None:
    film = scene.seed(1, {"F/f": "f"})
    closed = [scene.media / f"closed-{number:02}" for number in range(12)]
    for folder in closed:
        folder.mkdir()
    with unreadable(*closed):
        scene.look()
    made = checked(scene)
    (finding,) = made.findings
    assert finding.sentence == "the last scan met: Permission denied; run `hashall scan` on them"
    assert (finding.examples, finding.more) == (tuple(map(str, closed[:10])), 2)
    assert f"\n  {closed[9]}\n  … and 2 more" in render_report.config_check(made)
    (blocker,) = scene.plan(film).blockers
    assert blocker.paths == (str(closed[0]),)
    assert "Permission denied (`rehome config check` has 11 more in this root)" in blocker.sentence


def test_examples_that_are_cut_are_counted(scene: Stage) -> None:
    for number in range(1, 6):
        scene.seed(number, {f"F{number}/f": "f"}, save_path=scene.seeding / str(number))
        gone = f"/data/{number}"
        scene.client.put(number + 10, gone, {"G/g": 1}, state=TorrentState.MISSING_FILES)
    scene.look()
    made = checked(scene)
    (use,) = (use for use in made.rules if use.torrents)
    assert (len(use.examples), use.more) == (3, 2)
    assert [(len(f.examples), f.more) for f in made.findings] == [(3, 2)]
    assert (len(made.elsewhere_examples), made.elsewhere_more) == (3, 2)
    assert render_report.config_check(made).count("\n  … and 2 more") == 3


def test_a_stash_and_a_pool_on_one_filesystem_are_an_error(scene: Stage) -> None:
    scene.pool = scene.stash / "pool"
    scene.pool_seeding.mkdir(parents=True)
    scene.look()
    assert (Weight.ERROR, "stash and pool are one filesystem") in weights(checked(scene))


# -- commands


@dataclass
class Program:
    capture: pytest.CaptureFixture[str]

    def __call__(self, *arguments: str | Path, code: int = 0) -> str:
        assert console.run(cli, [str(argument) for argument in arguments], "rehome") == code
        return self.capture.readouterr().out

    def json(self, *arguments: str, code: int = 0) -> Any:
        return json.loads(self(*arguments, "--json", code=code))


@pytest.fixture
def rehome(
    lab: SimulatedLab, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Program:
    monkeypatch.setenv("HASHALL_CONFIG", str(lab.config))
    monkeypatch.setenv("HOME", str(lab.home))
    return Program(capsys)


def test_the_commands_give_text_json_and_html(lab: SimulatedLab, rehome: Program) -> None:
    film = another_film(lab, "Film", category="films", tags=("old",))
    lab.import_into_library(another_film(lab, "Kept"), "Kept")
    lab.look()
    assert "demotions (stash → pool): 1 may go" in rehome("report")
    assert rehome("report", "--format", "html").startswith("<!doctype html>")
    report = json.loads(rehome("report", "--format", "json"))["report"]
    assert report["demotions"]["eligible"][0]["torrent"] == film
    assert rehome.json("explain", film[:8])["explanation"]["lives_on"] == "stash"
    assert rehome.json("config", "check")["config_check"]["on_stash"] == 2
    rows = {row["key"]: row for row in rehome.json("config", "show")["settings"]}
    assert rows["rehome.stash_seeding_root"]["value"] == str(lab.seeding)
    assert rows["rehome.auto_tmm"]["origin"] == "default"
    assert "the configuration can be used" in rehome("config", "check")


def test_a_wrong_configuration_ends_with_3(lab: SimulatedLab, rehome: Program) -> None:
    another_film(lab, "Film", category="films")
    lab.look()
    config = json.loads(lab.config.read_text())
    config["rehome"]["save_paths"] = [{"category": "films", "pool_category": "cold"}]
    lab.config.write_text(json.dumps(config))
    assert "error: qBittorrent has no category 'cold'" in rehome("config", "check", code=3)


def test_a_batch_is_planned_shown_and_written(
    lab: SimulatedLab, rehome: Program, tmp_path: Path
) -> None:
    films = [another_film(lab, name, tags=("old",)) for name in ("One", "Two")]
    kept = another_film(lab, "Kept", tags=("old",))
    lab.import_into_library(kept, "Kept")
    lab.look()
    text = rehome("plan", "--demote", "--tag", "old", "-o", tmp_path / "plan.json")
    assert text.startswith("2 of 3 groups go to the pool: 78.1 KiB to copy")
    assert "outside-link" in text
    assert str(lab.media / "Kept") in text
    assert f"next: rehome apply {tmp_path / 'plan.json'} --dryrun" in text
    made = rehome.json("plan", "--demote", "--all-eligible", "--limit", "1")
    assert made["kind"] == "rehome-batch"
    assert [group["verdict"] for group in made["batch"]["groups"]] == ["MOVE", "BLOCK"]
    assert {group["asked_for"] for group in made["batch"]["groups"]} <= {*films, kept}
    assert len(made["batch"]["left_out"]) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--torrent-hash", "a" * 40), "say what to plan"),
        (("--demote", "--promote", "--tag", "x"), "say what to plan"),
        (("--demote",), "a plan needs to know which torrents"),
        (("--demote", "--tag", "x", "--category", "y"), "a plan needs to know which torrents"),
        (("--demote", "--all-eligible"), "no plan ever means everything"),
        (("--demote", "--tag", "x", "--max-bytes", "lots"), "--max-bytes"),
    ],
)
def test_a_plan_without_one_clear_scope_is_refused(
    rehome: Program, arguments: tuple[str, ...], said: str
) -> None:
    assert console.run(cli, ["plan", *arguments], "rehome") == 2
    assert said in rehome.capture.readouterr().err


def test_a_scope_of_which_all_stay_ends_with_3(lab: SimulatedLab, rehome: Program) -> None:
    lab.import_into_library(another_film(lab, "Kept", tags=("old",)), "Kept")
    lab.look()
    rehome("plan", "--demote", "--tag", "old", code=3)
    rehome("plan", "--promote", "--tag", "old")  # on stash already: nothing to do

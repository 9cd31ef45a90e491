"""`hashall link …` as a person calls it."""

from __future__ import annotations

import json
import os
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from tests.support.catalog_lab import settle
from tests.support.linking import CONTENT, same_file

from hashall.cli import cli
from hashall.linking import unfinished
from hashall.lock import exclusive
from seedkeep import console


class Answer:
    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    def value(self, kind: str) -> Any:
        document = json.loads(self.out)
        assert document.keys() == {"schema_version", kind}
        return document[kind]


class Shop:
    """Two equal films and a catalog, and the program."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self._capsys = folder, capsys
        self.db = folder / "catalog.db"
        self.film, self.copy = self.write("a/film"), self.write("b/film")
        assert self.say("scan", self.folder / "files").code == 0

    def write(self, name: str, content: bytes = CONTENT) -> Path:
        path = self.folder / "files" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        settle(path)
        return path

    def say(self, *words: str | Path) -> Answer:
        group, *rest = map(str, words)
        sub = rest[:1] if group in ("link", "conductor") else []
        call = [group, *sub, "--db", str(self.db), *rest[len(sub) :]]
        code = console.run(cli, call, "hashall")
        said = self._capsys.readouterr()
        return Answer(code, said.out, said.err)

    def link(self, *words: str | Path) -> Answer:
        return self.say("link", *words)


@pytest.fixture
def shop(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Shop:
    monkeypatch.setenv("HOME", str(tmp_path))
    return Shop(tmp_path, capsys)


def test_the_whole_way_from_analysis_to_undo(shop: Shop) -> None:
    assert "links would save 9.8 KiB" in shop.link("analyze").out
    made = shop.link("plan", "first")
    assert (made.code, "plan 1 is made: first" in made.out) == (0, True)
    assert str(shop.copy) in shop.link("show-plan", "1").out
    dry = shop.link("execute", "1")
    assert "dry run: nothing was changed; to do it: hashall link execute 1 --force" in dry.out
    assert not same_file(shop.film, shop.copy)
    refused = shop.link("execute", "1", "--no-dry-run")
    assert (refused.code, "hashall link approve 1" in refused.err) == (3, True)
    assert "approved" in shop.link("approve", "1").out
    done = shop.link("execute", "1", "--no-dry-run")
    assert (done.code, "1 done, saved 9.8 KiB; 0 skipped" in done.out) == (0, True)
    assert same_file(shop.film, shop.copy)
    assert shop.link("execute", "1", "--force").code == 3
    assert "would be done" in shop.link("execute", "1", "--undo").out
    assert "1 separated" in shop.link("execute", "1", "--undo", "--force").out
    assert not same_file(shop.film, shop.copy)


def test_json_has_the_values(shop: Shop) -> None:
    (group,) = shop.link("analyze", "--format", "json").value("link_analysis")["groups"]
    assert group["savings"] == len(CONTENT)
    plan = shop.link("plan", "first", "--json").value("link_plan")
    assert plan["plan"]["actions"]["HARDLINK"] == {"count": 1, "bytes": len(CONTENT)}
    assert plan["plan"]["options"]["canonical"] == "most-links"
    (listed,) = shop.link("list-plans", "--json").value("link_plans")
    assert listed["status"] == "pending"
    done = shop.link("execute", "1", "--force", "--json").value("link_execution")
    assert [result["state"] for result in done["results"]] == ["done"]
    assert shop.link("status", "--json").value("link_status")["unsettled"] == 0


def test_skips_end_with_exit_code_4_and_a_sentence(shop: Shop) -> None:
    shop.link("plan", "first")
    os.utime(shop.copy)
    done = shop.link("execute", "1", "--force")
    assert done.code == 4
    assert "another mtime than planned; scan and plan again (changed)" in done.out
    report = shop.link("report", "1").out
    assert "1 × changed: they changed since the plan was made" in report


def test_the_old_name_does_the_same_and_says_so(shop: Shop) -> None:
    answer = shop.say("conductor", "analyze")
    assert "is called `hashall link` now" in answer.err
    assert answer.out == shop.link("analyze").out
    assert shop.say("conductor", "show-plan", "7").code == 2


def test_unknown_plans_and_closed_ones_are_told_apart(shop: Shop) -> None:
    for command in ("show-plan", "approve", "cancel", "report", "execute"):
        answer = shop.link(command, "7")
        assert (answer.code, "there is no link plan 7 in" in answer.err) == (2, True)
    shop.link("plan", "first")
    assert "cancelled" in shop.link("cancel", "1").out
    assert shop.link("approve", "1").code == 3
    assert "plan 1 is cancelled" in shop.link("execute", "1", "--force").err


def test_a_plan_of_another_catalog_is_unknown_here(shop: Shop, tmp_path: Path) -> None:
    shop.link("plan", "first")
    shop.db = tmp_path / "other.db"
    shop.say("scan", shop.folder / "files")
    answer = shop.link("execute", "1", "--force")
    assert (answer.code, "other.db" in answer.err) == (2, True)
    assert "a plan belongs to the one it was made in" in answer.err


def test_only_one_run_at_a_time(shop: Shop) -> None:
    shop.link("plan", "first")
    with exclusive(shop.db, "hashall scan /srv"):
        answer = shop.link("execute", "1", "--force")
    assert (answer.code, "hashall scan /srv" in answer.err) == (75, True)


def test_auto_does_it_only_when_it_is_worth_it(shop: Shop) -> None:
    device = ("--device", str(shop.film.parent))
    little = shop.link("auto", *device, "--min-savings", "1GB")
    assert (little.code, "nothing was done" in little.out) == (0, True)
    dry = shop.link("auto", *device, "--min-savings", "1KB", "--dry-run")
    assert "dry run: nothing was changed" in dry.out
    assert shop.link("list-plans").out == "no plans; make one with: hashall link plan NAME\n"
    done = shop.link("auto", *device, "--min-savings", "1KB", "--low-priority", "--snapshot")
    assert (done.code, "1 done" in done.out) == (0, True)
    assert same_file(shop.film, shop.copy)


def test_filters_and_dates_of_a_plan(shop: Shop) -> None:
    assert "links     0" in shop.link("plan", "x", "--dry-run", "--mtime-since", "2099").out
    assert "links     0" in shop.link("plan", "x", "--dry-run", "--min-size", "1GB").out
    assert "links     0" in shop.link("plan", "x", "--dry-run", "--exclude", "*/b/*").out
    assert "links     1" in shop.link("plan", "x", "--dry-run", "--include", "*film*").out
    assert "links     0" in shop.link("plan", "x", "--dry-run", "--no-same-device").out
    assert shop.link("list-plans").out == "no plans; make one with: hashall link plan NAME\n"
    for date in ("26", "2026-1", "2026-13", "yesterday", "2026-01-01-01"):
        answer = shop.link("plan", "x", "--mtime-since", date)
        assert (answer.code, "write 2026, 2026-01 or 2026-01-31" in answer.err) == (2, True)


def test_an_unknown_device_is_told(shop: Shop) -> None:
    answer = shop.link("analyze", "--device", "77")
    assert (answer.code, "knows no device 77" in answer.err) == (2, True)


def test_qbittorrent_is_asked_when_the_catalog_knows_torrents(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client of the settings does not answer: nothing is linked unless --offline is said."""
    from tests.support.linking import an_instance

    from hashall.catalog import open_catalog

    with open_catalog(shop.db, create=False) as catalog:
        an_instance(catalog, "t" * 40)
    shop.link("plan", "first")
    answer = shop.link("execute", "1", "--force", "--qbit-url", "http://127.0.0.1:9")
    assert answer.code == 5
    assert not same_file(shop.film, shop.copy)
    monkeypatch.setattr(unfinished, "ask", None)
    assert shop.link("execute", "1", "--force", "--offline").code == 0


class _Page(HTMLParser):
    """Counts the tags that are open at the end, and what would be fetched from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "br"):
            self.open.append(tag)
        self.fetched += [f"{k}={v}" for k, v in attrs if k in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_html_report_is_one_page_that_escapes_everything(shop: Shop) -> None:
    shop.write("0/<script>alert(1)")
    shop.write("d/other", b"other bytes")
    os.link(shop.write("e/other", b"other bytes"), shop.folder / "outside")
    shop.say("scan", shop.folder / "files")
    shop.link("plan", "<b>first</b>")
    out = shop.folder / "report.html"
    os.utime(shop.copy)
    shop.link("execute", "1", "--force")
    answer = shop.link("report", "1", "--format", "html", "--out", out)
    assert (answer.code, answer.out) == (0, "")
    page = _Page()
    page.feed(out.read_text())
    assert (page.open, page.fetched) == ([], [])
    assert "<b>first</b>" in page.text
    assert "<script>alert(1)" in page.text
    assert "Biggest groups" in page.text
    assert "changed since the plan was made" in page.text
    assert "<html" in shop.link("report", "1", "--format", "html").out


def test_a_report_goes_to_a_file_as_json_or_text(shop: Shop) -> None:
    shop.link("plan", "first")
    out = shop.folder / "report"
    assert shop.link("report", "1", "--format", "json", "--out", out).code == 0
    assert json.loads(out.read_text())["link_report"]["groups"][0]["links"] == 1
    assert shop.link("report", "1", "--json").value("link_report")["plan"]["name"] == "first"
    again = shop.link("report", "1", "-o", out)
    assert (again.code, again.err.splitlines()[-1]) == (
        2,
        "hint: name a file that does not exist yet",
    )
    out.unlink()
    assert shop.link("report", "1", "-o", out).code == 0
    assert "biggest groups" in out.read_text()
    assert shop.link("report", "1", "-o", shop.folder / "no" / "where").code == 2


def test_copies_on_other_filesystems_are_shown_with_who_uses_them(shop: Shop) -> None:
    with _in_memory() as memory:
        other = memory / "film"
        other.write_bytes(CONTENT)
        settle(other)
        shop.say("scan", shop.folder / "files", memory)
        text = shop.link("analyze", "--cross-device", "--library-root", str(memory)).out
        assert f"library {memory}" in text
        assert "which no hardlink can join" in text
        planned = shop.link("plan", "x", "--cross-device", "--no-same-device").out
        assert "only with --allow-delete" in planned
        assert "the same bytes are at" in shop.link("show-plan", "1").out
        assert "copies on other filesystems that nothing uses" in shop.link("report", "1").out
        html = shop.link("report", "1", "--format", "html").out
        assert "Copy that nothing uses" in html
        done = shop.link("execute", "1", "--force", "--allow-delete", "--offline")
        assert "deleted: " in done.out


def _in_memory() -> Any:
    from tests.support.filesystems import lab_folder

    return lab_folder(Path("/dev/shm"))


def test_names_of_any_kind_are_shown_on_one_line(shop: Shop) -> None:
    shop.write(os.fsdecode(b"c/bad\xff\nname"))
    shop.say("scan", shop.folder / "files")
    shop.link("plan", "strange")
    for words in (("analyze",), ("show-plan", "1"), ("execute", "1")):
        assert "bad\\xff\\nname" in shop.link(*words).out

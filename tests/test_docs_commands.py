"""Every command line in the documents is one that the programs accept, and none escapes the tests.

What the commands do is tried by `tests/integration/test_documents.py` and `test_stranger.py`.
"""

from __future__ import annotations

import re
import shlex
from functools import cache

import click
import pytest
from scripts import docs_cli
from tests.support.doc_blocks import ROOT, Block, blocks_of, calls_in, documents
from tests.support.doc_scenes import SCENES

PLACEHOLDER = re.compile(r"[A-Z]+")
SPAN = re.compile(r"`((?:hashall|rehome|qbt-rules) [^`]+)`")


@cache
def all_blocks() -> tuple[Block, ...]:
    return tuple(block for page in documents() for block in blocks_of(page))


@cache
def shown_commands() -> tuple[tuple[str, str], ...]:
    """(place, command line) for every call of our programs in a fenced block."""
    return tuple(
        (block.place, line)
        for block in all_blocks()
        for line in calls_in(block.script or block.text)
    )


def wrong_with(line: str) -> str:  # noqa: PLR0911  one way out for each thing that is wrong
    """What click says of a command line; "" when it would run."""
    program, *words = shlex.split(line)
    command, call = docs_cli.PROGRAMS[program], program
    while isinstance(command, click.Group):
        if command.invoke_without_command:
            try:
                context = command.make_context(call, list(words))
            except click.exceptions.Exit:
                return ""
            except click.ClickException as why:
                return why.format_message()
            words = [*context._protected_args, *context.args]
            if not words:
                return ""
        if not words or words[0].startswith("-"):
            return "" if words[:1] in (["--help"], ["--version"]) else "names no command"
        child = command.get_command(click.Context(command), words[0])
        if child is None:
            return f"{call} has no command {words[0]}"
        command, call, words = child, f"{call} {words[0]}", words[1:]
    numbers = {p.name for p in command.params if p.type is click.INT}
    # A placeholder stands for a number where the command takes one.
    words = ["7" if numbers and PLACEHOLDER.fullmatch(word) else word for word in words]
    try:
        command.make_context(call, words)
    except click.exceptions.Exit:
        return ""
    except click.ClickException as why:
        return why.format_message()
    return ""


def test_every_command_line_in_the_documents_parses() -> None:
    assert len(shown_commands()) > 100
    wrong = [
        f"{place}: {line}: {wrong_with(line)}"
        for place, line in shown_commands()
        if wrong_with(line)
    ]
    assert wrong == []


@pytest.mark.parametrize(
    "line",
    [
        "rehome plan --demot --torrent-hash HASH",
        "rehome pln",
        "rehome",
        "qbt-rules --contxt on_added",
        "qbt-rules --server-port 1 jobs lst",
        "qbt-rules jobs cancel",
        "rehome runs show seven",
        "rehome apply",
        "hashall scan --workers 99 /srv",
    ],
)
def test_a_command_line_that_would_not_run_is_found(line: str) -> None:
    assert wrong_with(line) != ""


def test_commands_are_found_behind_prompts_comments_pipes_and_paths() -> None:
    block = block_of(
        "text", "$ rehome plan --demote  # why\nrehome said\n$ x && hashall status | y\n"
    )
    assert list(calls_in(block.script)) == ["rehome plan --demote", "hashall status"]
    assert list(calls_in("0 4 * * *  hashall scan /a && rehome retire --due\n")) == [
        "hashall scan /a",
        "rehome retire --due",
    ]
    unit = "ExecStart=/usr/local/bin/qbt-rules --serve\nStateDirectory=qbt-rules\n"
    assert list(calls_in(unit)) == ["qbt-rules --serve"]


def block_of(kind: str, text: str, *marks: tuple[str, str]) -> Block:
    return Block(ROOT / "README.md", 1, kind, text, marks)


# -- none escapes


def test_every_block_is_fenced_so_that_its_commands_are_seen() -> None:
    unseen = []
    for page in documents():
        text = page.read_text()
        fences = len(re.findall(r"^\s*(?:```|~~~)", text, re.MULTILINE))
        if fences != 2 * len(list(blocks_of(page))):
            unseen.append(page.name)
    assert unseen == [], (
        "fence code with ``` at the beginning of a line, and nothing behind its end"
    )


def test_every_block_with_commands_is_run_or_says_why_not() -> None:
    assert len([block for block in all_blocks() if block.is_run]) > 40
    assert [f"{b.place}: {line}" for b in all_blocks() for line in b.escapes()] == []


def test_a_block_that_escapes_is_found() -> None:
    for kind in ("", "cron", "text", "console"):
        assert block_of(kind, "said\ncurl -fsS http://localhost\n").escapes() != []
        assert block_of(kind, "/opt/bin/rehome retire --due\n").escapes() != []
        assert block_of(kind, "rehome retire\n", ("not run", "why")).escapes() == []
    assert block_of("sh", "rehome retire\n").is_run
    assert not block_of("sh", "rehome retire\n", ("not run", "why")).is_run
    assert block_of("yaml", "hashall: 1\n").escapes() == []


def test_every_mark_is_one_of_ours_and_stands_above_a_block() -> None:
    loose = []
    for page in documents():
        comments = re.findall(r"<!-- (?:not run|scene|ends with|run)\b.*?-->", page.read_text())
        used = sum(len(block.marks) for block in blocks_of(page))
        if len(comments) != used:
            loose.append(page.name)
    assert loose == []
    scenes = {block.mark("scene") for block in all_blocks()} - {""}
    assert scenes - set(SCENES) == set()
    codes = [block.mark("ends with") for block in all_blocks()]
    assert [code for code in codes if code and not code.isdigit()] == []


# -- commands in prose


def names_no_command(span: str) -> bool:
    """Whether the words behind the program, as far as groups go, are none of its commands."""
    program, *words = span.split()
    command: click.Command | None = docs_cli.PROGRAMS[program]
    for word in words:
        if not isinstance(command, click.Group) or not re.fullmatch(r"[a-z][a-z-]*", word):
            return False
        command = command.get_command(click.Context(command), word)
        if command is None:
            return True
    return False


def test_every_command_that_the_prose_names_exists() -> None:
    unknown = []
    for page in documents():
        spans = SPAN.findall(page.read_text())
        spans = [span for span in spans if "…" not in span]  # that is a message
        unknown += [f"{page.name}: {span}" for span in spans if names_no_command(span)]
    assert unknown == []
    assert names_no_command("hashall payload sink")
    assert not names_no_command("rehome plan PLAN")


def test_the_readme_names_every_command() -> None:
    readme = (ROOT / "README.md").read_text()
    calls = [item.call.partition(" ")[2] or item.call for item in docs_cli.all_commands()]
    assert len(calls) > 10
    assert [call for call in calls if f"`{call}" not in readme] == []

"""The declared rows: what their values may look like, and what is made from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from seedkeep import setting_types as types
from seedkeep.settings_cli import click_options, markdown_table, option_help
from seedkeep.settings_table import (
    CATALOG_PATH,
    HASHALL,
    LIBRARY_ROOTS,
    PATH_MAP,
    QBIT_HOST,
    QBIT_PASSWORD,
    QBT_RULES,
    REHOME,
    RETAIN,
    SETTINGS,
    SPACE_MARGIN,
)


def test_no_name_is_used_twice() -> None:
    for names in (
        [row.key for row in SETTINGS],
        [name for row in SETTINGS for name in row.env],
        [flag for row in SETTINGS for flag in row.flags],
        [row.param for row in SETTINGS],
    ):
        assert len(names) == len(set(names))


@pytest.mark.parametrize("row", SETTINGS, ids=lambda row: row.key)
def test_every_row_explains_itself_and_shows_its_default(row: Any) -> None:
    assert row.help.endswith(".")
    assert row.programs <= {HASHALL, REHOME, QBT_RULES}
    shown = row.shown(row.default)
    if shown:
        assert row.parse(shown) == row.default


def test_a_secret_has_no_flag_that_others_could_read_but_where_users_know_one() -> None:
    secret = [row for row in SETTINGS if row.secret]
    for program in (HASHALL, REHOME):
        assert [row.flags_of(program) for row in secret if program in row.programs] == [()]
    known = [row.flags_of(QBT_RULES) for row in secret]
    assert sorted(known) == [
        ("--client-api-key",),
        ("--qbittorrent-password",),
        ("--server-api-key",),
    ]
    for row in secret:
        assert "because others can read a command line" in option_help(row, QBT_RULES)


@pytest.mark.parametrize("given", ["localhost:8080", "ftp://x", "http://", "", ["http://x"]])
def test_what_is_no_web_address_is_refused(given: object) -> None:
    with pytest.raises(ValueError, match="must be"):
        types.url(given)


def test_an_address_loses_its_last_slash() -> None:
    assert types.url(" https://nas/qbt/ ") == "https://nas/qbt"
    assert types.show_url("https://nas/qbt") == "https://nas/qbt"


def test_a_level_is_read_in_any_case() -> None:
    assert types.level("debug") == "DEBUG"
    with pytest.raises(ValueError, match="'loud' is none of DEBUG, INFO"):
        types.level("loud")


def test_a_file_may_be_relative_to_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert types.file_path("x.db") == tmp_path / "x.db"


@pytest.mark.parametrize("given", ["", "  ", "a\0b", "~bob/x", ["/a"]])
def test_what_is_no_path_is_refused(given: object) -> None:
    with pytest.raises(ValueError, match=r"must be|only ~/"):
        types.file_path(given)


def test_a_root_must_be_absolute() -> None:
    assert types.root_path("/srv/x/") == Path("/srv/x")
    with pytest.raises(ValueError, match="'srv' is not an absolute path"):
        types.root_path("srv")


def test_roots_are_separated_by_colons_and_named_once() -> None:
    assert types.root_paths("/a:/b::/a/") == (Path("/a"), Path("/b"))
    assert types.root_paths(("/a", "/b:c")) == (Path("/a"), Path("/b:c"))
    assert LIBRARY_ROOTS.shown((Path("/a"), Path("/b"))) == "/a:/b"


def test_pairs_are_read_from_text_lists_and_sections() -> None:
    expected = (types.PathPair("/data", "/srv/data"), types.PathPair("/", "/root"))
    assert types.path_pairs("/data/=/srv/data/,/=/root") == expected
    assert types.path_pairs(("/data=/srv/data", "/=/root")) == expected
    assert types.path_pairs([{"client": "/data", "ours": "/srv/data"}, "/=/root"]) == expected
    assert PATH_MAP.shown(expected) == "/data=/srv/data,/=/root"


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("/data", "is not client=ours"),
        ("/a=/b=/c", "is not client=ours"),
        ("data=/srv", "the client's path is not absolute"),
        ("/data=srv", "our path is not absolute"),
        ("/a=/b,/a/=/c", "/a is mapped twice"),
        ([{"client": "/a"}], "needs `client` and `ours`"),
        ([{"client": "/a", "ours": "/b", "more": "/c"}], "needs `client` and `ours`"),
        ([["/a", "/b"]], "must be one text"),
        ({"client": "/a", "ours": "/b"}, "must be one text"),
    ],
)
def test_a_wrong_pair_is_refused(given: object, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        types.path_pairs(given)


def test_a_timeout_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="longer than 0"):
        types.positive(types.duration)("0")


def test_a_size_is_shown_exactly() -> None:
    assert SPACE_MARGIN.shown(3 * 2**29) == "1.5 GiB"
    assert SPACE_MARGIN.shown(10**10) == "10000000000 B"


# Options and page


def asked(program: str, *settings: Any, arguments: list[str]) -> dict[str, object]:
    got: dict[str, object] = {}

    @click.command()
    @click_options(program, *settings)
    def command(**options: object) -> None:
        got.update(options)

    result = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return got


def test_options_not_given_are_none() -> None:
    assert asked(REHOME, CATALOG_PATH, LIBRARY_ROOTS, arguments=[]) == {
        "catalog_path": None,
        "rehome_library_roots": (),
    }


def test_every_spelling_of_a_flag_works_and_lists_repeat() -> None:
    got = asked(
        REHOME,
        arguments=["--qbittorrent-host", "http://a", "--library-root", "/a", "--library-root=/b"],
    )
    assert got["qbittorrent_host"] == "http://a"
    assert got["rehome_library_roots"] == ("/a", "/b")
    assert asked(REHOME, QBIT_HOST, arguments=["--qbit-url", "http://b"]) == {
        "qbittorrent_host": "http://b"
    }


def test_a_row_without_a_flag_makes_no_option() -> None:
    assert asked(REHOME, RETAIN, QBIT_PASSWORD, arguments=[]) == {}


def test_a_program_cannot_offer_a_row_it_does_not_have() -> None:
    with pytest.raises(ValueError, match=r"hashall has no setting rehome\.retain"):
        click_options(HASHALL, RETAIN)


def test_help_names_the_variable_that_fits_the_program_and_the_default() -> None:
    assert option_help(QBIT_HOST, HASHALL).endswith(
        "[env: HASHALL_QBIT_URL; default: http://localhost:8080]"
    )
    assert "env: QBT_RULES_QBITTORRENT_HOST" in option_help(QBIT_HOST, QBT_RULES)
    assert option_help(LIBRARY_ROOTS, REHOME).endswith("[env: REHOME_LIBRARY_ROOTS]")


def test_the_page_has_one_line_per_row_of_the_program() -> None:
    page = markdown_table(HASHALL)
    keys = [row.key for row in SETTINGS if HASHALL in row.programs]
    assert [line.split("`")[1] for line in page.splitlines()[2:]] == keys
    assert (
        "| `catalog.path` | `HASHALL_DB` | `--db` | `~/.hashall/catalog.db` | The catalog. |"
        in page
    )
    assert len({line.count("|") for line in page.splitlines()}) == 1


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("nfo, .SFV sample", (".nfo", ".sfv", "sample")),
        (["srt", "nfo", "srt"], (".nfo", ".srt")),
        ("", ()),
        ([], ()),
    ],
)
def test_endings_are_read_with_and_without_dots(given: object, read: tuple[str, ...]) -> None:
    assert types.endings(given) == read
    assert types.endings(types.show_endings(read)) == read


@pytest.mark.parametrize("given", [7, ["nfo", 7], "tar.gz", "a/b", ["."], {"nfo": 1}])
def test_what_is_no_ending_is_refused(given: object) -> None:
    with pytest.raises(ValueError, match=r"must be a list|is no ending"):
        types.endings(given)

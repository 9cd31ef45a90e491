"""Where a setting comes from, and what happens to one that is wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from seedkeep.errors import Misused
from seedkeep.settings import (
    HIDDEN,
    BadSetting,
    Setting,
    Settings,
    UnknownSetting,
    environment,
    load,
)
from seedkeep.settings_table import (
    CATALOG_PATH,
    CONFIG_FILE,
    LIBRARY_ROOTS,
    LOG_LEVEL,
    MAX_SCAN_AGE,
    PATH_MAP,
    POOL_SEEDING_ROOT,
    QBIT_HOST,
    QBIT_PASSWORD,
    QBIT_TIMEOUT,
    QBIT_USERNAME,
    RETAIN,
    SPACE_MARGIN,
    STASH_SEEDING_ROOT,
    SWITCH_TIMEOUT,
)
from seedkeep.yaml_file import BadYaml


def resolve(
    flags: dict[str, object] | None = None,
    environ: dict[str, str] | None = None,
    program: str = "rehome",
) -> Settings:
    return load(program, flags or {}, {"HOME": "/home/ann"} | (environ or {}))


def with_config(tmp_path: Path, text: str, program: str = "rehome") -> Settings:
    (tmp_path / "config.yml").write_text(text)
    return resolve({}, {"HASHALL_CONFIG": str(tmp_path / "config.yml")}, program)


# Precedence


def test_the_strongest_source_wins_and_is_named(tmp_path: Path) -> None:
    config = tmp_path / "config.yml"
    config.write_text("qbittorrent:\n  username: from-config\n")
    secret = tmp_path / "name"
    secret.write_text("from-file\n")
    flags: dict[str, object] = {"qbittorrent_username": "from-flag", "config_file": str(config)}
    environ = {
        "QBT_RULES_QBITTORRENT_USERNAME_FILE": str(secret),
        "QBT_RULES_QBITTORRENT_USERNAME": "from-env",
        "HASHALL_QBIT_USERNAME": "from-second-name",
    }
    seen = []
    for weaker in (
        lambda: flags.update(qbittorrent_username=None),
        lambda: environ.pop("QBT_RULES_QBITTORRENT_USERNAME_FILE"),
        lambda: environ.pop("QBT_RULES_QBITTORRENT_USERNAME"),
        lambda: environ.pop("HASHALL_QBIT_USERNAME"),
        lambda: config.write_text("{}"),
        lambda: None,
    ):
        settings = resolve(flags, environ)
        seen.append((settings[QBIT_USERNAME], settings.origin(QBIT_USERNAME)))
        weaker()
    assert seen == [
        ("from-flag", "flag --qbit-username or --qbittorrent-username"),
        ("from-file", f"QBT_RULES_QBITTORRENT_USERNAME_FILE ({secret})"),
        ("from-env", "QBT_RULES_QBITTORRENT_USERNAME"),
        ("from-second-name", "HASHALL_QBIT_USERNAME"),
        ("from-config", f"{config}:2:3"),
        ("admin", "default"),
    ]


def test_a_secret_of_the_config_file_may_stand_in_a_file_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("of the file\n")
    config = "qbittorrent: {password_file: secret, password: of the config}\n"
    settings = with_config(tmp_path, config)
    assert settings[QBIT_PASSWORD] == "of the file"
    assert settings.origin(QBIT_PASSWORD) == f"{tmp_path}/config.yml:1:15 ({tmp_path}/secret)"
    assert settings.secrets() == ["of the file"]
    environ = {"HASHALL_CONFIG": str(tmp_path / "config.yml"), "HASHALL_QBIT_PASSWORD": "stronger"}
    (tmp_path / "secret").unlink()
    assert resolve({}, environ)[QBIT_PASSWORD] == "stronger", "the file is not even looked for"
    for wrong, said in (
        ("qbittorrent: {password_file: secret}", "cannot read"),
        ("qbittorrent: {password_file: [secret]}", "must be the path of a file"),
        ("qbittorrent: {username_file: secret}", "is not a setting"),
    ):
        with pytest.raises(Misused, match=said):
            with_config(tmp_path, wrong)


def test_without_anything_the_defaults_hold() -> None:
    settings = resolve()
    assert settings[CATALOG_PATH] == Path("/home/ann/.hashall/catalog.db")
    assert settings[CONFIG_FILE] == Path("/home/ann/.hashall/config.yml")
    assert settings[QBIT_HOST] == "http://localhost:8080"
    assert settings[QBIT_PASSWORD] == ""
    assert settings[QBIT_TIMEOUT] == timedelta(seconds=30)
    assert settings[LOG_LEVEL] == "INFO"
    assert settings[STASH_SEEDING_ROOT] is None
    assert settings[POOL_SEEDING_ROOT] is None
    assert settings[LIBRARY_ROOTS] == ()
    assert settings[PATH_MAP] == ()
    assert settings[MAX_SCAN_AGE] == settings[RETAIN] == timedelta(hours=24)
    assert settings[SPACE_MARGIN] == 2**30
    assert settings[SWITCH_TIMEOUT] == timedelta(minutes=2)


def test_a_program_has_only_its_own_rows() -> None:
    assert "rehome.retain" not in [row.key for row in resolve(program="hashall").rows()]
    with pytest.raises(KeyError):
        resolve(program="hashall").get(RETAIN)
    assert resolve(program="qbt-rules")[QBIT_HOST] == "http://localhost:8080"


def test_a_flag_may_be_given_by_key_and_strangers_are_ignored() -> None:
    settings = resolve({"catalog.path": "/x.db", "torrent_hash": "abc", "rehome_library_roots": ()})
    assert settings[CATALOG_PATH] == Path("/x.db")
    assert settings.origin(LIBRARY_ROOTS) == "default"


def test_an_empty_variable_counts_as_not_set() -> None:
    settings = resolve({}, {"HASHALL_DB": "", "HASHALL_DB_FILE": ""})
    assert settings.origin(CATALOG_PATH) == "default"


def test_the_environment_is_the_processs_unless_another_is_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REHOME_RETAIN", "3d")
    monkeypatch.delenv("HASHALL_CONFIG", raising=False)
    assert environment()["REHOME_RETAIN"] == "3d"
    assert load("rehome")[RETAIN] == timedelta(days=3)


def test_home_is_asked_from_the_system_when_the_environment_has_none() -> None:
    assert load("hashall", {}, {})[CATALOG_PATH] == Path.home() / ".hashall/catalog.db"


def test_a_tilde_means_home_also_in_lists() -> None:
    settings = resolve({}, {"REHOME_LIBRARY_ROOTS": "~/films:/srv/tv", "HASHALL_DB": "~/c.db"})
    assert settings[LIBRARY_ROOTS] == (Path("/home/ann/films"), Path("/srv/tv"))
    assert settings[CATALOG_PATH] == Path("/home/ann/c.db")


# Values in files


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b"s3cret\n", "s3cret"),
        (b"s3cret", "s3cret"),
        (b"s3cret\r\n", "s3cret"),
        (b" s3cret \n\n", " s3cret \n"),
        (b"", ""),
        ("pässword\n".encode(), "pässword"),
    ],
)
@pytest.mark.parametrize("variable", ["HASHALL_QBIT_PASSWORD_FILE", "FILE__HASHALL_QBIT_PASSWORD"])
def test_a_secret_file_loses_exactly_one_newline(
    tmp_path: Path, content: bytes, value: str, variable: str
) -> None:
    (tmp_path / "secret").write_bytes(content)
    settings = resolve({}, {variable: str(tmp_path / "secret"), "HASHALL_QBIT_PASSWORD": "weaker"})
    assert settings[QBIT_PASSWORD] == value


def test_a_secret_file_may_be_a_symlink_as_mounted_secrets_are(tmp_path: Path) -> None:
    (tmp_path / "..data").write_text("s3cret")
    (tmp_path / "secret").symlink_to("..data")
    settings = resolve({}, {"HASHALL_QBIT_PASSWORD_FILE": str(tmp_path / "secret")})
    assert settings[QBIT_PASSWORD] == "s3cret"


@pytest.mark.parametrize(
    ("kind", "problem"),
    [
        ("missing", "cannot read .*\nnamed by REHOME_RETAIN_FILE\nNo such file"),
        ("folder", "cannot read|not a regular file"),
        ("pipe", "not a regular file"),
        ("large", "larger than 65536 bytes"),
        ("latin", "not UTF-8"),
    ],
)
def test_a_value_file_that_cannot_be_one_is_refused(
    tmp_path: Path, kind: str, problem: str
) -> None:
    path = tmp_path / kind
    make: dict[str, Callable[[], object]] = {
        "missing": lambda: None,
        "folder": path.mkdir,
        "pipe": lambda: os.mkfifo(path),
        "large": lambda: path.write_bytes(b"x" * 65_537),
        "latin": lambda: path.write_bytes(b"\xfc"),
    }
    make[kind]()
    with pytest.raises(BadSetting, match=problem):
        resolve({}, {"REHOME_RETAIN_FILE": str(path)})


# Secrets


def test_a_secret_is_never_shown() -> None:
    settings = resolve({}, {"HASHALL_QBIT_PASSWORD": "s3cret"})
    shown = {row.key: row.value for row in settings.rows()}
    assert shown["qbittorrent.password"] == HIDDEN
    assert "s3cret" not in repr(settings.rows())
    assert "s3cret" not in repr(settings)
    assert settings.secrets() == ["s3cret"]


def test_an_unset_secret_shows_as_empty() -> None:
    assert {row.key: row.value for row in resolve().rows()}["qbittorrent.password"] == ""
    assert resolve().secrets() == []


def test_a_wrong_secret_is_not_quoted_in_the_error() -> None:
    pin = Setting(
        key="a.pin",
        env=("REHOME_PIN",),
        parse=int,
        default=0,
        help="",
        programs=frozenset({"rehome"}),
        secret=True,
    )
    with pytest.raises(BadSetting) as caught:
        load("rehome", {}, {"REHOME_PIN": "s3cret"}, table=[pin])
    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_a_password_inside_the_address_is_not_shown() -> None:
    settings = resolve({"qbittorrent_host": "http://ann:s3cret@nas:8080"})
    assert settings[QBIT_HOST] == "http://ann:s3cret@nas:8080"
    shown = {row.key: row.value for row in settings.rows()}
    assert shown["qbittorrent.host"] == f"http://{HIDDEN}@nas:8080"


# Mistakes


def test_a_bad_value_names_the_place_to_edit() -> None:
    with pytest.raises(BadSetting) as caught:
        resolve({}, {"REHOME_RETAIN": "soon"})
    assert caught.value.exit_code == 2
    assert caught.value.brief.startswith("rehome.retain: 'soon' is not a duration")
    assert caught.value.detail == "read from REHOME_RETAIN"


def test_a_bad_value_in_the_config_names_line_and_column(tmp_path: Path) -> None:
    with pytest.raises(BadSetting) as caught:
        with_config(tmp_path, "rehome:\n  space_margin: 5G\n")
    assert caught.value.detail == f"read from {tmp_path}/config.yml:2:3"
    assert "write GB (1000s) or GiB (1024s)" in caught.value.brief


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("HASHALL_DBX", "HASHALL_DB"),
        ("REHOME_RETIAN", "REHOME_RETAIN"),
        ("QBT_RULES_QBITTORRENT_PASWORD_FILE", "QBT_RULES_QBITTORRENT_PASSWORD_FILE"),
        ("FILE__QBT_RULES_LOG_LEVEL_FILE", "QBT_RULES_LOG_LEVEL_FILE"),
        ("HASHALL_DB_FILE_FILE", "HASHALL_DB_FILE"),
    ],
)
def test_an_unknown_variable_of_ours_is_refused(variable: str, meant: str) -> None:
    with pytest.raises(UnknownSetting) as caught:
        resolve({}, {variable: "x"})
    assert caught.value.brief == f"{variable} is not a setting"
    assert caught.value.hint == f"did you mean {meant}?"


def test_a_variable_like_nothing_we_know_gets_no_guess() -> None:
    with pytest.raises(UnknownSetting) as caught:
        resolve({}, {"REHOME_0123456789": "x"})
    assert caught.value.hint == ""


def test_other_programs_variables_are_none_of_our_business() -> None:
    settings = resolve({}, {"PATH": "/bin", "FILE__PASSWORD": "/x", "QBT_TOKEN": "x"})
    assert settings.origin(CATALOG_PATH) == "default"


def test_a_variable_of_another_of_our_programs_is_known() -> None:
    assert resolve({}, {"REHOME_RETAIN": "nonsense"}, "hashall").origin(QBIT_HOST) == "default"


@pytest.mark.parametrize(
    ("text", "brief", "hint"),
    [
        ("rehome:\n  retian: 1d", "{}:2:3: rehome.retian is not a setting", "rehome.retain"),
        ("qbitorrent.host: x", "{}:1:1: qbitorrent.host is not a setting", "qbittorrent.host"),
        ("catalog:\n  path: /x\n  pth: /y", "{}:3:3: catalog.pth is not a setting", "catalog.path"),
    ],
)
def test_an_unknown_key_is_refused_with_a_guess(
    tmp_path: Path, text: str, brief: str, hint: str
) -> None:
    with pytest.raises(UnknownSetting) as caught:
        with_config(tmp_path, text, "hashall")
    assert caught.value.brief == brief.format(tmp_path / "config.yml")
    assert caught.value.hint == f"did you mean {hint}?"


def test_the_config_file_cannot_name_itself(tmp_path: Path) -> None:
    with pytest.raises(UnknownSetting, match="is not a setting"):
        with_config(tmp_path, "config:\n  file: /other.yml")


@pytest.mark.parametrize("text", ["just text", "- a\n- b", "rehome: soon"])
def test_a_section_that_holds_no_settings_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(BadSetting, match="must hold settings"):
        with_config(tmp_path, text)


def test_a_config_that_is_no_yaml_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadYaml, match=r"config\.yml:2:1: rehome is here twice"):
        with_config(tmp_path, "rehome: {}\nrehome: {}")


# Config file


def test_empty_sections_and_values_count_as_absent(tmp_path: Path) -> None:
    settings = with_config(tmp_path, "rehome:\nqbittorrent:\n  host:\n  username: ann\n")
    assert settings.origin(QBIT_HOST) == "default"
    assert settings[QBIT_USERNAME] == "ann"


def test_values_in_the_config_are_read_as_they_were_written(tmp_path: Path) -> None:
    settings = with_config(tmp_path, "qbittorrent:\n  password: 1.10\n  username: 010\n")
    assert (settings[QBIT_PASSWORD], settings[QBIT_USERNAME]) == ("1.10", "010")


def test_lists_and_pairs_can_be_written_as_yaml(tmp_path: Path) -> None:
    settings = with_config(
        tmp_path,
        """
        rehome:
          library_roots: [/films, "/tv:hd"]
          path_map:
            - {client: /data, ours: /srv/data}
            - /dl=/srv/dl
        """,
    )
    assert settings[LIBRARY_ROOTS] == (Path("/films"), Path("/tv:hd"))
    assert settings[PATH_MAP] == (("/data", "/srv/data"), ("/dl", "/srv/dl"))


def test_a_config_file_that_was_asked_for_must_exist(tmp_path: Path) -> None:
    missing = str(tmp_path / "no.yml")
    with pytest.raises(Misused, match=r"cannot read .*no\.yml"):
        resolve({"config_file": missing})
    with pytest.raises(Misused, match=r"cannot read .*no\.yml"):
        resolve({}, {"HASHALL_CONFIG": missing})


def test_the_default_config_file_is_read_when_it_is_there(tmp_path: Path) -> None:
    folder = tmp_path / ".hashall"
    folder.mkdir()
    (folder / "config.yml").write_text("catalog: {path: ~/other.db}")
    settings = load("hashall", {}, {"HOME": str(tmp_path)})
    assert settings[CATALOG_PATH] == tmp_path / "other.db"


def test_yaml_is_not_loaded_without_a_config_file() -> None:
    program = """if True:
        import sys
        from seedkeep.settings import load
        load("rehome", {}, {"HOME": "/nonexistent"})
        sys.exit("yaml" in sys.modules)
    """
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0

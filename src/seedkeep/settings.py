"""Settings: flag > NAME_FILE > NAME > config file > default, each with its origin.

The rows are declared once for all programs, in `settings_table`.  Nothing else reads the
environment.  For each known variable NAME, `NAME_FILE` and LinuxServer's `FILE__NAME` hold the path
of a file with the value; an empty variable counts as not set.  In the config file, a `key_file` may
stand for each secret `key`; its relative path begins at the config file's folder.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from seedkeep.errors import Misused
from seedkeep.small_file import read_small_file

if TYPE_CHECKING:
    from seedkeep.yaml_file import Document

T = TypeVar("T")

CONFIG_KEY = "config.file"  # the row that names the config file itself
CONFIG_DIR_KEY = "config.dir"  # or the folder that may hold a CONFIG_NAME
CONFIG_NAME = "config.yml"
HIDDEN = "********"
MAX_VALUE_FILE = 64 * 1024  # bytes
_OUR_PREFIXES = ("QBT_RULES_", "HASHALL_", "REHOME_")


class BadSetting(Misused):
    """A value that cannot be used; the detail names where it was read from."""

    code = "setting"


class UnknownSetting(Misused):
    """A name that no program knows, most likely a typing mistake."""

    code = "setting-unknown"


@dataclass(frozen=True, kw_only=True)
class Setting(Generic[T]):
    """One row of the table.

    `parse` gets text, or a list or mapping from the config file or from a repeated flag; it raises
    `ValueError` with words for the user.  Paths may start with `~/`; `load` replaces it.
    """

    key: str  # place in the config file: "qbittorrent.host"
    parse: Callable[[Any], T]
    default: T
    help: str
    programs: frozenset[str]
    env: tuple[str, ...] = ()  # the first is the canonical name
    flags: tuple[str, ...] = ()
    metavar: str = "TEXT"
    secret: bool = False
    multiple: bool = False  # the flag may be repeated
    flag_only_in: frozenset[str] | None = None  # programs that offer the flags; None: all
    in_config_dir: bool = False  # the default is a file that lies in `config.dir`, wherever that is
    show: Callable[[T], str] = str

    @property
    def param(self) -> str:
        """Name of the command-line parameter: "qbittorrent_host"."""
        return self.key.replace(".", "_")

    def flags_of(self, program: str) -> tuple[str, ...]:
        offered = self.flag_only_in is None or program in self.flag_only_in
        return self.flags if offered else ()

    def shown(self, value: T) -> str:
        """Text for people; a secret shows only whether it is set."""
        if self.secret:
            return HIDDEN if value else ""
        return self.show(value)


@dataclass(frozen=True)
class SettingRow:
    """One line of `show-config`."""

    key: str
    value: str
    origin: str


@dataclass(frozen=True)
class _Resolved:
    value: Any
    origin: str


class Settings:
    """What `load` found.  `settings[CATALOG_PATH]` has the type of the row."""

    def __init__(self, resolved: Mapping[Setting[Any], _Resolved]) -> None:
        self._resolved = {setting.key: (setting, found) for setting, found in resolved.items()}

    def __getitem__(self, setting: Setting[T]) -> T:
        return self.get(setting)

    def get(self, setting: Setting[T]) -> T:
        """Raises `KeyError` for a row that the program does not have."""
        value: T = self._resolved[setting.key][1].value
        return value

    def origin(self, setting: Setting[Any]) -> str:
        """Where the value was read: "flag --db", "HASHALL_DB", "/etc/x.yml:3:1", "default"."""
        return self._resolved[setting.key][1].origin

    def rows(self) -> list[SettingRow]:
        return [
            SettingRow(key, setting.shown(found.value), found.origin)
            for key, (setting, found) in self._resolved.items()
        ]

    def secrets(self) -> list[str]:
        """Values that must never be printed."""
        found = [found.value for setting, found in self._resolved.values() if setting.secret]
        listed = [value if isinstance(value, tuple) else (value,) for value in found]
        return [str(value) for values in listed for value in values if value]


def environment() -> Mapping[str, str]:
    """The process's environment; the only place that asks for it."""
    return os.environ


def take_variable(name: str) -> str:
    """The value of a variable, "" when it is not set; processes started from now on lack it."""
    return os.environ.pop(name, "")


def load(
    program: str,
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    *,
    table: Sequence[Setting[Any]] | None = None,
    files: bool = True,
) -> Settings:
    """Resolve every row of `program`.

    Args:
        flags: Values by `Setting.param` (or by key); None and () mean "not given"; other names are
            ignored, so click's parameters can be passed as they are.
        environ: None for the process's own.
        files: False leaves the config file unread: for whoever is about to write it.

    Raises:
        BadSetting, UnknownSetting, BadYaml: With the place that the user has to edit.
    """
    if table is None:
        from seedkeep.settings_table import SETTINGS

        table = SETTINGS
    sources = Sources(flags or {}, environment() if environ is None else environ)
    check_environment(sources.environ, table)
    rows = [setting for setting in table if program in setting.programs]
    resolved: dict[Setting[Any], _Resolved] = {}
    for setting in (row for row in rows if row.key == CONFIG_KEY):
        resolved[setting] = found = resolve(setting, sources)
        if files:
            sources = sources.with_config(found.value, must_exist=found.origin != "default")
        if sources.config is not None:
            check_config(sources.config, table)
    for setting in (row for row in rows if row.key == CONFIG_DIR_KEY):
        folder: Path = resolve(setting, sources).value
        if files:
            sources = sources.with_config(folder / CONFIG_NAME, must_exist=False)
        if sources.config is not None:
            check_config(sources.config, table)
        resolved[setting] = resolve(setting, sources)  # the file may have its say about the rest
        sources = replace(sources, folder=resolved[setting].value)
    for setting in rows:
        if setting not in resolved:
            resolved[setting] = resolve(setting, sources)
    return Settings(resolved)


@dataclass(frozen=True)
class Sources:
    """Where values may come from."""

    flags: Mapping[str, Any]
    environ: Mapping[str, str]
    config: Document | None = None
    folder: Path | None = None  # `config.dir`, for programs that have it

    def with_config(self, path: Path, *, must_exist: bool) -> Sources:
        if not must_exist and not path.exists():
            return self
        from seedkeep.yaml_file import load_yaml  # PyYAML only when there is a file to read

        return replace(self, config=load_yaml(path, typed=False))

    def lookup(self, setting: Setting[Any]) -> Iterator[tuple[str, Any]]:
        """(origin, value) of every place that has one, the strongest first."""
        given = self.flags.get(setting.param, self.flags.get(setting.key))
        if given is not None and given != ():
            yield f"flag {' or '.join(setting.flags) or setting.param}", given
        for name in setting.env:
            for pointer in (f"{name}_FILE", f"FILE__{name}"):
                if path := self.environ.get(pointer):
                    yield f"{pointer} ({path})", _value_file(pointer, Path(path))
            if text := self.environ.get(name):
                yield name, text
        if self.config is not None and setting.key != CONFIG_KEY:
            path_in_file = tuple(setting.key.split("."))
            if setting.secret:
                yield from self._secret_file(self.config, pointer_to_secret(setting))
            value = _inside(self.config.data, path_in_file)
            if value is not None:
                yield self.config.place(path_in_file), value

    def _secret_file(self, config: Document, key: tuple[str, ...]) -> Iterator[tuple[str, str]]:
        name = _inside(config.data, key)
        if name is None:
            return
        place = config.place(key)
        if not isinstance(name, str) or not name:
            raise BadSetting(f"{place}: {'.'.join(key)} must be the path of a file")
        path = Path(config.name).parent / _without_tilde(Path(name), self)
        yield f"{place} ({path})", _value_file(place, path)

    def home(self) -> Path:
        return Path(self.environ["HOME"]) if self.environ.get("HOME") else Path.home()


def resolve(setting: Setting[T], sources: Sources) -> _Resolved:
    """The first value found, or the default.  Raises `BadSetting`."""
    for origin, given in sources.lookup(setting):
        try:
            return _Resolved(_without_tilde(setting.parse(given), sources), origin)
        except ValueError as why:
            # The message of a parser quotes the value, which must not be shown for a secret.
            raise BadSetting(
                f"{setting.key}: {'unusable value' if setting.secret else why}",
                detail=f"read from {origin}",
            ) from (None if setting.secret else why)
    default: Any = setting.default
    if setting.in_config_dir and sources.folder is not None:
        default = sources.folder / default.name
    return _Resolved(_without_tilde(default, sources), "default")


def pointer_to_secret(setting: Setting[Any]) -> tuple[str, ...]:
    """Where a config file may name a file with the value: ("server", "api_key_file")."""
    return tuple(f"{setting.key}_file".split("."))


def _without_tilde(value: Any, sources: Sources) -> Any:
    """Replace a leading `~/` in paths, also in a tuple of them."""
    if isinstance(value, Path) and value.parts[:1] == ("~",):
        return sources.home().joinpath(*value.parts[1:])
    if type(value) is tuple:
        return tuple(_without_tilde(item, sources) for item in value)
    return value


def _value_file(variable: str, path: Path) -> str:
    """Content of the file without its last newline: what `echo` adds is not part of a secret."""
    try:
        content = read_small_file(path, MAX_VALUE_FILE)
        text = content.decode()
    except Misused as why:
        raise BadSetting(why.brief, detail=f"named by {variable}\n{why.detail}".strip()) from why
    except UnicodeDecodeError:
        raise BadSetting(f"{path} is not UTF-8 text", detail=f"named by {variable}") from None
    return text.removesuffix("\n").removesuffix("\r") if text.endswith("\n") else text


def _inside(data: Any, path: Iterable[str]) -> Any:
    for part in path:
        if not isinstance(data, dict):
            return None
        data = data.get(part)
    return data


def check_environment(environ: Mapping[str, str], table: Iterable[Setting[Any]]) -> None:
    """Raises `UnknownSetting` for a variable that looks like ours and is not."""
    names = {name for setting in table for name in setting.env}
    known = names | {f"{name}_FILE" for name in names}
    for variable in sorted(environ):
        name = variable.removeprefix("FILE__")
        allowed = known if name == variable else names
        if name.startswith(_OUR_PREFIXES) and name not in allowed:
            raise UnknownSetting(
                f"{variable} is not a setting", hint=_did_you_mean(variable, known)
            )


def check_config(config: Document, table: Iterable[Setting[Any]]) -> None:
    """Raises `UnknownSetting` for a key that no program knows."""
    rows = [setting for setting in table if setting.key != CONFIG_KEY]
    known = {tuple(setting.key.split(".")) for setting in rows}
    known |= {pointer_to_secret(setting) for setting in rows if setting.secret}
    _check_section(config, config.data, (), known)


def _check_section(
    config: Document, section: Any, path: tuple[str, ...], known: set[tuple[str, ...]]
) -> None:
    if section is None:
        return
    place = config.place(path)
    name = ".".join(path) or "the file"
    if not isinstance(section, dict):
        raise BadSetting(f"{place}: {name} must hold settings, one `key: value` per line")
    for key, value in section.items():
        here = (*path, key)
        if here in known:
            continue
        if any(other[: len(here)] == here for other in known):
            _check_section(config, value, here, known)
            continue
        raise UnknownSetting(
            f"{config.place(here)}: {'.'.join(here)} is not a setting",
            hint=_did_you_mean(".".join(here), {".".join(other) for other in known}),
        )


def _did_you_mean(wrong: str, known: Iterable[str]) -> str:
    import difflib

    close = difflib.get_close_matches(wrong, sorted(known), n=1, cutoff=0.6)
    return f"did you mean {close[0]}?" if close else ""

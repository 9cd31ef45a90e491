"""Look around for a first configuration, and decide with a person what stands in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from rehome.config_draft import Choices, Suggestion, suggest
from rehome.survey import Survey, neighbours, survey
from seedkeep import first_run
from seedkeep import settings_table as table
from seedkeep.errors import Misused, SeedError
from seedkeep.setting_types import PathPair, without_login
from seedkeep.settings import Setting, Settings
from seedkeep.torrent_client import LoginRefused

T = TypeVar("T")

PASSWORD_FILE = "qbittorrent-password"
WAIT_S = 10.0  # for one answer of the client


@dataclass(frozen=True)
class Login:
    host: str
    username: str
    password: str = ""
    typed: bool = False  # a person typed the password: no variable has it


@dataclass(frozen=True)
class Around:
    """What was found, and with which login."""

    found: Survey
    login: Login


def look_around(
    settings: Settings, path_map: tuple[PathPair, ...] = (), *, offline: bool, asking: bool
) -> Around:
    """Ask the client; with `asking`, a person is asked for what does not work by itself.

    A client that cannot be asked is a `problem` of the survey, not an error.
    """
    # A password in the address must not get into a file that everybody can read.
    host, username, password = without_login(settings.get(table.QBIT_HOST))
    login = Login(
        host,
        username or settings.get(table.QBIT_USERNAME),
        password or settings.get(table.QBIT_PASSWORD),
        typed=bool(password),
    )
    if offline:
        return Around(Survey(problem="--offline"), login)
    may_move = asking and settings.origin(table.QBIT_HOST) == "default"
    while True:
        try:
            return Around(_survey(login, path_map), login)
        except SeedError as why:
            better = None
            if isinstance(why, LoginRefused):
                better = _ask_login(login) if asking and not login.password else None
            elif may_move:
                better, may_move = _ask_host(login), False
            if better is None or better == login:
                wrong = login.typed and isinstance(why, LoginRefused)
                kept = replace(login, password="", typed=False) if wrong else login
                return Around(Survey(problem=why.brief), kept)
            login = better


def _survey(login: Login, path_map: Sequence[PathPair]) -> Survey:
    from seedkeep.qbittorrent import connect

    return survey(connect(login.host, login.username, login.password, timeout_s=WAIT_S), path_map)


def _ask_host(login: Login) -> Login:
    answer = first_run.ask("Address of qBittorrent's Web UI", login.host)
    host, username, password = without_login(_parsed(table.QBIT_HOST, answer))
    found = replace(login, host=host, username=username or login.username)
    return replace(found, password=password, typed=True) if password else found


def _ask_login(login: Login) -> Login:
    username = first_run.ask("User of qBittorrent's Web UI", login.username)
    password = first_run.ask_secret("Password of qBittorrent's Web UI")
    return replace(login, username=username, password=password, typed=True)


def choices(settings: Settings, around: Around) -> Choices:
    """What flags, variables and the found password say; roots as far as flags name them."""
    origin, login = settings.origin(table.QBIT_PASSWORD), around.login
    known = bool(login.password) and not login.typed and not origin.startswith("flag ")
    return Choices(
        host=login.host,
        username=login.username,
        password_file=PASSWORD_FILE if login.password and not known else "",
        password_from=origin if known else "",
    )


def take_suggested(chosen: Choices, found: Survey) -> Choices:
    """Fill in what the facts leave no doubt about."""
    guess = suggest(found)
    sides = guess if guess.certain else replace(guess, stash=None, pool=None)
    return replace(
        chosen,
        stash=chosen.stash or sides.stash,
        pool=chosen.pool or sides.pool,
        path_map=chosen.path_map or found.path_map,
    )


def ask_roots(chosen: Choices, found: Survey) -> Choices:
    """Ask a person for what no flag said; an empty answer leaves it open."""
    guess = suggest(found)
    stash = chosen.stash or _folder(table.STASH_SEEDING_ROOT.help, guess.stash)
    turned = stash and guess.pool and guess.pool in (stash, *stash.parents)
    other = guess.stash if turned else guess.pool
    return replace(
        chosen,
        stash=stash,
        pool=chosen.pool or _folder(table.POOL_SEEDING_ROOT.help, other),
        libraries=chosen.libraries or _libraries(),
        path_map=chosen.path_map or _path_map(found),
    )


def _folder(question: str, guess: Path | None) -> Path | None:
    answer = first_run.ask(question.rstrip("."), str(guess or ""))
    return _parsed(table.STASH_SEEDING_ROOT, answer) if answer else None


def _libraries() -> tuple[Path, ...]:
    answer = first_run.ask("Folders of the library, with : between them (empty: later)")
    return _parsed(table.LIBRARY_ROOTS, answer) if answer else ()


def _parsed(setting: Setting[T], answer: str) -> T:
    try:
        return setting.parse(answer)
    except ValueError as why:
        raise Misused(f"{setting.key}: {why}", hint="nothing was written; try again") from why


def _path_map(found: Survey) -> tuple[PathPair, ...]:
    shown = table.PATH_MAP.show(found.guessed)
    if not found.guessed or not first_run.confirm(f"Is {shown} right (client's folder=ours)?"):
        return ()
    return found.path_map


def beside(guess: Suggestion, chosen: Choices) -> tuple[Path, ...]:
    """Folders on the stash that may be libraries."""
    root = chosen.stash or guess.stash
    side = next((side for side in guess.sides if root and side.root == root), None)
    if root is None or side is None:
        return ()
    return neighbours(root, Path(side.filesystem.mount_point))


def not_there(chosen: Choices) -> tuple[str, ...]:
    """Folders that a person named and that do not exist: a typing mistake, or a missing mount."""
    named = [path for path in (chosen.stash, chosen.pool, *chosen.libraries) if path]
    return tuple(f"{path} is no folder here now" for path in named if not path.is_dir())


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def remarks(found: Survey, chosen: Choices | None = None) -> tuple[str, ...]:
    """`chosen`: what flags and answers say; a suggestion that they passed over is not told."""
    if not found.version:
        return (f"qBittorrent could not be asked: {found.problem}",)
    folders = len([path for path in found.save_paths if path.torrents])
    lost = [path for path in found.save_paths if path.ours is None and path.torrents]
    has = f"{_count(found.torrents, 'torrent')} in {_count(folders, 'folder')}"
    said = [f"qBittorrent {found.version} has {has}"]
    guess = suggest(found)
    if found.torrents and (chosen is None or chosen.stash in (None, guess.stash)):
        said.append(guess.why)
    if lost and not found.guessed:
        said.append(f"{lost[0].client} is no folder here; see path_map in the file")
    return tuple(said)

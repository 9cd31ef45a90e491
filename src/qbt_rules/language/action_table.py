"""Every action a rule may name, with its parameters.  What an action does is in `actions.py`."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from qbt_rules.language.values import Value
from seedkeep.units import parse_duration, parse_size

GLOBAL, UNLIMITED = -2, -1  # of share limits, as the client counts them
MOST_RATIO = 1e9
MOST_SPEED = 2**31 - 1  # the client takes more for no limit (measured)
_NOTHING: Any = object()


@dataclass(frozen=True)
class Param:
    name: str
    read: Callable[[Value], Value]
    shape: str  # for people and for the editor's schema
    default: Value = _NOTHING  # none: it has to be given
    also: tuple[str, ...] = ()  # other names under which it may be given

    @property
    def required(self) -> bool:
        return self.default is _NOTHING


@dataclass(frozen=True)
class ActionKind:
    type: str
    does: str
    params: tuple[Param, ...] = ()
    once_per_group: bool = False  # one run for a payload's group, however many torrents match


def _text(value: Value) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float) or value == "":
        raise ValueError("must be text")
    return str(value)


def _line(value: Value) -> str:
    """As the client keeps a name: in one line, without blanks around it."""
    text = " ".join(_text(value).splitlines()).strip()
    if not text:
        raise ValueError("must be text")
    return text


def _any_text(value: Value) -> str:
    return "" if value == "" else _text(value)


def _flag(value: Value) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def _tags(value: Value) -> tuple[str, ...]:
    items = value if isinstance(value, list) else [value]
    tags = [tag.strip() for item in items for tag in _any_text(item).split(",")]
    return tuple(dict.fromkeys(tag for tag in tags if tag))


def _some_tags(value: Value) -> tuple[str, ...]:
    tags = _tags(value)
    if not tags:
        raise ValueError("must name a tag")
    return tags


def _speed(value: Value) -> int:
    if isinstance(value, str):
        value = parse_size(value.strip().removesuffix("/s"))
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError("must be bytes a second, or like 5 MB/s; 0 is no limit")
    if value > MOST_SPEED:
        raise ValueError(f"must be at most {MOST_SPEED} bytes a second; 0 is no limit")
    return value


def _limit(value: Value) -> int | None:
    if value in ("global", GLOBAL):
        return GLOBAL
    if value in ("none", UNLIMITED):
        return UNLIMITED
    return None


def _ratio(value: Value) -> float:
    limit = _limit(value)
    if limit is not None:
        return limit
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < MOST_RATIO:
        raise ValueError('must be a number, "global" or "none"')
    return float(value)


def _minutes(value: Value) -> int:
    limit = _limit(value)
    if limit is not None:
        return limit
    if isinstance(value, str):
        # 0 minutes would end the seeding at once; some seconds do not mean that.
        return math.ceil(parse_duration(value).total_seconds() / 60)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError('must be minutes, a duration like 14d, "global" or "none"')
    return value


def _duration(value: Value) -> float:
    """Seconds."""
    return parse_duration(str(value)).total_seconds()


def _share(value: Value) -> float:
    """A part of one: "5%"."""
    text = str(value).strip()
    number = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    if not 0 < number <= 1:
        raise ValueError("must be like 5%")
    return number


def _paths(value: Value) -> tuple[str, ...]:
    items = value if isinstance(value, list) else [value]
    paths = tuple(_text(item) for item in items)
    if not paths or not all(path.startswith("/") for path in paths):
        raise ValueError("must be folders from the root, like /stash")
    return paths


def _folder(value: Value) -> str:
    text = _text(value)
    if not text.startswith("/"):
        raise ValueError("must be a folder from the root, like /stash/films")
    return text


def _web_address(value: Value) -> str:
    text = _text(value)
    if not text.startswith(("http://", "https://")):
        raise ValueError("must begin with http:// or https://")
    return text


_TAGS = Param("tags", _some_tags, "text or list of texts", also=("tag",))
_SPEED_LIMIT = Param("limit", _speed, "bytes a second or like 5 MB/s")
_KINDS = (
    ActionKind("stop", "stop the torrent"),
    ActionKind("start", "start the torrent"),
    ActionKind("force_start", "start it past all queues"),
    ActionKind("recheck", "read all its data again"),
    ActionKind("reannounce", "ask its trackers now"),
    ActionKind(
        "delete_torrent",
        "remove the torrent, with its files only when told so",
        (
            Param("delete_files", _flag, "true or false", False),
            Param("allow_last_copy", _flag, "true or false", False),
        ),
    ),
    ActionKind(
        "set_category",
        "put it into a category",
        (
            Param("category", _any_text, "text"),
            Param("create", _flag, "true or false", True),
        ),
    ),
    ActionKind("add_tag", "add tags", (_TAGS,)),
    ActionKind("remove_tag", "remove tags", (_TAGS,)),
    ActionKind(
        "set_tags",
        "have these tags and no others",
        (Param("tags", _tags, _TAGS.shape, also=("tag",)),),
    ),
    ActionKind("set_upload_limit", "limit its upload", (_SPEED_LIMIT,)),
    ActionKind("set_download_limit", "limit its download", (_SPEED_LIMIT,)),
    ActionKind(
        "set_share_limits",
        "say when it has seeded enough; what is not given stays as it is",
        (
            Param("ratio", _ratio, 'number, "global" or "none"', None),
            Param("seeding_time", _minutes, 'minutes, duration, "global" or "none"', None),
            Param("inactive_seeding_time", _minutes, 'minutes, duration, "global" or "none"', None),
        ),
    ),
    ActionKind(
        "set_auto_management",
        "switch automatic torrent management",
        (Param("enabled", _flag, "true or false", True),),
    ),
    ActionKind("queue_top", "first in the queue"),
    ActionKind("queue_up", "one up in the queue"),
    ActionKind("queue_down", "one down in the queue"),
    ActionKind("queue_bottom", "last in the queue"),
    ActionKind(
        "set_location",
        "move it within its filesystem",
        (Param("location", _folder, "folder", also=("path",)),),
    ),
    ActionKind("rename", "give it another name", (Param("name", _line, "text"),)),
    ActionKind(
        "notify",
        "send a message to a web address",
        (
            Param("url", _web_address, "web address", also=("service",)),
            Param("message", _text, "text"),
        ),
    ),
    ActionKind(
        "rehome_demote",
        "move its whole group to the pool, if policy allows",
        (Param("retain", _duration, "duration", None),),
        once_per_group=True,
    ),
    ActionKind(
        "rehome_promote",
        "show its whole group from the stash, if the bytes are there",
        once_per_group=True,
    ),
    ActionKind(
        "payload_verify",
        "check its files against the torrent's own hashes",
        (Param("sample", _share, "share like 5%", 1.0),),
    ),
    ActionKind(
        "hashall_scan",
        "scan folders into the catalog, and sync its payloads with the client",
        (Param("paths", _paths, "list of folders"),),
    ),
)
ACTIONS: dict[str, ActionKind] = {kind.type: kind for kind in _KINDS}
# Spellings of older files; accepted with a warning.
# Words of other programs, and what they are here; a near name could be the opposite of the wish.
_OTHER_WORDS = {
    **dict.fromkeys(("pause_torrent", "stop_torrent", "paused"), "stop"),
    **dict.fromkeys(("resume_torrent", "start_torrent", "unpause"), "start"),
    **dict.fromkeys(("tag", "add_tags"), "add_tag"),
    **dict.fromkeys(("remove", "remove_torrent", "delete_files"), "delete_torrent"),
    **dict.fromkeys(("category", "change_category"), "set_category"),
    **dict.fromkeys(("move", "move_torrent", "set_save_path"), "set_location"),
}
OLD_NAMES = {"pause": "stop", "resume": "start", "delete": "delete_torrent"}


def find_action(name: str) -> ActionKind:
    """Raises `ValueError` that says what would be right."""
    kind = ACTIONS.get(name)
    if kind is None:
        near = [word] if (word := _OTHER_WORDS.get(name.lower())) else _near(name)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(ACTIONS)}"
        raise ValueError(f"there is no action {name}; {hint}")
    return kind


def _near(name: str) -> list[str]:
    """Never a deletion for what did not ask for one."""
    harmless = [known for known in ACTIONS if known != "delete_torrent" or "del" in name.lower()]
    return difflib.get_close_matches(name, harmless, n=1)


def read_params(kind: ActionKind, given: Mapping[str, Value]) -> dict[str, Value]:
    """The parameters of an action, typed, with defaults.

    Raises:
        ValueError: One is missing, unknown, given twice or of the wrong kind.
    """
    given = _without_old_words(kind, dict(given))
    found: dict[str, Value] = {}
    for param in kind.params:
        names = [name for name in (param.name, *param.also) if name in given]
        if len(names) > 1:
            raise ValueError(f"{kind.type} has both {' and '.join(names)}; give one")
        if not names:
            if param.required:
                raise ValueError(f"{kind.type} needs {param.name} ({param.shape})")
            found[param.name] = param.default
            continue
        try:
            found[param.name] = param.read(given.pop(names[0]))
        except ValueError as why:
            raise ValueError(f"{names[0]} of {kind.type}: {why}") from why
    if given:
        known = [name for param in kind.params for name in (param.name, *param.also)]
        near = difflib.get_close_matches(next(iter(given)), known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"it takes {', '.join(known) or 'none'}"
        raise ValueError(f"{kind.type} has no parameter {next(iter(given))}; {hint}")
    return found


def _without_old_words(kind: ActionKind, given: dict[str, Value]) -> dict[str, Value]:
    if kind.type != "delete_torrent" or "keep_files" not in given:
        return given
    keep = _flag(given.pop("keep_files"))
    if given.get("delete_files", not keep) is not (not keep):
        raise ValueError("keep_files and delete_files contradict each other; give delete_files")
    return {**given, "delete_files": not keep}

"""Hold the configuration against the real inventory: roots, rules, categories, path map."""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rehome.gather import Gathering
from rehome.look import Look
from rehome.model import Direction
from rehome.save_paths import Destination, Kind, destination, folders_of
from seedkeep.errors import SeedError
from seedkeep.setting_types import show_rules

MOST_EXAMPLES = 3
MOST_LACKS = 10  # of one root, for one reason: each of them has to be dealt with


class Weight(enum.Enum):
    ERROR = "error"  # nothing, or not all, could be moved like this
    WARNING = "warning"  # likely not what was meant


@dataclass(frozen=True)
class Finding:
    weight: Weight
    sentence: str
    examples: tuple[str, ...] = ()
    more: int = 0  # examples that are not shown


@dataclass(frozen=True)
class RuleUse:
    """How a rule of save_paths meets the torrents of today; number 0 is "no rule"."""

    number: int
    rule: str
    direction: Direction
    torrents: int
    examples: tuple[str, ...]  # "save path → where it would go"
    more: int  # examples that are not shown


@dataclass(frozen=True)
class ConfigCheck:
    torrents: int
    on_stash: int
    on_pool: int
    elsewhere: int
    elsewhere_examples: tuple[str, ...]  # "save path: name"
    elsewhere_more: int  # examples that are not shown
    rules: tuple[RuleUse, ...]
    findings: tuple[Finding, ...]

    @property
    def is_sound(self) -> bool:
        return not any(finding.weight is Weight.ERROR for finding in self.findings)


def check_config(demotion: Gathering, promotion: Gathering) -> ConfigCheck:
    """Look at every torrent as `plan` would, but not at its files."""
    look = demotion.look
    uses: list[RuleUse] = []
    findings = [*_roots(demotion), *_unmapped(look)]
    counts = {}
    elsewhere = set(look.inventory)
    for gathering in (demotion, promotion):
        goes = dict(_destinations(gathering))
        counts[gathering.direction] = len(goes)
        elsewhere -= goes.keys()
        uses += _uses(gathering, goes)
        findings += _destinations_wrong(gathering, goes)
    findings += _never_used(look, uses)
    away = [look.inventory[torrent_id] for torrent_id in elsewhere]
    names = sorted(f"{look.ours(torrent.save_path)}: {torrent.name}" for torrent in away)
    return ConfigCheck(
        len(look.inventory),
        counts[Direction.DEMOTE],
        counts[Direction.PROMOTE],
        len(elsewhere),
        *_some(names),
        tuple(uses),
        tuple(findings),
    )


def _some(examples: Sequence[str], most: int = MOST_EXAMPLES) -> tuple[tuple[str, ...], int]:
    """The first examples, and how many more there are."""
    return tuple(examples[:most]), max(len(examples) - most, 0)


def _roots(demotion: Gathering) -> Iterator[Finding]:
    stash = demotion.roots.source.tops()[0]
    pool = demotion.roots.target.tops()[0]
    if stash[1].device_id == pool[1].device_id:
        yield Finding(
            Weight.ERROR, "stash and pool are one filesystem", (str(stash[0]), str(pool[0]))
        )
    devices = tuple(sorted({stash[1].device_id, pool[1].device_id}))
    for lacks in demotion.roots.lacks(devices):
        for why, paths in lacks.items():
            on = "it" if len(paths) == 1 else "them"
            sentence = f"{why}; run `hashall scan` on {on}"
            yield Finding(Weight.ERROR, sentence, *_some(paths, MOST_LACKS))
    if not demotion.layout.library_roots:
        yield Finding(
            Weight.WARNING,
            "no library_roots are named: a library that no scan has seen blocks every move",
        )


def _unmapped(look: Look) -> Iterator[Finding]:
    """Save paths that are no folders here: most likely a pair of path_map is missing."""
    folders = sorted({torrent.save_path for torrent in look.inventory.values()})
    lost = [path for path in folders if not Path(look.ours(path)).is_dir()]
    if lost:
        yield Finding(
            Weight.WARNING,
            f"{len(lost)} save paths of qBittorrent are no folders here; path_map may lack a pair",
            *_some([f"{path} → {look.ours(path)}" for path in lost]),
        )


def _destinations(gathering: Gathering) -> Iterator[tuple[str, Destination]]:
    look = gathering.look
    for torrent_id, torrent in look.inventory.items():
        try:
            way = gathering.roots.way_from(Path(look.ours(torrent.save_path)))
        except (OSError, SeedError):
            continue
        if way is not None:
            kind = Kind(torrent.category, torrent.tags)
            yield (
                torrent_id,
                destination(
                    way,
                    kind,
                    look.layout,
                    gathering.direction,
                    lambda torrent=torrent: look.hosts(torrent),  # type: ignore[misc]
                ),
            )


def _uses(gathering: Gathering, goes: dict[str, Destination]) -> Iterator[RuleUse]:
    look, layout = gathering.look, gathering.layout
    counts = Counter(item.rule or 0 for item in goes.values())
    examples: dict[int, dict[str, None]] = {}
    for torrent_id, item in goes.items():
        save_path = look.ours(look.inventory[torrent_id].save_path)
        examples.setdefault(item.rule or 0, {})[f"{save_path} → {item.path}"] = None
    for number in range(len(layout.save_paths) + 1):
        rule = show_rules(layout.save_paths[number - 1 : number]) if number else "no rule"
        shown = _some(sorted(examples.get(number, {})))
        yield RuleUse(number, rule, gathering.direction, counts[number], *shown)


def _destinations_wrong(gathering: Gathering, goes: dict[str, Destination]) -> Iterator[Finding]:
    look, layout, side = gathering.look, gathering.layout, gathering.direction.value
    root = layout.target_root(gathering.direction)
    unsure = sorted(torrent_id for torrent_id, item in goes.items() if item.unsure)
    if unsure:
        yield Finding(
            Weight.WARNING,
            f"to {side}, {len(unsure)} torrents show no tracker, which an earlier rule asks for:"
            " they would stay",
            *_some(unsure),
        )
    wanted = {
        item.category
        for torrent_id, item in goes.items()
        if item.category not in ("", look.inventory[torrent_id].category)
    }
    for category in sorted(wanted - look.categories.keys() if wanted else ()):
        yield Finding(Weight.ERROR, f"qBittorrent has no category {category!r}; make it there")
    client_root = layout.path_map.to_client(root).rstrip("/")
    for path in sorted({item.path for item in goes.values()}):
        way = str(path)[len(str(root).rstrip("/")) :]
        if layout.path_map.to_client(path) != (f"{client_root}{way}" or "/"):
            yield Finding(
                Weight.ERROR,
                f"path_map maps {path} in another way than {root} itself",
                (layout.path_map.to_client(path),),
            )


def _never_used(look: Look, uses: list[RuleUse]) -> Iterator[Finding]:
    used = Counter[int]()
    for use in uses:
        used[use.number] += use.torrents
    for number, rule in enumerate(look.layout.save_paths, 1):
        if not used[number]:
            stash, pool = folders_of(rule, look.layout, Direction.DEMOTE)
            yield Finding(
                Weight.WARNING,
                f"rule {number} fits no torrent of today ({show_rules((rule,))})",
                (f"{stash} → {pool}",),
            )

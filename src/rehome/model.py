"""What a relocation is made of: plans, blockers, and steps with their inverses.

The steps are in `rehome.steps` and their parts in `rehome.parts`; all are named from here.
"""

from __future__ import annotations

from dataclasses import dataclass

from rehome.parts import (
    Blocker,
    Copy,
    Direction,
    Fingerprint,
    Link,
    Retirement,
    Running,
    Verdict,
    Was,
    Witness,
)
from rehome.steps import (
    STEP_KINDS,
    Adopt,
    AwaitPlaces,
    BuildView,
    CheckFiles,
    FillPayload,
    Hide,
    KeepManaged,
    MakeStaging,
    MoveFiles,
    Nothing,
    Place,
    ProveAway,
    ProveFolder,
    Recheck,
    Relocate,
    RemoveFolder,
    RemoveStaging,
    Reveal,
    SetCategory,
    SetManagement,
    StartTorrents,
    Step,
    StopTorrents,
    VerifyReuse,
)

__all__ = [
    "STEP_KINDS",
    "Adopt",
    "AwaitPlaces",
    "Blocker",
    "BuildView",
    "CheckFiles",
    "Copy",
    "Direction",
    "FillPayload",
    "Fingerprint",
    "Hide",
    "KeepManaged",
    "Link",
    "MakeStaging",
    "MoveFiles",
    "Nothing",
    "Place",
    "Plan",
    "ProveAway",
    "ProveFolder",
    "Recheck",
    "Relocate",
    "RemoveFolder",
    "RemoveStaging",
    "Retirement",
    "Reveal",
    "Running",
    "SetCategory",
    "SetManagement",
    "StartTorrents",
    "Step",
    "StopTorrents",
    "TorrentMove",
    "Verdict",
    "VerifyReuse",
    "Was",
    "Witness",
]


@dataclass(frozen=True)
class TorrentMove:
    """One torrent of the group: where it seeds now and where it will."""

    torrent_id: str
    name: str
    running: Running
    category: str
    save_path: str
    target_path: str
    client_save_path: str
    client_target_path: str
    target_category: str
    auto_tmm: bool  # before
    target_auto_tmm: bool
    root_name: str
    file_names: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run will do, completely.  Equal facts give an equal plan, byte for byte."""

    plan_id: str  # 12 hex of the fingerprint; names staging and hidden directories
    direction: Direction
    asked_for: str  # torrent id
    verdict: Verdict
    payload_hash: str | None
    total_bytes: int  # distinct bytes of the group
    bytes_to_copy: int
    bytes_freed: int  # on the source side, in truth: inodes of which every name goes
    source_devices: tuple[int, ...] = ()  # by the catalog's numbers; one, unless blocked
    target_devices: tuple[int, ...] = ()
    staying: tuple[str, ...] = ()  # names in the seeding domain that no torrent of the group has
    torrents: tuple[TorrentMove, ...] = ()
    blockers: tuple[Blocker, ...] = ()
    staging: str = ""
    steps: tuple[Step, ...] = ()
    keep_source: bool = False  # the source is shown again after the switch, and nothing is retired
    retire: tuple[Retirement, ...] = ()  # every source file; it goes unless `keep_source`
    warnings: tuple[str, ...] = ()  # what a person should know before saying yes

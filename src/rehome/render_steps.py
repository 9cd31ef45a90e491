"""Steps in words: for the dry run, for progress, and for the history."""

from __future__ import annotations

from functools import singledispatch

from rehome.model import (
    Adopt,
    AwaitPlaces,
    BuildView,
    CheckFiles,
    FillPayload,
    Hide,
    MakeStaging,
    Place,
    Plan,
    ProveAway,
    ProveFolder,
    Recheck,
    Relocate,
    Reveal,
    SetCategory,
    SetManagement,
    StartTorrents,
    Step,
    StopTorrents,
    VerifyReuse,
)
from rehome.render import headline
from seedkeep.text import printable
from seedkeep.units import format_size


def dry_run(made: Plan) -> str:
    """Every value that `--force` would execute."""
    lines = [headline(made)]
    for number, step in enumerate(made.steps, 1):
        first, *details = step_lines(step)
        lines.append(f"{number:3}. {printable(first)}")
        lines += [f"       {printable(detail)}" for detail in details]
    if made.steps:
        lines.append("then, committed:")
        lines.append(f"     remove {printable(made.staging)}")
    if made.steps and not made.keep_source:
        lines.append("     retire the hidden source, after reading what replaces it:")
        lines += [
            f"       {printable(f'{r.hidden_root}/{r.name}')}"
            f"  {r.seen.size} bytes, sha256 {r.sha256}  (copy: {printable(r.witness)})"
            for r in made.retire
        ]
    return "\n".join(lines)


@singledispatch
def step_lines(step: Step) -> list[str]:
    """A step in words: one line of what, then its details."""
    return [type(step).__name__]


@step_lines.register
def _(step: MakeStaging) -> list[str]:
    return [f"make {step.path}", *(f"and, when it is needed, {path}" for path in step.undo_remove)]


@step_lines.register
def _(step: FillPayload) -> list[str]:
    size = format_size(sum(copy.seen.size for copy in step.copies))
    details = [
        f"{c.source} → {c.target}  {c.seen.size} bytes, sha256 {c.sha256}" for c in step.copies
    ]
    return [f"copy {size} to the pool, each content once, while everything seeds", *details]


@step_lines.register
def _(step: VerifyReuse) -> list[str]:
    details = [f"{f.path}  {f.seen.size} bytes, sha256 {f.sha256}" for f in step.files]
    return ["read what the target has and compare its hashes", *details]


@step_lines.register
def _(step: BuildView) -> list[str]:
    return [f"link in {step.root}", *(f"{link.name} = {link.source}" for link in step.links)]


@step_lines.register
def _(step: ProveFolder) -> list[str]:
    return [f"prove that qBittorrent's {step.client_path} is our {step.path}"]


@step_lines.register
def _(step: ProveAway) -> list[str]:
    return [
        f"prove that qBittorrent sees nothing of the lost disk: its {step.client_path}"
        f" is our {step.path}",
        *(f"and remove again, if it is empty, {path}" for path in step.then_remove),
    ]


@step_lines.register
def _(step: Recheck) -> list[str]:
    return [f"check once more that plan {step.plan_id} still is the right one"]


@step_lines.register
def _(step: StopTorrents) -> list[str]:
    return [f"stop {', '.join(was.torrent_id for was in step.torrents)}"]


@step_lines.register
def _(step: StartTorrents) -> list[str]:
    return [
        "bring every torrent back to its state",
        *(f"{was.torrent_id}: {was.running.value}" for was in step.torrents),
    ]


@step_lines.register
def _(step: SetManagement) -> list[str]:
    return [
        f"set for {step.torrent_id}: automatic management {'on' if step.auto_tmm else 'off'},"
        f" path for unfinished data {step.client_download_path or 'none'}",
        f"until now {'on' if step.was_auto_tmm else 'off'},"
        f" {step.was_client_download_path or 'none'}",
    ]


@step_lines.register
def _(step: Hide) -> list[str]:
    return [f"hide files of {step.src_root} in {step.dst_root}", *step.names]


@step_lines.register
def _(step: Adopt) -> list[str]:
    return [f"take files of {step.src_root} into {step.dst_root}", *step.names]


@step_lines.register
def _(step: Place) -> list[str]:
    return [f"place files of {step.src_root} in {step.dst_root}", *step.names]


@step_lines.register
def _(step: Relocate) -> list[str]:
    return [
        f"tell qBittorrent: {step.torrent_id} lives in {step.client_to}",
        f"until now in {step.client_from}",
        f"ours: {step.to_root}, until now {step.from_root}",
    ]


@step_lines.register
def _(step: AwaitPlaces) -> list[str]:
    places = [f"{torrent_id}: {path}" for torrent_id, path in step.places]
    return ["wait until qBittorrent shows every torrent at its new place", *places]


@step_lines.register
def _(step: CheckFiles) -> list[str]:
    count = len(step.sizes)
    details = [f"{name}  {size} bytes" for name, size in step.sizes]
    return [f"check {count} file{'s' if count != 1 else ''} in {step.root}", *details]


@step_lines.register
def _(step: Reveal) -> list[str]:
    return [f"show files of {step.src_root} in {step.dst_root} again", *step.names]


@step_lines.register
def _(step: SetCategory) -> list[str]:
    return [
        f"set for {step.torrent_id}: category {step.category or 'none'}",
        f"its category until now: {step.was_category or 'none'}",
    ]

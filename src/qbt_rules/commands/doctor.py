"""`qbt-rules doctor`."""

from __future__ import annotations

from typing import Any

import click

from qbt_rules.commands.common import all_options, answer, json_option, settings_loader


@click.command()
@all_options
@json_option
def doctor(as_json: bool, **flags: Any) -> int:
    """Say what is right and what is not, each with what to change; changes nothing itself.

    Looks at settings, API key, rules, queue, qBittorrent and its hooks, the server, the catalog,
    stash and pool.  Exit code 1: something has to be changed.
    """
    from qbt_rules import doctor as looks
    from qbt_rules import doctor_rules
    from seedkeep import diagnosis, logs
    from seedkeep.errors import SeedError

    try:
        settings = settings_loader(flags)()
    except SeedError as why:
        report = doctor_rules.unreadable(why)
    else:
        # One screen: what is wrong is told once, below.
        logs.set_up("ERROR", secrets=settings.secrets())
        report = doctor_rules.judge(looks.gather(settings))
    answer("doctor", report, diagnosis.report, as_json)
    return 0 if report.healthy else 1

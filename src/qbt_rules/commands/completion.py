"""`qbt-rules completion`."""

from __future__ import annotations

from qbt_rules.commands.common import PROGRAM
from seedkeep.program_options import completion_command

completion = completion_command(PROGRAM)

"""One base for every error that a person is meant to read.

Say what happened, the detail that proves it, and what to do next.  The class decides the exit
code; only a program's `main` prints an error.  Codes are listed in docs/tooling/cli.md.
"""


class SeedError(Exception):
    """Something the user can act on; shown without a traceback."""

    exit_code = 1
    code = "failed"  # a word to grep for, also in --json

    def __init__(self, brief: str, *, detail: str = "", hint: str = "") -> None:
        super().__init__(brief)
        self.brief, self.detail, self.hint = brief, detail, hint

    def __str__(self) -> str:
        hint = f"hint: {self.hint}" if self.hint else ""
        return "\n".join(part for part in (self.brief, self.detail, hint) if part)


class Misused(SeedError):
    """A flag, a setting or a file that the user gave is wrong."""

    exit_code = 2
    code = "usage"


class Refused(SeedError):
    """Policy or proof said no.  Nothing was changed."""

    exit_code = 3
    code = "refused"


class Partial(SeedError):
    """Some of the work happened, or all of it was taken back."""

    exit_code = 4
    code = "partial"


class Unreachable(SeedError):
    """qBittorrent or a server did not answer, or did not let us in."""

    exit_code = 5
    code = "unreachable"


class Locked(SeedError):
    """Another run holds what this one needs."""

    exit_code = 75
    code = "locked"

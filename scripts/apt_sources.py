"""Which Debian mirror does this machine use?  Read from apt's own files, both formats."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_KEPT_OPTIONS = ("signed-by", "trusted")


@dataclass(frozen=True)
class Mirror:
    """One archive that apt reads, with the options that decide whether it is believed."""

    uri: str
    suites: tuple[str, ...]
    components: tuple[str, ...]
    options: tuple[tuple[str, str], ...] = ()

    def line_for(self, suite: str) -> str:
        """The one-line form for another suite of the same archive."""
        options = " ".join(f"{key}={value}" for key, value in self.options)
        bracket = f"[{options}] " if options else ""
        return f"deb {bracket}{self.uri} {suite} main"


def find_mirror(codename: str, apt: Path = Path("/etc/apt")) -> Mirror | None:
    """The first archive that serves `codename` itself (not its updates) with component main."""
    for mirror in read_sources(apt):
        if codename in mirror.suites and "main" in mirror.components:
            return mirror
    return None


def read_sources(apt: Path) -> Iterator[Mirror]:
    """Every enabled binary archive, in apt's order."""
    single = apt / "sources.list"
    parts = sorted((apt / "sources.list.d").glob("*"))
    for path in [single, *parts]:
        if path.suffix == ".list" and path.is_file():
            yield from parse_one_line(path.read_text(errors="replace"))
        elif path.suffix == ".sources" and path.is_file():
            yield from parse_deb822(path.read_text(errors="replace"))


def parse_one_line(text: str) -> Iterator[Mirror]:
    for line in text.splitlines():
        found = re.match(r"\s*deb\s+(?:\[(?P<options>[^\]]*)\]\s+)?(?P<rest>[^#]+)", line)
        if found is None:
            continue
        uri, suite, *components = found["rest"].split() + [""] * 2
        pairs = [word.split("=", 1) for word in (found["options"] or "").split() if "=" in word]
        options = [(key.lower(), value) for key, value in pairs]
        yield _mirror(uri, [suite], components, options)


def parse_deb822(text: str) -> Iterator[Mirror]:
    for stanza in re.split(r"\n[ \t]*\n", text):
        fields = _fields(stanza)
        if fields.get("enabled", "yes").lower() in ("no", "false", "without", "off", "disable"):
            continue
        if "deb" not in fields.get("types", "").split():
            continue
        options = [(key, fields[key]) for key in _KEPT_OPTIONS if key in fields]
        for uri in fields.get("uris", "").split():
            components = fields.get("components", "").split()
            yield _mirror(uri, fields.get("suites", "").split(), components, options)


def _fields(stanza: str) -> dict[str, str]:
    """Lower-case field names; continuation lines are joined with a space."""
    fields: dict[str, str] = {}
    last = ""
    for line in stanza.splitlines():
        if line.startswith("#"):
            continue
        if line[:1] in (" ", "\t") and last:
            fields[last] += " " + line.strip()
        elif ":" in line:
            last, value = line.split(":", 1)
            last = last.strip().lower()
            fields[last] = value.strip()
    return fields


def _mirror(
    uri: str, suites: Sequence[str], components: Sequence[str], options: Sequence[tuple[str, str]]
) -> Mirror:
    # A key written into the file itself does not fit on one line; apt's keyring knows Debian.
    kept = tuple(
        (key, value)
        for key, value in options
        if key in _KEPT_OPTIONS and " " not in value and not value.startswith("-----")
    )
    return Mirror(uri, tuple(suites), tuple(part for part in components if part), kept)

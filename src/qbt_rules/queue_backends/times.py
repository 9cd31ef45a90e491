"""Moments as the queue stores them."""

from __future__ import annotations

from datetime import UTC, datetime


def stored(moment: datetime) -> str:
    """One width always, so that text order is time order."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def read(text: str | None) -> datetime | None:
    """Also what SQLite's CURRENT_TIMESTAMP writes, which is UTC without saying so."""
    if not text:
        return None
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def read_required(text: str) -> datetime:
    moment = read(text)
    if moment is None:
        raise ValueError("a time is missing")
    return moment

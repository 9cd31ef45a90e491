"""Who may call: API keys, wrong guesses, and whose headers about the caller are believed."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from flask import Request

from qbt_rules.api_models import KEY_PARAMETERS
from seedkeep import clock

WINDOW_S = 60.0
MOST_ADDRESSES = 10_000
PREFIX = re.compile(r"(/[A-Za-z0-9._~-]+)+/?")

HEADERS = [
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cache-Control", "no-store"),
]


class Keys:
    """The keys that are valid now."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._digests = [_digest(key.encode("utf-8", "surrogateescape")) for key in keys]
        if not self._digests:
            raise ValueError("at least one key")

    def accept(self, offered: Sequence[bytes]) -> bool:
        """Whether one of them is valid; takes the same time whatever is offered."""
        # Digests have one length and no relation to where a guess begins to be wrong.
        matches = [
            hmac.compare_digest(_digest(one), digest) for one in offered for digest in self._digests
        ]
        return any(matches)


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


def offered_keys(request: Request) -> list[bytes]:
    """X-API-Key, Bearer, `?key=`, `?apikey=`: every one that is there."""
    found = []
    if header := request.headers.get("X-API-Key"):
        found.append(header.encode("latin-1", "replace"))
    kind, _, token = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() == "bearer" and token.strip():
        found.append(token.strip().encode("latin-1", "replace"))
    for name in KEY_PARAMETERS:
        found += [value.encode() for value in request.args.getlist(name) if value]
    return found


@dataclass
class WrongKeys:
    """Counts wrong keys by address, in this process."""

    most: int = 10  # from one address within the window, then it has to wait
    window_s: float = WINDOW_S
    _seen: OrderedDict[str, list[float]] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def wait_s(self, address: str) -> int:
        """Seconds until the address may try again; 0: now."""
        if not self._seen:  # nearly always, and without the lock
            return 0
        with self._lock:
            recent = self._recent(address)
            if len(recent) < self.most:
                return 0
            return max(1, round(recent[0] + self.window_s - clock.monotonic()))

    def count(self, address: str) -> None:
        with self._lock:
            self._seen[address] = [*self._recent(address), clock.monotonic()]
            self._seen.move_to_end(address)
            while len(self._seen) > MOST_ADDRESSES:
                self._seen.popitem(last=False)

    def _recent(self, address: str) -> list[float]:
        since = clock.monotonic() - self.window_s
        recent = [moment for moment in self._seen.get(address, ()) if moment > since]
        if address in self._seen and not recent:
            del self._seen[address]
        return recent


class Front:
    """WSGI around the application.

    In: the caller's address and the path prefix, as far as a trusted proxy tells them.  Out: what a
    browser needs to know to be safe.
    """

    def __init__(self, app: Any, trusted: Iterable[str], base_url: str) -> None:
        self._app = app
        self._networks = [ipaddress.ip_network(network) for network in trusted]
        self._base_url = base_url

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        prefix = self._base_url
        if self._networks and self._trusts(environ.get("REMOTE_ADDR", "")):
            forwarded = environ.get("HTTP_X_FORWARDED_PREFIX", "")
            if PREFIX.fullmatch(forwarded):
                prefix = forwarded.rstrip("/")
            environ["REMOTE_ADDR"] = self._caller(environ)
        path = environ.get("PATH_INFO", "")
        if prefix and (path == prefix or path.startswith(f"{prefix}/")):
            environ["PATH_INFO"] = path[len(prefix) :] or "/"
        environ["SCRIPT_NAME"] = prefix

        def start(status: str, headers: list[tuple[str, str]], error: Any = None) -> Any:
            return start_response(status, headers + HEADERS, error)

        return self._app(environ, start)

    def _caller(self, environ: dict[str, Any]) -> str:
        """The last address of X-Forwarded-For that no trusted proxy has."""
        address: str = environ["REMOTE_ADDR"]
        for hop in reversed(environ.get("HTTP_X_FORWARDED_FOR", "").split(",")):
            if not self._trusts(address):
                break
            try:
                address = str(ipaddress.ip_address(hop.strip()))
            except ValueError:
                break
        return address

    def _trusts(self, address: str) -> bool:
        try:
            caller = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(caller in network for network in self._networks)

"""`python -m qbt_rules.ping`: does the web server on this machine answer?  For a health check.

It asks `/ping`, which says that the process is alive, and not `/api/health`, which is 503 while
qBittorrent is away: restarting this server would not bring that one back.
"""

from __future__ import annotations

import http.client
import sys

from seedkeep.errors import SeedError
from seedkeep.settings import load
from seedkeep.settings_qbt_rules import QBT_RULES, SERVER_HOST, SERVER_PORT

TIMEOUT_S = 5.0
# An address to listen on that means "all of them", and one of these to ask.
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}


def main() -> int:
    """0 if the server answers, else 1 and a line on stderr; Docker knows no other codes."""
    try:
        settings = load(QBT_RULES)
        problem = ask(settings[SERVER_HOST], settings[SERVER_PORT])
    except SeedError as why:
        problem = str(why)
    if problem:
        sys.stderr.write(f"{problem}\n")
    return 1 if problem else 0


def ask(host: str, port: int, timeout_s: float = TIMEOUT_S) -> str:
    """What is wrong with the server that listens on `host`; "" when it answers."""
    host = _EVERYWHERE.get(host, host)
    connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
    try:
        connection.request("GET", "/ping")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as why:
        return f"no answer from {host}, port {port}: {why}"
    finally:
        connection.close()
    return "" if status == http.client.OK else f"{host}, port {port} answers with {status}"


if __name__ == "__main__":
    sys.exit(main())

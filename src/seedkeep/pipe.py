"""Messages of bytes through a pipe between two processes of one program."""

from __future__ import annotations

from typing import IO

_HEAD = 8  # bytes that tell the length of a message


def send(out: IO[bytes], message: bytes) -> None:
    """To an unbuffered pipe, which may take less than all at once."""
    rest = memoryview(len(message).to_bytes(_HEAD, "little") + message)
    while rest:
        rest = rest[out.write(rest) :]


def receive(pipe: IO[bytes]) -> bytes:
    """The next message.  Raises `EOFError` when the other side is gone."""
    return _exactly(pipe, int.from_bytes(_exactly(pipe, _HEAD), "little"))


def _exactly(pipe: IO[bytes], count: int) -> bytes:
    parts = []
    while count:
        part = pipe.read(count)
        if not part:
            raise EOFError
        parts.append(part)
        count -= len(part)
    return b"".join(parts)

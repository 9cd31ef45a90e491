"""The best plain reader: SHA-256 of every file of a folder, two threads, nothing kept.

1 MiB reads with readahead, and what was read leaves the page cache: no catalog can be quicker.
"""

from __future__ import annotations

import hashlib
import os
import sys
import threading
from collections import deque
from pathlib import Path

BLOCK, DROP = 1 << 20, 64 << 20


def read(todo: deque[tuple[int, Path]]) -> None:
    buffer = memoryview(bytearray(BLOCK))
    while todo:
        try:
            _, path = todo.popleft()
        except IndexError:
            return
        fd = os.open(path, os.O_RDONLY)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)
        whole, done, dropped = hashlib.sha256(), 0, 0
        while count := os.readv(fd, [buffer]):
            whole.update(buffer[:count])
            done += count
            if done - dropped >= DROP:
                os.posix_fadvise(fd, dropped, done - dropped, os.POSIX_FADV_DONTNEED)
                dropped = done
        os.posix_fadvise(fd, dropped, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)
        whole.hexdigest()


def main() -> None:
    found = [Path(folder, name) for folder, _, names in os.walk(sys.argv[1]) for name in names]
    todo = deque(sorted((path.stat().st_ino, path) for path in found))
    threads = [threading.Thread(target=read, args=(todo,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()

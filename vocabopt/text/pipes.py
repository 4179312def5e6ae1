"""Reading small inputs (a plan, a vocabulary) that may be named pipes: what is waited for there is bounded."""

import errno
import os
import select
import stat
from pathlib import Path

#: For the first byte, and between two: who writes may have to compute.
PATIENCE_SECONDS = 60.0


def read_whole(path: Path, *, patience_seconds: float = PATIENCE_SECONDS) -> bytes:
    """The content of a file; of a pipe what is written to it until its writer closes it.

    Raises:
        OSError: it cannot be read. TimeoutError, which is one: nobody writes to the pipe.
    """
    if not stat.S_ISFIFO(os.stat(path).st_mode):
        return path.read_bytes()
    # Not blocking: to open a pipe that nobody writes to would wait for ever.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        waiting = select.poll()
        waiting.register(descriptor, select.POLLIN)
        parts: list[bytes] = []
        while True:
            if not waiting.poll(1000 * patience_seconds):
                raise TimeoutError(errno.ETIMEDOUT, f"nobody writes to this pipe; waited {patience_seconds:g} s", path)
            if not (part := os.read(descriptor, 1 << 20)):
                return b"".join(parts)
            parts.append(part)
    finally:
        os.close(descriptor)

"""Standard output and error that never end a command: whatever their encoding, full, or read by nobody any more.

What a command writes to its folder is whole whether or not its table could be printed; that it could not is said at
the end.
"""

import codecs
import errno
import io
import os
import sys
from typing import TYPE_CHECKING

from vocabopt.text.utf8 import SHOWN

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class _Descriptor(io.FileIO):
    """A descriptor whose failure is kept instead of raised. failure: the first one; a reader who left is none."""

    failure: OSError | None = None
    _is_closed = False

    def write(self, data: "ReadableBuffer") -> int:
        n_bytes = memoryview(data).nbytes
        if self._is_closed:
            return n_bytes
        try:
            return super().write(data) or 0
        except OSError as error:
            self._is_closed = True
            if error.errno != errno.EPIPE:
                self.failure = error
            return n_bytes


def open_streams() -> list[_Descriptor]:
    """Put such streams in the place of `sys.stdout` and `sys.stderr`; returns what they write to."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # closed by the caller: the next file that is opened would be written to as standard output
            os.open(os.devnull, os.O_RDWR)
    opened = []
    for name, number in (("stdout", 1), ("stderr", 2)):
        before = getattr(sys, name)
        raw = _Descriptor(number, "wb", closefd=False)
        encoding = getattr(before, "encoding", None) or "utf-8"
        if codecs.lookup(encoding).name == "ascii":
            encoding = "utf-8"  # click would write UTF-8 through a stream of its own, with "?" for what is none
        stream = io.TextIOWrapper(
            io.BufferedWriter(raw),
            encoding=encoding,
            errors=SHOWN,
            line_buffering=number == 2 or raw.isatty(),
        )
        setattr(sys, name, stream)
        opened.append(raw)
    return opened


def flush(stdout: _Descriptor) -> str | None:
    """Write what waits; returns why standard output is not whole, None where it is."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    if stdout.failure is None:
        return None
    return f"standard output: cannot be written ({stdout.failure.strerror}). What was written to files is whole."

"""UTF-8 of any text that Python holds: names that are not UTF-8, JSON, byte order marks, and small files read whole.

A byte order mark at the beginning of a file is no part of its text: the one home of that rule.
"""

import codecs
import errno
import json
import os
import select
import stat
from pathlib import Path
from typing import Any

from vocabopt.errors import tell

#: The name of the error handler below, for files and streams.
SHOWN = "vocabopt.shown"


def _shown(error: UnicodeError) -> tuple[str, int]:
    r"""What an encoding lacks as \uXXXX, bytes of a name that are not UTF-8 as \xNN."""
    assert isinstance(error, UnicodeEncodeError)
    part = error.object[error.start : error.end]
    shown = (f"\\x{ord(c) - 0xDC00:02x}" if "\udc80" <= c <= "\udcff" else c for c in part)
    return "".join(shown).encode("ascii", "backslashreplace").decode(), error.end


codecs.register_error(SHOWN, _shown)


def printable(path: str | os.PathLike[str]) -> str:
    r"""A path as text that any encoding of Unicode takes: bytes of the name that are not UTF-8 appear as \xNN."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def encoded_for_display(text: str) -> bytes:
    """Text for eyes: a page, a table."""
    return text.encode("utf-8", SHOWN)


def json_value(text: str | bytes) -> Any:
    """What JSON says. Raises ValueError where it is none, nested too deep to be read included."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error


def json_bytes(value: Any, *, indent: int | None = 1, **options: Any) -> bytes:
    """JSON that gives back the same text. options: of `json.dumps`."""
    # What UTF-8 lacks stands inside a JSON string, where a backslash and its number are the same character.
    return json.dumps(value, ensure_ascii=False, indent=indent, **options).encode("utf-8", "backslashreplace")


def read_whole(path: Path, *, patience_seconds: float = 60.0) -> bytes:
    """The content of a file; of a pipe what is written to it until its writer closes it.

    patience_seconds: for the first byte, and between two: who writes may have to compute.

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


MARK = codecs.BOM_UTF8


def without_mark(data: bytes, place: object) -> bytes:
    """The bytes behind the byte order mark, where there is one. place: of the file, to say so."""
    if not data.startswith(MARK):
        return data
    tell(
        "byte order mark",
        f"{place}: begins with a byte order mark (U+FEFF), which is no text and is left out. In other "
        "files it is left out too, without another word.",
    )
    return data[len(MARK) :]


def read_bytes(path: Path) -> bytes:
    """The bytes of a file without its byte order mark. Raises OSError."""
    return without_mark(read_whole(path), path)


def read_utf8(path: Path) -> str:
    """The text of a file. Raises OSError, or UnicodeDecodeError where it is not UTF-8."""
    return read_bytes(path).decode()

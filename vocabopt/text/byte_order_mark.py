"""A byte order mark at the beginning of a file in UTF-8 is no part of its text: the one home of that rule."""

import codecs
from collections.abc import Iterator
from pathlib import Path

from vocabopt.text.notices import tell
from vocabopt.text.pipes import read_whole

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


def chunks_without_mark(chunks: Iterator[tuple[bytes, int]], place: object) -> Iterator[tuple[bytes, int]]:
    """The same of a file read in chunks, each with its number of stored bytes; the last chunk is empty."""
    head, n_stored, is_end = b"", 0, False
    while len(head) < len(MARK) and not is_end:
        data, n_stored = next(chunks)
        head, is_end = head + data, not data
    if head := without_mark(head, place):
        yield head, n_stored
    if is_end:
        yield b"", n_stored
    yield from chunks


def is_utf8(encoding: str) -> bool:
    """Whether this codec of Python is UTF-8, read here with a byte order mark or without one."""
    return codecs.lookup(encoding).name in ("utf-8", "utf-8-sig")


def needs_mark(encoding: str) -> bool:
    """Whether this codec of Python reads the byte order from the mark: it takes the mark off, and a second is text."""
    return codecs.lookup(encoding).name in ("utf-16", "utf-32")


def read_bytes(path: Path) -> bytes:
    """The bytes of a file without its byte order mark. Raises OSError."""
    return without_mark(read_whole(path), path)


def read_utf8(path: Path) -> str:
    """The text of a file. Raises OSError, or UnicodeDecodeError where it is not UTF-8."""
    return read_bytes(path).decode()

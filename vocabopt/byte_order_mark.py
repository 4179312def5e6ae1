"""A byte order mark at the beginning of a file in UTF-8 is no part of its text: the one home of that rule."""

import codecs
from pathlib import Path

from vocabopt.notices import tell
from vocabopt.pipes import read_whole

MARK = codecs.BOM_UTF8


def without_mark(data: bytes, place: object) -> bytes:
    """The bytes behind the byte order mark, where there is one. place: of the file, to say so."""
    if not data.startswith(MARK):
        return data
    tell_mark(place)
    return data[len(MARK) :]


def read_bytes(path: Path) -> bytes:
    """The bytes of a file without its byte order mark. Raises OSError."""
    return without_mark(read_whole(path), path)


def read_utf8(path: Path) -> str:
    """The text of a file. Raises OSError, or UnicodeDecodeError where it is not UTF-8."""
    return read_bytes(path).decode()


def tell_mark(place: object) -> None:
    tell(
        "byte order mark",
        f"{place}: begins with a byte order mark (U+FEFF), which is no text and is dropped; so it is in other files.",
    )

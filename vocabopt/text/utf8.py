"""UTF-8 of any text that Python holds: names that are not UTF-8, and halves of characters that JSON files can hold."""

import codecs
import json
import os
from typing import Any

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

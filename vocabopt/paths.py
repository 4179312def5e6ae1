"""File names as text that every output takes."""

import os


def printable(path: str | os.PathLike[str]) -> str:
    r"""A path as text that any encoding of Unicode takes: bytes of the name that are not UTF-8 appear as \xNN."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")

"""What a file of text holds, by its suffix and its first bytes: syntax must never be counted as language.

A suffix is a promise that the beginning of the file is held against. Where a text file (or one of which the name tells
nothing) holds records, markup or binary data, it is refused with what to do; `--format` decides instead of both.
"""

import csv
import io
import json
import re
from collections.abc import Iterator
from itertools import chain, islice
from typing import Literal

from vocabopt.errors import CorpusError
from vocabopt.options import ReadOptions
from vocabopt.text.lines import text_column
from vocabopt.text.storage import STDIN

HEAD_BYTES = 1 << 16
#: Values at the beginning that must be JSON objects for the file to be records.
_N_OBJECTS = 20
#: Text has no control characters but white space; of random bytes they are a tenth.
_MAX_CONTROL_SHARE = 0.05
_MIN_JUDGED_CHARS = 256

_MAGIC: tuple[tuple[bytes, str, str], ...] = (
    (b"PAR1", "parquet", "Read it with --format parquet"),
    (b"\x1f\x8b", "gzip", "Name it with the suffix .gz"),
    (b"\x28\xb5\x2f\xfd", "zstd", "Name it with the suffix .zst"),
    (b"GGUF", "GGUF, a model", ""),
    (b"BZh", "bzip2", ""),
    (b"\xfd7zXZ\0", "xz", ""),
    (b"7z\xbc\xaf\x27\x1c", "7-Zip", ""),
    (b"PK\x03\x04", "zip (or a document of an office program)", ""),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "a document of an office program", ""),
    (b"%PDF-", "PDF", ""),
    (b"{\\rtf", "RTF", ""),
    (b"ARROW1", "Arrow", ""),
    (b"\x89HDF", "HDF5", ""),
    (b"\x93NUMPY", "a NumPy array", ""),
    (b"SQLite format 3\0", "an SQLite database", ""),
    (b"\x89PNG", "a picture", ""),
    (b"\xff\xd8\xff", "a picture", ""),
    (b"\x7fELF", "a program", ""),
)
_MARKUP = re.compile(r"\s*(<!--.*?-->\s*)*(<\?xml\s|<!doctype\s|<html\b)", re.IGNORECASE | re.DOTALL)
_SPACE = re.compile(r"[ \t\r\n]*")
_OBJECT = re.compile(r'\{\s*"(?:[^"\\]|\\.){0,200}"\s*:')
#: Columns that hold text where `--column` names none, and lines at the beginning that must be rows of a table.
_TEXT_COLUMNS = ("text", "content", "document", "sentence")
_N_ROWS = 20
_COLUMN_NAME = re.compile(r"\w[\w .-]{0,39}")
_CONTROL = re.compile("[\0-\x08\x0b\x0e-\x1a\x1c-\x1f]")
#: Longer than any literal or escape of JSON.
_MARGIN_CHARS = 32
JSON_DECODER = json.JSONDecoder()


def head_of(chunks: Iterator[tuple[bytes, int]]) -> tuple[bytes, bool, Iterator[tuple[bytes, int]]]:
    """The first bytes, whether they are all there are, and all chunks again."""
    taken: list[tuple[bytes, int]] = []
    n_bytes, is_all = 0, False
    while n_bytes < HEAD_BYTES and not is_all:
        taken.append(next(chunks))
        n_bytes += len(taken[-1][0])
        is_all = not taken[-1][0]
    return b"".join(data for data, _ in taken), is_all, chain(taken, chunks)


def format_of(url: str, suffix: str, stored: bytes, text: bytes, options: ReadOptions, *, is_all: bool) -> str:
    """The format that a file is read in: that of the options, else what its suffix and its content agree on.

    Args:
        suffix: the format that the suffix tells, "" for none.
        stored, text: the first bytes, unpacked; as they are, and as UTF-8 without a mark. is_all: they are all.

    Raises:
        CorpusError: the content is not what the suffix says, or no text.
    """
    if options.format == "text":
        return "text"
    for magic, what, advice in _MAGIC:
        if stored.startswith(magic) and (not _is_word(magic) or b"\0" in stored):
            raise _refused(url, what, advice)
    if options.format != "auto":
        return options.format
    start = text.decode(errors="replace")
    kind = json_kind(start, is_all=is_all)
    if suffix == "json":
        # What is in another encoding is refused with its name when it is read.
        if kind is None and start.lstrip()[:1] not in ("[", "{") and "\ufffd" not in start:
            raise CorpusError(f"{url}: holds no JSON; read it as plain text with --format text, or mend it")
        first_line = start.lstrip().partition("\n")[0]
        return "jsonl" if kind == "objects" and json_kind(first_line, is_all=True) == "objects" else "json"
    if suffix == "jsonl" and kind == "array":
        return "json"
    if suffix in ("jsonl", "csv", "tsv"):
        return suffix
    if kind is not None:
        what = "a JSON array" if kind == "array" else "JSON objects, one after another"
        as_format = "json" if kind == "array" else "jsonl"
        raise _refused(url, what, f"Read its records with --format {as_format} (and --column NAME)")
    if table := _table_kind(start, options, is_all=is_all):
        raise _refused(url, table.upper(), f"Read a column of it with --format {table} (and --column NAME)")
    if _MARKUP.match(start):
        raise _refused(url, "HTML or XML", "Take the text out of it")
    # Where nothing is skipped, the first bad byte is refused anyway, with its place.
    if options.on_error == "skip" and _is_binary(start):
        advice = "Where it is UTF-16, add --encoding utf-16, utf-16-le or utf-16-be"
        raise _refused(url, "binary data, or text in UTF-16", advice)
    return "text"


def json_kind(text: str, *, is_all: bool) -> Literal["array", "objects"] | None:
    """What JSON a text begins with: an array of objects or strings, or objects one after another; None for neither.

    is_all: the text ends there; else it goes on, and may stop inside a value.
    """
    position = skip_space(text, 0)
    if text.startswith("[", position):
        return "array" if _begins_array(text, position, is_all=is_all) else None
    n_objects = 0
    while text.startswith("{", position) and n_objects < _N_OBJECTS:
        try:
            value, end = JSON_DECODER.raw_decode(text, position)
        except json.JSONDecodeError as error:
            is_cut = not is_all and stops_inside(error, text) and _OBJECT.match(text, position) is not None
            return "objects" if is_cut or n_objects > 1 else None
        except (ValueError, RecursionError):
            return None
        if not value:
            return None
        n_objects, position = n_objects + 1, skip_space(text, end)
    return "objects" if n_objects and (position == len(text) or n_objects == _N_OBJECTS) else None


def _begins_array(text: str, position: int, *, is_all: bool) -> bool:
    start = skip_space(text, position + 1)
    try:
        value, end = JSON_DECODER.raw_decode(text, start)
    except json.JSONDecodeError as error:
        return not is_all and stops_inside(error, text) and text[start : start + 1] in ("{", '"')
    except (ValueError, RecursionError):
        return False
    if not isinstance(value, dict | str):
        return False
    end = skip_space(text, end)
    if text.startswith("]", end):
        return skip_space(text, end + 1) == len(text)
    return text.startswith(",", end)


def _table_kind(text: str, options: ReadOptions, *, is_all: bool) -> Literal["csv", "tsv"] | None:
    """The kind of table that a text begins with; None for none.

    A head line of names, one of them the text column's, and behind it two rows at least, all with as many fields:
    prose that has all of that by chance is not to be expected.
    """
    columns = (text_column(options),) if options.column else _TEXT_COLUMNS
    head = text.partition("\n")[0]
    if not any(column in head for column in columns):
        return None
    kinds: tuple[tuple[Literal["csv", "tsv"], str], ...] = (("csv", ","), ("tsv", "\t"))
    whole_lines = text if is_all else text[: text.rfind("\n") + 1]
    for kind, separator in kinds:
        reader = csv.reader(io.StringIO(whole_lines, newline=""), delimiter=separator, strict=True)
        rows: list[list[str]] = []
        try:
            rows.extend(row for row in islice(reader, _N_ROWS + 1) if row)
        except csv.Error as error:
            if is_all or "unexpected end of data" not in str(error):  # else what was read stops inside a cell
                continue
        names = rows[0] if rows else []
        if (
            len(rows) > 2
            and len(set(names)) == len(names) > 1
            and any(name in columns for name in names)
            and all(_COLUMN_NAME.fullmatch(name) for name in names)
            and all(len(row) == len(names) for row in rows)
        ):
            return kind
    return None


def _is_binary(start: str) -> bool:
    n_control = len(_CONTROL.findall(start))
    return len(start) >= _MIN_JUDGED_CHARS and "\0" in start and n_control > _MAX_CONTROL_SHARE * len(start)


def _is_word(magic: bytes) -> bool:
    """A text may begin with such a word, but would not hold NUL."""
    return magic.isalnum()


def stops_inside(error: json.JSONDecodeError, text: str) -> bool:
    """Whether JSON may be whole when the text goes on: nothing far from its end is wrong."""
    return error.msg.startswith("Unterminated string") or error.pos > len(text) - _MARGIN_CHARS


def skip_space(text: str, position: int) -> int:
    """The position behind white space of JSON."""
    found = _SPACE.match(text, position)
    return position if found is None else found.end()


def _refused(url: str, what: str, advice: str) -> CorpusError:
    name = "standard input" if url == STDIN else url
    if url == STDIN and what in ("gzip", "zstd"):
        advice = "Unpack it on the way, for example with zcat or zstdcat"
    advice = advice or "Unpack or convert it to plain text"
    return CorpusError(f"{name}: holds {what}, not plain text. {advice}; --format text takes it as it stands.")

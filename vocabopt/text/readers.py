"""Opening, decoding and splitting files: from stored bytes to blocks of documents.

    stored bytes -> decompressed bytes -> UTF-8 bytes -> what the content is -> lines or records -> documents
    (storage)       (storage.chunks)      (lines)       (format_of)             (lines, record_readers)

Parquet has its own way in (_parquet_blocks). All ways end in Block.of, which holds the one rule for blank documents.

Syntax must never be counted as language. So a suffix is a promise that the beginning of the file is held against: where
a text file (or one of which the name tells nothing) holds records, markup or binary data, it is refused with what to
do. `--format` decides instead of both.
"""

import codecs
import csv
import io
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Literal

import polars as pl

from vocabopt.errors import CorpusError, DamagedFileError, tell
from vocabopt.options import ReadOptions
from vocabopt.text.lines import (
    NUL,
    OR_SKIP,
    Block,
    Chunks,
    Source,
    Unreadable,
    clean_text,
    line_blocks,
    transcoded,
)
from vocabopt.text.parquet_parts import local_part
from vocabopt.text.record_readers import (
    JSON_DECODER,
    json_line_blocks,
    json_records,
    json_value,
    lines_of,
    record_blocks,
    skip_space,
    stops_inside,
    table_records,
)
from vocabopt.text.storage import STDIN, Span, file_format, line_chunks, local_path, reading
from vocabopt.text.storage import chunks as decompressed
from vocabopt.text.utf8 import MARK, without_mark

if TYPE_CHECKING:
    from vocabopt.text.corpus import TextFile

__all__ = ["Block", "ReadOptions", "can_be_cut", "read_blocks", "read_records"]

_PARQUET_ROWS = 50_000
_SEPARATORS = {"csv": ",", "tsv": "\t"}
_HEAD_BYTES = 1 << 16
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
_OBJECT = re.compile(r'\{\s*"(?:[^"\\]|\\.){0,200}"\s*:')
#: Columns that hold text where `--column` names none, and lines at the beginning that must be rows of a table.
_TEXT_COLUMNS = ("text", "content", "document", "sentence")
_N_ROWS = 20
_COLUMN_NAME = re.compile(r"\w[\w .-]{0,39}")
_CONTROL = re.compile("[\0-\x08\x0b\x0e-\x1a\x1c-\x1f]")


def read_blocks(
    file: "TextFile", options: ReadOptions, *, block_bytes: int = 4 << 20, span: Span | None = None
) -> Iterator[Block]:
    """The documents of one file, in blocks of about `block_bytes` of decompressed text.

    A line ends at LF or CRLF and nothing else; nothing is stripped or normalised but a byte order mark; repeated
    documents stay. Memory is bounded by a few blocks, or by the longest document where that is longer. Larger blocks
    are no faster: 32 MB of fresh memory for each step took twice the time of 4 or 8 MB.

    Args:
        span: the part to read, of a file that `can_be_cut`: the lines that begin in these stored bytes, or as large a
            part of the rows of parquet (of remote parquet, of its row groups). Numbers of lines are then those in the
            part.

    Raises:
        CorpusError: the file cannot be opened, holds no text or lacks the column; or, where on_error is "fail", it is
            damaged, or a document is not in the encoding, holds NUL or is a broken record.
    """
    source = Source(file.url, options)
    if (file_format(file.url)[0] if options.format == "auto" else options.format) == "parquet":
        yield from _parquet_blocks(source, block_bytes, span)
        return
    n_documents, next_one = 0, 1
    for block in _unpacked_blocks(source, block_bytes, span):
        n_documents, next_one = n_documents + len(block.documents), block.first + len(block.kept)
        yield block
    if source.damage is not None:
        if not n_documents:
            raise DamagedFileError(source.damage)
        tell(source.damage, f"{source.damage} (--on-error skip: what comes before is used).")
        n_left = 0 if file.n_bytes is None else max(0, file.n_bytes - source.n_told)
        yield replace(Block.of(pl.Series(dtype=pl.String), (), n_left, next_one), damage=source.damage)


def can_be_cut(url: str, options: ReadOptions) -> bool:
    """Whether a file can be read in parts: lines of UTF-8 that no compression hides, and parquet."""
    suffix, packed = file_format(url)
    kind = suffix if options.format == "auto" else options.format
    if kind == "parquet":
        return True
    is_lines = kind == "jsonl" or (kind in ("text", "") and options.unit == "line")
    return is_lines and not packed and codecs.lookup(options.encoding).name == "utf-8"


def _unpacked_blocks(source: Source, block_bytes: int, span: Span | None) -> Iterator[Block]:
    kind, chunks, offset = _opened(source, block_bytes)
    if span is not None and kind in ("text", "jsonl"):
        start, end = span
        chunks = line_chunks(source.url, start, end, block_bytes)
        chunks = _behind_mark(chunks) if offset and not start else chunks
    elif span is not None and span[0]:
        return  # records over several lines, which the name did not tell: all are in the first part
    if kind == "json":
        yield from record_blocks(json_records(chunks, offset, source), source, block_bytes)
        return
    whole = kind == "text" and source.options.unit == "file"
    raws = line_blocks(chunks, block_bytes, whole=whole, offset=offset, source=source)
    if kind == "jsonl":
        yield from json_line_blocks(raws, source)
    elif kind != "text":
        records = table_records(lines_of(raws, source), _SEPARATORS[kind], source, source.column)
        yield from record_blocks(records, source, block_bytes, word="line")
    else:
        n_lines = 0
        for raw in raws:
            lines, unreadable = clean_text(raw, n_lines, source, whole=whole)
            if not whole:
                lines = lines.str.split("\n").explode()
                lines = lines.head(len(lines) - 1)  # behind the last LF there is no line
            yield source.block(lines, unreadable, n_lines + 1)
            n_lines += len(lines)


def _parquet_blocks(source: Source, block_bytes: int, span: Span | None) -> Iterator[Block]:
    url, column = source.url, source.column
    with _rows_of(source, span) as (path, rows), reading(url):
        table = pl.scan_parquet(path, glob=False)
        schema = table.collect_schema()
        if column not in schema:
            raise source.no_column(schema.names())
        if not isinstance(schema[column], (pl.String, pl.Categorical, pl.Enum, pl.Null)):
            raise CorpusError(
                f"{url}: column {column!r} holds {schema[column]}, not text; choose another with --column"
            )
        n_stored, n_rows = os.path.getsize(path), table.select(pl.len()).collect().item()
        if span is not None:
            first_row, last_row = rows or (n_rows * at // n_stored for at in span)
            n_rows, n_stored = last_row - first_row, span[1] - span[0]
            table = table.slice(first_row, n_rows)
        if n_rows == 0:
            yield Block.of(pl.Series(dtype=pl.String), (), n_stored, 1)
        # Text of one column seldom takes more than eight times the room of the stored table.
        n_batch = min(_PARQUET_ROWS, block_bytes * n_rows // (8 * n_stored) + 1)
        n_read = 0
        for batch in table.select(pl.col(column).cast(pl.String)).collect_batches(chunk_size=n_batch):
            texts = batch.to_series()
            broken = texts.str.contains("\0", literal=True).fill_null(False)
            if broken.any() and not source.skips:
                raise CorpusError(f"{url}, record {n_read + (broken.arg_max() or 0) + 1}: {NUL}; {OR_SKIP}")
            unreadable = [Unreadable.of(n_read + i + 1, texts[i].encode(), NUL) for i in broken.arg_true().to_list()]
            first, n_read = n_read + 1, n_read + len(texts)
            source.n_stored = n_stored * n_read // n_rows
            yield source.block(texts.set(broken, None), unreadable, first)


@contextmanager
def _rows_of(source: Source, span: Span | None) -> Iterator[tuple[str, Span | None]]:
    """A path for polars, and the rows to read: None for those that the part of the file says."""
    if span is None or "://" not in source.url:
        with local_path(source.url) as path:
            yield path, None
        return
    with local_part(source.url, source.column, span) as (path, first_row, last_row):
        yield path, (first_row, last_row)


def read_records(url: str) -> Iterator[tuple[int, Any]]:
    """Lines and records of a file as they are, with their numbers: a string for a line, what JSON holds, or a row.

    Raises:
        CorpusError: as `read_blocks`.
    """
    if file_format(url)[0] == "parquet":
        with local_path(url) as path, reading(url):
            yield from enumerate(pl.read_parquet(path, glob=False).iter_rows(named=True), 1)
        return
    source = Source(url, ReadOptions())
    kind, chunks, offset = _opened(source, 4 << 20)
    if kind == "json":
        yield from json_records(chunks, offset, source)
        return
    lines = lines_of(line_blocks(chunks, 4 << 20, whole=False, offset=offset, source=source), source)
    if kind in ("csv", "tsv"):
        yield from table_records(lines, _SEPARATORS[kind], source, None)
        return
    for number, line in enumerate(lines, 1):
        if text := line.strip():
            try:
                yield number, json_value(text) if kind == "jsonl" else text
            except (ValueError, RecursionError) as error:
                raise CorpusError(f"{url}, line {number}: {error}") from error


# --- What a file holds -----------------------------------------------------------------------------------------------


def _opened(source: Source, block_bytes: int) -> tuple[str, Chunks, int]:
    """The format of a file that is not parquet, its content in UTF-8 and how many bytes a mark before it had."""
    suffix, packed = file_format(source.url)
    chunks = decompressed(source.url, packed, block_bytes)
    if source.skips:
        chunks = source.watching(chunks)
    stored, _, chunks = _head_of(chunks)
    codec = codecs.lookup(source.options.encoding).name
    if codec not in ("utf-8", "utf-8-sig"):
        chunks = transcoded(chunks, source)
    text, is_all, chunks = _head_of(chunks)
    offset = 0
    # The codecs without an order of bytes take the mark off themselves, and a second is text.
    if codec not in ("utf-16", "utf-32") and text.startswith(MARK):
        text, chunks, offset = without_mark(text, source.url), _behind_mark(chunks), len(MARK)
    kind = _format_of(source, suffix, stored, text, is_all=is_all)
    if kind == "parquet":
        raise CorpusError(f"{source.url}: parquet is not read from compressed files; unpack it")
    return kind, chunks, offset


def _behind_mark(chunks: Chunks) -> Chunks:
    n_left = len(MARK)
    for data, n_stored in chunks:
        n_cut = min(n_left, len(data))
        n_left -= n_cut
        if not data or n_cut < len(data):
            yield data[n_cut:], n_stored


def _head_of(chunks: Chunks) -> tuple[bytes, bool, Chunks]:
    """The first bytes, whether they are all there are, and all chunks again."""
    taken: list[tuple[bytes, int]] = []
    n_bytes, is_all = 0, False
    while n_bytes < _HEAD_BYTES and not is_all:
        taken.append(next(chunks))
        n_bytes += len(taken[-1][0])
        is_all = not taken[-1][0]
    return b"".join(data for data, _ in taken), is_all, chain(taken, chunks)


def _format_of(source: Source, suffix: str, stored: bytes, text: bytes, *, is_all: bool) -> str:
    """The format that a file is read in: that of the options, else what its suffix and its content agree on.

    Args:
        suffix: the format that the suffix tells, "" for none.
        stored, text: the first bytes, unpacked; as they are, and as UTF-8 without a mark. is_all: they are all.

    Raises:
        CorpusError: the content is not what the suffix says, or no text.
    """
    url, options = source.url, source.options
    if options.format == "text":
        return "text"
    for magic, what, advice in _MAGIC:
        # A text may begin with a word, but would not hold NUL.
        if stored.startswith(magic) and (not magic.isalnum() or b"\0" in stored):
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
    if table := _table_kind(start, source, is_all=is_all):
        raise _refused(url, table.upper(), f"Read a column of it with --format {table} (and --column NAME)")
    if _MARKUP.match(start):
        raise _refused(url, "HTML or XML", "Take the text out of it")
    # Where nothing is skipped, the first bad byte is refused anyway, with its place.
    is_long = len(start) >= _MIN_JUDGED_CHARS
    if source.skips and is_long and "\0" in start and len(_CONTROL.findall(start)) > _MAX_CONTROL_SHARE * len(start):
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


def _table_kind(text: str, source: Source, *, is_all: bool) -> Literal["csv", "tsv"] | None:
    """The kind of table that a text begins with; None for none.

    A head line of names, one of them the text column's, and behind it two rows at least, all with as many fields:
    prose that has all of that by chance is not to be expected.
    """
    columns = (source.column,) if source.options.column else _TEXT_COLUMNS
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


def _refused(url: str, what: str, advice: str) -> CorpusError:
    name = "standard input" if url == STDIN else url
    if url == STDIN and what in ("gzip", "zstd"):
        advice = "Unpack it on the way, for example with zcat or zstdcat"
    advice = advice or "Unpack or convert it to plain text"
    return CorpusError(f"{name}: holds {what}, not plain text. {advice}; --format text takes it as it stands.")

"""Opening, decoding and splitting files: from stored bytes to blocks of documents.

    stored bytes -> decompressed bytes -> UTF-8 bytes -> what the content is -> lines or records -> documents
    (storage)       (storage.chunks)      (lines)       (formats)               (lines, record_readers)

Parquet has its own way in (_parquet_blocks). All ways end in Block.of, which holds the one rule for blank documents.
"""

import os
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import polars as pl

from vocabopt.errors import CorpusError, DamagedFileError
from vocabopt.options import ReadOptions
from vocabopt.text.formats import format_of, head_of
from vocabopt.text.lines import (
    NUL,
    OR_SKIP,
    Block,
    Damage,
    RawLines,
    clean_text,
    line_blocks,
    no_column,
    text_column,
    transcoded,
    unreadable_of,
)
from vocabopt.text.notices import tell
from vocabopt.text.record_readers import (
    Stream,
    json_line_blocks,
    json_records,
    json_value,
    record_blocks,
    table_records,
)
from vocabopt.text.storage import chunks as decompressed
from vocabopt.text.storage import file_format, local_path, reading
from vocabopt.text.utf8 import MARK, chunks_without_mark, is_utf8, needs_mark

if TYPE_CHECKING:
    from vocabopt.text.corpus import TextFile

__all__ = ["Block", "ReadOptions", "read_blocks", "read_records"]

_PARQUET_ROWS = 50_000
_SEPARATORS = {"csv": ",", "tsv": "\t"}


def read_blocks(file: "TextFile", options: ReadOptions, *, block_bytes: int = 4 << 20) -> Iterator[Block]:
    """The documents of one file, in blocks of about `block_bytes` of decompressed text.

    A line ends at LF or CRLF and nothing else; nothing is stripped or normalised but a byte order mark; repeated
    documents stay. Memory is bounded by a few blocks, or by the longest document where that is longer. Larger blocks
    are no faster: 32 MB of fresh memory for each step took twice the time of 4 or 8 MB.

    Raises:
        CorpusError: the file cannot be opened, holds no text or lacks the column; or, where on_error is "fail", it is
            damaged, or a document is not in the encoding, holds NUL or is a broken record.
    """
    if (file_format(file.url)[0] if options.format == "auto" else options.format) == "parquet":
        yield from _parquet_blocks(file.url, options, block_bytes)
        return
    damage = Damage()
    n_stored = n_documents = 0
    block = None
    for block in _unpacked_blocks(file.url, options, block_bytes, damage):
        n_stored, n_documents = n_stored + block.n_stored_bytes, n_documents + len(block.documents)
        yield block
    if damage.reason is not None:
        if not n_documents:
            raise DamagedFileError(damage.reason)
        tell(damage.reason, f"{damage.reason} (--on-error skip: what comes before is used).")
        first = 1 if block is None else block.first + len(block.kept)
        n_left = 0 if file.n_bytes is None else max(0, file.n_bytes - n_stored)
        yield replace(Block.of(pl.Series(dtype=pl.String), (), n_left, first), damage=damage.reason)


def read_records(url: str) -> Iterator[tuple[int, Any]]:
    """Lines and records of a file as they are, with their numbers: a string for a line, what JSON holds, or a row.

    Raises:
        CorpusError: as `read_blocks`.
    """
    options, damage = ReadOptions(), Damage()
    if file_format(url)[0] == "parquet":
        with local_path(url) as path, reading(url):
            yield from enumerate(pl.read_parquet(path, glob=False).iter_rows(named=True), 1)
        return
    kind, chunks, offset = _opened(url, options, 4 << 20, damage)
    stream = Stream(url, options, damage)
    if kind == "json":
        yield from json_records(stream.pieces(chunks, offset), stream)
        return
    raws = line_blocks(chunks, 4 << 20, whole=False, offset=offset, damage=damage)
    if kind in ("csv", "tsv"):
        yield from table_records(stream.lines(raws), _SEPARATORS[kind], stream, None)
        return
    for number, line in enumerate(stream.lines(raws), 1):
        if text := line.strip():
            try:
                yield number, json_value(text) if kind == "jsonl" else text
            except (ValueError, RecursionError) as error:
                raise CorpusError(f"{url}, line {number}: {error}") from error


def _opened(
    url: str, options: ReadOptions, block_bytes: int, damage: Damage
) -> tuple[str, Iterator[tuple[bytes, int]], int]:
    """The format of a file that is not parquet, its content in UTF-8 and how many bytes a mark before it had."""
    suffix, packed = file_format(url)
    chunks = decompressed(url, packed, block_bytes)
    if options.on_error == "skip":
        chunks = damage.watching(chunks)
    stored, _, chunks = head_of(chunks)
    if not is_utf8(options.encoding):
        chunks = transcoded(chunks, url, options)
    text, is_all, chunks = head_of(chunks)
    offset = 0
    if not needs_mark(options.encoding) and text.startswith(MARK):
        text, chunks, offset = text[len(MARK) :], chunks_without_mark(chunks, url), len(MARK)
    kind = format_of(url, suffix, stored, text, options, is_all=is_all)
    if kind == "parquet":
        raise CorpusError(f"{url}: parquet is not read from compressed files; unpack it")
    return kind, chunks, offset


def _unpacked_blocks(url: str, options: ReadOptions, block_bytes: int, damage: Damage) -> Iterator[Block]:
    kind, chunks, offset = _opened(url, options, block_bytes, damage)
    if kind == "json":
        stream = Stream(url, options, damage)
        yield from record_blocks(json_records(stream.pieces(chunks, offset), stream), stream, block_bytes)
        return
    whole = kind == "text" and options.unit == "file"
    raws = line_blocks(chunks, block_bytes, whole=whole, offset=offset, damage=damage)
    if kind == "text":
        yield from _text_blocks(raws, url, options, whole=whole)
    elif kind == "jsonl":
        yield from json_line_blocks(raws, url, options, damage)
    else:
        stream = Stream(url, options, damage)
        records = table_records(stream.lines(raws), _SEPARATORS[kind], stream, text_column(options))
        yield from record_blocks(records, stream, block_bytes, word="line")


def _text_blocks(raws: Iterator[RawLines], url: str, options: ReadOptions, *, whole: bool) -> Iterator[Block]:
    n_lines = 0
    for raw in raws:
        text, unreadable, n_recoded = clean_text(raw, n_lines, url, options, whole=whole)
        lines = text
        if not whole:
            lines = text.str.split("\n").explode()
            lines = lines.head(len(lines) - 1)  # behind the last LF there is no line
        yield Block.of(lines, unreadable, raw.n_stored_bytes, n_lines + 1, n_recoded)
        n_lines += len(lines)


def _parquet_blocks(url: str, options: ReadOptions, block_bytes: int) -> Iterator[Block]:
    with local_path(url) as path, reading(url):
        table = pl.scan_parquet(path, glob=False)
        schema = table.collect_schema()
        column = text_column(options)
        if column not in schema:
            raise no_column(url, options, schema.names())
        if not isinstance(schema[column], (pl.String, pl.Categorical, pl.Enum, pl.Null)):
            raise CorpusError(
                f"{url}: column {column!r} holds {schema[column]}, not text; choose another with --column"
            )
        n_stored, n_rows = os.path.getsize(path), table.select(pl.len()).collect().item()
        if n_rows == 0:
            yield Block.of(pl.Series(dtype=pl.String), (), n_stored, 1)
        # Text of one column seldom takes more than eight times the room of the stored table.
        n_batch = min(_PARQUET_ROWS, block_bytes * n_rows // (8 * n_stored) + 1)
        n_read = n_told = 0
        for batch in table.select(pl.col(column).cast(pl.String)).collect_batches(chunk_size=n_batch):
            texts = batch.to_series()
            broken = texts.str.contains("\0", literal=True).fill_null(False)
            if broken.any() and options.on_error == "fail":
                raise CorpusError(f"{url}, record {n_read + (broken.arg_max() or 0) + 1}: {NUL}; {OR_SKIP}")
            unreadable = [unreadable_of(n_read + i + 1, texts[i].encode(), NUL) for i in broken.arg_true().to_list()]
            first, n_read = n_read + 1, n_read + len(texts)
            n_used = n_stored * n_read // n_rows - n_told
            yield Block.of(texts.set(broken, None), unreadable, n_used, first)
            n_told += n_used

"""Opening, decoding and splitting files: from stored bytes to blocks of documents.

    stored bytes -> decompressed bytes -> UTF-8 bytes -> whole lines -> documents
    (storage)       (storage.chunks)      (lines)       (lines)        (_text_blocks, _json_blocks)

Parquet has its own way in (_parquet_blocks). All ways end in _block, which holds the one rule for blank documents.
"""

import codecs
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import polars as pl

from vocabopt.errors import CorpusError, OptionError
from vocabopt.lines import NUL, OR_SKIP, RawLines, Unreadable, clean_text, line_blocks, transcoded, unreadable_of
from vocabopt.storage import chunks as decompressed
from vocabopt.storage import file_format, local_path, reading

if TYPE_CHECKING:
    from vocabopt.corpus import TextFile

# What Python's str.strip() strips; polars' own white space lacks U+001C to U+001F.
_WHITE_SPACE = "".join(chr(code) for code in range(0x3001) if chr(code).isspace())
_PARQUET_ROWS = 50_000


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """How text is read.

    unit: what a document is in a text file: a line or the whole file. Records of jsonl and parquet are documents.
    column: the field that holds the text in jsonl and parquet; None takes "text".
    encoding: a Python codec, for text and jsonl.
    fallback: a codec for each line of UTF-8 text or jsonl that is not UTF-8; None has none.
    on_error: "skip" leaves out and counts documents that cannot be read, instead of raising CorpusError.

    Raises:
        OptionError: there is no such encoding of text.
    """

    unit: Literal["line", "file"] = "line"
    column: str | None = None
    encoding: str = "utf-8"
    fallback: str | None = None
    on_error: Literal["fail", "skip"] = "fail"

    def __post_init__(self) -> None:
        for codec in (self.encoding, self.fallback or self.encoding):
            try:
                "".encode(codec)  # unlike codecs.lookup, refuses codecs that are not of text, such as "hex"
            except (LookupError, ValueError) as error:
                raise OptionError(f"--encoding {codec}: unknown text encoding; try utf-8, cp949, utf-16") from error


@dataclass(frozen=True)
class Block:
    """Some documents of one file, in order.

    documents: String, without nulls and blank ones.
    n_blank: dropped because str.strip() leaves nothing; nulls and empty lines of jsonl count too.
    unreadable: left out because they cannot be read.
    n_stored_bytes: bytes of the stored (compressed) file used up by this block; a file's blocks add up to its size.
    first: the number, from 1, of the block's first line or record. kept: Boolean, which of them are documents.
    n_recoded: lines that were in the fallback encoding.
    """

    documents: pl.Series
    n_blank: int
    unreadable: tuple[Unreadable, ...]
    n_stored_bytes: int
    first: int
    kept: pl.Series
    n_recoded: int

    @property
    def n_skipped(self) -> int:
        return len(self.unreadable)

    @property
    def numbers(self) -> pl.Series:
        """The line or record, from 1, that each document stands in, Int64."""
        return pl.int_range(self.first, self.first + len(self.kept), eager=True).filter(self.kept)


def read_blocks(file: "TextFile", options: ReadOptions, *, block_bytes: int = 4 << 20) -> Iterator[Block]:
    """The documents of one file, in blocks of about `block_bytes` of decompressed text.

    A line ends at LF or CRLF and nothing else; nothing is stripped or normalised; repeated documents stay.
    Memory is bounded by a few blocks, or by the longest document where that is longer. Larger blocks are no faster:
    32 MB of fresh memory for each step took twice the time of 4 or 8 MB.

    Raises:
        CorpusError: the file cannot be opened, is damaged or lacks the column; or a document is not in the encoding,
            holds NUL or is a broken record, and on_error is "fail".
    """
    kind, packed = file_format(file.url)
    if kind == "parquet":
        return _parquet_blocks(file.url, options, block_bytes)
    chunks = decompressed(file.url, packed, block_bytes)
    if codecs.lookup(options.encoding).name != "utf-8":
        chunks = transcoded(chunks, file.url, options)
    if kind == "jsonl":
        return _json_blocks(line_blocks(chunks, block_bytes, whole=False), file.url, options)
    whole = options.unit == "file"
    return _text_blocks(line_blocks(chunks, block_bytes, whole=whole), file.url, options, whole=whole)


# --- Documents -------------------------------------------------------------------------------------------------------


def _block(
    texts: pl.Series, unreadable: Sequence[Unreadable], n_stored_bytes: int, first: int, n_recoded: int = 0
) -> Block:
    kept = (texts.str.strip_chars_start(_WHITE_SPACE) != "").fill_null(False)
    documents = texts.filter(kept)
    n_blank = len(texts) - len(documents) - len(unreadable)
    return Block(documents, n_blank, tuple(unreadable), n_stored_bytes, first, kept, n_recoded)


def _text_blocks(raws: Iterator[RawLines], url: str, options: ReadOptions, *, whole: bool) -> Iterator[Block]:
    n_lines = 0
    for raw in raws:
        text, unreadable, n_recoded = clean_text(raw, n_lines, url, options, whole=whole)
        lines = text
        if not whole:
            lines = text.str.split("\n").explode()
            lines = lines.head(len(lines) - 1)  # behind the last LF there is no line
        yield _block(lines, unreadable, raw.n_stored_bytes, n_lines + 1, n_recoded)
        n_lines += len(lines)


def _json_blocks(raws: Iterator[RawLines], url: str, options: ReadOptions) -> Iterator[Block]:
    column = None
    n_lines = 0
    for raw in raws:
        text, unreadable, n_recoded = clean_text(raw, n_lines, url, options, whole=False)
        first = n_lines + 1
        texts: list[str | None] = []
        for line in text.item().split("\n")[:-1]:
            n_lines += 1
            texts.append(None)
            if not line.strip():
                continue
            try:
                record = _record(line)
                column = _text_column(list(record), url, options) if column is None else column
                texts[-1] = _text_of(record, column)
            except (ValueError, RecursionError) as error:
                if options.on_error == "fail":
                    raise CorpusError(f"{url}, line {n_lines}: {error}; mend it, {OR_SKIP}") from error
                unreadable.append(unreadable_of(n_lines, line.encode(), str(error)))
        yield _block(pl.Series(texts, dtype=pl.String), unreadable, raw.n_stored_bytes, first, n_recoded)


def _text_column(names: Sequence[str], url: str, options: ReadOptions) -> str:
    column = "text" if options.column is None else options.column
    if column not in names:
        raise CorpusError(f"{url}: no column {column!r}; name the text with --column: {', '.join(names)}")
    return column


def _record(line: str) -> dict[str, object]:
    """One JSON object; ValueError says what is wrong with the line."""
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"broken JSON ({error.msg}, column {error.colno})") from error
    if not isinstance(record, dict):
        raise ValueError("broken record (not a JSON object)")
    return record


def _text_of(record: dict[str, object], column: str) -> str | None:
    """The text of a record; ValueError says why it has none."""
    if column not in record:
        raise ValueError(f"broken record (no {column!r})")
    text = record[column]
    if text is None:
        return None
    if not isinstance(text, str):
        raise ValueError(f"broken record ({column!r} is {type(text).__name__}, not text)")
    if "\0" in text:
        raise ValueError(NUL)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError("a lone surrogate, which is half a character") from error
    return text


def _parquet_blocks(url: str, options: ReadOptions, block_bytes: int) -> Iterator[Block]:
    with local_path(url) as path, reading(url):
        table = pl.scan_parquet(path, glob=False)
        schema = table.collect_schema()
        column = _text_column(schema.names(), url, options)
        if not isinstance(schema[column], (pl.String, pl.Categorical, pl.Enum, pl.Null)):
            raise CorpusError(
                f"{url}: column {column!r} holds {schema[column]}, not text; choose another with --column"
            )
        n_stored, n_rows = os.path.getsize(path), table.select(pl.len()).collect().item()
        if n_rows == 0:
            yield _block(pl.Series(dtype=pl.String), (), n_stored, 1)
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
            yield _block(texts.set(broken, None), unreadable, n_used, first)
            n_told += n_used

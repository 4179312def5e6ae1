"""Opening, decoding and splitting files: from stored bytes to blocks of documents.

    stored bytes -> decompressed bytes -> UTF-8 bytes -> whole lines -> documents
    (storage)       (storage.chunks)      (_transcoded)  (_line_blocks) (_text_blocks, _json_blocks)

Parquet has its own way in (_parquet_blocks). All ways end in _block, which holds the one rule for blank documents.
"""

import codecs
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, cast

import polars as pl

from vocabopt.errors import CorpusError, OptionError
from vocabopt.storage import chunks as decompressed
from vocabopt.storage import file_format, local_path, reading

if TYPE_CHECKING:
    from vocabopt.corpus import TextFile

# What Python's str.strip() strips; polars' own white space lacks U+001C to U+001F.
_WHITE_SPACE = "".join(chr(code) for code in range(0x3001) if chr(code).isspace())
_PARQUET_ROWS = 50_000
_MAX_DOCUMENT_BYTES = (1 << 32) - 1  # what a polars string can hold
_MARK = "vocabopt.mark"
_OR_SKIP = "or leave such documents out with --on-error skip"
_NUL = "a NUL character: probably a binary file, or UTF-16 (try --encoding utf-16, utf-16-le or utf-16-be)"


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """How text is read.

    unit: what a document is in a text file: a line or the whole file. Records of jsonl and parquet are documents.
    column: the field that holds the text in jsonl and parquet; None takes "text".
    encoding: a Python codec, for text and jsonl.
    on_error: "skip" leaves out and counts documents that cannot be read, instead of raising CorpusError.

    Raises:
        OptionError: there is no such encoding of text.
    """

    unit: Literal["line", "file"] = "line"
    column: str | None = None
    encoding: str = "utf-8"
    on_error: Literal["fail", "skip"] = "fail"

    def __post_init__(self) -> None:
        try:
            "".encode(self.encoding)  # unlike codecs.lookup, refuses codecs that are not of text, such as "hex"
        except (LookupError, ValueError) as error:
            raise OptionError(f"--encoding {self.encoding}: unknown text encoding; try utf-8, cp949, utf-16") from error


@dataclass(frozen=True)
class Block:
    """Some documents of one file, in order.

    documents: String, without nulls and blank ones.
    n_blank: dropped because str.strip() leaves nothing; nulls and empty lines of jsonl count too.
    n_skipped: left out because they cannot be read.
    n_stored_bytes: bytes of the stored (compressed) file used up by this block; a file's blocks add up to its size.
    """

    documents: pl.Series
    n_blank: int
    n_skipped: int
    n_stored_bytes: int


class _Raw(NamedTuple):
    """Whole lines, or a whole file, not checked yet."""

    data: bytes
    offset: int  # of data[0] in the decompressed text
    n_stored_bytes: int


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
        chunks = _transcoded(chunks, file.url, options)
    if kind == "jsonl":
        return _json_blocks(_line_blocks(chunks, block_bytes, whole=False), file.url, options)
    whole = options.unit == "file"
    return _text_blocks(_line_blocks(chunks, block_bytes, whole=whole), file.url, options, whole=whole)


# --- Lines of UTF-8 --------------------------------------------------------------------------------------------------


def _transcoded(chunks: Iterator[tuple[bytes, int]], url: str, options: ReadOptions) -> Iterator[tuple[bytes, int]]:
    """UTF-8 from another encoding. When skipping, a lone surrogate, which is not UTF-8, marks what is not text."""
    codecs.register_error(_MARK, lambda error: ("\udc80", cast(UnicodeDecodeError, error).end))
    decoder = codecs.getincrementaldecoder(options.encoding)(_MARK if options.on_error == "skip" else "strict")
    n_read = 0
    for data, n_stored in chunks:
        n_read += len(data)
        try:
            text = decoder.decode(data, not data)  # at the end, a character cut short is an error
        except UnicodeDecodeError as error:
            raise _not_decodable(error, n_read - len(error.object), url, options) from error
        except UnicodeError as error:  # the decoders of utf-16 and utf-32 want a byte order mark
            either = f"{options.encoding}-le or {options.encoding}-be"
            raise CorpusError(f"{url}: no byte order mark; try --encoding {either}") from error
        yield text.encode("utf-8", "surrogatepass"), n_stored


def _line_blocks(chunks: Iterator[tuple[bytes, int]], block_bytes: int, *, whole: bool) -> Iterator[_Raw]:
    """Cut chunks behind the last LF of each block; the rest begins the next block. `whole` gives one piece."""
    pieces: list[bytes | memoryview] = []
    offset = n_gathered = n_stored = n_told = 0
    for data, n_stored in chunks:
        pieces.append(data)
        n_gathered += len(data)
        cut = 0 if whole or n_gathered < block_bytes else data.rfind(b"\n") + 1
        if cut:
            pieces[-1] = memoryview(data)[:cut]  # joined without a copy of its own
            yield _Raw(b"".join(pieces), offset, n_stored - n_told)
            offset, n_told = offset + n_gathered - len(data) + cut, n_stored
            pieces, n_gathered = [data[cut:]], len(data) - cut
    if n_gathered or n_stored > n_told or whole:
        yield _Raw(b"".join(pieces), offset, n_stored - n_told)


def _clean_text(raw: _Raw, n_lines: int, url: str, options: ReadOptions, *, whole: bool) -> tuple[pl.Series, int]:
    """The raw bytes as one string, every line of it ended by LF unless `whole`; and how many lines were left out.

    n_lines: lines before this block, to number them in messages.
    """
    data = raw.data
    if not whole:
        data = data.replace(b"\r\n", b"\n") if b"\r" in data else data
        data = data if data.endswith(b"\n") or not data else data + b"\n"
    if len(data) > _MAX_DOCUMENT_BYTES:
        raise CorpusError(
            f"{url}: a document of {len(data)} bytes is too long (at most {_MAX_DOCUMENT_BYTES}); split it"
        )
    text = _utf8(data)
    if text is not None and b"\0" not in data:
        return text, 0
    if options.on_error == "fail":
        try:
            raw.data.decode()
        except UnicodeDecodeError as error:
            raise _not_decodable(error, raw.offset, url, options) from error
        line = n_lines + data.count(b"\n", 0, data.index(b"\0")) + 1
        raise CorpusError(f"{url}, line {line}: {_NUL}, {_OR_SKIP}")
    lines = [data] if whole else data.split(b"\n")
    clean = [line for line in lines if _is_text(line)]
    return pl.Series([b"\n".join(clean)]).cast(pl.String), len(lines) - len(clean)


def _utf8(data: bytes) -> pl.Series | None:
    """One string, or None when the bytes are not UTF-8. Ten times faster than bytes.decode on Korean."""
    try:
        return pl.Series([data], dtype=pl.Binary).cast(pl.String)
    except pl.exceptions.PolarsError:
        return None


def _is_text(line: bytes) -> bool:
    """For one line this is ten times faster than _utf8."""
    try:
        return "\0" not in line.decode()
    except UnicodeDecodeError:
        return False


def _not_decodable(error: UnicodeDecodeError, offset: int, url: str, options: ReadOptions) -> CorpusError:
    """offset: of the error's bytes in the decompressed text."""
    wrong = error.object[error.start : error.end].hex(" ").upper()
    guess = _suspected_encoding(error.object, error.start, offset)
    advice = f"it looks like {guess}: try --encoding {guess}" if guess else "name its encoding with --encoding"
    place = f"{url}: byte {offset + error.start} ({wrong})"
    return CorpusError(f"{place} is not {options.encoding} ({error.reason}); {advice}, {_OR_SKIP}")


def _suspected_encoding(data: bytes, at: int, offset: int) -> str | None:
    """What the bytes around data[at] look like; `offset` is that of data[0] in the text."""
    if offset == 0 and data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return "utf-32" if data[:4] == codecs.BOM_UTF32_LE else "utf-16"
    start = max(0, at - 2048)
    near = data[start : at + 2048]
    # Spaces, digits and line ends put a zero into every second byte of UTF-16: the odd ones if the low byte is first.
    n_zero, n_odd = near.count(0), near[(offset + start + 1) % 2 :: 2].count(0)
    if n_zero and n_zero * 20 >= len(near) and not (n_zero < 5 * n_odd < 4 * n_zero):
        return "utf-16-le" if 2 * n_odd > n_zero else "utf-16-be"
    # Neither LF nor space is ever the second byte of a cp949 character.
    whole_from = max(near.rfind(b"\n", 0, at - start), near.rfind(b" ", 0, at - start)) + 1
    with suppress(UnicodeDecodeError):
        text = codecs.getincrementaldecoder("cp949")().decode(near[whole_from:])
        n_hangul = sum("가" <= char <= "힣" for char in text)
        if 2 * n_hangul > sum(not char.isascii() for char in text):  # other text read as cp949 is mostly rare hanja
            return "cp949"
    return None


# --- Documents -------------------------------------------------------------------------------------------------------


def _block(texts: pl.Series, n_skipped: int, n_stored_bytes: int) -> Block:
    documents = texts.filter(texts.str.strip_chars_start(_WHITE_SPACE) != "")
    return Block(documents, len(texts) - len(documents), n_skipped, n_stored_bytes)


def _text_blocks(raws: Iterator[_Raw], url: str, options: ReadOptions, *, whole: bool) -> Iterator[Block]:
    n_lines = 0
    for raw in raws:
        text, n_skipped = _clean_text(raw, n_lines, url, options, whole=whole)
        if whole:
            lines = text.head(1 - n_skipped)
        else:
            lines = text.str.split("\n").explode()
            lines = lines.head(len(lines) - 1)  # behind the last LF there is no line
        n_lines += len(lines)
        yield _block(lines, n_skipped, raw.n_stored_bytes)


def _json_blocks(raws: Iterator[_Raw], url: str, options: ReadOptions) -> Iterator[Block]:
    column = None
    n_lines = 0
    for raw in raws:
        text, n_skipped = _clean_text(raw, n_lines, url, options, whole=False)
        texts: list[str | None] = []
        for line in text.item().split("\n")[:-1]:
            n_lines += 1
            if not line.strip():
                texts.append(None)
                continue
            try:
                record = _record(line)
                column = _text_column(list(record), url, options) if column is None else column
                texts.append(_text_of(record, column))
            except (ValueError, RecursionError) as error:
                if options.on_error == "fail":
                    raise CorpusError(f"{url}, line {n_lines}: {error}; mend it, {_OR_SKIP}") from error
                n_skipped += 1
        yield _block(pl.Series(texts, dtype=pl.String), n_skipped, raw.n_stored_bytes)


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
        raise ValueError(_NUL)
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
            yield _block(pl.Series(dtype=pl.String), 0, n_stored)
        # Text of one column seldom takes more than eight times the room of the stored table.
        n_batch = min(_PARQUET_ROWS, block_bytes * n_rows // (8 * n_stored) + 1)
        n_read = n_told = 0
        for batch in table.select(pl.col(column).cast(pl.String)).collect_batches(chunk_size=n_batch):
            texts = batch.to_series()
            broken = texts.str.contains("\0", literal=True).fill_null(False)
            if broken.any() and options.on_error == "fail":
                raise CorpusError(f"{url}, record {n_read + (broken.arg_max() or 0) + 1}: {_NUL}; {_OR_SKIP}")
            n_read += len(texts)
            n_used = n_stored * n_read // n_rows - n_told
            yield _block(texts.filter(~broken), int(broken.sum()), n_used)
            n_told += n_used

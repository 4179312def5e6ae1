"""Whole lines of clean UTF-8 from decompressed bytes in any encoding, and the blocks of documents that they make.

Lines that are no text are skipped or refused.
"""

import codecs
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple, cast

import polars as pl

from vocabopt.errors import CorpusError, DamagedFileError
from vocabopt.options import ReadOptions

_MAX_DOCUMENT_BYTES = (1 << 32) - 1  # what a polars string can hold
_SHOWN_BYTES = 1000  # of a document that cannot be read
_MARK = "vocabopt.mark"
OR_SKIP = "or leave such documents out with --on-error skip"
NUL = "a NUL character: probably a binary file, or UTF-16 (try --encoding utf-16, utf-16-le or utf-16-be)"


@dataclass(frozen=True)
class Unreadable:
    """A line or record that was skipped. text: as much of it as can be shown, U+FFFD for what is no text."""

    number: int
    text: str
    reason: str


class RawLines(NamedTuple):
    """Whole lines, or a whole file, not checked yet."""

    data: bytes
    offset: int  # of data[0] in the decompressed text
    n_stored_bytes: int


class CleanLines(NamedTuple):
    """Text of whole lines. n_recoded: lines that were in the fallback encoding."""

    text: pl.Series  # one string
    unreadable: list[Unreadable]
    n_recoded: int


def transcoded(chunks: Iterator[tuple[bytes, int]], url: str, options: ReadOptions) -> Iterator[tuple[bytes, int]]:
    """UTF-8 from another encoding. When skipping, a lone surrogate, which is not UTF-8, marks what is not text."""
    codecs.register_error(_MARK, lambda error: ("\udc80", cast(UnicodeDecodeError, error).end))
    decoder = codecs.getincrementaldecoder(options.encoding)(_MARK if options.on_error == "skip" else "strict")
    n_read = 0
    for data, n_stored in chunks:
        n_read += len(data)
        try:
            text = decoder.decode(data, not data)  # at the end, a character cut short is an error
        except UnicodeDecodeError as error:
            raise not_decodable(error, n_read - len(error.object), url, options) from error
        except UnicodeError as error:  # the decoders of utf-16 and utf-32 want a byte order mark
            either = f"{options.encoding}-le or {options.encoding}-be"
            raise CorpusError(f"{url}: no byte order mark; try --encoding {either}") from error
        if text:
            yield text.encode("utf-8", "surrogatepass"), n_stored
        if not data:
            yield b"", n_stored


@dataclass
class Damage:
    """Why a stream of text ended early; None while it did not."""

    reason: str | None = None

    def watching(self, chunks: Iterator[tuple[bytes, int]]) -> Iterator[tuple[bytes, int]]:
        """The chunks up to where the file is damaged, as if it ended there."""
        n_stored = 0
        try:
            for data, n_stored in chunks:
                yield data, n_stored
        except DamagedFileError as error:
            self.reason = str(error)
            yield b"", n_stored


def line_blocks(
    chunks: Iterator[tuple[bytes, int]], block_bytes: int, *, whole: bool, offset: int, damage: Damage
) -> Iterator[RawLines]:
    """Cut chunks behind the last LF of each block; the rest begins the next block. `whole` gives one piece.

    A line that a damaged file cuts short is left out. offset: of the first byte in the text.
    """
    pieces: list[bytes | memoryview] = []
    n_gathered = n_stored = n_told = 0
    for data, n_stored in chunks:
        pieces.append(data)
        n_gathered += len(data)
        cut = 0 if whole or n_gathered < block_bytes else data.rfind(b"\n") + 1
        if cut:
            pieces[-1] = memoryview(data)[:cut]  # joined without a copy of its own
            yield RawLines(b"".join(pieces), offset, n_stored - n_told)
            offset, n_told = offset + n_gathered - len(data) + cut, n_stored
            pieces, n_gathered = [data[cut:]], len(data) - cut
    data = b"".join(pieces)
    if damage.reason is not None:
        data = b"" if whole else data[: data.rfind(b"\n") + 1]
    if data or n_stored > n_told or whole:
        yield RawLines(data, offset, n_stored - n_told)


def clean_text(raw: RawLines, n_lines: int, url: str, options: ReadOptions, *, whole: bool) -> CleanLines:
    """The raw bytes as one string, every line of it ended by LF unless `whole`; lines left out are empty in it.

    n_lines: lines before this block, to number them.
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
        return CleanLines(text, [], 0)
    lines: list[bytes] = [data] if whole else data.split(b"\n")
    n_recoded = 0
    if options.fallback is not None:
        recoded = [_recoded(line, options.fallback) for line in lines]
        n_recoded = sum(old != new for old, new in zip(lines, recoded, strict=True))
        lines, data = recoded, b"\n".join(recoded)
        if (text := _utf8(data)) is not None and b"\0" not in data:
            return CleanLines(text, [], n_recoded)
    if options.on_error == "fail":
        try:
            raw.data.decode()
        except UnicodeDecodeError as error:
            raise not_decodable(error, raw.offset, url, options) from error
        number = n_lines + data.count(b"\n", 0, data.index(b"\0")) + 1
        raise CorpusError(f"{url}, line {number}: {NUL}, {OR_SKIP}")
    clean: list[bytes] = []
    unreadable: list[Unreadable] = []
    for i, line in enumerate(lines):
        clean.append(line if _is_text(line) else b"")
        if clean[i] != line:
            reason = "not " + " or ".join(filter(None, (options.encoding, options.fallback)))
            unreadable.append(unreadable_of(n_lines + i + 1, line, NUL if b"\0" in line else reason))
    return CleanLines(pl.Series([b"\n".join(clean)]).cast(pl.String), unreadable, n_recoded)


def text_of(raw: RawLines, url: str, options: ReadOptions) -> tuple[str, int]:
    """The raw bytes as text for records that may hold line ends, and how many lines were in the fallback encoding.

    When skipping, bytes that are no text become lone surrogates, which no record may hold.
    """
    try:
        return raw.data.decode(), 0
    except UnicodeDecodeError as error:
        n_recoded, data = 0, raw.data
        if options.fallback is not None:
            lines = data.split(b"\n")
            recoded = [_recoded(line, options.fallback) for line in lines]
            n_recoded = sum(old != new for old, new in zip(lines, recoded, strict=True))
            data = b"\n".join(recoded)
        if options.on_error == "skip":
            return data.decode(errors="surrogateescape"), n_recoded
        try:
            return data.decode(), n_recoded
        except UnicodeDecodeError:
            raise not_decodable(error, raw.offset, url, options) from error


def unreadable_of(number: int, line: bytes, reason: str) -> Unreadable:
    """A line that is left out, as far as it can be shown."""
    return Unreadable(number, line[:_SHOWN_BYTES].decode(errors="replace").replace("\0", "�"), reason)


def _recoded(line: bytes, codec: str) -> bytes:
    """As it is where it is UTF-8, or not of the codec either."""
    try:
        return line if _is_text(line) else line.decode(codec).encode()
    except UnicodeError:
        return line


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


def not_decodable(error: UnicodeDecodeError, offset: int, url: str, options: ReadOptions) -> CorpusError:
    """offset: of the error's bytes in the decompressed text."""
    wrong = error.object[error.start : error.end].hex(" ").upper()
    guess = _suspected_encoding(error.object, error.start, offset)
    advice = f"it looks like {guess}: try --encoding {guess}" if guess else "name its encoding with --encoding"
    place = f"{url}: byte {offset + error.start} ({wrong})"
    return CorpusError(f"{place} is not {options.encoding} ({error.reason}); {advice}, {OR_SKIP}")


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


# What Python's str.strip() strips; polars' own white space lacks U+001C to U+001F.
_WHITE_SPACE = "".join(chr(code) for code in range(0x3001) if chr(code).isspace())
_SHOWN_COLUMNS = 20


@dataclass(frozen=True)
class Block:
    """Some documents of one file, in order.

    documents: String, without nulls and blank ones.
    n_blank: dropped because str.strip() leaves nothing; nulls and empty lines of jsonl count too.
    unreadable: left out because they cannot be read.
    n_stored_bytes: bytes of the stored (compressed) file used up by this block; a file's blocks add up to its size.
    first: the number, from 1, of the block's first line or record. kept: Boolean, which of them are documents.
    n_recoded: lines that were in the fallback encoding.
    damage: why the file could not be read beyond this block, which is then its last; only where on_error is "skip".
    """

    documents: pl.Series
    n_blank: int
    unreadable: tuple[Unreadable, ...]
    n_stored_bytes: int
    first: int
    kept: pl.Series
    n_recoded: int = 0
    damage: str | None = None

    @classmethod
    def of(
        cls,
        texts: pl.Series,
        unreadable: Sequence[Unreadable],
        n_stored_bytes: int,
        first: int,
        n_recoded: int = 0,
        damage: str | None = None,
    ) -> "Block":
        """From lines or records, nulls for those without text: the one rule for blank documents."""
        kept = (texts.str.strip_chars_start(_WHITE_SPACE) != "").fill_null(False)
        documents = texts.filter(kept)
        n_blank = len(texts) - len(documents) - len(unreadable)
        return cls(documents, n_blank, tuple(unreadable), n_stored_bytes, first, kept, n_recoded, damage)

    @property
    def n_skipped(self) -> int:
        return len(self.unreadable) + (self.damage is not None)

    @property
    def numbers(self) -> pl.Series:
        """The line or record, from 1, that each document stands in, Int64."""
        return pl.int_range(self.first, self.first + len(self.kept), eager=True).filter(self.kept)


def text_column(options: ReadOptions) -> str:
    """The column that holds the text."""
    return "text" if options.column is None else options.column


def no_column(url: str, options: ReadOptions, names: Sequence[str]) -> CorpusError:
    """What to say of a file whose records have other columns."""
    listed = ", ".join(names[:_SHOWN_COLUMNS]) + (", ..." if len(names) > _SHOWN_COLUMNS else "")
    return CorpusError(f"{url}: no column {text_column(options)!r}; name the text with --column: {listed}")


def checked_text(text: object, column: str | None = None) -> str | None:
    """The text of a record; ValueError says why it is none."""
    if text is None:
        return None
    if not isinstance(text, str):
        what = type(text).__name__
        raise ValueError(f"broken record ({what if column is None else f'{column!r} is {what}'}, not text)")
    if "\0" in text:
        raise ValueError(NUL)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError("a lone surrogate, which is half a character, or bytes of another encoding") from error
    return text

"""A file of text while it is read: from decompressed bytes in any encoding to clean UTF-8, and to blocks of documents.

Lines that are no text are skipped or refused.
"""

import codecs
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple, cast

import polars as pl

from vocabopt.errors import CorpusError, DamagedFileError, first_of
from vocabopt.options import ReadOptions

#: Decompressed bytes, and how many stored bytes are read by then; of the last ones there are none.
Chunks = Iterator[tuple[bytes, int]]

_MAX_DOCUMENT_BYTES = (1 << 32) - 1  # what a polars string can hold
_SHOWN_BYTES = 1000  # of a document that cannot be read
_SHOWN_COLUMNS = 20
_MARK = "vocabopt.mark"
# What Python's str.strip() strips; polars' own white space lacks U+001C to U+001F.
_WHITE_SPACE = "".join(chr(code) for code in range(0x3001) if chr(code).isspace())
OR_SKIP = "or leave such documents out with --on-error skip"
NUL = "a NUL character: probably a binary file, or UTF-16 (try --encoding utf-16, utf-16-le or utf-16-be)"


@dataclass(frozen=True)
class Unreadable:
    """A line or record that was skipped. text: as much of it as can be shown, U+FFFD for what is no text."""

    number: int
    text: str
    reason: str

    @classmethod
    def of(cls, number: int, line: bytes, reason: str) -> "Unreadable":
        return cls(number, line[:_SHOWN_BYTES].decode(errors="replace").replace("\0", "�"), reason)


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
        cls, texts: pl.Series, unreadable: Sequence[Unreadable], n_stored_bytes: int, first: int, n_recoded: int = 0
    ) -> "Block":
        """From lines or records, nulls for those without text: the one rule for blank documents."""
        kept = (texts.str.strip_chars_start(_WHITE_SPACE) != "").fill_null(False)
        documents = texts.filter(kept)
        n_blank = len(texts) - len(documents) - len(unreadable)
        return cls(documents, n_blank, tuple(unreadable), n_stored_bytes, first, kept, n_recoded)

    @property
    def n_skipped(self) -> int:
        return len(self.unreadable) + (self.damage is not None)

    @property
    def numbers(self) -> pl.Series:
        """The line or record, from 1, that each document stands in, Int64."""
        return pl.int_range(self.first, self.first + len(self.kept), eager=True).filter(self.kept)


@dataclass
class Source:
    """A file while it is read. damage: why it ended early; None while it did not.

    n_stored, n_told: stored bytes read so far, and those that blocks used up. n_recoded: lines since the last block
    that were in the fallback encoding.
    """

    url: str
    options: ReadOptions
    damage: str | None = None
    n_stored: int = 0
    n_recoded: int = 0
    n_told: int = 0

    @property
    def skips(self) -> bool:
        return self.options.on_error == "skip"

    @property
    def column(self) -> str:
        """The column that holds the text."""
        return "text" if self.options.column is None else self.options.column

    def no_column(self, names: Sequence[str]) -> CorpusError:
        """What to say of a file whose records have other columns."""
        listed = first_of(names, _SHOWN_COLUMNS)
        return CorpusError(f"{self.url}: no column {self.column!r}; name the text with --column: {listed}")

    def watching(self, chunks: Chunks) -> Chunks:
        """The chunks up to where the file is damaged, as if it ended there."""
        n_stored = 0
        try:
            for data, n_stored in chunks:
                yield data, n_stored
        except DamagedFileError as error:
            self.damage = str(error)
            yield b"", n_stored

    def end(self, reason: str) -> None:
        """Refuse what is broken so that nothing behind it can be told apart, or let the file end there."""
        if not self.skips:
            raise CorpusError(reason)
        self.damage = self.damage or reason

    def block(self, texts: pl.Series, unreadable: Sequence[Unreadable], first: int) -> Block:
        """A block of what was read since the last one."""
        block = Block.of(texts, unreadable, self.n_stored - self.n_told, first, self.n_recoded)
        self.n_told, self.n_recoded = self.n_stored, 0
        return block

    def not_decodable(self, error: UnicodeDecodeError, offset: int) -> CorpusError:
        """offset: of the error's bytes in the decompressed text."""
        wrong = error.object[error.start : error.end].hex(" ").upper()
        guess = _suspected_encoding(error.object, error.start, offset)
        advice = f"it looks like {guess}: try --encoding {guess}" if guess else "name its encoding with --encoding"
        place = f"{self.url}: byte {offset + error.start} ({wrong})"
        return CorpusError(f"{place} is not {self.options.encoding} ({error.reason}); {advice}, {OR_SKIP}")


def transcoded(chunks: Chunks, source: Source) -> Chunks:
    """UTF-8 from another encoding. When skipping, a lone surrogate, which is not UTF-8, marks what is not text."""
    codecs.register_error(_MARK, lambda error: ("\udc80", cast(UnicodeDecodeError, error).end))
    encoding = source.options.encoding
    decoder = codecs.getincrementaldecoder(encoding)(_MARK if source.skips else "strict")
    n_read = 0
    for data, n_stored in chunks:
        n_read += len(data)
        try:
            text = decoder.decode(data, not data)  # at the end, a character cut short is an error
        except UnicodeDecodeError as error:
            raise source.not_decodable(error, n_read - len(error.object)) from error
        except UnicodeError as error:  # the decoders of utf-16 and utf-32 want a byte order mark
            either = f"{encoding}-le or {encoding}-be"
            raise CorpusError(f"{source.url}: no byte order mark; try --encoding {either}") from error
        if text:
            yield text.encode("utf-8", "surrogatepass"), n_stored
        if not data:
            yield b"", n_stored


class Lines(NamedTuple):
    """Whole lines, or a whole file, not checked yet. offset: of data[0] in the decompressed text."""

    data: bytes
    offset: int


def line_blocks(chunks: Chunks, block_bytes: int, *, whole: bool, offset: int, source: Source) -> Iterator[Lines]:
    """Cut chunks behind the last LF of each block; the rest begins the next block. `whole` gives one piece.

    A line that a damaged file cuts short is left out. offset: of the first byte in the text.
    """
    pieces: list[bytes | memoryview] = []
    n_gathered = n_told = 0
    for data, source.n_stored in chunks:
        pieces.append(data)
        n_gathered += len(data)
        cut = 0 if whole or n_gathered < block_bytes else data.rfind(b"\n") + 1
        if cut:
            pieces[-1] = memoryview(data)[:cut]  # joined without a copy of its own
            yield Lines(b"".join(pieces), offset)
            offset, n_told = offset + n_gathered - len(data) + cut, source.n_stored
            pieces, n_gathered = [data[cut:]], len(data) - cut
    data = b"".join(pieces)
    if source.damage is not None:
        data = b"" if whole else data[: data.rfind(b"\n") + 1]
    if data or source.n_stored > n_told or whole:
        yield Lines(data, offset)


def clean_text(raw: Lines, n_lines: int, source: Source, *, whole: bool = False) -> tuple[pl.Series, list[Unreadable]]:
    """The raw bytes as one string, every line of it ended by LF unless `whole`; lines left out are empty in it.

    n_lines: lines before this block, to number them.
    """
    data, options = raw.data, source.options
    if not whole:
        data = data.replace(b"\r\n", b"\n") if b"\r" in data else data
        data = data if data.endswith(b"\n") or not data else data + b"\n"
    if len(data) > _MAX_DOCUMENT_BYTES:
        raise CorpusError(
            f"{source.url}: a document of {len(data)} bytes is too long (at most {_MAX_DOCUMENT_BYTES}); split it"
        )
    if (text := _utf8(data)) is not None:
        return text, []
    lines = _recoded([data] if whole else data.split(b"\n"), source)
    data = b"\n".join(lines)
    if (text := _utf8(data)) is not None:
        return text, []
    if not source.skips:
        try:
            raw.data.decode()
        except UnicodeDecodeError as error:
            raise source.not_decodable(error, raw.offset) from error
        number = n_lines + data.count(b"\n", 0, data.index(b"\0")) + 1
        raise CorpusError(f"{source.url}, line {number}: {NUL}, {OR_SKIP}")
    clean = [line if _is_text(line) else b"" for line in lines]
    reason = "not " + " or ".join(filter(None, (options.encoding, options.fallback)))
    unreadable = [
        Unreadable.of(number, line, NUL if b"\0" in line else reason)
        for number, (line, kept) in enumerate(zip(lines, clean, strict=True), n_lines + 1)
        if kept != line
    ]
    return pl.Series([b"\n".join(clean)]).cast(pl.String), unreadable


def text_of(raw: Lines, source: Source) -> str:
    """The raw bytes as text for records that may hold line ends.

    When skipping, bytes that are no text become lone surrogates, which no record may hold.
    """
    try:
        return raw.data.decode()
    except UnicodeDecodeError as error:
        data = b"\n".join(_recoded(raw.data.split(b"\n"), source))
        try:
            return data.decode(errors="surrogateescape" if source.skips else "strict")
        except UnicodeDecodeError:
            raise source.not_decodable(error, raw.offset) from error


def _recoded(lines: list[bytes], source: Source) -> list[bytes]:
    """The lines, of which those that are not UTF-8 are read in the fallback encoding, where they are of that one."""
    codec = source.options.fallback
    if codec is None:
        return lines
    recoded = []
    for line in lines:
        recoded.append(line)
        if not _is_text(line):
            with suppress(UnicodeError):
                recoded[-1] = line.decode(codec).encode()
        source.n_recoded += recoded[-1] != line
    return recoded


def _utf8(data: bytes) -> pl.Series | None:
    """One string, or None when the bytes are no text. Ten times faster than bytes.decode on Korean."""
    if b"\0" in data:
        return None
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

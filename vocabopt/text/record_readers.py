"""Records with a field of text: JSON lines, JSON arrays, CSV and TSV."""

import codecs
import csv
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import polars as pl

from vocabopt.errors import CorpusError
from vocabopt.text.lines import NUL, OR_SKIP, Block, Chunks, Lines, Source, Unreadable, clean_text, text_of

#: The number of a record, or of its line; and the record: an object, a text, or a BrokenRecordError.
Record: TypeAlias = tuple[int, Any]

_MAX_FIELD_CHARS = (1 << 31) - 1
_SPACE = re.compile(r"[ \t\r\n]*")
#: Longer than any literal or escape of JSON.
_MARGIN_CHARS = 32
JSON_DECODER = json.JSONDecoder()


class BrokenRecordError(ValueError):
    """A record that cannot be read. text: as it stands in the file."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(reason)
        self.text = text


@dataclass
class _Texts:
    """The texts of a file's records: tells one broken record from a file that holds none.

    objects_only: a record that is a string is none, as on a line of JSON lines. names: of the fields of the first
    record without the column.
    """

    source: Source
    objects_only: bool = False
    n_texts: int = 0
    n_broken: int = 0
    names: list[str] = field(default_factory=list)
    first_broken: str = ""

    def text(self, record: Any) -> str | None:
        """The text of a record, None for null; ValueError says why it has none."""
        column, where = self.source.column, ""
        if isinstance(record, str) and not self.objects_only:
            text: object = record
        elif not isinstance(record, dict):
            raise ValueError("broken record (not a JSON object)")
        elif column not in record:
            self.names = self.names or list(record)
            raise ValueError(f"broken record (no {column!r})")
        else:
            text, where = record[column], f"{column!r} is "
        if text is not None:
            if not isinstance(text, str):
                raise ValueError(f"broken record ({where}{type(text).__name__}, not text)")
            if "\0" in text:
                raise ValueError(NUL)
            try:
                text.encode()
            except UnicodeEncodeError as error:
                half = "a lone surrogate, which is half a character, or bytes of another encoding"
                raise ValueError(half) from error
        self.n_texts += 1
        return text

    def refuse_or_skip(self, place: str, error: Exception) -> None:
        """A broken record: an error with its place, unless broken records are skipped and counted (--on-error skip)."""
        if not self.source.skips:
            if self.names and not self.n_texts:
                raise self.source.no_column(self.names) from error
            raise CorpusError(f"{self.source.url}, {place}: {error}; mend it, {OR_SKIP}") from error
        self.n_broken += 1
        self.first_broken = self.first_broken or f"{place}: {error}"

    def finish(self) -> None:
        """Refuse a file of which nothing could be read: that is no matter of single records."""
        if self.n_broken and not self.n_texts and self.source.damage is None:
            if self.names:
                raise self.source.no_column(self.names)
            raise CorpusError(
                f"{self.source.url}: none of its {self.n_broken:,} records can be read ({self.first_broken}); is it of "
                "this format? Name another with --format"
            )


def json_line_blocks(raws: Iterator[Lines], source: Source) -> Iterator[Block]:
    """A JSON object on each line."""
    found = _Texts(source, objects_only=True)
    n_lines = 0
    for raw in raws:
        lines, unreadable = clean_text(raw, n_lines, source)
        first = n_lines + 1
        texts: list[str | None] = []
        for line in lines.item().split("\n")[:-1]:
            n_lines += 1
            texts.append(None)
            if not line.strip():
                continue
            try:
                texts[-1] = found.text(json_value(line))
            except (ValueError, RecursionError) as error:
                found.refuse_or_skip(f"line {n_lines}", error)
                unreadable.append(Unreadable.of(n_lines, line.encode(), str(error)))
        yield source.block(pl.Series(texts, dtype=pl.String), unreadable, first)
    found.finish()


def json_value(line: str) -> Any:
    """What JSON a line holds; ValueError says what is wrong with it."""
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"broken JSON ({error.msg}, column {error.colno})") from error


def stops_inside(error: json.JSONDecodeError, text: str) -> bool:
    """Whether JSON may be whole when the text goes on: nothing far from its end is wrong."""
    return error.msg.startswith("Unterminated string") or error.pos > len(text) - _MARGIN_CHARS


def skip_space(text: str, position: int) -> int:
    """The position behind white space of JSON."""
    found = _SPACE.match(text, position)
    return position if found is None else found.end()


# --- Records over several lines --------------------------------------------------------------------------------------


def lines_of(raws: Iterator[Lines], source: Source) -> Iterator[str]:
    """Lines with their ends."""
    for raw in raws:
        *ended, last = text_of(raw, source).split("\n")
        yield from (f"{line}\n" for line in ended)
        if last:
            yield last


def record_blocks(
    records: Iterator[Record], source: Source, block_bytes: int, *, word: str = "record"
) -> Iterator[Block]:
    """Blocks of the texts of records."""
    found = _Texts(source)
    texts: list[str | None] = []
    unreadable: list[Unreadable] = []
    n_chars = n_records = 0
    for place, record in records:
        n_records += 1
        texts.append(None)
        try:
            if isinstance(record, BrokenRecordError):
                raise record
            texts[-1] = found.text(record)
        except ValueError as error:
            found.refuse_or_skip(f"{word} {place}", error)
            shown = record.text if isinstance(record, BrokenRecordError) else json.dumps(record, ensure_ascii=False)
            unreadable.append(Unreadable.of(n_records, shown[:1000].encode(errors="replace"), str(error)))
        n_chars += len(texts[-1] or "") + 1
        if n_chars >= block_bytes:
            yield source.block(pl.Series(texts, dtype=pl.String), unreadable, n_records - len(texts) + 1)
            texts, unreadable, n_chars = [], [], 0
    yield source.block(pl.Series(texts, dtype=pl.String), unreadable, n_records - len(texts) + 1)
    found.finish()


def json_records(chunks: Chunks, offset: int, source: Source) -> Iterator[Record]:
    """The elements of a JSON array, or JSON values one after another. offset: of the first byte in the text."""
    values = _Values(chunks, offset, source)
    is_array = values.take("[")
    number = 0
    while True:
        if is_array and values.take("]"):
            break
        if values.at_end():
            if is_array:
                values.stop("the array is not closed")
            return
        if is_array and number and not values.take(","):
            values.stop(f"no comma behind record {number}")
            return
        number += 1
        try:
            yield number, values.value()
        except ValueError as error:
            values.stop(f"record {number}: {error}")
            return
    if not values.at_end():
        values.stop("text behind the end of the array")


class _Values:
    """Reads JSON values from pieces of text, holding no more than one value and one piece."""

    def __init__(self, chunks: Chunks, offset: int, source: Source) -> None:
        self.chunks, self.n_read, self.source = chunks, offset, source
        self.decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape" if source.skips else "strict")
        self.text, self.position = "", 0

    def _more(self, n_chars: int = 1) -> bool:
        """Read on, by so many characters at least where there are; whether there were any."""
        found: list[str] = []
        n_found = 0
        while n_found < n_chars and (chunk := next(self.chunks, None)) is not None:
            data, self.source.n_stored = chunk
            self.n_read += len(data)
            try:
                found.append(self.decoder.decode(data, not data))
            except UnicodeDecodeError as error:
                raise self.source.not_decodable(error, self.n_read - len(error.object)) from error
            n_found += len(found[-1])
        self.text = self.text[self.position :] + "".join(found)
        self.position = 0
        return n_found > 0

    def at_end(self) -> bool:
        """Whether nothing but white space is left."""
        while True:
            self.position = skip_space(self.text, self.position)
            if self.position < len(self.text):
                return False
            if not self._more():
                return True

    def take(self, char: str) -> bool:
        """Whether this character comes next; it is taken then."""
        if self.at_end() or self.text[self.position] != char:
            return False
        self.position += 1
        return True

    def value(self) -> Any:
        """The value that comes next; ValueError says why there is none."""
        if self.at_end():
            raise ValueError("it is missing")
        while True:
            try:
                value, end = JSON_DECODER.raw_decode(self.text, self.position)
            except json.JSONDecodeError as error:
                # Twice as much each time, so that a long value is not read over and over.
                if stops_inside(error, self.text) and self._more(len(self.text) - self.position):
                    continue
                raise ValueError(f"broken JSON ({error.msg})") from error
            except RecursionError as error:
                raise ValueError(str(error)) from error
            # A number at the end of what was read may go on.
            if end < len(self.text) or isinstance(value, dict | list | str) or not self._more():
                self.position = end
                return value

    def stop(self, reason: str) -> None:
        """Behind broken syntax nothing more can be told apart."""
        place = f"{self.source.url}: broken JSON ({reason})"
        self.source.end(f"{place}, and what comes behind it cannot be read; mend the file")


def table_records(lines: Iterator[str], separator: str, source: Source, column: str | None) -> Iterator[Record]:
    """The rows of CSV or TSV with a head line, quoted with ", as objects; with the one column, or all for None.

    Raises:
        CorpusError: there is no such column, or a quote is not closed.
    """
    csv.field_size_limit(_MAX_FIELD_CHARS)  # Python's own limit is 128 KiB, less than a long document
    reader = csv.reader(lines, delimiter=separator, strict=True)
    try:
        names = next(reader, None)
    except csv.Error as error:
        raise CorpusError(f"{source.url}, line 1: the head line is broken ({error}); mend it") from error
    if names is None:
        return
    if column is not None and column not in names:
        raise source.no_column(names)
    places = {name: i for i, name in enumerate(names) if column in (None, name)}
    while True:
        line = reader.line_num + 1
        try:
            row = next(reader, None)
        except csv.Error as error:
            if "unexpected end of data" in str(error):
                source.end(f"{source.url}, line {line}: a quote is opened there and never closed; mend the file")
                return
            yield line, BrokenRecordError(f"broken row ({error})", "")
            continue
        if row is None:
            return
        if not row:
            yield line, dict.fromkeys(places)
        elif len(row) != len(names):
            shown = separator.join(row)
            yield line, BrokenRecordError(f"broken row ({len(row)} fields, the head line has {len(names)})", shown)
        else:
            yield line, {name: row[i] for name, i in places.items()}

"""Records with a field of text: JSON lines, JSON arrays, CSV and TSV."""

import codecs
import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import polars as pl

from vocabopt.errors import CorpusError
from vocabopt.options import ReadOptions
from vocabopt.text.formats import JSON_DECODER, skip_space, stops_inside
from vocabopt.text.lines import (
    OR_SKIP,
    Block,
    Damage,
    RawLines,
    Unreadable,
    checked_text,
    clean_text,
    no_column,
    not_decodable,
    text_column,
    text_of,
    unreadable_of,
)

#: The number of a record, or of its line; and the record: an object, a text, or a BrokenRecordError.
Record: TypeAlias = tuple[int, Any]

_MAX_FIELD_CHARS = (1 << 31) - 1


class BrokenRecordError(ValueError):
    """A record that cannot be read. text: as it stands in the file."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(reason)
        self.text = text


@dataclass
class _Tally:
    """What a file has given: to tell one broken record from a file that holds none.

    objects_only: a record that is a string is none, as on a line of JSON lines.
    """

    url: str
    options: ReadOptions
    objects_only: bool = False
    n_texts: int = 0
    n_broken: int = 0
    names: list[str] = field(default_factory=list)  # of the fields of the first record without the column
    first: str = ""

    def text(self, record: Any) -> str | None:
        """The text of a record; ValueError says why it has none."""
        column = text_column(self.options)
        if isinstance(record, str) and not self.objects_only:
            text = checked_text(record)
        elif not isinstance(record, dict):
            raise ValueError("broken record (not a JSON object)")
        elif column not in record:
            self.names = self.names or list(record)
            raise ValueError(f"broken record (no {column!r})")
        else:
            text = checked_text(record[column], column)
        self.n_texts += 1
        return text

    def broken(self, place: str, error: Exception) -> None:
        """Refuse, or count what is left out."""
        if self.options.on_error == "fail":
            if self.names and not self.n_texts:
                raise no_column(self.url, self.options, self.names) from error
            raise CorpusError(f"{self.url}, {place}: {error}; mend it, {OR_SKIP}") from error
        self.n_broken += 1
        self.first = self.first or f"{place}: {error}"

    def finish(self, damage: Damage) -> None:
        """Refuse a file of which nothing could be read: that is no matter of single records."""
        if self.n_broken and not self.n_texts and damage.reason is None:
            if self.names:
                raise no_column(self.url, self.options, self.names)
            raise CorpusError(
                f"{self.url}: none of its {self.n_broken:,} records can be read ({self.first}); is it of this format? "
                "Name another with --format"
            )


def json_line_blocks(raws: Iterator[RawLines], url: str, options: ReadOptions, damage: Damage) -> Iterator[Block]:
    """A JSON object on each line."""
    tally = _Tally(url, options, objects_only=True)
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
                texts[-1] = tally.text(json_value(line))
            except (ValueError, RecursionError) as error:
                tally.broken(f"line {n_lines}", error)
                unreadable.append(unreadable_of(n_lines, line.encode(), str(error)))
        yield Block.of(pl.Series(texts, dtype=pl.String), unreadable, raw.n_stored_bytes, first, n_recoded)
    tally.finish(damage)


def json_value(line: str) -> Any:
    """What JSON a line holds; ValueError says what is wrong with it."""
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"broken JSON ({error.msg}, column {error.colno})") from error


# --- Records over several lines --------------------------------------------------------------------------------------


@dataclass
class Stream:
    """Text as records are read from it. n_stored: stored bytes read so far. n_recoded: lines in the fallback."""

    url: str
    options: ReadOptions
    damage: Damage
    n_stored: int = 0
    n_recoded: int = 0

    def lines(self, raws: Iterator[RawLines]) -> Iterator[str]:
        """Lines with their ends."""
        for raw in raws:
            text, n_recoded = text_of(raw, self.url, self.options)
            self.n_recoded += n_recoded
            self.n_stored += raw.n_stored_bytes
            *ended, last = text.split("\n")
            yield from (f"{line}\n" for line in ended)
            if last:
                yield last

    def pieces(self, chunks: Iterator[tuple[bytes, int]], offset: int) -> Iterator[str]:
        """Text in pieces that may end anywhere but inside a character."""
        n_read = offset
        errors = "surrogateescape" if self.options.on_error == "skip" else "strict"
        decoder = codecs.getincrementaldecoder("utf-8")(errors)
        for data, self.n_stored in chunks:
            n_read += len(data)
            try:
                yield decoder.decode(data, not data)
            except UnicodeDecodeError as error:
                raise not_decodable(error, n_read - len(error.object), self.url, self.options) from error


def record_blocks(
    records: Iterator[Record], stream: Stream, block_bytes: int, *, word: str = "record"
) -> Iterator[Block]:
    """Blocks of the texts of records."""
    tally = _Tally(stream.url, stream.options)
    texts: list[str | None] = []
    unreadable: list[Unreadable] = []
    n_chars = n_told = n_records = n_recoded = 0
    for place, record in records:
        n_records += 1
        texts.append(None)
        try:
            if isinstance(record, BrokenRecordError):
                raise record
            texts[-1] = tally.text(record)
        except ValueError as error:
            tally.broken(f"{word} {place}", error)
            shown = record.text if isinstance(record, BrokenRecordError) else json.dumps(record, ensure_ascii=False)
            unreadable.append(unreadable_of(n_records, shown[:1000].encode(errors="replace"), str(error)))
        n_chars += len(texts[-1] or "") + 1
        if n_chars >= block_bytes:
            column = pl.Series(texts, dtype=pl.String)
            first = n_records - len(texts) + 1
            yield Block.of(column, unreadable, stream.n_stored - n_told, first, stream.n_recoded - n_recoded)
            texts, unreadable, n_chars = [], [], 0
            n_told, n_recoded = stream.n_stored, stream.n_recoded
    column = pl.Series(texts, dtype=pl.String)
    first = n_records - len(texts) + 1
    yield Block.of(column, unreadable, stream.n_stored - n_told, first, stream.n_recoded - n_recoded)
    tally.finish(stream.damage)


def json_records(pieces: Iterator[str], stream: Stream) -> Iterator[Record]:
    """The elements of a JSON array, or JSON values one after another."""
    values = _Values(pieces, stream.url)
    is_array = values.take("[")
    number = 0
    while True:
        if is_array and values.take("]"):
            break
        if values.at_end():
            if is_array:
                values.stop("the array is not closed", stream)
            return
        if is_array and number and not values.take(","):
            values.stop(f"no comma behind record {number}", stream)
            return
        number += 1
        try:
            yield number, values.value()
        except ValueError as error:
            values.stop(f"record {number}: {error}", stream)
            return
    if not values.at_end():
        values.stop("text behind the end of the array", stream)


class _Values:
    """Reads JSON values from pieces of text, holding no more than one value and one piece."""

    def __init__(self, pieces: Iterator[str], url: str) -> None:
        self.pieces, self.url = pieces, url
        self.text, self.position, self.ended = "", 0, False

    def _more(self, n_chars: int = 1) -> bool:
        """Read on, by so many characters at least where there are; whether there were any."""
        found: list[str] = []
        n_found = 0
        while n_found < n_chars and not self.ended:
            piece = next(self.pieces, None)
            if piece is None:
                self.ended = True
            else:
                found.append(piece)
                n_found += len(piece)
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

    def stop(self, reason: str, stream: Stream) -> None:
        """Behind broken syntax nothing more can be told apart: refuse, or end there."""
        told = f"{self.url}: broken JSON ({reason}), and what comes behind it cannot be read; mend the file"
        if stream.options.on_error == "fail":
            raise CorpusError(told)
        stream.damage.reason = stream.damage.reason or told


def table_records(lines: Iterator[str], separator: str, stream: Stream, column: str | None) -> Iterator[Record]:
    """The rows of CSV or TSV with a head line, quoted with ", as objects; with the one column, or all for None.

    Raises:
        CorpusError: there is no such column, or a quote is not closed.
    """
    csv.field_size_limit(_MAX_FIELD_CHARS)  # Python's own limit is 128 KiB, less than a long document
    reader = csv.reader(lines, delimiter=separator, strict=True)
    names = _head(reader, stream)
    if names is None:
        return
    if column is not None and column not in names:
        raise no_column(stream.url, stream.options, names)
    places = {name: i for i, name in enumerate(names) if column in (None, name)}
    while True:
        line = reader.line_num + 1
        try:
            row = next(reader, None)
        except csv.Error as error:
            if "unexpected end of data" in str(error):
                told = f"{stream.url}, line {line}: a quote is opened there and never closed; mend the file"
                if stream.options.on_error == "fail":
                    raise CorpusError(told) from error
                stream.damage.reason = stream.damage.reason or told
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


def _head(reader: Any, stream: Stream) -> Sequence[str] | None:
    try:
        return next(reader, None)
    except csv.Error as error:
        raise CorpusError(f"{stream.url}, line 1: the head line is broken ({error}); mend it") from error

"""Row groups of a parquet file that is stored elsewhere, without the rest of it.

polars reads part of a local file, and of a remote one only the whole. So a local file of the same length is made that
holds the end of the remote one, where parquet says what lies where, and the bytes of one column in some row groups;
everything else is a hole, which takes no room on the disk.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

from vocabopt.errors import CorpusError, DamagedFileError
from vocabopt.text.storage import Span, reading, remote

_MAGIC = b"PAR1"
_END_BYTES = 8
#: Read at once: as a rule, all that the end of the file says.
_FOOTER_GUESS_BYTES = 1 << 16


@dataclass(frozen=True, kw_only=True)
class RowGroup:
    """Rows of a file that are stored together. columns: name -> where its bytes start and end."""

    n_rows: int
    columns: dict[str, Span]


@contextmanager
def local_part(url: str, column: str, span: Span) -> Iterator[tuple[str, int, int]]:
    """A path for polars, and which rows are there: from the first to before the last.

    The row groups are those whose first row lies in a part of all rows: as large a part as `span` is of stored bytes.

    Raises:
        DamagedFileError: it is no parquet file. CorpusError: it cannot be read.
    """
    with tempfile.NamedTemporaryFile(prefix="vocabopt-", suffix=".parquet") as copy:
        with reading(url):
            filesystem, path = remote(url)
            n_bytes = int(filesystem.size(path))
            footer_start, footer = _footer(filesystem, path, n_bytes, url)
            try:
                groups = row_groups(footer)
            except (LookupError, ValueError, TypeError, AttributeError, RecursionError) as error:
                raise _damaged(url) from error
            first_row, last_row, chosen = _chosen(groups, n_bytes, span)
            copy.truncate(n_bytes)
            _write(copy, 0, _MAGIC)
            _write(copy, footer_start, footer + len(footer).to_bytes(4, "little") + _MAGIC)
            for group in chosen:
                if (place := group.columns.get(column)) is not None:
                    _write(copy, place[0], _fetched(filesystem, path, place, url))
            copy.flush()
        yield copy.name, first_row, last_row


def _chosen(groups: list[RowGroup], n_bytes: int, span: Span) -> tuple[int, int, list[RowGroup]]:
    n_rows = sum(group.n_rows for group in groups)
    start, end = (n_rows * at // n_bytes for at in span)
    first_row = last_row = 0
    chosen: list[RowGroup] = []
    row = 0
    for group in groups:
        if start <= row < end:
            first_row = first_row if chosen else row
            last_row = row + group.n_rows
            chosen.append(group)
        row += group.n_rows
    return first_row, last_row, chosen


def _footer(filesystem: Any, path: str, n_bytes: int, url: str) -> tuple[int, bytes]:
    """Where the description of the file starts, and it."""
    end = _fetched(filesystem, path, (max(0, n_bytes - _FOOTER_GUESS_BYTES), n_bytes), url)
    n_footer = int.from_bytes(end[-_END_BYTES:-4], "little")
    start = n_bytes - _END_BYTES - n_footer
    if end[-4:] != _MAGIC or start < len(_MAGIC):
        raise _damaged(url)
    if n_footer + _END_BYTES > len(end):
        end = _fetched(filesystem, path, (start, n_bytes), url)
    return start, end[-_END_BYTES - n_footer : -_END_BYTES]


def _fetched(filesystem: Any, path: str, span: Span, url: str) -> bytes:
    """Some bytes of the file. Raises CorpusError: more or fewer came; some servers send a whole file for a part."""
    data: bytes = filesystem.cat_file(path, start=span[0], end=span[1])
    if len(data) != span[1] - span[0]:
        raise CorpusError(
            f"{url}: {span[1] - span[0]:,} bytes were asked for and {len(data):,} came, so parts of it cannot be read. "
            "Copy the file to a local disk and name the copy."
        )
    return data


def _damaged(url: str) -> DamagedFileError:
    return DamagedFileError(f"{url}: is no parquet file, or damaged; fetch it again")


def _write(copy: IO[bytes], at: int, data: bytes) -> None:
    copy.seek(at)
    copy.write(data)


# --- What the end of the file says ------------------------------------------------------------------------------------

# parquet.thrift: the numbers of fields.
_ROW_GROUPS = 4
_COLUMNS, _N_ROWS = 1, 3
_META_DATA = 3
_PATH, _N_COMPRESSED, _DATA_PAGE, _DICTIONARY_PAGE = 3, 7, 9, 11


def row_groups(footer: bytes) -> list[RowGroup]:
    """The row groups of a file, in order, from its FileMetaData. Raises LookupError or ValueError: it is damaged."""
    found = []
    for group in _Thrift(footer).struct()[_ROW_GROUPS]:
        columns = {}
        for chunk in group[_COLUMNS]:
            meta = chunk[_META_DATA]
            start = min(meta[_DATA_PAGE], meta.get(_DICTIONARY_PAGE) or meta[_DATA_PAGE])
            columns[".".join(part.decode() for part in meta[_PATH])] = (start, start + meta[_N_COMPRESSED])
        found.append(RowGroup(n_rows=group[_N_ROWS], columns=columns))
    return found


class _Thrift:
    """Reads Thrift's compact protocol: a structure is its fields by number."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def struct(self) -> dict[int, Any]:
        fields: dict[int, Any] = {}
        number = 0
        while head := self._byte():
            # The number of a field is told as the step from the one before, or in full where that is large.
            number = number + (head >> 4) if head >> 4 else self._signed()
            fields[number] = self._value(head & 15)
        return fields

    def _value(self, kind: int) -> Any:
        if kind in (1, 2):  # true and false
            return kind == 1
        if kind == 3:
            return self._byte()
        if kind in (4, 5, 6):  # whole numbers of 16, 32 and 64 bits
            return self._signed()
        if kind == 7:
            return self._bytes(8)
        if kind == 8:
            return self._bytes(self._unsigned())
        if kind in (9, 10):  # list and set
            return self._list()
        if kind == 12:
            return self.struct()
        raise ValueError(f"unknown type {kind} in the description of a parquet file")

    def _list(self) -> list[Any]:
        head = self._byte()
        n = self._unsigned() if head >> 4 == 15 else head >> 4
        # In a list truth has a byte of its own.
        return [self._byte() == 1 if head & 15 in (1, 2) else self._value(head & 15) for _ in range(n)]

    def _byte(self) -> int:
        self._at += 1
        return self._data[self._at - 1]

    def _bytes(self, n: int) -> bytes:
        self._at += n
        if self._at > len(self._data):
            raise ValueError("the description of a parquet file ends early")
        return self._data[self._at - n : self._at]

    def _unsigned(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    def _signed(self) -> int:
        value = self._unsigned()
        return value >> 1 ^ -(value & 1)

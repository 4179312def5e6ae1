"""Arrays on disk for a decision, and its work in parts: what grows with the number of documents is not in memory.

The arrays are mapped files without a name, gone with the last array of theirs. The system reads and writes their pages
as they are used, and counts those as memory of this process: `release` gives them back.
"""

import mmap
import os
from collections.abc import Iterator, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vocabopt.preparation.step import Ints, Sketches

#: Bytes in memory for a row that is sorted by two values.
_SORTED_BYTES = 60
#: Rows at once, where an array on disk is gone through.
ROWS_AT_ONCE = 1 << 18
_STATM = Path("/proc/self/statm")


class MappedArrays:
    """The arrays of one decision, beside its sketches.

    n_mapped_bytes: pages of theirs that may be in memory. n_sorted_bytes: what may be sorted there at once. Both
    together are the memory of a decision.
    """

    def __init__(self, sketches: Sketches) -> None:
        self._sketches, self._maps = sketches, list[mmap.mmap]()
        self.n_mapped_bytes = self.n_sorted_bytes = sketches.memory_bytes // 2
        self._n_before = _file_bytes()

    def zeros(self, shape: int | tuple[int, ...], dtype: Any) -> NDArray[Any]:
        """Zeros, whose room on disk is taken at once: a full disk met later would end this process without a word."""
        n_bytes = np.dtype(dtype).itemsize * (prod(shape) if isinstance(shape, tuple) else shape)
        if n_bytes == 0:
            return np.zeros(shape, dtype)
        with self._sketches.scratch() as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, n_bytes)
            else:
                file.truncate(n_bytes)
            self._maps.append(mapping := mmap.mmap(file.fileno(), n_bytes))
        return np.frombuffer(mapping, dtype).reshape(shape)

    def joined(self, pieces: Iterator[NDArray[Any]], dtype: Any) -> NDArray[Any]:
        """The pieces one after another."""
        n_bytes = 0
        with self._sketches.scratch() as file:
            for piece in pieces:
                file.write(np.ascontiguousarray(piece, dtype).data)
                n_bytes += piece.size * np.dtype(dtype).itemsize
            file.flush()
            if n_bytes == 0:
                return np.zeros(0, dtype)
            self._maps.append(mapping := mmap.mmap(file.fileno(), n_bytes))
        return np.frombuffer(mapping, dtype)

    def gathered(self, name: str, dtype: Any) -> NDArray[Any]:
        """An array of all sketches, a row after another."""
        return self.joined((sketch[name] for sketch in self._sketches), dtype)

    def release(self) -> None:
        """Between two steps of work: give pages back if there are more than n_mapped_bytes. No array changes."""
        if _file_bytes() - self._n_before > self.n_mapped_bytes:
            for mapping in self._maps:
                mapping.madvise(mmap.MADV_DONTNEED)


def _file_bytes() -> int:
    """Pages of files that this process holds in memory; 0 where the system does not say, and gives them back itself."""
    return int(_STATM.read_text().split()[2]) * os.sysconf("SC_PAGE_SIZE") if _STATM.exists() else 0


def blocks(n_rows: int) -> Iterator[slice]:
    """Rows in order, ROWS_AT_ONCE of them."""
    return (slice(begin, min(n_rows, begin + ROWS_AT_ONCE)) for begin in range(0, n_rows, ROWS_AT_ONCE))


def long_units(sketches: Sketches, n_units: Sequence[int], arrays: MappedArrays) -> Ints:
    """The units that are long enough to be compared, of all shards, int64 [n], on disk."""
    starts = np.cumsum([0, *n_units])
    return arrays.joined((sketch["long"] + start for sketch, start in zip(sketches, starts, strict=False)), np.int64)


def parts_by_hash(
    sketches: Sketches, name: str, n_rows: int, n_at_once: int
) -> Iterator[tuple[Ints, NDArray[np.uint64]]]:
    """The rows of an array of all sketches in parts, by their hash: equal ones are in one part, in their order.

    name: of uint64 [n], or [n, 2] whose first column is the hash that parts go by. n_rows: of all sketches; n_at_once:
    rows of a part, about. The number of parts changes nothing of what is equal to what.

    Returns:
        Of each part: where its rows are among all, int64 [n], rising, and the rows.
    """
    n_parts = max(1, -(-n_rows // max(1, n_at_once)))
    for part in range(n_parts):
        places, rows, begin = [np.zeros(0, np.int64)], [], 0
        for sketch in sketches:
            values = sketch[name]
            hashes = values if values.ndim == 1 else values[:, 0]
            mine = np.flatnonzero((hashes >> 32) * np.uint64(n_parts) >> 32 == part)
            places.append(mine + begin)
            rows.append(values[mine])
            begin += len(values)
        if rows:
            yield np.concatenate(places), np.concatenate(rows)


def sorted_rows(arrays: MappedArrays, key: NDArray[Any], ties: NDArray[np.uint64]) -> Ints:
    """The rows by rising key, then by `ties`, then in their order: int64 [n], on disk; sorted a part at a time."""
    n = len(key)
    order: Ints = arrays.zeros(n, np.int64)
    n_parts = max(1, -(-n // max(1, arrays.n_sorted_bytes // _SORTED_BYTES)))
    # 1. Where parts are cut: at rows of a regular sample.
    sample = np.arange(0, n, max(1, n // (64 * n_parts)))
    sample = sample[np.lexsort((ties[sample], key[sample]))]
    cuts = [sample[len(sample) * part // n_parts] for part in range(1, n_parts)] if n else []
    cuts = [cut for cut in cuts if key[cut] == key[cut]]  # nothing is below a NaN; they all come last
    begin = 0
    for low, high in zip([None, *cuts], [*cuts, None], strict=True):
        # 2. The rows of a part, sorted.
        found = [np.zeros(0, np.int64)]
        for own in blocks(n):
            mine = np.ones(own.stop - own.start, np.bool_)
            for cut, is_below in ((low, False), (high, True)):
                if cut is not None:
                    before = (key[own] < key[cut]) | ((key[own] == key[cut]) & (ties[own] < ties[cut]))
                    mine &= before == is_below
            found.append(np.flatnonzero(mine) + own.start)
            arrays.release()
        rows = np.concatenate(found)
        order[begin : begin + len(rows)] = rows[np.lexsort((ties[rows], key[rows]))]
        begin += len(rows)
        arrays.release()
    return order


def features_of(
    sketches: Sketches, arrays: MappedArrays, chosen: NDArray[np.bool_] | None = None
) -> tuple[NDArray[np.uint32], Ints]:
    """The n-grams of the units, one after another; and int64 [n + 1], where those of each unit start. Both on disk.

    Of a shard `features` holds them, `ends` where those of each unit end. They are about as large as the text itself.
    chosen: bool [N]; the other units have none.
    """
    starts = arrays.zeros(1 + sum(len(sketch["ends"]) for sketch in sketches), np.int64)

    def pieces() -> Iterator[NDArray[np.uint32]]:
        begin = 0
        for sketch in sketches:
            features, own = sketch["features"], np.diff(sketch["ends"], prepend=0)
            if chosen is not None:
                is_chosen = chosen[begin : begin + len(own)]
                features = features[np.repeat(is_chosen, own)]
                own = np.where(is_chosen, own, 0)
            starts[begin + 1 : begin + 1 + len(own)] = starts[begin] + np.cumsum(own)
            begin += len(own)
            yield features

    return arrays.joined(pieces(), np.uint32), starts

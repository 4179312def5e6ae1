"""All text counted again with tokenizers of several sizes, shard by shard, in bounded memory.

The counts of unions do not follow from each other as the curve's do, so text is encoded with each. A worker holds as
many tokenizers as its memory has room for; where not all sizes fit at once, the text is read again for the others.
"""

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np
import polars as pl
from numpy.typing import NDArray

from vocabopt.console import Console
from vocabopt.folder import digest, write_bytes_atomic
from vocabopt.growth.counter import Counting, base_of
from vocabopt.growth.counts import ChunkCounts, ChunkStore, Preparer, SetStats
from vocabopt.growth.shard_sums import add_up
from vocabopt.growth.whole_text import check_same_text, read_sums, stats_of, totals_of
from vocabopt.options import EngineOptions
from vocabopt.text.sets import N_FOLDS
from vocabopt.text.shards import Shard, documents_of_shard, texts_of_shard
from vocabopt.tokenizer import Tokenizer
from vocabopt.tokenizer.chunks import cuts_of

#: Whole numbers by name, which add up.
Arrays: TypeAlias = dict[str, NDArray[np.int64]]

#: What a tokenizer takes for each of its tokens, in its three forms (measured: 1.1 kB with Mistral's family, 2.4 kB
#: with Qwen's).
_TOKEN_BYTES = 2_500
#: What a unique chunk takes beside its text, and each group that it occurs in, until it is encoded.
_CHUNK_BYTES, _ENTRY_BYTES = 116, 36


class Measure(Protocol):
    """The tokenizer of one size, and what is counted with it."""

    def count(self, counts: ChunkCounts, weights: NDArray[np.int64]) -> Arrays:
        """Of unique chunks of text. weights: int64 [n_chunks, n_sets]."""

    def changed_texts(self, counts: ChunkCounts, weights: NDArray[np.int64], names: Sequence[str]) -> set[str]:
        """Texts of chunks of these text sets that make a document change."""

    def changed_documents(self, name: str, changed: Sequence[str], blocks: Iterable[pl.Series]) -> Arrays:
        """How many of a set's documents change, given the texts of chunks that do."""


class Sizes(Protocol):
    """The sizes that text is counted with; travels to other processes."""

    @property
    def numbers(self) -> range: ...

    @property
    def identity(self) -> str:
        """Changes with whatever the counts of a size depend on, beside text and base."""

    def n_added(self, number: int) -> int:
        """Tokens of a size beside the base's, at most."""

    def at(self, base: Tokenizer, number: int) -> Measure: ...


@dataclass(frozen=True, kw_only=True)
class Recounting:
    """What a worker needs to count text again. counting: of the text and the base. judged: text sets of which changed
    documents are counted."""

    counting: Counting
    sizes: Sizes
    judged: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Job:
    """A shard to be counted with some of the sizes."""

    shard: Shard
    numbers: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Recounted:
    """What a job gave: sums by size. totals: uint64 [n_sets, len(TOTALS)], what the shard holds (words apart)."""

    job: Job
    sums: dict[int, Arrays]
    totals: NDArray[np.uint64]


def start_recounter(recounting: Recounting) -> "Recounter":
    """Load the base. Raises BaseTokenizerError: it is another base than that of the run."""
    return Recounter(base_of(recounting.counting), recounting)


class Recounter:
    """Does jobs, one after another; keeps the tokenizers of the last one."""

    def __init__(self, base: Tokenizer, recounting: Recounting) -> None:
        self._base, self._recounting = base, recounting
        counting = recounting.counting
        self._cuts = cuts_of(base, cross_spaces=counting.cross_spaces)
        self._preparer = Preparer({}, base, counting.heldout_of, counting.heldout, counting.seed)
        self._measures: dict[int, Measure] = {}
        self._n_encoded = 0

    def __call__(self, job: Job) -> Recounted:
        """Count a shard. Raises CorpusError: its text cannot be read."""
        counting, judged = self._recounting.counting, job.shard.text_set in self._recounting.judged
        if self._n_encoded > counting.memory_bytes:
            # Encoders keep what they encoded of byte-level bases as long as they live.
            self._measures, self._n_encoded = {}, 0
        kept = self._measures
        self._measures = {n: kept.get(n) or self._recounting.sizes.at(self._base, n) for n in job.numbers}
        sets = {name: SetStats(role) for name, role in counting.sets.items()}
        sums: dict[int, Arrays] = {number: {} for number in job.numbers}
        changed: dict[int, set[str]] = {number: set() for number in job.numbers}
        for counts in self._parts(job.shard, sets):
            weights = counts.weights()
            for number, measure in self._measures.items():
                _add(sums[number], measure.count(counts, weights))
                if judged:
                    changed[number] |= measure.changed_texts(counts, weights, [job.shard.text_set])
        for number, measure in self._measures.items() if judged else ():
            blocks = texts_of_shard(job.shard, counting.read)
            _add(sums[number], measure.changed_documents(job.shard.text_set, sorted(changed[number]), blocks))
        return Recounted(job=job, sums=sums, totals=totals_of(sets))

    def _parts(self, shard: Shard, sets: dict[str, SetStats]) -> Iterator[ChunkCounts]:
        """The unique chunks of a shard; of parts of it where they outgrow their memory."""
        self._preparer.start(sets)
        store = ChunkStore(len(sets) * N_FOLDS)
        for block in documents_of_shard(shard, self._recounting.counting.read):
            if (prepared := self._preparer(block)) is not None:
                store.count(prepared, self._cuts, 0, n_parts=1)
                if self._n_bytes(store) > self._recounting.counting.memory_bytes // 2:
                    yield self._taken(store, sets)
                    store = ChunkStore(len(sets) * N_FOLDS)
        yield self._taken(store, sets)

    def _taken(self, store: ChunkStore, sets: dict[str, SetStats]) -> ChunkCounts:
        self._n_encoded += store.used[1]
        return store.chunk_counts(sets)

    @staticmethod
    def _n_bytes(store: ChunkStore) -> int:
        n_chunks, n_arena, n_entries = store.used
        # The text once more, and its ids, while it is encoded.
        return n_chunks * _CHUNK_BYTES + 2 * n_arena + n_entries * _ENTRY_BYTES


def _add(sums: Arrays, more: Arrays) -> None:
    for name, values in more.items():
        sums[name] = sums[name] + values if name in sums else values


# --- All shards -------------------------------------------------------------------------------------------------------


@dataclass
class _Sums:
    """What the jobs that are done add up to, by size. done: bool [n_sizes, n_shards]. totals: uint64 [n_sizes, n_sets,
    len(TOTALS)]."""

    path: Path
    what: str
    done: NDArray[np.bool_]
    totals: NDArray[np.uint64]
    sums: dict[int, Arrays]

    def add(self, result: Recounted) -> int:
        for number, arrays in result.sums.items():
            _add(self.sums[number], arrays)
            self.totals[number] += result.totals
            self.done[number, result.job.shard.number] = True
        return _n_bytes(result.job)

    def save(self) -> None:
        arrays = {f"{name}@{number}": values for number, of in self.sums.items() for name, values in of.items()}
        what, buffer = np.frombuffer(self.what.encode(), np.uint8), io.BytesIO()
        np.savez(buffer, allow_pickle=False, what=what, done=self.done, totals=self.totals, **arrays)
        write_bytes_atomic(self.path, buffer.getvalue())

    @classmethod
    def read(cls, path: Path, what: str, shape: tuple[int, int, int, int]) -> "_Sums":
        """Those of an earlier run, or of no job. shape: sizes, shards, text sets, totals of a set."""
        n_sizes, n_shards, n_sets, n_totals = shape
        none = cls(
            path,
            what,
            np.zeros((n_sizes, n_shards), bool),
            np.zeros((n_sizes, n_sets, n_totals), np.uint64),
            {number: {} for number in range(n_sizes)},
        )
        arrays = read_sums(path, what) or {}
        if not {"done", "totals"} <= arrays.keys() or arrays["done"].shape != none.done.shape:
            return none
        sums = {number: _of_size(arrays, number) for number in range(n_sizes)}
        return replace(none, done=arrays["done"], totals=arrays["totals"], sums=sums)


def _of_size(arrays: Mapping[str, NDArray[np.int64]], number: int) -> Arrays:
    ending = f"@{number}"
    return {name.removesuffix(ending): values for name, values in arrays.items() if name.endswith(ending)}


def read_recounted(path: Path, number: int) -> Arrays:
    """The sums of a size that a finished run kept; none where the file is not there, or broken."""
    arrays = read_sums(path)
    return {} if arrays is None or not arrays["done"][number : number + 1].all() else _of_size(arrays, number)


def _n_bytes(job: Job) -> int:
    return job.shard.n_stored_bytes * len(job.numbers)


def recount_text(
    recounting: Recounting,
    shards: Sequence[Shard],
    read: Mapping[str, SetStats],
    options: EngineOptions,
    path: Path,
    console: Console,
    *,
    step: str,
) -> list[Arrays]:
    """Count every document of every set with each size; the sums of each.

    Args:
        read: what the sets were found to hold before. path: of the file that keeps the sums, for the next run.

    Raises:
        CorpusError: text cannot be read, or a file changed since the run began.
        VocaboptError: a worker was lost.
    """
    counting, sizes = recounting.counting, recounting.sizes
    what = digest([counting.identity, sizes.identity, [*recounting.judged], [repr(shard) for shard in shards]])
    shape = len(sizes.numbers), len(shards), *totals_of(dict(read)).shape
    sums = _Sums.read(path, what, shape)
    jobs, n_at_once = [], _n_at_once(recounting)
    for first in sizes.numbers[::n_at_once]:
        numbers = sizes.numbers[first : first + n_at_once]
        for shard in shards:
            if left := tuple(number for number in numbers if not sums.done[number, shard.number]):
                jobs.append(Job(shard=shard, numbers=left))
    total = sum(shard.n_stored_bytes for shard in shards) * len(sizes.numbers)
    n_done = total - sum(map(_n_bytes, jobs))
    if n_done:
        console.note(f"Going on: {sums.done.mean():.0%} of the text was counted before.")
    if jobs:
        add_up(sums, jobs, (n_done, total), partial(start_recounter, recounting), options, console, step=step)
    for number in sizes.numbers:
        check_same_text(dict(read), stats_of(counting.sets, sums.totals[number]))
    return [sums.sums[number] for number in sizes.numbers]


def _n_at_once(recounting: Recounting) -> int:
    """How many of the sizes a worker holds: half of its memory is for their tokenizers."""
    sizes, counting = recounting.sizes, recounting.counting
    n_added = max(map(sizes.n_added, sizes.numbers), default=0)
    of_one = _TOKEN_BYTES * (counting.merges.n_base_tokens + n_added)
    return max(1, min(len(sizes.numbers), counting.memory_bytes // 2 // of_one))

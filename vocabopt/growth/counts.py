"""Count unique chunks, per text set and per fold of the documents, from streamed blocks of text."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from vocabopt.growth import chunk_kernel as kernel
from vocabopt.growth.proof_sample import ProofSample
from vocabopt.growth.share import LearnedShare
from vocabopt.records import Guard
from vocabopt.text.documents import Documents as Documents
from vocabopt.text.documents import Samples, is_held_out
from vocabopt.text.scripts import MIN_SCRIPT_SHARE, find_target_scripts, scripts_of_counts
from vocabopt.text.sets import HELDOUT, N_FOLDS, TRAIN
from vocabopt.tokenizer import Tokenizer
from vocabopt.tokenizer.added_tokens import AddedTokens, Opened, open_documents
from vocabopt.tokenizer.chunks import Cuts, cuts_of

T = TypeVar("T")

_MOST_THREADS = 8
#: Chunks cut before they are looked up: large enough to overlap cache misses, small enough to stay in the cache.
_N_CUTS = 1024


@dataclass
class SetStats:
    """What a text set holds. Words are runs of characters that are not white space (Unicode's).

    hash_sum: of the documents' content hashes, modulo 2^64: the same for the same documents in any order.
    """

    role: str
    n_documents: int = 0
    n_bytes: int = 0
    n_chars: int = 0
    n_words: int = 0
    n_special_tokens: int = 0
    n_blank: int = 0
    n_skipped: int = 0
    hash_sum: int = 0


@dataclass(frozen=True)
class ChunkCounts:
    """Unique chunks and how often each occurs, per group; group = index of the text set x N_FOLDS + fold.

    text: uint8 [n_bytes]: the chunks, each followed by NUL. ends: int64 [n_chunks]: where each ends (at its NUL).
    offsets: int64 [n_chunks + 1] into groups (int32) and counts (int64).
    """

    sets: dict[str, SetStats]
    text: NDArray[np.uint8]
    ends: NDArray[np.int64]
    offsets: NDArray[np.int64]
    groups: NDArray[np.int32]
    counts: NDArray[np.int64]

    @property
    def n_chunks(self) -> int:
        return len(self.ends)

    @classmethod
    def of_texts(cls, texts: Sequence[str]) -> "ChunkCounts":
        """Texts without counts, to be encoded."""
        text = np.frombuffer("\0".join([*texts, ""]).encode(), np.uint8)
        return cls.uncounted(text, np.flatnonzero(text == 0))

    @classmethod
    def uncounted(cls, text: NDArray[np.uint8], ends: NDArray[np.int64]) -> "ChunkCounts":
        none = np.zeros(0, np.int64)
        return cls({}, text, ends, np.zeros(len(ends) + 1, np.int64), none.astype(np.int32), none)

    def texts(self) -> pl.Series:
        """The chunks as strings, in order."""
        if not self.n_chunks:
            return pl.Series("chunk", [], dtype=pl.String)
        # By way of bytes: polars checks UTF-8 ten times faster than Python decodes Korean.
        joined = pl.Series("chunk", [self.text[:-1].tobytes()], dtype=pl.Binary).cast(pl.String)
        return joined.str.split("\0").explode()

    def weights(self) -> NDArray[np.int64]:
        """Count of each chunk in each text set, [n_chunks, n_sets]."""
        weights = np.zeros((self.n_chunks, len(self.sets)), np.int64)
        kernel.add_up(self.offsets, self.groups // N_FOLDS, self.counts, weights)
        return weights

    def sample(self, n_chunks: int, *, max_bytes: int) -> list[str]:
        """About `n_chunks` chunks of at most `max_bytes` (all of those, if there are fewer), spread evenly."""
        starts = np.concatenate([[0], self.ends[:-1] + 1])
        short = np.flatnonzero(self.ends - starts <= max_bytes)
        chosen = short[:: max(1, len(short) // n_chunks)]
        return [self.text[starts[chunk] : self.ends[chunk]].tobytes().decode() for chunk in chosen]


@dataclass
class ChunkStore:
    """The growing stores of one part of the chunks; see chunk_kernel. Pages that are not used cost nothing."""

    n_groups: int
    sizes: NDArray[np.int64] = field(default_factory=lambda: np.array([0, 0, 0, 0, -1, 0, 0], np.int64))
    cuts: NDArray[np.int64] = field(default_factory=lambda: np.empty((_N_CUTS, 4), np.int64))
    hashes: NDArray[np.uint64] = field(default_factory=lambda: np.empty(_N_CUTS, np.uint64))
    table: NDArray[np.int64] = field(default_factory=lambda: np.zeros(1 << 21, np.int64))
    chunks: NDArray[np.int64] = field(default_factory=lambda: np.empty((1 << 20, 5), np.int64))
    arena: NDArray[np.uint8] = field(default_factory=lambda: np.empty(1 << 25, np.uint8))
    entries: NDArray[np.int64] = field(default_factory=lambda: np.empty((1 << 21, 3), np.int64))

    def count(self, block: tuple[Any, ...], cuts: Cuts, part: int, n_parts: int) -> None:
        """Count the chunks of a prepared block that fall into this part of all."""
        while True:
            stores = self.sizes, self.cuts, self.hashes, self.table, self.chunks, self.arena, self.entries
            if kernel.count_block(*block, cuts.at, cuts.crossing, part, n_parts, *stores):  # type: ignore[call-arg]
                return
            self._enlarge()

    @property
    def used(self) -> tuple[int, int, int]:
        """Chunks, bytes of text (a NUL behind each chunk included) and entries that it holds."""
        n_chunks, n_arena, n_entries = (int(size) for size in self.sizes[:3])
        return n_chunks, n_arena, n_entries

    def since(self, first: int) -> ChunkCounts:
        """The chunks from number `first` on, without counts."""
        n_chunks, n_arena, _ = self.used
        start = int(self.chunks[first, kernel.TEXT_START]) if first < n_chunks else n_arena
        return ChunkCounts.uncounted(self.arena[start:n_arena], self.chunks[first:n_chunks, kernel.TEXT_END] - start)

    @property
    def counted(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Entries [n_entries, 3] (chunk, group, count), and of each chunk the group and count under way."""
        n_chunks, _, n_entries = self.used
        under_way = self.chunks[:n_chunks]
        return self.entries[:n_entries], under_way[:, kernel.OPEN_GROUP], under_way[:, kernel.OPEN_COUNT]

    def forget_counts(self) -> None:
        """Count anew; the chunks are still known."""
        self.sizes[kernel.N_ENTRIES] = 0
        self.chunks[: self.sizes[kernel.N_CHUNKS], kernel.OPEN_COUNT] = 0

    def keep_groups(self, keep: NDArray[np.bool_]) -> None:
        """Forget what was counted for other groups than these, bool [n_groups], and chunks that only they have."""
        kernel.keep_groups(self.sizes, self.chunks, self.arena, self.entries, keep)
        self.table = np.zeros(len(self.table), np.int64)
        kernel.fill_table(self.table, self.chunks, self.used[0])

    def add_up_entries(self) -> None:
        """Make one entry of all that was counted of a chunk for a group, the counts under way included."""
        n_chunks, _, n_entries = self.used
        self.entries = _enlarged(self.entries, n_entries, n_entries + n_chunks)
        n_entries = kernel.close_counts(self.chunks, n_chunks, self.entries, n_entries)
        self.sizes[kernel.N_ENTRIES] = kernel.add_up_entries(self.entries, n_entries, n_chunks, self.n_groups)

    def _enlarge(self) -> None:
        """Double what may be too small for the chunks that wait."""
        n_waiting = int(self.sizes[kernel.N_WAITING])
        waiting = self.cuts[:n_waiting]
        n_bytes = int((waiting[:, kernel.CUT_END] - waiting[:, kernel.CUT_START] + 2).sum())
        n_chunks, n_arena, n_entries = self.used
        self.chunks = _enlarged(self.chunks, n_chunks, n_chunks + n_waiting)
        self.arena = _enlarged(self.arena, n_arena, n_arena + n_bytes)
        if n_entries + n_waiting > len(self.entries):
            self.add_up_entries()
            # Room for as many again: it takes time to look through all.
            n_entries = self.used[2]
            self.entries = _enlarged(self.entries, n_entries, 2 * n_entries + n_waiting)
        if 2 * (n_chunks + n_waiting) > self.table.size:
            self.table = np.zeros(4 * self.table.size, np.int64)
            kernel.fill_table(self.table, self.chunks, n_chunks)

    def chunk_counts(self, sets: dict[str, SetStats]) -> ChunkCounts:
        """What it holds, of text in these sets. Then it is used up."""
        return _join([self.finish()], sets)

    def finish(self) -> tuple[NDArray[Any], ...]:
        """Text, ends, offsets, groups and counts of this part, as ChunkCounts holds them."""
        n_chunks, n_arena, n_entries = self.used
        offsets = np.zeros(n_chunks + 1, np.int64)
        groups = np.empty(n_chunks + n_entries, np.int32)
        counts = np.empty(n_chunks + n_entries, np.int64)
        n_kept = kernel.finish(self.sizes, self.chunks, self.entries, self.n_groups, offsets, groups, counts)
        ends = self.chunks[:n_chunks, kernel.TEXT_END].copy()
        return self.arena[:n_arena], ends, offsets, groups[:n_kept], counts[:n_kept]


def _enlarged(store: NDArray[Any], used: int, needed: int) -> NDArray[Any]:
    if needed <= len(store):
        return store
    larger = np.empty((max(2 * len(store), needed), *store.shape[1:]), store.dtype)
    larger[:used] = store[:used]
    return larger


def appended(store: NDArray[Any], used: int, values: NDArray[Any]) -> NDArray[Any]:
    """`store`, or a larger copy, with `values` behind the `used` first."""
    store = _enlarged(store, used, used + len(values))
    store[used : used + len(values)] = values
    return store


def count_chunks(
    blocks: Iterable[Documents],
    sets: dict[str, SetStats],
    base: Tokenizer,
    *,
    heldout_share: float,
    seed: int,
    advance: Callable[[int], None] = lambda n_stored_bytes: None,
    samples: Samples | None = None,
    proof_sample: ProofSample | None = None,
    heldout_of: Mapping[str, str] = MappingProxyType({TRAIN: HELDOUT}),
    cross_spaces: bool = False,
    share: LearnedShare | None = None,
    n_threads: int = 2,
) -> ChunkCounts:
    """Count the chunks of all documents, in one pass.

    Args:
        blocks: documents; those of a set in `heldout_of` whose content hash says so are counted in its held-out set.
        sets: what is known of each text set, in order; filled in.
        heldout_share: the share of such a set's documents to hold out, 0 to 1.
        seed: picks other documents to hold out, and other folds.
        advance: told the stored bytes that are done, for a progress bar.
        samples, proof_sample: offered every document.
        heldout_of: set -> the set that takes what is held out of it.
        cross_spaces: tokens that are added may hold a space after another character (`documents.cuts_of`).
        share: which documents are counted, made smaller on the way where they outgrow their memory; None for all.
        n_threads: that count; each takes a part of the chunks, and looks at all text.

    The sets' `n_words` are left to `count_words`, which can wait.

    Raises:
        TooMuchTextError: not even the smallest part of the share fits into memory.
    """
    # More threads than this only wait for the reader.
    stores = [ChunkStore(len(sets) * N_FOLDS) for _ in range(min(n_threads, _MOST_THREADS))]
    cuts = cuts_of(base, cross_spaces=cross_spaces)
    with ThreadPoolExecutor(len(stores)) as pool:
        n_done = 0
        prepare = Preparer(sets, base, heldout_of, heldout_share, seed, samples, proof_sample, share)
        for n_stored_bytes, prepared in _ahead((block.n_stored_bytes, prepare(block)) for block in _ahead(blocks)):
            if prepared is not None:
                if share is not None:
                    # This block was prepared while the one before was counted, and the share may be smaller since.
                    prepared = share.narrowed(prepared)
                jobs = [
                    pool.submit(store.count, prepared, cuts, part, len(stores)) for part, store in enumerate(stores)
                ]
                for job in jobs:
                    job.result()
                if share is not None:
                    share.fit(stores)
            advance(n_done := n_done + n_stored_bytes)
        shares = list(pool.map(ChunkStore.finish, stores))
    del stores
    return _join(shares, sets)


def warm_up() -> None:
    """Compile what counting calls only where there is much text (`vocabopt.warmup`)."""
    none, document = np.zeros(0, np.int64), np.frombuffer(b"a", np.uint8)
    kernel.mark_documents(document, none, none, np.zeros(1, bool), np.zeros(0, bool))
    store = ChunkStore(1)
    store.add_up_entries()
    store.keep_groups(np.ones(1, bool))


def count_opened(opened: Opened, cuts: Cuts, *, n_groups: int) -> ChunkCounts:
    """Count the chunks of a few documents, by their groups; what `sets` are is not known."""
    store = ChunkStore(n_groups)
    store.count(opened.for_kernel(), cuts, 0, n_parts=1)
    return store.chunk_counts({})


def _ahead(blocks: Iterable[T]) -> Iterator[T]:
    """Make the next one in a thread while this one is worked on: reading, preparing and counting are three threads."""
    iterator = iter(blocks)
    with ThreadPoolExecutor(1) as pool:
        pending = pool.submit(next, iterator, None)
        while (block := pending.result()) is not None:
            pending = pool.submit(next, iterator, None)
            yield block


@dataclass
class Preparer:
    """Turns blocks into what the kernel takes: documents grouped, added tokens taken out. Keeps the statistics.

    share: the documents to count, all others only have their place in the statistics.
    """

    sets: dict[str, SetStats]
    base: Tokenizer
    heldout_of: Mapping[str, str]
    heldout_share: float
    seed: int
    samples: Samples | None = None
    proof_sample: ProofSample | None = None
    share: LearnedShare | None = None

    def __post_init__(self) -> None:
        self.added = AddedTokens(self.base)
        self.start(self.sets)

    def start(self, sets: dict[str, SetStats]) -> None:
        """Keep the statistics of other text, in the same sets."""
        self.sets, self.names = sets, list(sets)

    def __call__(self, block: Documents) -> tuple[Any, ...] | None:
        data, starts, ends = np.frombuffer(block.data, np.uint8), block.starts, block.ends
        stats = self.sets[block.text_set]
        stats.n_blank += block.n_blank
        stats.n_skipped += block.n_skipped
        if not len(starts):
            return None
        hashes, n_chars, suspects = kernel.scan_documents(
            data, starts, ends, np.uint64(self.seed), self.added.suspicious
        )
        set_index = np.full(len(starts), self.names.index(block.text_set))
        if heldout := self.heldout_of.get(block.text_set):
            set_index[is_held_out(hashes, self.heldout_share)] = self.names.index(heldout)
        for index in np.unique(set_index):
            member, stats = set_index == index, self.sets[self.names[index]]
            stats.n_documents += int(member.sum())
            stats.n_bytes += int((ends - starts)[member].sum())
            stats.n_chars += int(n_chars[member].sum())
            stats.hash_sum = (stats.hash_sum + int(hashes[member].sum(dtype=np.uint64))) % 2**64
            if self.samples is not None:
                self.samples.offer(
                    self.names[index], block.data, starts[member], ends[member], hashes[member], n_chars[member]
                )
        groups = set_index * N_FOLDS + ((hashes >> np.uint64(32)) % np.uint64(N_FOLDS)).astype(np.int64)
        if self.share is not None:
            groups[~self.share.takes(hashes, groups, ends - starts)] = -1
        if self.proof_sample is not None:
            self.proof_sample.offer(block.data, starts, ends, hashes)
        opened = open_documents(self.added, self.base, block.data, starts, ends, suspects, groups)
        for document in np.flatnonzero(opened.n_added):
            self.sets[self.names[set_index[document]]].n_special_tokens += int(opened.n_added[document])
            if self.proof_sample is not None:
                # It stands for each of its added tokens, by what is beside it.
                self.proof_sample.offer_named(self.added.features, block.data[starts[document] : ends[document]])
        return (opened if self.share is None else opened.where(opened.groups >= 0)).for_kernel()


def _join(shares: list[tuple[NDArray[Any], ...]], sets: dict[str, SetStats]) -> ChunkCounts:
    texts, ends, offsets, groups, counts = zip(*shares, strict=True)
    text_starts = np.cumsum([0, *(len(text) for text in texts)])
    entry_starts = np.cumsum([0, *(len(part) for part in groups)])
    return ChunkCounts(
        sets=sets,
        text=np.concatenate(texts),
        ends=np.concatenate([part + start for part, start in zip(ends, text_starts[:-1], strict=True)]),
        offsets=np.concatenate(
            [[0], *(part[1:] + start for part, start in zip(offsets, entry_starts[:-1], strict=True))]
        ).astype(np.int64),
        groups=np.concatenate(groups),
        counts=np.concatenate(counts),
    )


def count_words(counts: ChunkCounts, weights: NDArray[np.int64]) -> None:
    """Fill in the sets' `n_words`: words never cross a chunk's beginning, so unique chunks are enough."""
    n_words = kernel.count_words(counts.text, counts.ends)
    for stats, total in zip(counts.sets.values(), n_words @ weights, strict=True):
        stats.n_words = int(total)


def char_counts(counts: ChunkCounts, weight: NDArray[np.int64]) -> dict[str, int]:
    """How often each character occurs, chunks weighted by `weight` [n_chunks]."""
    # Of one layout, since numba compiles its functions anew for a column of a table.
    totals = kernel.count_code_points(counts.text, counts.ends, np.ascontiguousarray(weight))
    return {chr(code_point): int(totals[code_point]) for code_point in np.flatnonzero(totals)}


def guard_of(
    scripts: Sequence[str] | None,
    char_counts: Mapping[str, int],
    protected_sets: Sequence[str],
    min_script_share: float = MIN_SCRIPT_SHARE,
) -> Guard:
    """The guard of a text.

    Args:
        scripts: those that were asked for; None to find them in the text.
        char_counts: how often each character occurs in the text that is learned from.
        protected_sets: names of the texts that must tokenise as before.
        min_script_share: of the letters, from which on a writing system is found (`find_target_scripts`).
    """
    found = find_target_scripts(char_counts, min_script_share) if scripts is None else scripts
    return Guard(
        scripts=tuple(found),
        scripts_from="text" if scripts is None else "option",
        min_script_share=min_script_share,
        n_letters=dict(scripts_of_counts(char_counts)),
        protected_sets=tuple(protected_sets),
    )

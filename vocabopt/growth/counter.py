"""Counting text with merges that are known: what a shard of text adds to the growth curve, in bounded memory.

Each unique chunk is encoded with the base and walked through the merges once; what it uses is kept with it, and added
up as often as the text has the chunk. Where the chunks outgrow their memory, all are forgotten and met again.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
import xxhash
from numpy.typing import NDArray

from vocabopt.errors import BaseTokenizerError, PromiseError
from vocabopt.folder import digest
from vocabopt.growth import chunk_kernel
from vocabopt.growth import walk_kernel as kernel
from vocabopt.growth.counts import ChunkCounts, ChunkStore, Preparer, SetStats, appended
from vocabopt.growth.curve import Merges, Uses
from vocabopt.growth.floor import Floor
from vocabopt.growth.symbols import lost_chars
from vocabopt.options import ReadOptions
from vocabopt.text.documents import Documents
from vocabopt.text.sets import N_FOLDS
from vocabopt.text.shards import Shard, documents_of_shard
from vocabopt.tokenizer import Tokenizer, load_base
from vocabopt.tokenizer.chunks import ChunkEncoder, batches, cuts_of
from vocabopt.tokenizer.pretokens import Pretokenizer
from vocabopt.tokenizer.widening import with_pattern

#: Places in the table of late uses (`curve.Uses.late`), which few bases have at all.
_N_LATE = 1 << 20
#: What a unique chunk takes beside its text, its tokens and its uses: in the store, its table and the arrays here.
_CHUNK_BYTES = 116
_ENTRY_BYTES = 24
#: New chunks that are walked at once, at most those of a block more: what that takes in between is bounded.
_WALK_CHUNKS = 1 << 18


@dataclass(frozen=True, kw_only=True)
class Counting:
    """What a worker needs to count shards of text.

    base, pattern, specials: as `load_base` takes them; base_sha256: what it must then be. widened: the pattern in
    place of the base's own, None for the base as it is. encoder: which library encodes. sets: names of the text sets
    and their roles. heldout_of: set -> that of its held-out text. memory_bytes: for the chunks of one worker.
    inputs_sha256: of the run.
    """

    base: str
    pattern: str | None
    specials: str | None
    widened: str | None
    base_sha256: str
    merges: Merges
    encoder: str
    sets: dict[str, str]
    heldout_of: dict[str, str]
    heldout: float
    seed: int
    cross_spaces: bool
    read: ReadOptions
    memory_bytes: int
    inputs_sha256: str

    @property
    def identity(self) -> str:
        """Changes with whatever the counts depend on."""
        merges = self.merges
        arrays = (merges.events, merges.closed, merges.dormant, merges.fold_sizes)
        return digest(
            [self.inputs_sha256, self.widened, *(xxhash.xxh3_128_hexdigest(part.tobytes()) for part in arrays)]
        )


@dataclass(frozen=True, kw_only=True)
class Counted:
    """A shard's number, what its text sets hold, and what it adds to the curve."""

    number: int
    sets: dict[str, SetStats]
    uses: Uses


def start_counter(counting: Counting) -> "Counter":
    """Load the base, and stand ready to count.

    Raises:
        BaseTokenizerError: it is another base than that of the run, or cannot be loaded.
    """
    base = base_of(counting)
    return Counter(base if counting.widened is None else with_pattern(base, counting.widened), counting)


def base_of(counting: Counting) -> Tokenizer:
    """The base tokenizer of a run, as it is on this machine. Raises BaseTokenizerError: it is another one."""
    base = load_base(counting.base, pattern=counting.pattern, specials=counting.specials)
    if base.sha256 != counting.base_sha256:
        raise BaseTokenizerError(
            f"{counting.base}: is another tokenizer on this machine or now than when the run began. Make it the same "
            "everywhere, and run the same command again."
        )
    return base


class Counter:
    """Counts shards, one after another; chunks met before are not encoded again."""

    def __init__(self, base: Tokenizer, counting: Counting) -> None:
        self._base, self._counting = base, counting
        is_fast, cross_spaces = counting.encoder == "gigatoken", counting.cross_spaces
        self._walker = _Walker(base, counting.merges, is_fast=is_fast, cross_spaces=cross_spaces)
        self._cuts = cuts_of(base, cross_spaces=counting.cross_spaces)
        self._preparer = Preparer({}, base, counting.heldout_of, counting.heldout, counting.seed)
        self._store, self._known = ChunkStore(len(counting.sets) * N_FOLDS), _Known()

    def __call__(self, shard: Shard) -> Counted:
        """Count one shard.

        Raises:
            CorpusError: its text cannot be read.
        """
        return self.count(shard.number, documents_of_shard(shard, self._counting.read))

    def count(self, number: int, blocks: Iterable[Documents]) -> Counted:
        """Count documents as those of a shard."""
        sets = {name: SetStats(role) for name, role in self._counting.sets.items()}
        self._preparer.start(sets)
        uses, n_words = Uses.none(self._counting.merges, len(sets)), np.zeros(len(sets), np.int64)
        for block in blocks:
            if (prepared := self._preparer(block)) is not None:
                self._store.count(prepared, self._cuts, 0, n_parts=1)
                if self._store.used[0] - self._known.n_chunks > _WALK_CHUNKS:
                    self._walk_new()
                if self._n_bytes() > self._counting.memory_bytes:
                    self._add_up(uses, n_words)
                    self._store, self._known = ChunkStore(self._store.n_groups), _Known()
                    self._walker.renew()
        self._add_up(uses, n_words)
        uses.fold_saved = np.cumsum(uses.fold_saved, axis=0)
        for stats, total in zip(sets.values(), n_words, strict=True):
            stats.n_words = int(total)
        return Counted(number=number, sets=sets, uses=uses)

    def _n_bytes(self) -> int:
        n_chunks, n_arena, n_entries = self._store.used
        return (
            n_chunks * (_CHUNK_BYTES + 8 * len(self._counting.sets))
            + n_arena
            + n_entries * _ENTRY_BYTES
            + self._known.n_bytes
        )

    def _walk_new(self) -> None:
        if (new := self._store.since(self._known.n_chunks)).n_chunks:
            self._known.extend(self._walker.walk(new), chunk_kernel.count_words(new.text, new.ends))

    def _add_up(self, uses: Uses, n_words: NDArray[np.int64]) -> None:
        """Walk the chunks that are new, and add all that were met since the last time."""
        self._walk_new()
        store, known = self._store, self._known
        late = np.zeros((len(self._walker.late_keys), len(n_words)), np.int64)
        chunks = *store.counted, N_FOLDS, *known.arrays()
        sums = uses.per_merge, uses.token_counts, uses.fold_tokens, uses.fold_saved
        totals = n_words, uses.n_lost_chars, uses.n_parts
        kernel.add_up(*chunks, *self._walker.savings(), late, *sums, *totals)  # type: ignore[call-arg]
        for place, found in self._walker.late_places().items():
            if late[place].any():
                uses.late[found] = uses.late.get(found, 0) + late[place]
        store.forget_counts()


class _Known:
    """What is known of the chunks of a store, in order: the base's tokens, the merges used, words, lost characters,
    parts.

    Of tokens and merges there are several a chunk: all are in one array, with where each chunk's end.
    """

    def __init__(self) -> None:
        self._token_ends, self._use_ends = np.zeros(0, np.int64), np.zeros(0, np.int64)
        self._tokens, self._uses = np.zeros(0, np.int32), np.zeros(0, np.int32)
        self._words, self._lost = np.zeros(0, np.int32), np.zeros(0, np.int32)
        self._parts = np.zeros(0, np.int32)
        self.n_chunks = 0

    def extend(self, walked: "_Walked", n_words: NDArray[np.int64]) -> None:
        """Add the chunks that come next, and their words."""
        n, n_tokens, n_uses = self.n_chunks, self._n_tokens, self._n_uses
        self._tokens = appended(self._tokens, n_tokens, walked.tokens)
        self._uses = appended(self._uses, n_uses, walked.uses)
        self._token_ends = appended(self._token_ends, n, walked.token_ends + n_tokens)
        self._use_ends = appended(self._use_ends, n, walked.use_ends + n_uses)
        self._words, self._lost = appended(self._words, n, n_words), appended(self._lost, n, walked.n_lost)
        self._parts = appended(self._parts, n, walked.n_parts)
        self.n_chunks += len(walked.token_ends)

    @property
    def n_bytes(self) -> int:
        return 4 * (self._n_tokens + self._n_uses)

    @property
    def _n_tokens(self) -> int:
        return int(self._token_ends[self.n_chunks - 1]) if self.n_chunks else 0

    @property
    def _n_uses(self) -> int:
        return int(self._use_ends[self.n_chunks - 1]) if self.n_chunks else 0

    def arrays(self) -> tuple[NDArray[Any], ...]:
        """As `walk_kernel.add_up` takes them."""
        return self._uses, self._use_ends, self._tokens, self._token_ends, self._words, self._lost, self._parts


@dataclass(frozen=True)
class _Walked:
    """Some chunks or pre-tokens: the base's tokens of each (int32) and where they end (int64), the same of uses, and
    lost characters and parts (`floor.Floor`) of each (int64)."""

    tokens: NDArray[np.int32]
    token_ends: NDArray[np.int64]
    uses: NDArray[np.int32]
    use_ends: NDArray[np.int64]
    n_lost: NDArray[np.int64]
    n_parts: NDArray[np.int64]

    def of_rows(self, rows: NDArray[np.int64], row_ends: NDArray[np.int64]) -> "_Walked":
        """Of chunks that are made of these: chunk i of the rows up to row_ends[i], one after another."""
        tokens, token_ends = _gathered(self.tokens, self.token_ends, rows)
        uses, use_ends = _gathered(self.uses, self.use_ends, rows)
        sums = token_ends, use_ends, np.cumsum(self.n_lost[rows]), np.cumsum(self.n_parts[rows])
        token_ends, use_ends, n_lost, n_parts = (np.concatenate([[0], sum_of])[row_ends] for sum_of in sums)
        return _Walked(tokens, token_ends, uses, use_ends, np.diff(n_lost, prepend=0), np.diff(n_parts, prepend=0))


def _gathered(
    values: NDArray[np.int32], ends: NDArray[np.int64], rows: NDArray[np.int64]
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """The values of some rows, one after another, and where those of each end."""
    lengths = np.diff(ends, prepend=0)[rows]
    new_ends = np.cumsum(lengths)
    shift = np.repeat(ends[rows] - new_ends, lengths)
    return values[np.arange(len(shift)) + shift], new_ends


class _Walker:
    """Chunks to tokens of the base and to the merges that they use."""

    def __init__(self, base: Tokenizer, merges: Merges, *, is_fast: bool, cross_spaces: bool) -> None:
        self._base, self._merges, self._floor = base, merges, Floor.of(base, cross_spaces=cross_spaces)
        # By rank: those of the base that an opened piece may go on into come before all that were learned.
        self._n_dormant = len(merges.dormant)
        self._by_rank = by_rank = merges.by_rank
        n_places = 1 << int(4 * len(by_rank) + 16).bit_length()
        self._keys, self._ranks = np.zeros(n_places, np.int64), np.zeros(n_places, np.int32)
        kernel.fill_table(by_rank, self._keys, self._ranks)
        self._closed_symbols = np.zeros(0x110000, np.int32)
        self._opened_at = np.zeros(base.n_tokens + len(merges.closed) + 1, np.int64)
        is_char = by_rank[:, kernel.RIGHT] == 0
        chars = by_rank[is_char, kernel.LEFT]
        self._closed_symbols[merges.closed[chars - base.n_tokens - 1]] = chars
        self._opened_at[chars] = np.flatnonzero(is_char)
        self._byte_values = np.array(base.byte_values, np.int32)
        self._is_fast = is_fast
        self.renew()
        self._pretokenizer = Pretokenizer.of(base) if base.family == "byte-level-bpe" else None
        self.late_keys = np.zeros(_N_LATE, np.int64)
        self._n_late = 0

    def renew(self) -> None:
        """Take a gigatoken that has encoded nothing: it keeps what it encoded as long as it lives."""
        # A copy of the record, which keeps what it has made.
        self._fast = replace(self._base).fast_chunk_tokenizer if self._is_fast else None

    def walk(self, chunks: ChunkCounts) -> _Walked:
        """Walk chunks that no merge of the base crosses; those of byte-level bases pre-token by pre-token."""
        if self._pretokenizer is None:
            return self._walk(chunks)
        pieces, n_pieces = [pl.Series("piece", [], dtype=pl.String)], [_NO_ROWS]
        for data in batches(chunks):
            found, chunk = self._pretokenizer.cut(data.decode())
            pieces.append(found)
            n_pieces.append(np.bincount(chunk, minlength=data.count(b"\0") + 1))
        every = pl.concat(pieces)
        unique = every.unique(maintain_order=True)
        walked = self._walk(ChunkCounts.of_texts(unique.to_list()))
        numbers = every.cast(pl.Enum(unique)).to_physical().to_numpy().astype(np.int64)
        return walked.of_rows(numbers, np.cumsum(np.concatenate(n_pieces)))

    def _walk(self, chunks: ChunkCounts) -> _Walked:
        base = self._base
        parts = [_NOTHING]
        # Compared each time: what the chunks that were learned from have not shown, these may.
        encoder = ChunkEncoder.of(base.chunk_tokenizer, self._fast, chunks)
        if self._is_fast and encoder.fast is None:
            raise PromiseError(
                f"{base.name}: gigatoken encodes some of the text otherwise than tokenizers does, and not what was "
                "learned from. Uninstall it (pip uninstall gigatoken), and sweep again into another folder."
            )
        for data in batches(chunks):
            ids, ends = encoder.encode(data)
            uses, use_ends = np.empty(len(ids), np.int32), np.empty(len(ends), np.int64)
            room = np.empty((6, 3 * int(np.diff(ends, prepend=0).max()) + 8), np.int64)
            self._n_late += kernel.walk(
                ids, ends, self._byte_values, self._closed_symbols, self._opened_at, self._by_rank, self._keys,
                self._ranks, self.late_keys, uses, use_ends, room,
            )  # fmt: skip
            assert 2 * self._n_late < _N_LATE, "more late uses than their table holds"
            n_parts = self._floor.parts(ids, ends)
            parts.append(_Walked(ids.astype(np.int32), ends, uses[: use_ends[-1]], use_ends, _NOTHING.n_lost, n_parts))
        return _Walked(
            np.concatenate([part.tokens for part in parts]),
            _joined_ends([part.token_ends for part in parts]),
            np.concatenate([part.uses for part in parts]),
            _joined_ends([part.use_ends for part in parts]),
            lost_chars(base, chunks),
            np.concatenate([part.n_parts for part in parts]),
        )

    def late_places(self) -> dict[int, tuple[int, int]]:
        """Place in the table of late uses -> merge and row, as `curve.Uses.late` has them."""
        places = np.flatnonzero(self.late_keys).tolist() if self._n_late else []
        keys = {place: int(self.late_keys[place]) for place in places}
        return {place: ((key >> 32) - 1, key & kernel.LOW_HALF) for place, key in keys.items()}

    def savings(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """By rank: the row of `Uses.fold_saved` that a merge belongs to, and what a use saves; the row of late uses."""
        late_sizes = np.zeros(len(self.late_keys), np.int64)
        for place, (_, row) in self.late_places().items():
            late_sizes[place] = np.searchsorted(self._merges.fold_sizes, row)
        return np.searchsorted(self._merges.fold_sizes, self._by_rank[:, kernel.ROW]), self._merges.savings, late_sizes


def _joined_ends(ends: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Where things end in parts that are put one behind another."""
    starts = np.cumsum([0, *(int(part[-1]) if len(part) else 0 for part in ends)])
    return np.concatenate([part + start for part, start in zip(ends, starts[:-1], strict=True)])


_NO_ROWS = np.zeros(0, np.int64)
_NOTHING = _Walked(_NO_ROWS.astype(np.int32), _NO_ROWS, _NO_ROWS.astype(np.int32), _NO_ROWS, _NO_ROWS, _NO_ROWS)

"""The growth curve: exact token counts at every number of added tokens, from one pass (the pass: growth_kernel)."""

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl
from numba import njit
from numpy.typing import NDArray
from tokenizers import Tokenizer

from vocabopt import growth_kernel as kernel
from vocabopt.bases import Base
from vocabopt.chunk_kernel import add_up_groups
from vocabopt.counts import N_FOLDS, ChunkCounts
from vocabopt.errors import CorpusError
from vocabopt.scripts import ByteGuard, byte_guard, contains_target, piece_is_guarded
from vocabopt.segment import Segmentation

#: The threshold below which candidates are not even stored falls by this factor from index to index. Measured on
#: 117 MB of Korean (reports/LOG.md).
THRESHOLD_DIVISOR = 64
#: Sizes at which counts per fold are kept.
N_FOLD_SIZES = 100
_POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Growth:
    """What the pass gave.

    curve: one row per added token (see `curve_frame`). folds: columns n_added, fold and n_tokens_<set>.
    exhausted_at: the size at which the text ran dry, None if it did not. n_blocked: candidates that were best and
    would have changed protected text. entropy_bits: per set, of the base tokens at size 0.
    """

    curve: pl.DataFrame
    folds: pl.DataFrame
    exhausted_at: int | None
    n_blocked: int
    entropy_bits: dict[str, float | None]


@dataclass(frozen=True)
class GrowthOptions:
    """What moves the growth curve.

    scripts: every new piece holds a character of these; () = no guard. max_added: rows to add at most. min_saving:
    stop when the best candidate saves fewer tokens of the training text than this.
    """

    scripts: tuple[str, ...]
    max_added: int
    min_saving: int


class Symbols:
    """The kernel's table of symbols: base tokens, then closed characters, then room for new ones."""

    def __init__(self, base: Base, closed: NDArray[np.int32], options: GrowthOptions) -> None:
        closed_texts = [chr(code_point).encode() for code_point in closed]
        texts = [b"", *base.pieces, *closed_texts]
        self.texts = texts
        self.n_symbols = len(texts)
        self.first_closed = base.n_tokens + 1
        ends = np.cumsum([len(text) for text in texts])
        self.text = np.zeros(int(ends[-1]) + 1024, np.uint8)
        self.text[: ends[-1]] = np.frombuffer(b"".join(texts), np.uint8)
        self.n_text = int(ends[-1])
        table = np.zeros((self.n_symbols + options.max_added + 1, 9), np.int64)
        table[: self.n_symbols, kernel.TEXT_END] = ends
        table[1 : self.n_symbols, kernel.TEXT_START] = ends[:-1]
        table[:, kernel.USED_AT] = -1
        # Tokens without text of their own (special tokens, byte pieces) take part in nothing.
        self.is_open = np.zeros(len(table), bool)
        self.is_open[: self.first_closed] = [bool(text) for text in texts[: self.first_closed]]
        table[self.first_closed : self.n_symbols, kernel.EXTRA] = [len(text) - 1 for text in closed_texts]
        self.guard = _guard_arrays(base, options)
        self._mark(table, base, options)
        _fill_hashes(table, self.text, self.n_symbols)
        self.table = table

    def _mark(self, table: NDArray[np.int64], base: Base, options: GrowthOptions) -> None:
        """OK, INSIDE and TAIL of the symbols there are."""
        for symbol, text in enumerate(self.texts):
            if not text:
                continue
            if base.family == "sentencepiece-bpe":
                table[symbol, kernel.OK] = not options.scripts or contains_target(text.decode(), options.scripts)
                continue
            table[symbol, kernel.INSIDE] = 0x80 <= text[0] < 0xC0
            if not options.scripts:
                table[symbol, kernel.OK] = 1
                continue
            # What a piece shows does not depend on the continuation bytes it may begin with.
            own = text.lstrip(bytes(range(0x80, 0xC0)))
            guard = byte_guard(options.scripts)
            table[symbol, kernel.OK] = piece_is_guarded(own, guard)
            state = 0
            for byte in own:
                state = int(guard.next_state[state, byte])
            table[symbol, kernel.TAIL] = state

    def allows(self, base: Base, text: bytes, options: GrowthOptions) -> bool:
        """Whether the guard would let `text` be a piece."""
        if not options.scripts:
            return True
        if base.family == "sentencepiece-bpe":
            return contains_target(text.decode(), options.scripts)
        return piece_is_guarded(text, byte_guard(options.scripts))

    def reserved(self, base: Base, options: GrowthOptions) -> NDArray[np.int64]:
        """Spellings that no new piece may take: [n, 2] of hash and the symbol that stands for it already (0: none).

        A piece that the base's own merges reach is never spelled by two neighbours: wherever its bytes stand between
        token boundaries they are that piece already. So only special tokens, byte pieces and pieces without a way
        to them are listed. The last can be opened: once a new piece makes a way, SentencePiece would take it.
        """
        vocab = base.tokenizer_json["model"]["vocab"]
        spelled: dict[bytes, int] = {}
        for content in base.added_contents:
            spelled[content.encode()] = 0
        candidates = {}
        for piece, index in vocab.items():
            if index in base.added_ids or base.byte_values[index] >= 0:
                spelled[piece.encode()] = 0
            elif self.allows(base, base.pieces[index], options):
                candidates[piece] = index
        model = {**base.chunk_json["model"], "ignore_merges": False}
        encoder = Tokenizer.from_str(json.dumps({**base.chunk_json, "model": model, "pre_tokenizer": None}))
        for piece, encoding in zip(candidates, encoder.encode_batch_fast(list(candidates)), strict=True):
            index = candidates[piece]
            if encoding.ids != [index]:
                spelled[base.pieces[index]] = index + 1
        kept = {text: symbol for text, symbol in spelled.items() if self._allows_any(base, text, options)}
        rows = np.zeros((len(kept), 2), np.int64)
        for row, (text, symbol) in enumerate(kept.items()):
            rows[row] = _hash_of(np.frombuffer(text, np.uint8)), symbol
        return rows[np.argsort(rows[:, 0], kind="stable")]

    def _allows_any(self, base: Base, text: bytes, options: GrowthOptions) -> bool:
        return bool(text) and self.allows(base, text, options)


def _guard_arrays(base: Base, options: GrowthOptions) -> tuple[NDArray[np.int16], NDArray[np.bool_]]:
    """The byte guard's tables; one state that accepts nothing where bytes are not what is guarded."""
    if base.family == "sentencepiece-bpe" or not options.scripts:
        return np.zeros((1, 256), np.int16), np.zeros((1, 256), bool)
    guard: ByteGuard = byte_guard(options.scripts)
    return guard.next_state.copy(), guard.accepts.copy()


@njit(cache=True)
def _hash_of(text):  # type: ignore[no-untyped-def]
    h = np.int64(0)
    for byte in text:
        h = h * kernel.HASH_BASE + byte + 1
    return h


@njit(cache=True)
def _fill_hashes(symbols, text, n_symbols):  # type: ignore[no-untyped-def]
    for symbol in range(n_symbols):
        start, end = symbols[symbol, kernel.TEXT_START], symbols[symbol, kernel.TEXT_END]
        symbols[symbol, kernel.HASH] = _hash_of(text[start:end])
        power = np.int64(1)
        for _ in range(start, end):
            power *= kernel.HASH_BASE
        symbols[symbol, kernel.POWER] = power


def protected_chunks(
    counts: ChunkCounts, weights: NDArray[np.int64], set_indices: list[int], scripts: tuple[str, ...]
) -> NDArray[np.bool_]:
    """Chunks of the protected sets; with a script guard only those without characters of the target script."""
    protected = (weights[:, set_indices] > 0).any(axis=1)
    if scripts and protected.any():
        chosen = np.flatnonzero(protected)
        texts = counts.texts().gather(chosen).to_list()
        protected[chosen] = [not contains_target(text, scripts) for text in texts]
    return protected


def grow(
    base: Base,
    counts: ChunkCounts,
    segmentation: Segmentation,
    weights: NDArray[np.int64],
    protected: NDArray[np.bool_],
    options: GrowthOptions,
    advance: Callable[[int], None] = lambda n_rows: None,
) -> Growth:
    """Grow the base tokenizer on the counted text.

    Args:
        weights: [n_chunks, n_sets], the training set first.
        protected: [n_chunks], chunks that no merge may change.
        advance: told the rows done so far, for a progress bar.

    Raises:
        CorpusError: more text than 32-bit places can address.
    """
    if len(segmentation.slots) >= 2**31:
        raise CorpusError(
            f"{len(segmentation.slots):,} symbols of unique text are more than this engine addresses (2,147,483,648). "
            "Sweep a sample of the corpus."
        )
    symbols = Symbols(base, segmentation.closed, options)
    # Denser where the curve is steeper, and where a small text runs dry.
    fold_sizes = np.unique((options.max_added * np.linspace(0, 1, N_FOLD_SIZES + 1) ** 2).astype(np.int64))
    progress = np.zeros(3, np.int64)
    arguments = (
        segmentation.slots, np.pad(weights, ((0, 0), (0, 1))), protected, bool(protected.any()), symbols.table, symbols.is_open, symbols.n_symbols, symbols.text,
        symbols.n_text, symbols.reserved(base, options), symbols.guard, options.max_added, options.min_saving,
        THRESHOLD_DIVISOR, fold_sizes, len(counts.sets) * N_FOLDS, (counts.offsets, counts.groups, counts.counts),
        progress,
    )  # fmt: skip
    events, fold_saved = _run_watched(arguments, progress, advance)
    n_rows = int(progress[kernel.ROWS_DONE])
    trace = _Trace(base, segmentation, symbols, events, n_rows)
    names = list(counts.sets)
    base_tokens = {
        name: int(segmentation.token_counts[i].sum()) + counts.sets[name].n_added_tokens for i, name in enumerate(names)
    }
    return Growth(
        curve=trace.curve_frame(base, names, base_tokens),
        folds=_fold_frame(counts, segmentation, fold_sizes, n_rows, fold_saved),
        exhausted_at=n_rows if n_rows < options.max_added else None,
        n_blocked=int(progress[kernel.N_BLOCKED]),
        entropy_bits=dict(zip(names, (_nan_to_none(value) for value in trace.entropy_bits[0]), strict=True)),
    )


def _run_watched(
    arguments: tuple[object, ...], progress: NDArray[np.int64], advance: Callable[[int], None]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Run the kernel in a thread, so that progress is shown and Ctrl-C is heard."""
    result: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
    failure: list[BaseException] = []

    def work() -> None:
        try:
            result.append(kernel.grow(*arguments))
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=work, name="growth", daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(_POLL_SECONDS)
            advance(int(progress[kernel.ROWS_DONE]))
    except BaseException:
        progress[kernel.STOP] = 1
        thread.join()
        raise
    if failure:
        raise failure[0]
    return result[0]


@njit(cache=True)
def _follow_usage(events, n_rows, first_added, unit_symbols, first_closed, counts, n_used, entropy_bits):  # type: ignore[no-untyped-def]
    """Per row and set: added tokens in use, and the entropy of the token distribution in bits.

    counts: float64 [n_sets, n_symbols], base tokens at the start. unit_symbols: int64 [n_closed, 4], the byte
    pieces of a closed character, 0 where there are fewer. Uses H = log2 N - (sum c log2 c) / N, kept up to date.
    """
    for text_set in range(counts.shape[0]):
        c = counts[text_set]
        total, weighted, used, event = 0.0, 0.0, 0, 0
        for symbol in range(c.size):
            total += c[symbol]
            if c[symbol] > 0:
                weighted += c[symbol] * np.log2(c[symbol])
        for row in range(n_rows + 1):
            while event < events.shape[0] and events[event, kernel.EVENT_ROW] <= row:
                left, right, new = events[event, 0], events[event, 1], events[event, 2]
                merged = events[event, kernel.EVENT_COUNTS + text_set]
                event += 1
                if merged == 0:
                    continue
                # Both parts lose what the new symbol gains; a closed character's parts are its byte pieces.
                for part in range(2 if right else 4):
                    symbol = (right if part else left) if right else unit_symbols[left - first_closed, part]
                    if symbol == 0:
                        continue
                    weighted -= c[symbol] * np.log2(c[symbol])
                    c[symbol] -= merged
                    total -= merged
                    if c[symbol] > 0:
                        weighted += c[symbol] * np.log2(c[symbol])
                    elif symbol >= first_added:
                        used -= 1
                if c[new] > 0:
                    weighted -= c[new] * np.log2(c[new])
                elif new >= first_added:
                    used += 1
                c[new] += merged
                total += merged
                weighted += c[new] * np.log2(c[new])
            n_used[row, text_set] = used
            entropy_bits[row, text_set] = np.log2(total) - weighted / total if total > 0 else np.nan


class _Trace:
    """From the kernel's events to the rows of the curve."""

    def __init__(
        self, base: Base, segmentation: Segmentation, symbols: Symbols, events: NDArray[np.int64], n_rows: int
    ) -> None:
        self.symbols, self.events, self.n_rows = symbols, events, n_rows
        n_sets = segmentation.token_counts.shape[0]
        counts = np.zeros((n_sets, symbols.n_symbols + n_rows + 1))
        counts[:, 1 : base.n_tokens + 1] = segmentation.token_counts
        symbol_of_byte = {byte: index + 1 for index, byte in enumerate(base.byte_values) if byte >= 0}
        units = np.zeros((len(segmentation.closed), 4), np.int64)
        for row, text in enumerate(symbols.texts[symbols.first_closed :]):
            units[row, : len(text)] = [symbol_of_byte[byte] for byte in text]
        self.n_used = np.zeros((n_rows + 1, n_sets), np.int64)
        self.entropy_bits = np.zeros((n_rows + 1, n_sets))
        _follow_usage(
            events, n_rows, symbols.first_closed, units, symbols.first_closed, counts, self.n_used, self.entropy_bits
        )

    def curve_frame(self, base: Base, names: list[str], base_tokens: dict[str, int]) -> pl.DataFrame:
        """One row per added token.

        rank (1 ..., so id = n_tokens of the base + rank - 1), piece (as tokenizer.json spells it), bytes, kind (char:
        a character the base spells in bytes; step: cut inside a character; merge), saving (tokens of the training
        text), left, right (ids; -1 for char), opened (merges into pieces of the base that this token made possible),
        and per set n_tokens_<set>, n_used_<set>, entropy_bits_<set> with this token and all before it.
        """
        rows = self.events[:, kernel.EVENT_ROW]
        is_row = np.concatenate([[True], rows[1:] != rows[:-1]]) if len(rows) else np.zeros(0, bool)
        made = self.events[is_row]
        closed = made[:, kernel.EVENT_RIGHT] == 0
        extra = np.where(closed, self.symbols.table[made[:, kernel.EVENT_LEFT], kernel.EXTRA], 1)
        ids = self._ids(base, made)
        texts = self._texts(self.events)
        pieces = [texts[int(symbol)] for symbol in made[:, kernel.EVENT_NEW]]
        opened = self._opened(ids, is_row)
        columns: dict[str, pl.Series] = {
            "rank": pl.Series(range(1, self.n_rows + 1), dtype=pl.Int64),
            "piece": pl.Series([base.piece_string(text) for text in pieces], dtype=pl.String),
            "bytes": pl.Series(pieces, dtype=pl.Binary),
            "kind": pl.Series(
                ["char" if c else _kind(text) for c, text in zip(closed, pieces, strict=True)], dtype=pl.String
            ),
            "saving": pl.Series(made[:, kernel.EVENT_COUNTS] * extra, dtype=pl.Int64),
            "left": pl.Series(np.where(closed, -1, ids[made[:, kernel.EVENT_LEFT]]), dtype=pl.Int64),
            "right": pl.Series(np.where(closed, -1, ids[made[:, kernel.EVENT_RIGHT]]), dtype=pl.Int64),
            "opened": pl.Series(opened, dtype=pl.List(pl.List(pl.Int64))),
        }
        savings = np.where(is_row & (self.events[:, kernel.EVENT_RIGHT] == 0), 0, 1)
        savings[np.flatnonzero(is_row)] = extra
        for i, name in enumerate(names):
            saved = np.zeros(self.n_rows + 1, np.int64)
            np.add.at(saved, rows, self.events[:, kernel.EVENT_COUNTS + i] * savings)
            columns[f"n_tokens_{name}"] = pl.Series(base_tokens[name] - np.cumsum(saved)[1:], dtype=pl.Int64)
        for i, name in enumerate(names):
            columns[f"n_used_{name}"] = pl.Series(self.n_used[1:, i], dtype=pl.Int64)
            entropies = pl.Series(self.entropy_bits[1:, i], dtype=pl.Float64)
            columns[f"entropy_bits_{name}"] = entropies.fill_nan(None)
        return pl.DataFrame(columns)

    def _ids(self, base: Base, made: NDArray[np.int64]) -> NDArray[np.int64]:
        """Symbol -> token id, for base tokens and for the rows made."""
        ids = np.full(len(self.symbols.table), -1, np.int64)
        ids[1 : base.n_tokens + 1] = np.arange(base.n_tokens)
        ids[made[:, kernel.EVENT_NEW]] = base.n_tokens + np.arange(self.n_rows)
        return ids

    def _texts(self, events: NDArray[np.int64]) -> dict[int, bytes]:
        texts = dict(enumerate(self.symbols.texts))
        for left, right, new in events[:, :3].tolist():
            texts[new] = texts[left] + texts[right]
        return texts

    def _opened(self, ids: NDArray[np.int64], is_row: NDArray[np.bool_]) -> list[list[list[int]]]:
        """Per row: (left, right, id) of the merges without a row that follow it."""
        opened: list[list[list[int]]] = [[] for _ in range(self.n_rows)]
        for event in self.events[~is_row]:
            opened[event[kernel.EVENT_ROW] - 1].append(ids[event[:3]].tolist())
        return opened


def _kind(text: bytes) -> str:
    try:
        text.decode()
    except UnicodeDecodeError:
        return "step"
    return "merge"


def _nan_to_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _fold_frame(
    counts: ChunkCounts,
    segmentation: Segmentation,
    fold_sizes: NDArray[np.int64],
    n_rows: int,
    saved: NDArray[np.int64],
) -> pl.DataFrame:
    """Tokens per fold of the documents at up to about 100 sizes, added tokens of the base not included.

    The kernel notes the sizes in order; the first that was not reached stands for where the text ran dry.
    """
    sizes = np.append(fold_sizes[fold_sizes < n_rows], n_rows)
    n_groups = len(counts.sets) * N_FOLDS
    start = np.zeros(n_groups, np.int64)
    add_up_groups(counts.offsets, counts.groups, counts.counts, segmentation.tokens_per_chunk, start)
    n_tokens = start - saved[: len(sizes)]
    columns = {
        "n_added": np.repeat(sizes, N_FOLDS),
        "fold": np.tile(np.arange(N_FOLDS), len(sizes)),
    }
    for i, name in enumerate(counts.sets):
        columns[f"n_tokens_{name}"] = n_tokens[:, i * N_FOLDS : (i + 1) * N_FOLDS].reshape(-1)
    return pl.DataFrame(columns)

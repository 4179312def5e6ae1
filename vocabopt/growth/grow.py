"""The growth curve: exact token counts at every number of added tokens, from one pass.

The pass is kernel.py; here are what it is given, and the table made of its events, one row per added token.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from vocabopt.compiled import njit
from vocabopt.errors import CorpusError, PromiseError
from vocabopt.growth import kernel as kernel
from vocabopt.growth.chunk_kernel import add_up_groups
from vocabopt.growth.counts import ChunkCounts, SetStats
from vocabopt.growth.symbols import Segmentation, Symbols
from vocabopt.text.scripts import byte_guard, contains_target, piece_is_guarded
from vocabopt.text.sets import N_FOLDS
from vocabopt.tokenizer import Tokenizer

#: The threshold below which candidates are not even stored falls by this factor from index to index. Measured on
#: 117 MB of Korean (reports/LOG.md).
THRESHOLD_DIVISOR = 64
#: Sizes at which counts per fold are kept.
N_FOLD_SIZES = 100
_POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Growth:
    """What the pass gave.

    curve: one row per added token (see `_curve_frame`). folds: columns n_added, fold and n_tokens_<set>.
    exhausted_at: the size at which the text ran dry, None if it did not. n_blocked: candidates that were best and
    would have changed protected text. entropy_bits: per set, of the base tokens at size 0.
    """

    curve: pl.DataFrame
    folds: pl.DataFrame
    exhausted_at: int | None
    n_blocked: int
    entropy_bits: dict[str, float | None]

    def set_records(self, sets: Mapping[str, SetStats], segmentation: Segmentation) -> dict[str, dict[str, Any]]:
        """`sets` of sweep.json: what each text set holds, the base's tokens and entropy on it, characters it loses."""
        base_tokens = segmentation.base_tokens(sets)
        return {
            name: {
                **asdict(stats),
                "n_lost_chars": int(n_lost),
                "n_tokens_base": base_tokens[name],
                "entropy_bits_base": self.entropy_bits[name],
            }
            for (name, stats), n_lost in zip(sets.items(), segmentation.n_lost_chars_of, strict=True)
        }


@dataclass(frozen=True)
class GrowthOptions:
    """What moves the growth curve.

    scripts: every new piece holds a character of these; () = no guard. max_added: rows to add at most. min_saving:
    stop when the best candidate saves fewer tokens of the training text than this. cross_spaces: a new piece may hold a
    space after another character; the text was then counted so (`count_chunks`).
    """

    scripts: tuple[str, ...]
    max_added: int
    min_saving: int
    cross_spaces: bool = False


def protected_chunks(
    counts: ChunkCounts,
    weights: NDArray[np.int64],
    set_indices: list[int],
    scripts: tuple[str, ...],
    cut: Tokenizer | None = None,
) -> NDArray[np.bool_]:
    """Chunks of the protected sets; with a script guard only those without characters of the target script.

    Args:
        cut: the base, where chunks are spelled bytes that may be parts of characters (`Tokenizer.cuts_bytes`).
    """
    protected: NDArray[np.bool_] = np.any(weights[:, set_indices] > 0, axis=1)
    if scripts and protected.any():
        chosen = np.flatnonzero(protected)
        texts = counts.texts().gather(chosen).to_list()
        if cut is None:
            protected[chosen] = [not contains_target(text, scripts) for text in texts]
        else:
            guard, inside = byte_guard(scripts), bytes(range(0x80, 0xC0))
            own = (cut.piece_bytes(text).lstrip(inside) for text in texts)
            protected[chosen] = [not piece_is_guarded(data, guard) for data in own]
    return protected


def grow(
    base: Tokenizer,
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
    symbols = Symbols(
        base, segmentation.closed, options.scripts, n_new=options.max_added, cross_spaces=options.cross_spaces
    )
    # Denser where the curve is steeper, and where a small text runs dry.
    fold_sizes = np.unique((options.max_added * np.linspace(0, 1, N_FOLD_SIZES + 1) ** 2).astype(np.int64))
    progress = np.zeros(2, np.int64)
    # Nothing is learned from chunks that lose characters: what is left of them are neighbours that no other text has.
    # They are counted all the same, so what drives the pass stands in a column of its own.
    has_losses = bool(segmentation.n_lost_chars.any())
    driving = [np.where(segmentation.n_lost_chars, 0, weights[:, 0])] if has_losses else []
    # fmt: off
    arguments = (
        segmentation.slots, np.pad(np.column_stack([*driving, weights]), ((0, 0), (0, 1))),
        protected, bool(protected.any()),
        symbols.table, symbols.is_open, symbols.n_symbols, symbols.text, symbols.n_text,
        symbols.reserved, symbols.guard, symbols.crossings,
        options.max_added, options.min_saving, THRESHOLD_DIVISOR,
        fold_sizes, len(counts.sets) * N_FOLDS, (counts.offsets, counts.groups, counts.counts),
        np.empty((len(segmentation.slots) // 2 + 1, 3), np.int64), np.empty(len(segmentation.slots) // 2 + 1, np.int32),
        progress,
    )
    # fmt: on
    events, fold_saved, blocked = _run_watched(arguments, progress, advance)
    if has_losses:
        events = np.delete(events, kernel.EVENT_COUNTS, axis=1)
    n_rows = int(progress[kernel.ROWS_DONE])
    n_used, entropy_bits = _usage(base, segmentation, symbols, events, n_rows)
    return Growth(
        curve=_curve_frame(base, symbols, events, n_rows, segmentation.base_tokens(counts.sets), n_used, entropy_bits),
        folds=_fold_frame(counts, segmentation, fold_sizes, n_rows, fold_saved),
        exhausted_at=n_rows if n_rows < options.max_added else None,
        n_blocked=len(np.unique(blocked, axis=0)),
        entropy_bits={
            name: None if np.isnan(bits) else float(bits)
            for name, bits in zip(counts.sets, entropy_bits[0], strict=True)
        },
    )


def warm_up() -> None:
    """Compile the kernel, or load it from numba's cache: 6 s and 0.05 s, better spent behind the counting."""
    no_rows, no_folds = np.zeros((1, 2), np.int64), np.zeros(1, np.int64)
    guard = np.zeros((1, 256), np.int16), np.zeros((1, 256), bool)
    folds = np.zeros(1, np.int64), np.zeros(0, np.int32), np.zeros(0, np.int64)
    symbols, is_open = np.zeros((1, kernel.N_SYMBOL_COLUMNS), np.int64), np.zeros(1, bool)
    near, places, crossings = np.zeros((1, 3), np.int64), np.zeros(1, np.int32), np.zeros((4, 4), bool)
    kernel.grow(
        np.zeros((1, 2), np.int32), no_rows, np.zeros(1, bool), False, symbols, is_open, 1,
        np.zeros(1, np.uint8), 0, no_rows[:0], guard, crossings, 0, 1, THRESHOLD_DIVISOR, no_folds, 1, folds,
        near, places, np.zeros(2, np.int64),
    )  # fmt: skip


def _run_watched(
    arguments: tuple[object, ...], progress: NDArray[np.int64], advance: Callable[[int], None]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Run the kernel in a thread, so that progress is shown and Ctrl-C is heard."""
    result: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]] = []
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


# --- From events to the curve -----------------------------------------------------------------------------------------


@njit(cache=True)
def _follow_usage(events, n_rows, unit_symbols, first_closed, counts, n_used, entropy_bits):  # type: ignore[no-untyped-def]
    """Per row and set: added tokens in use (opened characters are, opened pieces of the base are not), and the entropy
    of the token distribution in bits.

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
                    elif symbol >= first_closed:
                        used -= 1
                if c[new] > 0:
                    weighted -= c[new] * np.log2(c[new])
                elif new >= first_closed:
                    used += 1
                c[new] += merged
                total += merged
                weighted += c[new] * np.log2(c[new])
            n_used[row, text_set] = used
            entropy_bits[row, text_set] = np.log2(total) - weighted / total if total > 0 else np.nan


def _usage(
    base: Tokenizer, segmentation: Segmentation, symbols: Symbols, events: NDArray[np.int64], n_rows: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Added tokens in use, and the entropy in bits, [n_rows + 1, n_sets]: with no row, one, two ..."""
    n_sets = segmentation.token_counts.shape[0]
    counts = np.zeros((n_sets, symbols.n_symbols + n_rows + 1))
    counts[:, 1 : base.n_tokens + 1] = segmentation.token_counts
    symbol_of_byte = {byte: index + 1 for index, byte in enumerate(base.byte_values) if byte >= 0}
    units = np.zeros((len(segmentation.closed), 4), np.int64)
    for row, text in enumerate(symbols.texts[symbols.first_closed :]):
        units[row, : len(text)] = [symbol_of_byte[byte] for byte in text]
    n_used, entropy_bits = np.zeros((n_rows + 1, n_sets), np.int64), np.zeros((n_rows + 1, n_sets))
    _follow_usage(events, n_rows, units, symbols.first_closed, counts, n_used, entropy_bits)
    return n_used, entropy_bits


def _curve_frame(
    base: Tokenizer,
    symbols: Symbols,
    events: NDArray[np.int64],
    n_rows: int,
    base_tokens: Mapping[str, int],
    n_used: NDArray[np.int64],
    entropy_bits: NDArray[np.float64],
) -> pl.DataFrame:
    """One row per added token.

    rank (1 ..., so id = n_tokens of the base + rank - 1), piece (as tokenizer.json spells it), bytes, kind (char: a
    character the base spells in bytes; step: cut inside a character; merge), saving (tokens of the training text),
    left, right (ids; -1 for char), opened ((left, right, id) of the merges into pieces of the base that this token made
    possible), and per set n_tokens_<set>, n_used_<set>, entropy_bits_<set> with this token and all before it.
    """
    texts = dict(enumerate(symbols.texts))
    for left, right, new in events[:, :3].tolist():
        text = texts[left] + texts[right]
        # Only here are the bytes of an opened piece compared: the kernel finds it by a 64-bit hash.
        if texts.setdefault(new, text) != text:
            raise PromiseError(f"{text!r} was merged into the piece {texts[new]!r}: please report this with the base.")
    rows = events[:, kernel.EVENT_ROW]
    is_row = np.diff(rows, prepend=0) != 0
    made = events[is_row]
    lefts, rights, symbol_of_row = made[:, :3].T
    # Symbol -> token id.
    ids = np.full(len(symbols.table), -1, np.int64)
    ids[1 : base.n_tokens + 1] = np.arange(base.n_tokens)
    ids[symbol_of_row] = base.n_tokens + np.arange(n_rows)
    # Tokens that one occurrence saves.
    closed = rights == 0
    saved_each = np.ones(len(events), np.int64)
    saved_each[is_row] = np.where(closed, symbols.table[lefts, kernel.EXTRA], 1)
    saved = events[:, kernel.EVENT_COUNTS :] * saved_each[:, None]
    opened: list[list[list[int]]] = [[] for _ in range(n_rows)]
    for event in events[~is_row]:
        opened[event[kernel.EVENT_ROW] - 1].append(ids[event[:3]].tolist())
    lists = pl.List(pl.List(pl.Int64))
    pieces = [texts[symbol] for symbol in symbol_of_row.tolist()]
    columns: dict[str, pl.Series] = {
        "rank": pl.Series(range(1, n_rows + 1), dtype=pl.Int64),
        "piece": pl.Series([base.piece_string(text) for text in pieces], dtype=pl.String),
        "bytes": pl.Series(pieces, dtype=pl.Binary),
        "kind": pl.Series(
            ["char" if is_closed else _kind(text) for is_closed, text in zip(closed, pieces, strict=True)],
            dtype=pl.String,
        ),
        "saving": pl.Series(saved[is_row, 0], dtype=pl.Int64),
        "left": pl.Series(np.where(closed, -1, ids[lefts]), dtype=pl.Int64),
        "right": pl.Series(np.where(closed, -1, ids[rights]), dtype=pl.Int64),
        # Mostly there is none: apart, because polars takes half a second to make 40,000 nested lists from Python's.
        "opened": (
            pl.Series([[]], dtype=lists).new_from_index(0, n_rows) if is_row.all() else pl.Series(opened, dtype=lists)
        ),
    }
    for i, (name, n_tokens) in enumerate(base_tokens.items()):
        per_row = np.zeros(n_rows + 1, np.int64)
        np.add.at(per_row, rows, saved[:, i])
        columns[f"n_tokens_{name}"] = pl.Series(n_tokens - np.cumsum(per_row)[1:], dtype=pl.Int64)
    for i, name in enumerate(base_tokens):
        columns[f"n_used_{name}"] = pl.Series(n_used[1:, i], dtype=pl.Int64)
        columns[f"entropy_bits_{name}"] = pl.Series(entropy_bits[1:, i], dtype=pl.Float64).fill_nan(None)
    return pl.DataFrame(columns)


def _kind(text: bytes) -> str:
    try:
        text.decode()
    except UnicodeDecodeError:
        return "step"
    return "merge"


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

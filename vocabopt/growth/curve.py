"""The growth curve as a table: from the events of the growth pass to one row per added token."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from vocabopt.compiled import njit
from vocabopt.errors import PromiseError
from vocabopt.growth import kernel as kernel
from vocabopt.growth.chunk_kernel import add_up_groups
from vocabopt.growth.counts import ChunkCounts
from vocabopt.growth.segment import Segmentation
from vocabopt.growth.symbols import Symbols
from vocabopt.text.sets import N_FOLDS
from vocabopt.tokenizer import Tokenizer


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


class Trace:
    """From the kernel's events to the rows of the curve."""

    def __init__(
        self, base: Tokenizer, segmentation: Segmentation, symbols: Symbols, events: NDArray[np.int64], n_rows: int
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
        _follow_usage(events, n_rows, units, symbols.first_closed, counts, self.n_used, self.entropy_bits)

    def curve_frame(self, base: Tokenizer, names: list[str], base_tokens: dict[str, int]) -> pl.DataFrame:
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
            "opened": self._opened(ids, is_row),
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

    def _ids(self, base: Tokenizer, made: NDArray[np.int64]) -> NDArray[np.int64]:
        """Symbol -> token id, for base tokens and for the rows made."""
        ids = np.full(len(self.symbols.table), -1, np.int64)
        ids[1 : base.n_tokens + 1] = np.arange(base.n_tokens)
        ids[made[:, kernel.EVENT_NEW]] = base.n_tokens + np.arange(self.n_rows)
        return ids

    def _texts(self, events: NDArray[np.int64]) -> dict[int, bytes]:
        texts = dict(enumerate(self.symbols.texts))
        for left, right, new in events[:, :3].tolist():
            text = texts[left] + texts[right]
            # Only here are the bytes of an opened piece compared: the kernel finds it by a 64-bit hash.
            if texts.setdefault(new, text) != text:
                raise PromiseError(
                    f"{text!r} was merged into the piece {texts[new]!r}: please report this with the base."
                )
        return texts

    def _opened(self, ids: NDArray[np.int64], is_row: NDArray[np.bool_]) -> pl.Series:
        """Per row: (left, right, id) of the merges without a row that follow it."""
        dtype = pl.List(pl.List(pl.Int64))
        if is_row.all():
            # The rule, apart because polars takes half a second to make 40,000 nested lists from Python's.
            return pl.Series([[]], dtype=dtype).new_from_index(0, self.n_rows)
        opened: list[list[list[int]]] = [[] for _ in range(self.n_rows)]
        for event in self.events[~is_row]:
            opened[event[kernel.EVENT_ROW] - 1].append(ids[event[:3]].tolist())
        return pl.Series(opened, dtype=dtype)


def _kind(text: bytes) -> str:
    try:
        text.decode()
    except UnicodeDecodeError:
        return "step"
    return "merge"


def fold_frame(
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

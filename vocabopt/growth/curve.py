"""From merges and how often text uses them to the growth curve: exact token counts at every number of added tokens.

What a text adds to the curve are arrays of integers (`Uses`): those of the parts of a text add up to those of all of
it, in any order.
"""

import io
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from vocabopt.compiled import njit
from vocabopt.errors import PromiseError
from vocabopt.folder import write_bytes_atomic
from vocabopt.growth import kernel as kernel
from vocabopt.growth.counts import SetStats
from vocabopt.text.sets import N_FOLDS
from vocabopt.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class Merges:
    """The merges that a growth pass learned, in order: what any text can be counted with.

    Symbols are the base's tokens (id + 1), then closed characters (`symbols.Segmentation`), then what merges make.
    closed: int32 [n_closed], code points. events: int64 [n_merges, 4]: left, right (0: the character `left`, made of
    its bytes), new, row. A row is an added token, from 1; the first merge of a row makes it, others open pieces of the
    base. dormant: int64 [n, 4], the base's own merges, of row 0, where an opened piece may go on into others; else
    none. fold_sizes: int64, the sizes at which tokens per fold are kept; the last is where the curve ends.
    """

    n_base_tokens: int
    closed: NDArray[np.int32]
    events: NDArray[np.int64]
    dormant: NDArray[np.int64]
    fold_sizes: NDArray[np.int64]

    @classmethod
    def none(cls, base: Tokenizer) -> "Merges":
        """No merges: text is counted with the base."""
        events = np.zeros((0, 4), np.int64)
        closed, fold_sizes = np.zeros(0, np.int32), np.zeros(1, np.int64)
        return cls(n_base_tokens=base.n_tokens, closed=closed, events=events, dormant=events, fold_sizes=fold_sizes)

    @classmethod
    def of(
        cls, base: Tokenizer, closed: NDArray[np.int32], events: NDArray[np.int64], fold_sizes: NDArray[np.int64]
    ) -> "Merges":
        dormant = np.zeros((0, 4), np.int64)
        if (events[:, kernel.EVENT_NEW] <= base.n_tokens).any():
            ids = base.tokenizer_json["model"]["vocab"]
            pairs = [
                (ids[left], ids[right], ids[left + right]) for left, right in base.tokenizer_json["model"]["merges"]
            ]
            dormant = np.pad(np.array(pairs, np.int64).reshape(-1, 3) + 1, ((0, 0), (0, 1)))
        return cls(n_base_tokens=base.n_tokens, closed=closed, events=events, dormant=dormant, fold_sizes=fold_sizes)

    @property
    def by_rank(self) -> NDArray[np.int64]:
        """All that may apply to text in tokens of the base, in the order in which an encoder prefers them."""
        return np.concatenate([self.dormant, self.events])

    @property
    def n_rows(self) -> int:
        return int(self.fold_sizes[-1])

    @property
    def savings(self) -> NDArray[np.int64]:
        """Tokens that one use of each merge saves, by rank."""
        merges = self.by_rank
        saved, is_char = np.ones(len(merges), np.int64), merges[:, kernel.EVENT_RIGHT] == 0
        code_points = self.closed[merges[is_char, kernel.EVENT_LEFT] - self.n_base_tokens - 1]
        saved[is_char] = [len(chr(code_point).encode()) - 1 for code_point in code_points.tolist()]
        return saved

    def texts(self, base: Tokenizer) -> dict[int, bytes]:
        """The bytes of each symbol; of special tokens, byte pieces and frozen ones none.

        Raises:
            PromiseError: two merges make one symbol of different bytes.
        """
        pieces = (b"" if index in base.frozen_ids else piece for index, piece in enumerate(base.pieces))
        texts = dict(enumerate([b"", *pieces, *(chr(code_point).encode() for code_point in self.closed.tolist())]))
        for left, right, new in self.events[:, :3].tolist():
            text = texts[left] + texts[right]
            # Only here are the bytes of an opened piece compared: the kernel finds it by a 64-bit hash.
            if texts.setdefault(new, text) != text:
                raise PromiseError(
                    f"{text!r} was merged into the piece {texts[new]!r}: please report this with the base."
                )
        return texts


@dataclass(kw_only=True)
class Uses:
    """What a text adds to the curve of some merges.

    per_merge: int64 [n_merges, n_sets], how often each learned merge is used. late: (rank, row) -> the same of uses
    that only a later row than the merge's own makes possible (an opened piece that goes on), int64 [n_sets].
    token_counts: int64 [n_sets, n_tokens], tokens of the base, without special tokens in the text. fold_tokens: int64
    [n_groups], the same per fold; group = index of the set x N_FOLDS + fold. fold_saved: int64 [n_fold_sizes,
    n_groups], tokens that the merges up to each size save. n_lost_chars: int64 [n_sets], characters that the base has
    no token for. n_parts: int64 [n_sets], parts that no added token can join (`floor.Floor`).
    """

    per_merge: NDArray[np.int64]
    late: dict[tuple[int, int], NDArray[np.int64]]
    token_counts: NDArray[np.int64]
    fold_tokens: NDArray[np.int64]
    fold_saved: NDArray[np.int64]
    n_lost_chars: NDArray[np.int64]
    n_parts: NDArray[np.int64]

    @classmethod
    def none(cls, merges: Merges, n_sets: int) -> "Uses":
        """Those of no text."""
        return cls(
            per_merge=np.zeros((len(merges.events), n_sets), np.int64),
            late={},
            token_counts=np.zeros((n_sets, merges.n_base_tokens), np.int64),
            fold_tokens=np.zeros(n_sets * N_FOLDS, np.int64),
            fold_saved=np.zeros((len(merges.fold_sizes), n_sets * N_FOLDS), np.int64),
            n_lost_chars=np.zeros(n_sets, np.int64),
            n_parts=np.zeros(n_sets, np.int64),
        )

    def add(self, other: "Uses") -> None:
        """Add those of another text."""
        for name in self._arrays():
            getattr(self, name).__iadd__(getattr(other, name))
        for place, counts in other.late.items():
            self.late[place] = self.late.get(place, 0) + counts

    def base_tokens(self, sets: Mapping[str, SetStats]) -> dict[str, int]:
        """Tokens of each text set with the base tokenizer, special tokens in the text included: size 0 of the curve."""
        n_plain = self.token_counts.sum(axis=1)
        return {name: int(n) + stats.n_special_tokens for (name, stats), n in zip(sets.items(), n_plain, strict=True)}

    def save(self, path: Path, **more: Any) -> None:
        """Write them, and more arrays, as one .npz file. Raises RunDirectoryError."""
        places = np.array([*self.late], np.int64).reshape(-1, 2)
        counts = np.array([*self.late.values()], np.int64).reshape(-1, len(self.n_lost_chars))
        arrays = {name: getattr(self, name) for name in self._arrays()}
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, late_places=places, late_counts=counts, **arrays, **more)
        write_bytes_atomic(path, buffer.getvalue())

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, NDArray[np.int64]]) -> "Uses":
        """From the arrays of a file that `save` wrote."""
        places = map(tuple, arrays["late_places"].tolist())
        return cls(
            late=dict(zip(places, arrays["late_counts"], strict=True)), **{name: arrays[name] for name in cls._arrays()}
        )

    def new_token_counts(self, merges: Merges, n_added: int) -> NDArray[np.int64]:
        """How often each of the first n_added tokens occurs with these alone, int64 [n_sets, n_added]."""
        n_symbols = merges.n_base_tokens + len(merges.closed) + merges.n_rows + 2
        counts = np.zeros((n_symbols, len(self.n_lost_chars)), np.int64)
        by_rank, late = merges.by_rank, [(*place, uses) for place, uses in self.late.items()]
        rows = [
            (int(row), event, uses) for (*event, row), uses in zip(merges.events.tolist(), self.per_merge, strict=True)
        ]
        rows += [(row, by_rank[rank, :3].tolist(), uses) for rank, row, uses in late]
        for row, (left, right, new), uses in rows:
            if row <= n_added:
                counts[new] += uses
                for part in (left, right) if right else ():  # a character's parts are bytes
                    counts[part] -= uses
        is_row = np.diff(merges.events[:, kernel.EVENT_ROW], prepend=0) != 0
        made: NDArray[np.int64] = counts[merges.events[is_row, kernel.EVENT_NEW][:n_added]].T
        return made

    @classmethod
    def _arrays(cls) -> list[str]:
        return [field.name for field in fields(cls) if field.name != "late"]


@dataclass(frozen=True, kw_only=True)
class Curve:
    """The growth curve of some text.

    curve: one row per added token (see `_curve_frame`), and in each n_chunks_<set>, the same in all. folds: columns
    n_added, fold and n_tokens_<set>. n_tokens_base: tokens of the base, per set. entropy_bits: per set, of the base
    tokens at size 0. n_lost_chars: per set. n_chunks: per set, parts that no added token can join (`floor.Floor`),
    special tokens in the text included.
    """

    curve: pl.DataFrame
    folds: pl.DataFrame
    n_tokens_base: dict[str, int]
    entropy_bits: dict[str, float | None]
    n_lost_chars: dict[str, int]
    n_chunks: dict[str, int]

    @classmethod
    def of(cls, base: Tokenizer, merges: Merges, uses: Uses, sets: Mapping[str, SetStats]) -> "Curve":
        """That of the text whose uses these are.

        Raises:
            PromiseError: two merges make one symbol of different bytes.
        """
        events = np.column_stack([merges.events, uses.per_merge])
        if uses.late:
            by_rank = merges.by_rank
            late = [
                (*by_rank[rank, :3], row, *counts)
                for (rank, row), counts in sorted(uses.late.items(), key=itemgetter(0))
            ]
            events = np.concatenate([events, np.array(late, np.int64)])
            events = events[np.argsort(events[:, kernel.EVENT_ROW], kind="stable")]
        n_used, entropy_bits = _usage(base, merges, events, uses.token_counts)
        n_tokens_base = uses.base_tokens(sets)
        n_chunks = zip(sets, uses.n_parts.tolist(), sets.values(), strict=True)
        n_chunks_of = {name: n_parts + stats.n_special_tokens for name, n_parts, stats in n_chunks}
        curve = _curve_frame(base, merges, uses, n_tokens_base, n_used, entropy_bits)
        bits = zip(sets, entropy_bits[0].tolist(), strict=True)
        return cls(
            curve=curve.with_columns(pl.lit(n, pl.Int64).alias(f"n_chunks_{name}") for name, n in n_chunks_of.items()),
            folds=_fold_frame(merges, uses, list(sets)),
            n_tokens_base=n_tokens_base,
            entropy_bits={name: None if np.isnan(bits_of) else bits_of for name, bits_of in bits},
            n_lost_chars=dict(zip(sets, uses.n_lost_chars.tolist(), strict=True)),
            n_chunks=n_chunks_of,
        )

    def set_records(self, sets: Mapping[str, SetStats]) -> dict[str, dict[str, Any]]:
        """`sets` of sweep.json: what each text set holds, the base's tokens and entropy on it, characters it loses."""
        return {
            name: {
                **{field: value for field, value in asdict(stats).items() if field != "hash_sum"},
                "n_lost_chars": self.n_lost_chars[name],
                "n_chunks": self.n_chunks[name],
                "n_tokens_base": self.n_tokens_base[name],
                "entropy_bits_base": self.entropy_bits[name],
            }
            for name, stats in sets.items()
        }


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
    base: Tokenizer, merges: Merges, events: NDArray[np.int64], token_counts: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Added tokens in use, and the entropy in bits, [n_rows + 1, n_sets]: with no row, one, two ..."""
    n_sets, n_rows, first_closed = len(token_counts), merges.n_rows, base.n_tokens + 1
    counts = np.zeros((n_sets, first_closed + len(merges.closed) + n_rows + 1))
    counts[:, 1:first_closed] = token_counts
    symbol_of_byte = {byte: index + 1 for index, byte in enumerate(base.byte_values) if byte >= 0}
    units = np.zeros((len(merges.closed), 4), np.int64)
    for row, code_point in enumerate(merges.closed.tolist()):
        text = chr(code_point).encode()
        units[row, : len(text)] = [symbol_of_byte[byte] for byte in text]
    n_used, entropy_bits = np.zeros((n_rows + 1, n_sets), np.int64), np.zeros((n_rows + 1, n_sets))
    _follow_usage(events, n_rows, units, first_closed, counts, n_used, entropy_bits)
    return n_used, entropy_bits


def _curve_frame(
    base: Tokenizer,
    merges: Merges,
    uses: Uses,
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
    texts, n_rows = merges.texts(base), merges.n_rows
    is_row = np.diff(merges.events[:, kernel.EVENT_ROW], prepend=0) != 0
    lefts, rights, symbol_of_row = merges.events[is_row, :3].T
    # Symbol -> token id.
    ids = np.full(base.n_tokens + len(merges.closed) + n_rows + 2, -1, np.int64)
    ids[1 : base.n_tokens + 1] = np.arange(base.n_tokens)
    ids[symbol_of_row] = base.n_tokens + np.arange(n_rows)
    closed, saved = rights == 0, uses.per_merge * merges.savings[len(merges.dormant) :, None]
    opened: list[list[list[int]]] = [[] for _ in range(n_rows)]
    for event in merges.events[~is_row]:
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
    per_row = np.zeros((n_rows + 1, len(base_tokens)), np.int64)
    np.add.at(per_row, merges.events[:, kernel.EVENT_ROW], saved)
    for (_, row), counts in uses.late.items():
        per_row[row] += counts
    for i, (name, n_tokens) in enumerate(base_tokens.items()):
        columns[f"n_tokens_{name}"] = pl.Series(n_tokens - np.cumsum(per_row[:, i])[1:], dtype=pl.Int64)
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


def _fold_frame(merges: Merges, uses: Uses, names: list[str]) -> pl.DataFrame:
    """Tokens per fold of the documents at up to about 100 sizes, added tokens of the base not included."""
    sizes, n_tokens = merges.fold_sizes, uses.fold_tokens - uses.fold_saved
    columns = {"n_added": np.repeat(sizes, N_FOLDS), "fold": np.tile(np.arange(N_FOLDS), len(sizes))}
    for i, name in enumerate(names):
        columns[f"n_tokens_{name}"] = n_tokens[:, i * N_FOLDS : (i + 1) * N_FOLDS].reshape(-1)
    return pl.DataFrame(columns)

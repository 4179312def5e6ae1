"""`vocabopt sweep --method swap`: rows freed in order, and at every size what the written tokenizer saves and costs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from vocabopt.amounts import counted
from vocabopt.console import Console
from vocabopt.errors import CorpusError, OptionError
from vocabopt.growth.counts import ChunkCounts, SetStats
from vocabopt.growth.curve import Curve
from vocabopt.growth.proof import recount
from vocabopt.merging.export import merged_base
from vocabopt.merging.swapped import swapped
from vocabopt.options import SweepOptions
from vocabopt.records import SetTokens, SweepRecord, write_record
from vocabopt.records import TextSet as RecordedSet
from vocabopt.swap import DEFAULT_MAX_SWAP, SWAP_JSON
from vocabopt.swap.freeing import COST_SCALE, Freed, free, may_be_freed, used_by, used_by_prompts
from vocabopt.swap.record import KEPT_ROLES, SwapChoice, SwapPoint, SwapRecord
from vocabopt.text.corpus import TextSet
from vocabopt.text.sets import HELDOUT, TRAIN
from vocabopt.tokenizer import Tokenizer

#: Sizes shown where none are asked for.
N_SIZES = 8


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Unique chunks with how often each occurs in each text set, int64 [n_chunks, n_sets]; and the units of merges."""

    chunks: ChunkCounts
    units: ChunkCounts
    weights: NDArray[np.int64]
    weights_of_units: NDArray[np.int64]

    @classmethod
    def of(cls, chunks: ChunkCounts, units: ChunkCounts) -> "Counts":
        return cls(chunks=chunks, units=units, weights=chunks.weights(), weights_of_units=units.weights())


def check_swap(base: Tokenizer, options: SweepOptions, text_sets: Iterable[TextSet]) -> None:
    """Find out before the long work that nothing says which rows to keep, or that the base has fewer to give.

    Raises:
        OptionError: so it is.
    """
    if not any(text_set.role in KEPT_ROLES for text_set in text_sets):
        raise OptionError(
            "--method swap: no text says which rows of the base are needed. Name some with --keep, for example --keep "
            "en=english.txt --keep code=code/"
        )
    n_most = int(may_be_freed(base).sum())
    if options.max_swap is not None and options.max_swap > n_most:
        raise OptionError(
            f"--max-swap {options.max_swap}: of the {counted(base.n_tokens, 'row')} of {base.name} {n_most:,} can be "
            f"freed at most: special tokens, byte pieces and single bytes stay. Name {n_most:,} or fewer."
        )


def kept_of(sets: Mapping[str, SetStats] | Mapping[str, RecordedSet]) -> tuple[str, ...]:
    """Names of the text sets that rows are kept for."""
    return tuple(name for name, text_set in sets.items() if text_set.role in KEPT_ROLES)


def n_asked(options: SweepOptions, sizes: Sequence[int] | None) -> int:
    """Rows to swap at most: those of --max-swap, else the largest of --sizes, else the default."""
    return options.max_swap or max(sizes or (), default=0) or DEFAULT_MAX_SWAP


def freed_rows(
    base: Tokenizer,
    counts: Counts,
    curve: Curve,
    options: SweepOptions,
    sizes: tuple[int, ...] | None,
    console: Console,
) -> Freed:
    """Find the rows to free, the cheapest first: as many as are asked for, or as the curve has pieces for.

    Args:
        curve: of all text.
        sizes: rows to swap; None for even steps.

    Raises:
        OptionError: more rows are asked for than can be freed.
        CorpusError: a text to keep rows for has no tokens.
    """
    n_most = min(n_asked(options, sizes), len(curve.curve))
    kept = kept_of(counts.chunks.sets)
    if empty := [name for name in kept if not curve.n_tokens_base[name]]:
        path = options.keeps.get(empty[0], "PATH")
        raise CorpusError(f"--keep {empty[0]}={path}: only blank lines, which need no row. Name files that hold text.")
    with console.step("free", n_most, "rows") as advance:
        may_go = may_be_freed(base, used_by(curve.curve, n_most) | used_by_prompts(base))
        cost = cost_of_units(counts, curve.n_tokens_base, kept, options.keep_weight)
        freed = free(base, counts.units, cost, may_go, n_most, advance)
    if len(freed.ids) < n_most and (options.max_swap is not None or sizes):
        option = f"--max-swap {options.max_swap}" if options.max_swap is not None else f"--sizes {options.sizes}"
        raise OptionError(
            f"{option}: {len(freed.ids):,} rows of {base.name} can be freed; the others are special tokens, byte "
            f"pieces, single bytes, pieces from which the first {n_most:,} new ones are made, or parts of such. Name "
            f"{len(freed.ids):,} or fewer."
        )
    return freed


def run_swap(
    base: Tokenizer,
    counts: Counts,
    freed: Freed,
    sweep: SweepRecord,
    curve: pl.DataFrame,
    sizes: tuple[int, ...] | None,
    out: Path,
    console: Console,
) -> SwapRecord:
    """Count every size with the tokenizer that would be written, choose one, and write swap.json.

    Args:
        freed: rows in order (`freed_rows`).
        sizes: rows to swap; None for even steps.
    """
    n_most = len(freed.ids)
    shown = [size for size in sizes or _even(n_most) if size <= n_most]
    points = []
    with console.step("swap", len(shown), "sizes") as advance:
        for done, size in enumerate(shown, 1):
            points.append(_measured(base, counts, curve, freed.ids[:size].tolist(), sweep.base_tokens))
            advance(done)
    record = SwapRecord(
        curve_sha256=sweep.curve_sha256,
        keep_weight=sweep.options.keep_weight,
        kept_sets=kept_of(sweep.sets),
        max_swap=n_most,
        freed_ids=tuple(freed.ids.tolist()),
        costs=tuple(freed.costs.tolist()),
        n_odd_units=freed.n_odd_units,
        points=tuple(points),
        choice=SwapChoice(n_swapped=0, set=HELDOUT if sweep.sets[HELDOUT].n_tokens_base else TRAIN),
    )
    record = chosen(record, sweep.base_tokens)
    write_record(out / SWAP_JSON, record)
    return record


def _even(n_most: int) -> list[int]:
    return sorted({round(n_most * step / N_SIZES) for step in range(N_SIZES + 1)})


def cost_of_units(
    counts: Counts, base_tokens: Mapping[str, int], kept: Sequence[str], keep_weight: float
) -> NDArray[np.int64]:
    """What a token more in each unit costs: its share of each text's tokens, times the text's weight, in COST_SCALE.

    The training text has the weight 1, since the base's own pieces of the target are needed too.
    """
    factors = {TRAIN: 1.0, **dict.fromkeys(kept, keep_weight)}
    cost = np.zeros(counts.units.n_chunks, np.int64)
    for i, name in enumerate(counts.units.sets):
        if name in factors and base_tokens[name]:
            cost += counts.weights_of_units[:, i] * int(COST_SCALE * factors[name] / base_tokens[name])
    return cost


def _measured(
    base: Tokenizer, counts: Counts, curve: pl.DataFrame, freed_ids: list[int], base_tokens: Mapping[str, int]
) -> SwapPoint:
    """One size: every unique chunk encoded again with the tokenizer that would be written."""
    if not freed_ids:
        sets = {name: SetTokens(n_tokens=n) for name, n in base_tokens.items()}
        return SwapPoint(n_swapped=0, sets=sets, encoder="none")
    written = merged_base(base, swapped(base, curve, freed_ids))
    found = recount(written, counts.chunks, counts.weights)
    sets = {name: SetTokens(n_tokens=n) for name, n in found.n_tokens(counts.chunks).items()}
    return SwapPoint(n_swapped=len(freed_ids), sets=sets, encoder=found.encoder)


def chosen(record: SwapRecord, base_tokens: Mapping[str, int]) -> SwapRecord:
    """The record with its choice: the size with the most net saving, the smaller among equals."""
    best = max(record.points, key=lambda point: (record.net_saving(point, base_tokens), -point.n_swapped))
    n_swapped = best.n_swapped if record.net_saving(best, base_tokens) > 0 else 0
    return msgspec.structs.replace(record, choice=SwapChoice(n_swapped=n_swapped, set=record.choice.set))

"""`vocabopt sweep --method swap`: rows freed in order, and at every size what the written tokenizer saves and costs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from vocabopt.amounts import counted
from vocabopt.choice.complexity import parse_sizes
from vocabopt.console import Console
from vocabopt.errors import OptionError
from vocabopt.growth.counts import ChunkCounts, SetStats
from vocabopt.growth.curve import Curve
from vocabopt.growth.proof import recount
from vocabopt.merging.export import merged_base
from vocabopt.merging.swapped import swapped
from vocabopt.options import SweepOptions
from vocabopt.records import KeptText, SetTokens, SweepRecord, write_record
from vocabopt.swap import DEFAULT_MAX_SWAP, SWAP_JSON
from vocabopt.swap.freeing import COST_SCALE, Freed, free, may_be_freed, used_by, used_by_prompts
from vocabopt.swap.record import KEPT_ROLES, SwapChoice, SwapPoint, SwapRecord
from vocabopt.text.corpus import TextSet
from vocabopt.text.sets import HELDOUT, N_FOLDS, TRAIN
from vocabopt.tokenizer import Tokenizer

#: Sizes shown where none are asked for.
N_SIZES = 8


#: Folds of a kept text, of N_FOLDS, that have no say in the order: what is lost there, other text of its kind may lose.
N_UNSEEN_FOLDS = 4


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Unique chunks, and the units that merges never leave, with what is known of the text sets.

    kept: names of the sets that rows are kept for. weights: int64 [n_chunks, n_sets + n_kept], how often each chunk
    occurs in each set, and in the part of each kept set that has no say. n_unseen_base: tokens of these parts with the
    base. n_tokens_base: of all text sets.
    """

    chunks: ChunkCounts
    units: ChunkCounts
    kept: tuple[str, ...]
    weights: NDArray[np.int64]
    n_unseen_base: Mapping[str, int]
    n_tokens_base: Mapping[str, int]

    @classmethod
    def of(cls, base: Tokenizer, chunks: ChunkCounts, units: ChunkCounts, n_tokens_base: Mapping[str, int]) -> "Counts":
        kept = kept_of(chunks.sets)
        unseen = unseen_weights(chunks, kept)
        n_unseen = recount(base, chunks, unseen).token_counts.sum(axis=1) if kept else np.zeros(0, np.int64)
        return cls(
            chunks=chunks,
            units=units,
            kept=kept,
            weights=np.hstack([chunks.weights(), unseen]),
            n_unseen_base=dict(zip(kept, n_unseen.tolist(), strict=True)),
            n_tokens_base=n_tokens_base,
        )

    def cost_of_units(self, keep_weight: float) -> NDArray[np.int64]:
        """What a token more in each unit costs: its share of each text's tokens, times the text's weight (COST_SCALE).

        The training text has the weight 1, since the base's own pieces of the target are needed too; of a kept text
        only the part counts that has a say.
        """
        weights, names = self.units.weights(), list(self.units.sets)
        cost = weights[:, names.index(TRAIN)] * max(1, int(COST_SCALE / self.n_tokens_base[TRAIN]))
        for i, name in enumerate(self.kept):
            if n_tokens := self.n_tokens_base[name] - self.n_unseen_base[name]:
                seen = weights[:, names.index(name)] - unseen_weights(self.units, self.kept)[:, i]
                # A small weight is still one.
                cost += seen * (max(1, int(COST_SCALE * keep_weight / n_tokens)) if keep_weight else 0)
        return cost


def unseen_weights(counts: ChunkCounts, kept: Sequence[str]) -> NDArray[np.int64]:
    """How often each chunk occurs in the part of each kept set that has no say: int64 [n_chunks, n_kept]."""
    is_unseen = counts.groups % N_FOLDS >= N_FOLDS - N_UNSEEN_FOLDS
    part = replace(counts, counts=np.where(is_unseen, counts.counts, 0))
    return part.weights()[:, [list(counts.sets).index(name) for name in kept]]


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
    largest = max(parse_sizes(options.sizes) or (), default=0)
    if options.max_swap is not None and largest > options.max_swap:
        raise OptionError(
            f"--sizes {options.sizes}: {largest:,} rows are more than --max-swap {options.max_swap}. Raise it, "
            "leave it out, or name smaller sizes."
        )
    n_most = int(may_be_freed(base).sum())
    if options.max_swap is not None and options.max_swap > n_most:
        raise OptionError(
            f"--max-swap {options.max_swap}: of the {counted(base.n_tokens, 'row')} of {base.name} {n_most:,} can be "
            f"freed at most: special tokens, byte pieces and single bytes stay. Name {n_most:,} or fewer."
        )


def kept_of(sets: Mapping[str, SetStats]) -> tuple[str, ...]:
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
    """
    n_most = min(n_asked(options, sizes), len(curve.curve))
    with console.step("free", n_most, "rows") as advance:
        may_go = may_be_freed(base, used_by(curve.curve, n_most) | used_by_prompts(base))
        freed = free(base, counts.units, counts.cost_of_units(options.keep_weight), may_go, n_most, advance)
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
    if sizes and max(sizes) > n_most:
        console.note(f"The text has pieces for {counted(n_most, 'row')}: larger --sizes are measured there.")
    shown = sorted({min(size, n_most) for size in sizes}) if sizes else _even(n_most)
    points = []
    with console.step("swap", len(shown), "sizes") as advance:
        for done, size in enumerate(shown, 1):
            points.append(_measured(base, counts, curve, freed.ids[:size].tolist()))
            advance(done)
    record = SwapRecord(
        curve_sha256=sweep.curve_sha256,
        keep_weight=sweep.options.keep_weight,
        kept_sets=counts.kept,
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


def _measured(base: Tokenizer, counts: Counts, curve: pl.DataFrame, freed_ids: list[int]) -> SwapPoint:
    """One size: every unique chunk encoded again with the tokenizer that would be written."""
    n_tokens, n_unseen, encoder = dict(counts.n_tokens_base), dict(counts.n_unseen_base), "none"
    if freed_ids:
        found = recount(merged_base(base, swapped(base, curve, freed_ids)), counts.chunks, counts.weights)
        totals, encoder, sets = found.token_counts.sum(axis=1).tolist(), found.encoder, counts.chunks.sets
        n_tokens = {name: totals[i] + stats.n_special_tokens for i, (name, stats) in enumerate(sets.items())}
        n_unseen = dict(zip(counts.kept, totals[len(sets) :], strict=True))
    return SwapPoint(
        n_swapped=len(freed_ids),
        sets={name: SetTokens(n_tokens=n) for name, n in n_tokens.items()},
        unseen={name: KeptText(n_tokens_base=counts.n_unseen_base[name], n_tokens=n) for name, n in n_unseen.items()},
        encoder=encoder,
    )


def chosen(record: SwapRecord, base_tokens: Mapping[str, int]) -> SwapRecord:
    """The record with its choice: the size with the most net saving, the smaller among equals."""
    best = max(record.points, key=lambda point: (record.net_saving(point, base_tokens), -point.n_swapped))
    n_swapped = best.n_swapped if record.net_saving(best, base_tokens) > 0 else 0
    return msgspec.structs.replace(record, choice=SwapChoice(n_swapped=n_swapped, set=record.choice.set))

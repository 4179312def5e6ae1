"""Choosing documents for the coverage of their n-grams: the sketch of it, and the choice."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from vocabopt.prepare import coverage_kernel as kernel
from vocabopt.prepare.ngrams import shingles
from vocabopt.prepare.step import Sketches

_STEPS = 1 << 16  # from here on log(2 + n) - log(1 + n) is taken as constant: it is below 1/65,536


@dataclass(frozen=True)
class Coverage:
    """What was chosen of N documents.

    kept: bool [N]. densities: float64 [N], coverage added per byte (see coverage_kernel.choose). chosen, at_random: the
    coverage of these documents, and of as many bytes in a random order.
    """

    kept: NDArray[np.bool_]
    densities: NDArray[np.float64]
    chosen: float
    at_random: float


def sampled_ngrams(texts: pl.Series, n_chars: int, share: float) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """Distinct character n-grams of each text, hashed; of all n-grams the same `share`, whatever text they are in.

    Returns:
        features uint32 [n_features], one text after another, and ends int64 [n_texts], where each text's end.
    """
    hashes, ends = shingles(texts, n_chars)
    # Sampled by the higher bits; the lower ones are the place in the table of counts.
    sampled = hashes <= np.uint32(round(share * 0xFFFFFFFF))
    n_before = np.concatenate([np.zeros(1, np.int64), np.cumsum(sampled)])
    return hashes[sampled], n_before[ends]


def choose_for_coverage(
    sketches: Sketches, n_bytes: NDArray[np.int64], content: NDArray[np.uint64], budget: int, table_bits: int
) -> Coverage:
    """Which documents to keep in a budget of bytes, and the coverage reached.

    sketches: with `features` and `ends` as `sampled_ngrams` gives them. content: uint64 [N] hashes, which settle ties.

    At least 1 - 1/sqrt(e) - 0.05 of the most coverage possible (Lin & Bilmes 2010), 1 - 1/e - 0.05 where documents
    are equally long. Memory: 4 bytes a feature, which the system may leave on disk, 4 for each of 2^table_bits counts,
    and some 40 bytes a document.
    """
    features, starts = _gathered(sketches)
    assert len(starts) == len(n_bytes) + 1
    order = np.argsort(content, kind="stable")
    steps = np.log1p(1 / np.arange(1, _STEPS + 1))
    counts = np.zeros(1 << table_bits, np.int32)
    kept, densities = np.zeros(len(n_bytes), np.bool_), np.zeros(len(n_bytes))
    kernel.choose(features, starts, n_bytes, order, budget, counts, steps, kept, densities)
    chosen = float(np.log1p(counts).sum())
    # A document that alone covers more than all of these: short ones went first, and it did not fit any more.
    n_features = np.where(n_bytes <= budget, np.diff(starts), 0)[order]
    best = order[np.argmax(n_features)] if len(order) else 0
    if len(order) and np.log(2) * n_features.max() > chosen:
        kept[:] = np.arange(len(kept)) == best
        budget_left = budget - int(n_bytes[best])
    else:
        budget_left = budget - int(n_bytes[kept].sum())
    # What adds nothing to the sampled features still fills the budget.
    kernel.fill(order[np.argsort(-densities[order], kind="stable")], n_bytes, budget_left, kept)
    random = np.zeros(len(n_bytes), np.bool_)
    kernel.fill(order, n_bytes, budget, random)
    reached = []
    for which in (kept, random):
        counts[:] = 0
        reached.append(float(kernel.coverage(features, starts, which, counts)))
    return Coverage(kept, densities, *reached)


def _gathered(sketches: Sketches) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """All features, in a file that is mapped into memory, and int64 [N + 1], where each document's start."""
    sizes: list[NDArray[np.int64]] = [np.zeros(0, np.int64)]
    with sketches.scratch() as file:
        for sketch in sketches:
            file.write(sketch["features"].data)
            sizes.append(np.diff(sketch["ends"], prepend=0))
        file.flush()
        starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.concatenate(sizes))])
        n_features = int(starts[-1])
        # Read-write, as an array in memory is: the kernel is compiled once for both.
        features = np.memmap(file, np.uint32, "r+", shape=(n_features,)) if n_features else np.zeros(0, np.uint32)
    return np.asarray(features), starts

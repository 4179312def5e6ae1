"""Compiled selection of documents under a budget of bytes: in a given order, or for coverage of features.

The coverage of a set of documents is the sum over features f of log(1 + n_f), n_f the number of its documents that hold
f (Lin & Bilmes 2011, A Class of Submodular Functions for Document Summarization): each further document with the same
feature adds less. Features are hashed into a table of counts, so two of them can share a place.
"""

import numpy as np

from vocabopt.compiled import njit

_inner = njit(cache=True, nogil=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)

#: From one threshold to the next; the guarantee of the greedy choice is less by as much.
THRESHOLD_STEP = 0.05


@njit(cache=True, nogil=True)
def fill(order, n_bytes, budget, kept):  # type: ignore[no-untyped-def]
    """Keep documents in `order` while they fit into `budget` bytes; those too long for what is left are passed over.

    Returns the bytes that were not used.
    """
    for document in order:
        if not kept[document] and n_bytes[document] <= budget:
            kept[document] = True
            budget -= n_bytes[document]
    return budget


@_inner
def _gain(features, start, end, counts, steps):  # type: ignore[no-untyped-def]
    """What the coverage gains by one more document. steps[n] = log(2 + n) - log(1 + n)."""
    mask = counts.size - 1
    gain = 0.0
    for i in range(start, end):
        gain += steps[min(counts[features[i] & mask], steps.size - 1)]
    return gain


@_inner
def _add(features, start, end, counts):  # type: ignore[no-untyped-def]
    mask = counts.size - 1
    for i in range(start, end):
        counts[features[i] & mask] += 1


@njit(cache=True, nogil=True)
def coverage(features, starts, kept, counts):  # type: ignore[no-untyped-def]
    """The coverage of the kept documents. starts: int64 [n + 1] into features; counts: zeros, a power of two many."""
    for document in range(kept.size):
        if kept[document]:
            _add(features, starts[document], starts[document + 1], counts)
    total = 0.0
    for n in counts:
        total += np.log(1.0 + n)
    return total


@njit(cache=True, nogil=True)
def choose(features, starts, n_bytes, order, budget, counts, steps, kept, densities):  # type: ignore[no-untyped-def]
    """Keep documents that add the most coverage per byte, by falling thresholds (Badanidiyuru & Vondrák 2014).

    A pass takes, in `order`, every document that fits and adds at least the threshold per byte; then the threshold
    falls. What a document would add only falls as others are kept, so the density that was last computed is a bound,
    and most documents are not looked at in most passes.

    densities: filled with coverage added per byte: of a kept document when it was taken, of another when last looked
    at. Returns the bytes that were not used.
    """
    for document in order:
        gain = steps[0] * (starts[document + 1] - starts[document])
        densities[document] = gain / max(n_bytes[document], 1)
    threshold = np.inf
    while True:
        # 1. The next threshold: a step lower, and no higher than what anything that fits can still add.
        highest = 0.0
        for document in order:
            if not kept[document] and n_bytes[document] <= budget:
                highest = max(highest, densities[document])
        if highest == 0.0:
            return budget
        threshold = min(threshold * (1 - THRESHOLD_STEP), highest)
        # 2. What reaches it.
        for document in order:
            if kept[document] or densities[document] < threshold or n_bytes[document] > budget:
                continue
            start, end = starts[document], starts[document + 1]
            densities[document] = _gain(features, start, end, counts, steps) / max(n_bytes[document], 1)
            if densities[document] >= threshold:
                kept[document] = True
                budget -= n_bytes[document]
                _add(features, start, end, counts)

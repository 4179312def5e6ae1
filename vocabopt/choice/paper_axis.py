"""The same size on the paper's axis: a vocabulary trained apart, what the base already has of it included."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vocabopt.choice.knee import chord_knee
from vocabopt.choice.options import DEFAULT_WINDOW


@dataclass(frozen=True, kw_only=True)
class PaperAxis:
    """vocab_size pieces trained apart, of which n_overlap are the base's and n_added are new."""

    vocab_size: int
    n_overlap: int
    n_added: int
    sentence: str


def paper_axis(union: Mapping[str, Any] | None, n_added: int) -> PaperAxis | None:
    """`n_added` as the paper would count it, linear between measured sizes.

    None where no union was measured, or not up to this size.
    """
    points = [] if union is None else union["points"]
    rows, sizes, overlaps = ([point[key] for point in points] for key in ("n_added", "vocab_size", "n_overlap"))
    if n_added <= 0 or not rows or not rows[0] <= n_added <= rows[-1]:
        return None
    size, overlap = (round(float(np.interp(n_added, rows, values))) for values in (sizes, overlaps))
    return PaperAxis(
        vocab_size=size,
        n_overlap=overlap,
        n_added=n_added,
        sentence=(
            f"{n_added:,} new rows are what a vocabulary of about {size:,} pieces trained apart brings, the paper's "
            f"axis: about {overlap:,} of them the base has already."
        ),
    )


def union_window_sentence(union: Mapping[str, Any] | None, text_set: str) -> str:
    """How the knee moves with its window among the vocabularies trained apart that were measured; "" without any."""
    points = [] if union is None else union["points"]
    knees = {}
    for end in range(3, len(points) + 1):
        knee = chord_knee(
            [point["vocab_size"] for point in points[:end]],
            [point["ratio_embedding"] for point in points[:end]],
            [point["sets"][text_set]["ratio_input"] for point in points[:end]],
        )
        if knee is not None:
            knees[points[0]["vocab_size"], points[end - 1]["vocab_size"]] = knee
    if not knees:
        return ""
    here = DEFAULT_WINDOW if DEFAULT_WINDOW in knees else max(knees)
    new = next(point["n_added"] for point in points if point["vocab_size"] == knees[here])
    others = [window for window in dict.fromkeys((min(knees), max(knees))) if knees[window] != knees[here]]
    moves = " and ".join(f"{knees[window]:,} over {window[0]:,}..{window[1]:,}" for window in others)
    return (
        " On the paper's axis, vocabularies trained apart with what the base has of them, the knee over "
        f"{here[0]:,}..{here[1]:,} pieces is {knees[here]:,} ({new:,} new rows)"
        f"{f', and moves too: {moves}' if moves else ''}."
    )

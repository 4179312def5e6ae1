"""Which size: the knee of the growth curve, with the window it came from.

The knee is the point farthest from the chord of the two normalised ratios over a window. On a power-law curve that
point mostly reports the window, so a knee is never shown without it.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import polars as pl

from vocabopt.complexity import EmbeddingTable
from vocabopt.counts import HELDOUT, TRAIN

#: The paper's window, in added tokens.
DEFAULT_WINDOW = (8_000, 40_000)
#: Where text runs dry before the window ends, the window is this share of the dry size, to the dry size.
DRY_WINDOW_START = 1 / 5
#: Rows of embedding tables are a multiple of this, for the sake of matrix kernels.
ROW_MULTIPLE = 128


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A size with its reason. knee: before rounding; None where the curve has none."""

    rule: str
    n_added: int
    knee: int | None
    window: tuple[int, int]
    set: str
    reason: str

    def as_record(self) -> dict[str, Any]:
        return {**asdict(self), "window": list(self.window)}


def chord_knee(sizes: Sequence[int], cost: Sequence[float], gain: Sequence[float]) -> int | None:
    """The size whose point lies farthest below the chord from the first point to the last.

    Args:
        sizes: in rising order, the window's. cost: rising with size (ratio_embedding). gain: falling (ratio_input).

    Returns:
        None for fewer than three points, or a curve that does not bend below its chord: flat, straight or concave.
    """
    if len(sizes) < 3 or cost[0] == cost[-1] or gain[0] == gain[-1]:
        return None
    # Step 1: normalise both ratios to 0..1 over the window.
    x = (np.asarray(cost) - cost[0]) / (cost[-1] - cost[0])
    y = (np.asarray(gain) - gain[-1]) / (gain[0] - gain[-1])
    # Step 2: the chord runs from (0, 1) to (1, 0); the distance below it is (1 - x - y) / sqrt 2.
    distance = 1 - x - y
    # Step 3: the farthest point; rounding errors of a straight line are no distance.
    best = int(np.argmax(distance))
    return int(sizes[best]) if distance[best] > 1e-9 else None


def choose(curve: pl.DataFrame, base_tokens: dict[str, int], table: EmbeddingTable, exhausted_at: int | None) -> Choice:
    """The recommended size: the chord knee over the window, rounded to whole multiples of rows.

    Decided on held-out text; on training text where too little was held out to have tokens.
    """
    text_set = HELDOUT if base_tokens.get(HELDOUT) else TRAIN
    end = len(curve)
    window = DEFAULT_WINDOW
    if end < window[1]:
        window = (round(end * DRY_WINDOW_START), end)
    sizes = range(window[0], window[1] + 1)
    n_tokens = [base_tokens[text_set], *curve[f"n_tokens_{text_set}"]]
    gain = [n_tokens[size] / n_tokens[0] for size in sizes] if n_tokens[0] else []
    knee = chord_knee(sizes, [table.ratio(size) for size in sizes], gain) if gain else None
    # Where padding rows take all of the window, tokens cost nothing and there is no knee: take them.
    is_free = knee is None and bool(gain) and gain[-1] < gain[0] and table.n_rows(window[1]) == table.base_n_rows
    n_added = window[1] if is_free else 0 if knee is None else _rounded(knee, table, end)
    return Choice(
        rule="knee",
        n_added=n_added,
        knee=knee,
        window=window,
        set=text_set,
        reason=_reason(knee, n_added, n_tokens, window, text_set, table, exhausted_at),
    )


def _rounded(knee: int, table: EmbeddingTable, end: int) -> int:
    """The size nearest to the knee, at least 1 and within the curve, whose total rows are a multiple of 128."""
    if table.n_rows(knee) == table.base_n_rows:
        return knee
    below = (table.base_n_tokens + knee) // ROW_MULTIPLE * ROW_MULTIPLE - table.base_n_tokens
    within = [size for size in (below, below + ROW_MULTIPLE) if 1 <= size <= end]
    return min(within, key=lambda size: abs(size - knee)) if within else knee


def _reason(
    knee: int | None,
    n_added: int,
    n_tokens: list[int],
    window: tuple[int, int],
    text_set: str,
    table: EmbeddingTable,
    exhausted_at: int | None,
) -> str:
    text = "held-out" if text_set == HELDOUT else "training"
    of_window = f"over {window[0]:,}..{window[1]:,} added tokens"
    if exhausted_at is not None and window != DEFAULT_WINDOW:
        of_window += f" (the text ran dry at {exhausted_at:,}, so the window starts at a fifth of that)"
    elif window != DEFAULT_WINDOW:
        of_window += " (the curve ends there, so the window starts at a fifth of that)"
    outcome = (
        (
            f"{text} text then takes {n_tokens[n_added] / n_tokens[0]:.1%} of the base's tokens, and the embedding "
            f"{table.ratio(n_added):.2f} times its rows."
        )
        if n_tokens[0]
        else ""
    )
    if knee is None and n_added:
        return f"Add {n_added:,} tokens: all of them fit into padding rows that the table has already; {outcome}"
    if knee is None:
        return f"Add no tokens: the {text} input ratio has no knee {of_window}."
    rows = table.n_rows(n_added)
    if rows == table.base_n_rows:
        rounding = ", which fills padding rows that the table has already"
    elif n_added == knee:
        rounding = "" if rows % ROW_MULTIPLE == 0 else ", not rounded because the curve is too short"
    else:
        rounding = f", rounded so that the total of {rows:,} rows is a multiple of {ROW_MULTIPLE}"
    return (
        f"Add {n_added:,} tokens: the knee of the {text} input ratio against the embedding ratio {of_window} is at "
        f"{knee:,}{rounding}; {outcome}"
    )

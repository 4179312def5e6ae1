"""The knee of the two ratios: the chord's, Kneedle's, and the chord's over many windows and resampled documents.

On a curve that falls like a power law the knee mostly reports the window it was computed in, so a knee is never shown
without its window, its movement over other windows, and an interval.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import ArrayLike

from vocabopt.choice.complexity import Floats, Integers
from vocabopt.records import Interval, Windows
from vocabopt.text.sets import N_FOLDS

#: Distances from the chord below this are rounding errors of a straight line.
_STRAIGHT = 1e-9
#: Starts and ends of the grid of windows, as shares of 40,000 added tokens, or of a shorter curve's end.
WINDOW_STARTS = (0, 0.025, 0.05, 0.1, 0.2, 0.4)
WINDOW_ENDS = (0.2, 0.4, 0.6, 0.8, 1.0, 1.5)
#: Sizes in the window at which resampled curves are compared: the resolution of the interval.
N_RESAMPLED_SIZES = 1_025
#: Folds with documents below which resampling them says nothing: there are too few ways to draw them.
MIN_INTERVAL_FOLDS = 5


def chord_knee(sizes: Sequence[int] | Integers, cost: ArrayLike, gain: ArrayLike) -> int | None:
    """The size whose point lies farthest below the chord from the first point to the last.

    Args:
        sizes: in rising order, the window's. cost: rising with size (ratio_embedding). gain: falling (ratio_input).

    Returns:
        None for fewer than three points, or a curve that does not bend below its chord: flat, straight or concave.
    """
    x, y = np.asarray(cost, float), np.asarray(gain, float)
    if len(x) < 3 or x[0] == x[-1] or y[0] == y[-1]:
        return None
    # Step 1: normalise both ratios to 0..1 over the window.
    x = (x - x[0]) / (x[-1] - x[0])
    y = (y - y[-1]) / (y[0] - y[-1])
    # Step 2: the chord runs from (0, 1) to (1, 0); the distance below it is (1 - x - y) / sqrt 2.
    below = 1 - x - y
    best = int(np.argmax(below))
    return int(sizes[best]) if below[best] > _STRAIGHT else None


def kneedle(sizes: Sequence[int] | Integers, cost: ArrayLike, gain: ArrayLike, *, sensitivity: float) -> int | None:
    """The first knee that Kneedle finds on a falling convex curve (Satopaa et al. 2011, section III, offline).

    Args:
        sizes, cost, gain: as for `chord_knee`, but few enough not to be noisy: Kneedle takes the first local maximum
            of the distance that the curve falls away from, however small.
        sensitivity: S of the paper: how many mean steps of x the distance must fall below a maximum.

    Returns:
        None where no maximum is followed by such a fall.
    """
    x, y = np.asarray(cost, float), np.asarray(gain, float)
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    # Step 1 (no smoothing): the points as they are. Step 2: normalise both to 0..1, gain turned over.
    x = (x - x.min()) / np.ptp(x)
    # Step 3: the difference curve.
    difference = (y.max() - y) / np.ptp(y) - x
    # Step 4: its local maxima, ends included.
    before, after = np.append(difference[:1], difference[:-1]), np.append(difference[1:], difference[-1:])
    is_maximum = (difference >= before) & (difference >= after)
    # Step 5: the threshold below each maximum. Step 6: a maximum is a knee when the difference falls below its
    # threshold before the next maximum takes its place. A minimum above the threshold changes nothing: from there the
    # difference rises to that next maximum.
    step = sensitivity * float(np.mean(np.diff(x)))
    maximum: int | None = None
    for i in range(len(x) - 1):
        if is_maximum[i]:
            maximum = i
        if maximum is not None and difference[i + 1] < difference[maximum] - step:
            return int(sizes[maximum])
    return None


def window_grid(cost: Floats, gain: Floats, full_window_end: int) -> Windows:
    """The chord knee over windows from 0 .. 0.4 to 0.2 .. 1.5 times `full_window_end`, as far as the curve goes.

    Args:
        cost, gain: over all sizes 0..end.
    """
    end = len(cost) - 1
    scale = min(full_window_end, end)
    starts = sorted({round(scale * share) for share in WINDOW_STARTS})
    ends = sorted({round(scale * share) for share in WINDOW_ENDS if round(scale * share) <= end} - {0})
    knees = tuple(
        tuple(
            chord_knee(range(a, b + 1), cost[a : b + 1], gain[a : b + 1]) if a < b and len(gain) else None for b in ends
        )
        for a in starts
    )
    return Windows(starts=tuple(starts), ends=tuple(ends), knees=knees)


def knee_interval(
    folds: pl.DataFrame,
    text_set: str,
    n_tokens: Integers,
    cost: Floats,
    window: tuple[int, int],
    *,
    knee: int | None,
    share: float,
    n_resamples: int,
    seed: int,
) -> Interval | None:
    """The chord knee over resampled documents: a bootstrap over folds of them (Efron 1979), percentiles.

    Folds are drawn with replacement, as many as there are; each draw's ratio to the whole, known at about 100 sizes
    and linear between, is laid on the exact curve. Tokens stay those grown on the whole training text: the interval
    tells what other documents of the same kind would do to the knee, not what they would do to the tokens.

    Args:
        folds: folds.parquet. n_tokens: of the set over all sizes. cost: over all sizes. knee: that of the whole, which
            is among the sizes that resampled curves are compared at.

    Returns:
        None for fewer than MIN_INTERVAL_FOLDS folds with text, or where fewer than half of the resamples have a knee.
    """
    column = f"n_tokens_{text_set}"
    if not n_resamples or column not in folds.columns or not len(folds) or window[1] - window[0] < 2:
        return None
    sizes = folds["n_added"].to_numpy()[::N_FOLDS]
    per_fold = folds[column].to_numpy().reshape(len(sizes), N_FOLDS).astype(float)
    per_fold = per_fold[:, per_fold[0] > 0]
    n_folds = per_fold.shape[1]
    if n_folds < MIN_INTERVAL_FOLDS:
        return None
    # Step 1: resample. Each draw takes n_folds folds with replacement.
    drawn = np.random.default_rng(seed).multinomial(n_folds, np.full(n_folds, 1 / n_folds), size=n_resamples)
    relative = (per_fold @ drawn.T) / per_fold.sum(axis=1, keepdims=True)
    evenly = np.linspace(*window, min(N_RESAMPLED_SIZES, window[1] - window[0] + 1)).astype(np.int64)
    shown = np.unique(evenly if knee is None else np.append(evenly, knee))
    if len(sizes) < 2 or cost[shown[0]] == cost[shown[-1]]:
        return None
    # Step 2: carry each draw's ratio from the folds' sizes to the window's.
    above = np.clip(np.searchsorted(sizes, shown, side="right"), 1, len(sizes) - 1)
    weight = ((shown - sizes[above - 1]) / (sizes[above] - sizes[above - 1]))[:, None]
    gain = n_tokens[shown][:, None] * ((1 - weight) * relative[above - 1] + weight * relative[above])
    found = _knees(shown, cost[shown], gain)
    if 2 * len(found) < n_resamples:
        return None
    low, high = np.quantile(found, [(1 - share) / 2, (1 + share) / 2], method="nearest")
    return Interval(
        share=share,
        low=int(low),
        high=int(high),
        n_resamples=n_resamples,
        n_without_knee=n_resamples - len(found),
        n_folds=n_folds,
    )


def _knees(sizes: Integers, cost: Floats, gains: Floats) -> Integers:
    """The chord knee of many curves at once, [n_found]: as `chord_knee`, for gains of [n_sizes, n_curves]."""
    falling = gains[:, gains[0] != gains[-1]]
    x = ((cost - cost[0]) / (cost[-1] - cost[0]))[:, None]
    below = 1 - x - (falling - falling[-1]) / (falling[0] - falling[-1])
    best = np.argmax(below, axis=0)
    found: Integers = sizes[best[below[best, np.arange(below.shape[1])] > _STRAIGHT]]
    return found

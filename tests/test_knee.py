"""The knee: the chord's against published curves and calculus, Kneedle's against kneed, windows, and the interval."""

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest
from curves import GREEK_SIZES, GREEK_TOKENS_PER_WORD
from helpers import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from kneed import DataGenerator, KneeLocator

from vocabopt.choice.knee import MIN_INTERVAL_FOLDS, chord_knee, knee_interval, kneedle, window_grid
from vocabopt.text.sets import N_FOLDS

# --- The chord knee --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "last", "knee"),
    [
        (0, 8_192, 2_048),
        (0, 16_384, 4_096),
        (0, 25_600, 6_144),
        (1_024, 25_600, 8_192),
        (4_096, 25_600, 11_264),
        (8_192, 25_600, 14_336),
    ],
)
def test_knee_of_the_greek_curve_by_window(first: int, last: int, knee: int) -> None:
    """The knee mostly reports the window: from 2k to 14k on one curve."""
    window = slice(first // 1_024, last // 1_024 + 1)
    sizes = GREEK_SIZES[window]
    assert chord_knee(sizes, [float(size) for size in sizes], GREEK_TOKENS_PER_WORD[window]) == knee


def test_both_knees_of_the_kneedle_paper_s_figure_2_are_at_0_222() -> None:
    """kneed's own figure 2, y = 5 - 1 / (x + 0.1), rises; ours falls, so it is turned over."""
    x, y = DataGenerator.figure2()
    for knee in (chord_knee(range(10), x, -y), kneedle(range(10), x, -y, sensitivity=1.0)):
        assert knee is not None
        assert x[knee] == pytest.approx(0.222, abs=5e-4)


@pytest.mark.parametrize(("power", "first", "last"), [(0.15, 1_000, 256_000), (0.3, 8_000, 40_000), (0.5, 1, 5_000)])
def test_knee_of_a_power_law_is_where_calculus_puts_it(power: float, first: int, last: int) -> None:
    """The distance from the chord is largest where the slope is the chord's."""
    sizes = range(first, last + 1)
    slope = (first**-power - last**-power) / (last - first)
    expected = (power / slope) ** (1 / (power + 1))
    knee = chord_knee(sizes, [float(size) for size in sizes], [size**-power for size in sizes])
    assert knee == pytest.approx(expected, abs=1)


@settings(max_examples=examples(50), deadline=None)
@given(st.floats(1e-6, 1e6), st.floats(-1e3, 1e3), st.floats(1e-6, 1e6), st.floats(-1e3, 1e3))
def test_knee_does_not_depend_on_units(x_scale: float, x_shift: float, y_scale: float, y_shift: float) -> None:
    cost = [x_scale * size + x_shift * x_scale for size in GREEK_SIZES]
    gain = [y_scale * value + y_shift * y_scale for value in GREEK_TOKENS_PER_WORD]
    assert chord_knee(GREEK_SIZES, cost, gain) == 6_144


@pytest.mark.parametrize(
    "gain",
    [
        pytest.param(lambda size: 1 - size / 50_000, id="straight"),
        pytest.param(lambda size: 0.7, id="flat"),
        pytest.param(lambda size: 1 - (size / 50_000) ** 2, id="concave"),
    ],
)
def test_a_curve_that_does_not_bend_below_its_chord_has_no_knee(gain: Callable[[int], float]) -> None:
    sizes = range(8_000, 40_001)
    assert chord_knee(sizes, [1 + size / 32_000 for size in sizes], [gain(size) for size in sizes]) is None


@pytest.mark.parametrize("n_points", [0, 1, 2])
def test_fewer_than_three_points_have_no_knee(n_points: int) -> None:
    assert chord_knee(range(n_points), [1.0, 2.0][:n_points], [1.0, 0.5][:n_points]) is None


def test_a_cost_that_does_not_rise_has_no_knee() -> None:
    """All within a model's padding rows: nothing is paid, so nothing is traded."""
    assert chord_knee(range(4), [1.0] * 4, [1.0, 0.8, 0.7, 0.65]) is None


# --- Kneedle, against kneed ------------------------------------------------------------------------------------------


def kneed_knee(x: list[int], y: list[float], sensitivity: float) -> int | None:
    knee = KneeLocator(x, y, S=sensitivity, curve="convex", direction="decreasing").knee
    return None if knee is None else int(knee)


@pytest.mark.parametrize("sensitivity", [0.0, 1.0, 5.0])
def test_kneedle_is_kneed_s_on_every_window_of_the_greek_curve(sensitivity: float) -> None:
    for first in range(24):
        for last in range(first + 2, 26):
            x, y = list(GREEK_SIZES)[first : last + 1], list(GREEK_TOKENS_PER_WORD[first : last + 1])
            assert kneedle(x, x, y, sensitivity=sensitivity) == kneed_knee(x, y, sensitivity), (first, last)


@settings(max_examples=examples(200), deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(3, 60), sensitivity=st.sampled_from([0.0, 0.5, 1.0, 5.0]))
def test_kneedle_is_kneed_s_on_noisy_curves(seed: int, n: int, sensitivity: float) -> None:
    rng = np.random.default_rng(seed)
    x = np.sort(rng.choice(10_000, n, replace=False))
    y = 1 / (x + 100) + rng.normal(0, 1e-4, n)
    assert kneedle(x, x, y, sensitivity=sensitivity) == kneed_knee(x.tolist(), y.tolist(), sensitivity)


@pytest.mark.parametrize("gain", [[1.0, 1.0, 1.0], [1.0, 0.5], [1.0, 0.5, 0.0]])
def test_flat_short_and_straight_curves_have_no_kneedle_knee(gain: list[float]) -> None:
    assert kneedle(range(len(gain)), list(range(len(gain))), gain, sensitivity=1.0) is None


# --- Windows ---------------------------------------------------------------------------------------------------------


def power_law(end: int, power: float = 0.25) -> tuple[np.ndarray, np.ndarray]:
    """Cost and gain over 0..end."""
    sizes = np.arange(end + 1)
    return 1 + sizes / 32_000, (1 + sizes / 40) ** -power


def test_the_grid_holds_the_knee_of_each_window_and_none_where_a_window_is_empty() -> None:
    cost, gain = power_law(60_000)
    grid = window_grid(cost, gain, 40_000)
    assert grid.starts == (0, 1_000, 2_000, 4_000, 8_000, 16_000)
    assert grid.ends == (8_000, 16_000, 24_000, 32_000, 40_000, 60_000)
    assert grid.knees[4][0] is None  # 8,000..8,000
    assert grid.knees[5][0] is None  # 16,000..8,000
    assert grid.knees[4][4] == chord_knee(range(8_000, 40_001), cost[8_000:40_001], gain[8_000:40_001])
    knees = [knee for knee, _, _ in grid.found()]
    assert knees == sorted(knees)
    assert knees[-1] > 10 * knees[0]  # what the grid is there to show


@pytest.mark.parametrize("end", [0, 1, 2, 5, 700])
def test_a_short_curve_has_a_grid_of_its_own_scale(end: int) -> None:
    cost, gain = power_law(end)
    grid = window_grid(cost, gain, 40_000)
    assert all(size <= end for size in (*grid.starts, *grid.ends))
    assert all(first <= knee <= last for knee, first, last in grid.found())


# --- The interval ----------------------------------------------------------------------------------------------------


def folded(per_fold: np.ndarray, sizes: np.ndarray) -> pl.DataFrame:
    """folds.parquet of tokens [n_sizes, N_FOLDS]."""
    return pl.DataFrame(
        {
            "n_added": np.repeat(sizes, N_FOLDS),
            "fold": np.tile(np.arange(N_FOLDS), len(sizes)),
            "n_tokens_heldout": per_fold.reshape(-1),
        }
    )


def interval_of(per_fold_at: Callable[[np.ndarray], np.ndarray], **options: int) -> object:
    """The interval over 1,000..5,000 of a curve that is the sum of its folds."""
    sizes = np.unique((5_000 * np.linspace(0, 1, 101) ** 2).astype(np.int64))
    n_tokens = per_fold_at(np.arange(5_001)).sum(axis=1)
    cost = 1 + np.arange(5_001) / 32_000
    window = (1_000, 5_000)
    knee = chord_knee(range(1_000, 5_001), cost[1_000:], n_tokens[1_000:] / n_tokens[0])
    folds = folded(per_fold_at(sizes), sizes)
    asked = {"share": 0.9, "n_resamples": 400, "seed": 0, **options}
    return knee_interval(folds, "heldout", n_tokens, cost, window, knee=knee, **asked), knee


def same_folds(sizes: np.ndarray) -> np.ndarray:
    return np.repeat(np.round(1e6 * (1 + sizes / 40) ** -0.3)[:, None], N_FOLDS, axis=1).astype(np.int64)


def unlike_folds(sizes: np.ndarray) -> np.ndarray:
    powers = np.linspace(0.05, 0.6, N_FOLDS)
    return np.round(1e6 * (1 + sizes[:, None] / 40) ** -powers).astype(np.int64)


def test_documents_that_are_all_alike_leave_no_doubt_about_the_knee() -> None:
    interval, knee = interval_of(same_folds)
    assert (interval.low, interval.high) == (knee, knee)
    assert (interval.n_folds, interval.n_without_knee) == (N_FOLDS, 0)


def test_documents_that_are_unlike_give_an_interval_around_the_knee_that_grows_with_its_share() -> None:
    narrow, knee = interval_of(unlike_folds, share=0.5)
    wide, _ = interval_of(unlike_folds)
    assert wide.low < narrow.low <= knee <= narrow.high < wide.high


def test_the_interval_of_one_draw_is_what_the_resampled_folds_give_by_hand() -> None:
    """A single resample: the same draw, summed over folds at every size, has the same knee."""
    interval, _ = interval_of(unlike_folds, n_resamples=1, seed=3)
    drawn = np.random.default_rng(3).multinomial(N_FOLDS, np.full(N_FOLDS, 1 / N_FOLDS), size=1)[0]
    n_tokens = unlike_folds(np.arange(5_001)) @ drawn
    cost = 1 + np.arange(5_001) / 32_000
    knee = chord_knee(range(1_000, 5_001), cost[1_000:], n_tokens[1_000:] / n_tokens[0])
    assert interval.low == interval.high == pytest.approx(knee, rel=0.02)  # folds are known at 100 sizes


def test_between_the_sizes_of_the_folds_a_draw_s_ratio_to_the_whole_is_linear() -> None:
    """Folds known at 0 and 5,000 only, a window of 1,001 sizes: the knee of one draw, by hand."""
    ends, seed = np.array([0, 5_000]), 4
    n_tokens = unlike_folds(np.arange(5_001)).sum(axis=1)
    drawn = np.random.default_rng(seed).multinomial(N_FOLDS, np.full(N_FOLDS, 1 / N_FOLDS), size=1)[0]
    at_start, at_end = (unlike_folds(ends) @ drawn) / unlike_folds(ends).sum(axis=1)
    by_hand = n_tokens * (at_start + (at_end - at_start) * np.arange(5_001) / 5_000)
    window = slice(1_000, 2_001)
    cost = 1 + np.arange(5_001) / 32_000
    knee, of_whole = (chord_knee(range(1_000, 2_001), cost[window], gain[window]) for gain in (by_hand, n_tokens))
    folds = folded(unlike_folds(ends), ends)
    interval = knee_interval(
        folds, "heldout", n_tokens, cost, (1_000, 2_000), knee=of_whole, share=0.9, n_resamples=1, seed=seed
    )
    assert interval is not None
    assert interval.low == interval.high == knee != of_whole


def test_the_interval_is_the_same_for_the_same_seed_and_moves_with_another() -> None:
    assert interval_of(unlike_folds, seed=1) == interval_of(unlike_folds, seed=1)
    assert interval_of(unlike_folds, seed=1, n_resamples=5) != interval_of(unlike_folds, seed=2, n_resamples=5)


@pytest.mark.parametrize("n_kept", [0, 1, MIN_INTERVAL_FOLDS - 1, MIN_INTERVAL_FOLDS])
def test_few_folds_with_text_have_no_interval(n_kept: int) -> None:
    def few(sizes: np.ndarray) -> np.ndarray:
        tokens = same_folds(sizes)
        tokens[:, n_kept:] = 0
        return tokens

    sizes = np.array([0, 1_000, 5_000])
    tokens = same_folds(np.arange(5_001))[:, 0]
    cost = 1 + np.arange(5_001) / 32_000
    assert (
        knee_interval(
            folded(few(sizes), sizes),
            "heldout",
            tokens,
            cost,
            (1_000, 5_000),
            knee=None,
            share=0.9,
            n_resamples=9,
            seed=0,
        )
        is None
    ) == (n_kept < MIN_INTERVAL_FOLDS)

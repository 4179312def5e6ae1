"""The choice: the chord knee against published curves, its window, curves that have none, and rounding of rows."""

import math
from collections.abc import Callable

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vocabopt.choose import Choice, choose, chord_knee

from vocabopt.complexity import EmbeddingTable

# A public cut-off report on extending an English-centric tokenizer to Greek: tokens per word, the mean of three
# held-out sets, at 0, 1,024, 2,048 ... 25,600 added tokens.
GREEK_TOKENS_PER_WORD: tuple[float, ...] = (
    2.4127, 2.0893, 1.9338, 1.8279, 1.7466, 1.6826, 1.6314, 1.5894, 1.5535, 1.5228, 1.4955, 1.4712, 1.4498,
    1.4300, 1.4125, 1.3973, 1.3829, 1.3697, 1.3572, 1.3459, 1.3354, 1.3252, 1.3160, 1.3072, 1.2991, 1.2909,
)  # fmt: skip
GREEK_SIZES = range(0, 25_601, 1_024)


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


def test_knee_of_the_kneedle_paper_s_figure_2() -> None:
    """y = 5 - 1 / (x + 0.1) at ten points of 0..1 has its knee at x = 0.22; ours falls, so it is turned over."""
    x = np.linspace(0, 1, 10)
    knee = chord_knee(range(10), x.tolist(), (1 / (x + 0.1) - 5).tolist())
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


@settings(max_examples=50, deadline=None)
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


# --- The choice ------------------------------------------------------------------------------------------------------


def falling(end: int, n_tokens: int = 1_000_000, power: float = 0.25) -> list[int]:
    """Tokens after each added token, by a power law."""
    return [round(n_tokens * (1 + size / 40) ** -power) for size in range(1, end + 1)]


def chosen(
    n_tokens: list[int],
    *,
    base_tokens: int = 1_000_000,
    heldout: bool = True,
    n_base: int = 32_000,
    n_rows: int | None = None,
    exhausted: bool = False,
) -> Choice:
    """The choice on a curve that is the same for both sets, or without held-out text."""
    curve = pl.DataFrame(
        {"n_tokens_train": n_tokens, "n_tokens_heldout": n_tokens if heldout else [0] * len(n_tokens)},
        schema={"n_tokens_train": pl.Int64, "n_tokens_heldout": pl.Int64},
    )
    table = EmbeddingTable(base_n_tokens=n_base, base_n_rows=n_base if n_rows is None else n_rows, model=None)
    tokens = {"train": base_tokens, "heldout": base_tokens if heldout else 0}
    return choose(curve, tokens, table, len(n_tokens) if exhausted else None)


def test_the_window_is_the_paper_s_where_the_curve_covers_it() -> None:
    choice = chosen(falling(60_000))
    assert choice.window == (8_000, 40_000)
    assert choice.knee == chord_knee(
        range(8_000, 40_001), [float(k) for k in range(8_000, 40_001)], falling(60_000)[7_999:40_000]
    )
    assert "over 8,000..40,000 added tokens is at" in choice.reason


def test_the_window_of_a_dry_text_is_a_fifth_of_its_end_to_its_end_and_the_reason_says_so() -> None:
    choice = chosen(falling(5_171), exhausted=True)
    assert choice.window == (1_034, 5_171)
    assert "over 1,034..5,171 added tokens (the text ran dry at 5,171, so the window starts at a fifth" in choice.reason


def test_the_window_of_a_curve_cut_short_by_an_option_does_not_claim_that_the_text_ran_dry() -> None:
    choice = chosen(falling(5_000))
    assert choice.window == (1_000, 5_000)
    assert "(the curve ends there, so the window starts at a fifth of that)" in choice.reason


def test_the_choice_is_made_on_held_out_text_or_on_training_text_where_there_is_none() -> None:
    assert chosen(falling(40_000)).set == "heldout"
    choice = chosen(falling(40_000), heldout=False)
    assert choice.set == "train"
    assert "the knee of the training input ratio" in choice.reason


def test_the_reason_is_one_sentence_with_the_numbers_of_the_choice() -> None:
    n_tokens = falling(40_000)
    choice = chosen(n_tokens)
    assert choice.rule == "knee"
    assert choice.reason.startswith(f"Add {choice.n_added:,} tokens: ")
    assert f"is at {choice.knee:,}, rounded so that the total of {32_000 + choice.n_added:,} rows" in choice.reason
    assert f"{n_tokens[choice.n_added - 1] / 1_000_000:.1%} of the base's tokens" in choice.reason
    assert f"the embedding {1 + choice.n_added / 32_000:.2f} times its rows" in choice.reason
    assert choice.reason.endswith(".")


@pytest.mark.parametrize(
    "n_tokens",
    [
        pytest.param([1_000_000 - 10 * size for size in range(1, 40_001)], id="straight"),
        pytest.param([1_000_000] * 40_000, id="flat"),
        pytest.param([round(1_000_000 - size**2 / 4_000) for size in range(1, 40_001)], id="concave"),
    ],
)
def test_a_curve_without_a_knee_is_said_in_words(n_tokens: list[int]) -> None:
    choice = chosen(n_tokens)
    assert (choice.n_added, choice.knee) == (0, None)
    assert choice.reason == "Add no tokens: the held-out input ratio has no knee over 8,000..40,000 added tokens."


@pytest.mark.parametrize("n_tokens", [[], [900_000]])
def test_a_curve_too_short_for_a_knee_is_said_in_words(n_tokens: list[int]) -> None:
    choice = chosen(n_tokens, exhausted=True)
    assert choice.n_added == 0
    assert choice.reason.startswith("Add no tokens: ")


def test_text_without_tokens_is_said_in_words() -> None:
    choice = chosen([0] * 10, base_tokens=0)
    assert choice.n_added == 0
    assert choice.reason.startswith("Add no tokens: ")


# --- Rounding --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_base", [32_000, 50_257, 128_256, 151_665])
def test_the_choice_is_the_size_nearest_to_the_knee_whose_total_rows_are_a_multiple_of_128(n_base: int) -> None:
    choice = chosen(falling(40_000), n_base=n_base)
    assert choice.knee is not None
    assert (n_base + choice.n_added) % 128 == 0
    assert abs(choice.n_added - choice.knee) <= 64


@settings(max_examples=60, deadline=None)
@given(end=st.integers(3, 700), n_base=st.integers(1, 2_000), power=st.floats(0.1, 0.9))
def test_rounding_stays_within_the_curve(end: int, n_base: int, power: float) -> None:
    choice = chosen(falling(end, power=power), n_base=n_base, exhausted=True)
    if choice.knee is None:
        assert choice.n_added == 0
        return
    assert 1 <= choice.n_added <= end
    multiples = [size for size in range(1, end + 1) if (n_base + size) % 128 == 0]
    if multiples:
        assert abs(choice.n_added - choice.knee) == min(abs(size - choice.knee) for size in multiples)
    else:
        assert choice.n_added == choice.knee
        assert "not rounded because the curve is too short" in choice.reason


def test_the_reason_names_a_multiple_of_128_only_where_the_total_is_one() -> None:
    """Padding rows: the total stays what it is until they are full."""
    for n_rows in (1_300, 2_000, 1_408):
        choice = chosen(falling(600), n_base=1_000, n_rows=n_rows, exhausted=True)
        total = max(n_rows, 1_000 + choice.n_added)
        assert ("is a multiple of 128" in choice.reason) == (total % 128 == 0 and choice.n_added != choice.knee)
        assert math.isclose(
            float(choice.reason.rpartition("the embedding ")[2].split()[0]), total / n_rows, abs_tol=5e-3
        )

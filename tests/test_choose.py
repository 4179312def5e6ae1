"""The recommendation: set and window, clipping, rounding, and curves without a knee, each said in one sentence."""

import math
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest
from curves import GREEK_SIZES, GREEK_TOKENS_PER_WORD
from helpers import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from report_data import fake_run, fake_sets, records_of

from vocabopt.choice.choose import choose
from vocabopt.choice.complexity import EmbeddingTable, size_curve
from vocabopt.choice.knee import chord_knee
from vocabopt.choice.options import ChoiceOptions, parse_bytes, parse_tokens, parse_window
from vocabopt.errors import OptionError
from vocabopt.model.spec import PRESETS, ModelSpec
from vocabopt.records import Answer, Choice, SetTokens, SweepRecord, TextSet, UnionChoice, UnionPoint, UnionRecord
from vocabopt.wording import agreement_sentence, reason, rule_sentence, window_sentence

# --- The choice ------------------------------------------------------------------------------------------------------


def falling(end: int, n_tokens: int = 1_000_000, power: float = 0.25) -> list[int]:
    """Tokens after each added token, by a power law."""
    return [round(n_tokens * (1 + size / 40) ** -power) for size in range(1, end + 1)]


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """A choice, and what the sentences about it are made of."""

    choice: Choice
    sweep: SweepRecord

    def __getattr__(self, name: str) -> Any:
        return getattr(self.choice, name)

    @property
    def reason(self) -> str:
        return reason(self.sweep)

    @property
    def window_sentence(self) -> str:
        return window_sentence(self.choice)

    @property
    def agreement_sentence(self) -> str:
        return agreement_sentence(self.choice)

    def sentence(self, answer: Answer) -> str:
        return rule_sentence(self.sweep, answer)


def chosen(
    n_tokens: list[int],
    *,
    base_tokens: int = 1_000_000,
    heldout: bool = True,
    n_base: int = 32_000,
    n_rows: int | None = None,
    exhausted: bool = False,
    model: ModelSpec | None = None,
    n_used: list[int] | None = None,
    union: UnionRecord | None = None,
    **options: Any,
) -> Chosen:
    """The choice on a curve that is the same for both sets, or without held-out text; all added tokens are used."""
    end = len(n_tokens)
    used = n_used or list(range(1, end + 1))
    saving = (-np.diff([base_tokens, *n_tokens])).tolist()
    columns = {
        "kind": ["merge"] * end,
        "bytes": [b"ab"] * end,
        "saving": saving,
        "n_tokens_train": n_tokens,
        "n_tokens_heldout": n_tokens if heldout else [0] * end,
        "n_used_train": used,
        "n_used_heldout": used if heldout else [0] * end,
        "entropy_bits_train": [10.0] * end,
        "entropy_bits_heldout": [10.0] * end,
    }
    types = {
        "kind": pl.String,
        "bytes": pl.Binary,
        "entropy_bits_train": pl.Float64,
        "entropy_bits_heldout": pl.Float64,
    }
    curve = pl.DataFrame(columns, schema={name: types.get(name, pl.Int64) for name in columns})
    sets = {"train": fake_set("train", base_tokens), "heldout": fake_set("heldout", base_tokens if heldout else 0)}
    rows = n_base if n_rows is None else n_rows
    table = EmbeddingTable(base_n_tokens=n_base, base_n_rows=rows, model=model)
    exhausted_at = end if exhausted else None
    choice = choose(
        size_curve(curve, sets, exhausted_at), pl.DataFrame(), table, ChoiceOptions(n_resamples=0, **options), union
    )
    sweep, _, _ = records_of(*fake_run())
    base = msgspec.structs.replace(sweep.base, n_tokens=n_base, n_rows=rows)
    sweep = msgspec.structs.replace(
        sweep, base=base, model=model, sets=sets, max_added=end, exhausted_at=exhausted_at, choice=choice
    )
    return Chosen(choice=choice, sweep=sweep)


def fake_set(role: str, n_tokens: int) -> TextSet:
    return msgspec.convert({**fake_sets({"x": (role, 1.0)})["x"], "n_tokens_base": n_tokens}, TextSet)


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


STRAIGHT = [1_000_000 - 10 * size for size in range(1, 40_001)]
FLAT = [1_000_000] * 40_000
CONCAVE = [round(1_000_000 - size**2 / 4_000) for size in range(1, 40_001)]


def test_a_straight_line_takes_what_the_rules_without_a_window_say() -> None:
    """It has no knee, every 1,024 tokens save 1.02 %, and all are used: nothing on the curve bounds the size."""
    choice = chosen(STRAIGHT)
    assert (choice.rule, choice.n_added, choice.knee) == ("end", 39_936, None)
    assert choice.reason == (
        "Add 39,936 tokens: the held-out input ratio has no knee over 8,000..40,000 added tokens, and no rule "
        "without a window bounds a size on this curve, so its end decides: 40,000, rounded so that the total of 71,936 "
        "rows is a multiple of 128; held-out text then takes 60.1% of the base's tokens, and the embedding 2.25 times "
        "its rows."
    )


@pytest.mark.parametrize("n_tokens", [pytest.param(FLAT, id="flat"), pytest.param(CONCAVE, id="concave")])
def test_a_curve_whose_next_tokens_save_nothing_takes_none_and_says_so(n_tokens: list[int]) -> None:
    choice = chosen(n_tokens)
    assert (choice.rule, choice.n_added, choice.knee) == ("marginal", 0, None)
    assert choice.reason == (
        "Add no tokens: the held-out input ratio has no knee over 8,000..40,000 added tokens, so the smallest size "
        "that a rule without a window names decides: 0 by 'marginal'."
    )


@pytest.mark.slow
def test_a_curve_without_a_knee_takes_the_smallest_size_that_a_rule_names() -> None:
    """Half of the tokens are used from 10,000 on: the rule `used` names less than `marginal`, which is unbounded."""
    n_used = [min(size, 10_000 + (size - 10_000) // 2) if size > 10_000 else size for size in range(1, 40_001)]
    choice = chosen(STRAIGHT, n_used=n_used)
    used = next(answer for answer in choice.rules if answer.name == "used")
    assert used.n_added == max(size for size in range(40_001) if ([0, *n_used])[size] >= 0.95 * size)
    assert choice.rule == "used"
    assert abs(choice.n_added - (used.n_added or 0)) <= 64


@pytest.mark.parametrize("n_tokens", [[], [900_000]])
def test_a_curve_too_short_for_a_knee_is_said_in_words(n_tokens: list[int]) -> None:
    choice = chosen(n_tokens, exhausted=True)
    assert choice.n_added == len(n_tokens)
    assert choice.reason.startswith("Add 1 token: " if n_tokens else "Add no tokens: ")
    assert "has no knee" in choice.reason


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


@settings(max_examples=examples(60), deadline=None)
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
        assert "makes the total rows a multiple of 128" in choice.reason


def test_the_reason_names_a_multiple_of_128_only_where_the_total_is_one() -> None:
    """Padding rows: the total stays what it is until they are full."""
    for n_rows in (1_300, 2_000, 1_408):
        choice = chosen(falling(600), n_base=1_000, n_rows=n_rows, exhausted=True)
        total = max(n_rows, 1_000 + choice.n_added)
        assert ("is a multiple of 128" in choice.reason) == (total % 128 == 0 and choice.n_added != choice.knee)
        assert math.isclose(
            float(choice.reason.rpartition("the embedding ")[2].split()[0]), total / n_rows, abs_tol=5e-3
        )


# --- The Greek curve -------------------------------------------------------------------------------------------------


def test_the_greek_curve_gets_a_recommendation_with_every_part() -> None:
    """26 published points, linear between: what is published is tokens per word, so counts are scaled by a million."""
    sizes = np.arange(25_601)
    n_tokens = np.interp(sizes, list(GREEK_SIZES), GREEK_TOKENS_PER_WORD) * 1_000_000
    choice = chosen([round(value) for value in n_tokens[1:]], base_tokens=round(n_tokens[0]))
    assert choice.window == (5_120, 25_600)
    assert choice.knee is not None
    assert choice.n_added > 0
    assert "The knee follows its window" in choice.window_sentence


# --- Clipping --------------------------------------------------------------------------------------------------------


def test_a_training_plan_holds_the_choice_back_to_tokens_that_are_seen_often_enough() -> None:
    n_tokens = falling(60_000, n_tokens=1_000_000_000)
    free, held = (chosen(n_tokens, base_tokens=1_000_000_000, **plan) for plan in ({}, {"train_tokens": 200_000_000}))
    # The plan is a fifth of the counted text, so a token must have been seen 5,000 times in it.
    last = int(np.flatnonzero(-np.diff([1_000_000_000, *n_tokens]) >= 5_000)[-1]) + 1
    assert free.n_added > last
    assert free.clipped_by is None
    assert held.clipped_by == "exposure"
    assert last - 128 < held.n_added <= last
    assert (32_000 + held.n_added) % 128 == 0
    # What decided comes first, the knee that was not taken after it.
    opening = f"Add {held.n_added:,} tokens: {last:,} is the most that 200,000,000 training tokens of the base allow"
    assert held.reason.startswith(opening)
    assert f"is at {held.knee:,}, which is more; held-out text then takes" in held.reason


def test_without_a_plan_exposure_says_what_it_needs_and_clips_nothing() -> None:
    choice = chosen(falling(60_000))
    answer = next(answer for answer in choice.rules if answer.name == "exposure-1000")
    occurrences = -np.diff([1_000_000, *falling(60_000)])[choice.n_added - 1]
    assert occurrences > 0
    need = math.ceil(1_000 * 1_000_000 / occurrences)
    assert f"Needs {need:,} training tokens of the base" in choice.sentence(answer)
    assert (answer.n_added, answer.bound, choice.clipped_by) == (None, "none", None)


def training_bytes(n_added: int) -> int:
    """Of Mistral 7B with so many new rows, by hand: 16 bytes a weight, 6 for a logit of 8,192 tokens."""
    n_rows = 32_000 + n_added
    return 16 * (6_979_321_856 + 8_192 * n_rows) + 6 * 8_192 * n_rows


def with_budget(budget: int) -> Chosen:
    return chosen(falling(60_000), model=PRESETS["mistral-7b"], train_memory_bytes=budget)


def test_a_memory_budget_holds_the_choice_back_to_the_last_multiple_that_fits() -> None:
    choice = with_budget(training_bytes(10_000))
    assert (choice.n_added, choice.clipped_by) == (9_984, "memory")  # 41,984 rows are 328 x 128
    assert choice.reason.startswith("Add 9,984 tokens: 10,000 is the most that the memory budget allows, rounded so")
    assert with_budget(training_bytes(10_000) - 1).n_added == 9_984
    assert with_budget(training_bytes(9_984) - 1).n_added == 9_984 - 128


def test_rounding_never_goes_beyond_a_limit_just_above_the_knee() -> None:
    free = chosen(falling(60_000))
    assert free.knee is not None
    knee = free.knee
    above = -(-(32_000 + knee) // 128) * 128 - 32_000
    for limit in (knee, knee + 1, above - 1):
        choice = with_budget(training_bytes(limit))
        assert (choice.n_added, choice.clipped_by) == (above - 128, None)
    assert with_budget(training_bytes(above)).n_added in (above, above - 128)


def test_a_limit_below_the_first_multiple_is_taken_as_it_is_and_said() -> None:
    choice = with_budget(training_bytes(50))
    assert (choice.n_added, choice.clipped_by) == (50, "memory")
    assert "not rounded: no size up to 50 added tokens makes the total rows a multiple of 128" in choice.reason


def test_a_budget_that_not_even_the_base_fits_leaves_no_tokens() -> None:
    choice = with_budget(training_bytes(0) - 1)
    assert (choice.n_added, choice.clipped_by) == (0, "memory")
    assert choice.reason.startswith("Add no tokens: ")
    assert any("Not even the base fits" in choice.sentence(answer) for answer in choice.rules)


def test_a_budget_for_a_model_whose_layers_are_not_known_says_that_it_holds_nothing_back() -> None:
    unknown = ModelSpec(name="mystery", hidden_size=8, n_rows=32_000, tied_embeddings=False, source="test")
    choice = chosen(falling(60_000), model=unknown, serve_memory_bytes=1)
    answer = next(answer for answer in choice.rules if answer.name == "memory-serve")
    assert choice.sentence(answer) == (
        "Not computed, so --serve-memory holds nothing back: the layers of mystery are of a kind that is not known "
        "here."
    )
    assert choice.clipped_by is None


def test_serving_memory_may_fall_with_size_so_a_base_that_does_not_fit_is_no_end() -> None:
    """With 100,000 tokens of context a text's keys and values shrink faster than rows are added."""
    base = 2 * (6_979_321_856 + 32_000 * 8_192) + 100_000 * 131_072
    spacious = {"model": PRESETS["mistral-7b"], "context_tokens": 100_000, "serve_memory_bytes": base - 1}
    choice = chosen(falling(60_000), **spacious)
    answer = next(a for a in choice.rules if a.name == "memory-serve")
    assert (answer.n_added or 0) > 0
    assert answer.n_bytes_base is None


def test_a_large_model_s_compute_has_no_optimum_inside_the_curve_and_is_left_out_of_the_agreement() -> None:
    choice = chosen(falling(40_000, n_tokens=10**9, power=0.5), base_tokens=10**9, model=PRESETS["solar-10.7b"])
    flops = next(answer for answer in choice.rules if answer.name == "flops-train")
    assert (flops.n_added, flops.bound) == (40_000, "at_least")
    assert "at least 40,000 (not bounded by this curve)" in choice.sentence(flops)
    assert "Not bounded by this curve, so left out: flops-train" in choice.agreement_sentence
    flatter = chosen(falling(40_000, power=0.1), model=PRESETS["gpt2"], n_base=50_257, context_tokens=128)
    small = next(answer for answer in flatter.rules if answer.name == "flops-train")
    assert small.bound == "at"
    assert 0 < (small.n_added or 0) < 40_000


# --- The paper's axis ------------------------------------------------------------------------------------------------

UNION = UnionRecord(
    vocab=None, vocab_size=40_000, sha256="", trained=None, scores="unique", scripts=("Hangul",), base_n_rows=32_000,
    points=tuple(
        UnionPoint(
            vocab_size=size, n_overlap=n_overlap, n_added=n_added, n_rows_total=32_000 + n_added,
            n_embedding_params=None, n_unreachable=0, n_unused=0, n_base_broken=0, protected={}, encoder="tokenizers",
            sets={"heldout": SetTokens(n_tokens=round(ratio * 1_000_000))},
        )
        for size, n_overlap, n_added, ratio in (
            (8_000, 1_860, 6_137, 0.4809),
            (12_000, 2_117, 9_880, 0.4391),
            (16_000, 2_386, 13_611, 0.4167),
            (20_000, 2_632, 17_365, 0.4018),
            (24_000, 2_894, 21_103, 0.3908),
            (28_000, 3_164, 24_833, 0.3822),
            (32_000, 3_451, 28_546, 0.3752),
            (36_000, 3_688, 32_309, 0.3693),
            (40_000, 3_933, 36_064, 0.3644),
        )
    ),
    choice=UnionChoice(vocab_size=None, n_added=None, window=(8_000, 40_000), set="heldout"),
)  # fmt: skip


def test_the_same_size_stands_on_the_paper_s_axis_where_a_union_was_measured() -> None:
    choice = chosen(falling(60_000), union=UNION)
    assert choice.paper_axis is not None
    # Linear between the two measured sizes around it, 16,000 and 20,000 pieces.
    below, above = next(
        pair for pair in zip(UNION.points, UNION.points[1:], strict=False) if pair[1].n_added >= choice.n_added
    )
    share = (choice.n_added - below.n_added) / (above.n_added - below.n_added)
    assert choice.paper_axis.vocab_size == pytest.approx(below.vocab_size + share * 4_000, abs=1)
    overlap = below.n_overlap + share * (above.n_overlap - below.n_overlap)
    assert choice.paper_axis.n_overlap == pytest.approx(overlap, abs=1)
    assert chosen(falling(60_000)).paper_axis is None


def test_the_paper_s_20_000_is_the_knee_of_its_window_and_moves_with_it() -> None:
    """Ratios measured on 117 MB of Korean (reports/LOG.md); RedWhale chose 20,000 of 8,000 to 40,000."""
    sentence = chosen(falling(60_000), union=UNION).window_sentence
    assert (
        "the knee over 8,000..40,000 pieces is 20,000 (17,365 new rows), and moves too: 12,000 over 8,000..16,000"
        in sentence
    )
    assert "On the paper's axis" not in chosen(falling(60_000)).window_sentence


# --- Options ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "n_tokens"), [("10B", 10**10), ("1.5T", 15 * 10**11), ("500m", 5 * 10**8), ("2_000", 2_000)]
)
def test_numbers_of_tokens_are_read_as_people_write_them(value: str, n_tokens: int) -> None:
    assert parse_tokens(value, "--train-tokens") == n_tokens


@pytest.mark.parametrize(("value", "n_bytes"), [("80GB", 80 * 10**9), ("24GiB", 24 * 2**30), ("1000", 1_000)])
def test_memory_is_read_in_both_kinds_of_units(value: str, n_bytes: int) -> None:
    assert parse_bytes(value, "--train-memory") == n_bytes


@pytest.mark.parametrize("value", ["", "ten", "10X", "-5", "0", "1e9", "9999999999T"])
def test_a_quantity_that_cannot_be_read_is_named(value: str) -> None:
    with pytest.raises(OptionError, match=r"--train-tokens .*: write a number of at least 1, such as 10B"):
        parse_tokens(value, "--train-tokens")


@pytest.mark.parametrize("value", ["8000", "a:b", "8000-40000", "8000:", "-1:5", ",:5", "_:5"])
def test_a_window_that_cannot_be_read_is_named(value: str) -> None:
    with pytest.raises(OptionError, match="write two sizes in added tokens as 8000:40000"):
        parse_window(value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": (9, 9)}, r"--window 9:9: needs two sizes"),
        ({"used_share": 1.0}, r"--used-share 1.0: must be above 0 and below 1"),
        ({"marginal_share": 0.0}, r"--marginal-share 0.0: must be above 0"),
        ({"interval_share": 1.5}, r"--interval 1.5: must be above 0"),
        ({"context_tokens": 0}, r"--context-tokens 0: must be at least 1"),
        ({"row_multiple": 0}, r"--row-multiple 0: must be at least 1"),
        ({"n_resamples": -1}, r"--resamples -1: must be between 0"),
        ({"kneedle_points": 2}, r"--kneedle-points 2, .*at least 3 points"),
        ({"kneedle_sensitivity": math.nan}, r"--kneedle-sensitivity nan: .* a finite sensitivity"),
        ({"seed": -1}, r"--seed -1: must be between 0"),
    ],
)
def test_an_option_out_of_range_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        ChoiceOptions(**options)


def test_a_set_or_window_that_the_curve_does_not_have_is_named() -> None:
    with pytest.raises(OptionError, match="--set wiki: this run has train, heldout"):
        chosen(falling(5_000), text_set="wiki")
    with pytest.raises(OptionError, match="--set heldout: this set has no tokens"):
        chosen(falling(5_000), heldout=False, text_set="heldout")
    with pytest.raises(
        OptionError, match=r"--window 100:6000: the curve ends at 5,000 added tokens, where --max-added"
    ):
        chosen(falling(5_000), window=(100, 6_000))
    with pytest.raises(OptionError, match=r"--window 100:6000: the curve ends at 5,000 .* where the text ran dry"):
        chosen(falling(5_000), window=(100, 6_000), exhausted=True)


def test_a_stated_window_is_taken_and_said() -> None:
    choice = chosen(falling(60_000), window=(4_000, 24_000))
    assert choice.window == (4_000, 24_000)
    assert "over 4,000..24,000 added tokens is at" in choice.reason

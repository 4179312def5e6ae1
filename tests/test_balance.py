"""Tokens learned for several targets at once: whose turn it is, by hand and against the growth pass in plain Python."""

from collections.abc import Mapping
from typing import Any

import pytest
from helpers import HANGUL, base_of, examples, grow_documents, toy_sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st
from test_growth import VARIANTS, assert_same_growth, document, extra_pieces, variant

from vocabopt.growth.balance import Balance
from vocabopt.growth.grow import Growth

TWO = Balance(n_targets=2)


def pieces_of(grown: Growth) -> list[str]:
    return grown.curve["piece"].to_list()


# --- By hand ---------------------------------------------------------------------------------------------------------

#: 가나 is ten times as frequent in its text as 다라 in its own.
UNEQUAL = {"ko": ["가나"] * 20, "other": ["다라"] * 2}


def test_one_sum_of_savings_goes_to_the_larger_text_first() -> None:
    grown = grow_documents(
        base_of(toy_sentencepiece("가나다라")), UNEQUAL, balance=Balance(n_targets=2, weights=(1, 1))
    )
    assert pieces_of(grown) == ["▁가", "▁가나", "▁다", "▁다라"]


def test_weights_turn_the_order_of_one_sum() -> None:
    grown = grow_documents(
        base_of(toy_sentencepiece("가나다라")), UNEQUAL, balance=Balance(n_targets=2, weights=(1, 15))
    )
    # 2 x 15 is more than 20.
    assert pieces_of(grown) == ["▁다", "▁다라", "▁가", "▁가나"]


def test_parity_gives_each_row_to_the_target_that_has_most_of_its_tokens_left() -> None:
    # Both have all left: the first; then 다라 has 3/3 and 가나 2/3; then 2/3 each: the first; then 다라.
    grown = grow_documents(base_of(toy_sentencepiece("가나다라")), UNEQUAL, balance=TWO)
    assert pieces_of(grown) == ["▁가", "▁다", "▁가나", "▁다라"]
    assert grown.curve["n_tokens_ko"].to_list() == [40, 40, 20, 20]
    assert grown.curve["n_tokens_other"].to_list() == [6, 4, 4, 2]


def test_a_target_that_ran_dry_steps_out_though_it_is_served_worst() -> None:
    texts = {"ko": ["가", "나"], "other": ["다라마"] * 3}
    grown = grow_documents(base_of(toy_sentencepiece("가나다라마")), texts, balance=TWO)
    # No pair of ko occurs twice, so that it has all its tokens to the end.
    assert pieces_of(grown) == ["▁다", "▁다라", "▁다라마"]
    assert grown.curve["n_tokens_ko"].to_list() == [4, 4, 4]
    assert grown.exhausted_at == 3


def test_a_piece_that_two_targets_need_is_added_once_and_counted_in_both() -> None:
    texts = {"one": ["가나"] * 4, "two": ["가나"] * 3 + ["뷁"] * 2}
    grown = grow_documents(base_of(toy_sentencepiece("가나")), texts, balance=TWO)
    # "▁가" for one; two has 15 - 3 + ... left of 17, more than one: it takes what saves most there.
    assert pieces_of(grown) == ["▁가", "뷁", "▁가나", "▁뷁"]
    assert grown.curve["n_tokens_one"].to_list() == [8, 8, 4, 4]
    assert grown.curve["n_tokens_two"].to_list() == [14, 10, 7, 5]


def test_parity_can_follow_aligned_text_against_a_reference() -> None:
    # ko takes three tokens where the reference takes six, the other nine: all rows are the other's until it is level.
    texts = {
        "ko": ["가나"] * 9,
        "other": ["다라"] * 9,
        "a-ko": ["가나"],
        "a-other": ["다라 다라 다라"],
        "en": ["abcde"],
    }
    balance = Balance(n_targets=2, measured=(2, 3), reference=4)
    grown = grow_documents(base_of(toy_sentencepiece("가나다라abcde")), texts, balance=balance)
    assert pieces_of(grown) == ["▁다", "▁다라", "▁가", "▁가나"]


@pytest.mark.parametrize(("weights", "least"), [((1, 1), 2), ((2, 3), 5), ((1, 9), 10)])
def test_weights_count_as_one_on_average_where_a_token_must_save_enough(weights: tuple[int, ...], least: int) -> None:
    assert Balance(n_targets=2, weights=weights).least_saving(2) == least


# --- Against the reference -------------------------------------------------------------------------------------------

several = st.fixed_dictionaries(
    {
        "one": st.lists(document, min_size=1, max_size=8),
        "two": st.lists(document, min_size=1, max_size=8),
        "three": st.lists(document, max_size=8),
        "prot": st.lists(document, max_size=4),
        "en": st.lists(document, min_size=1, max_size=3),
    }
)
#: In order: hypothesis shuffles them.
SETS = ("one", "two", "three", "prot", "en")
#: What the engine and what the reference are told.
BALANCES: list[tuple[Balance, dict[str, Any]]] = [
    (Balance(n_targets=2), {"targets": ("one", "two")}),
    (Balance(n_targets=3), {"targets": ("one", "two", "three")}),
    (Balance(n_targets=3, weights=(1, 1, 1)), {"targets": ("one", "two", "three"), "weights": (1, 1, 1)}),
    (Balance(n_targets=3, weights=(2, 3, 7)), {"targets": ("one", "two", "three"), "weights": (2, 3, 7)}),
    (
        Balance(n_targets=2, measured=(2, 3), reference=4),
        {"targets": ("one", "two"), "measured": {"one": "three", "two": "prot"}, "reference": "en"},
    ),
]


@settings(max_examples=examples(150), deadline=None)
@given(
    name=st.sampled_from(sorted(VARIANTS)),
    extra=extra_pieces,
    texts=several,
    told=st.sampled_from(BALANCES),
    min_saving=st.sampled_from([1, 2, 2, 3]),
    scripts=st.sampled_from([HANGUL, HANGUL, ()]),
    protected=st.sampled_from([[], ["prot"]]),
)
def test_growth_for_several_targets_is_that_of_the_reference(
    name: str,
    extra: list[str],
    texts: Mapping[str, list[str]],
    told: tuple[Balance, dict[str, Any]],
    min_saving: int,
    scripts: tuple[str, ...],
    protected: list[str],
) -> None:
    balance, reference = told
    texts = {set_name: texts[set_name] for set_name in SETS}
    base = variant(name, tuple(extra))
    assert_same_growth(
        base, texts, min_saving, balance=balance, reference=reference, scripts=scripts, protected=protected
    )


@settings(max_examples=examples(30), deadline=None)
@given(name=st.sampled_from(["llama", "gpt2"]), texts=several, scripts=st.sampled_from([HANGUL, ()]))
def test_how_candidates_are_looked_up_moves_nothing_for_several_targets(
    name: str, texts: Mapping[str, list[str]], scripts: tuple[str, ...]
) -> None:
    from vocabopt.growth import grow as growth

    grown, texts = [], {set_name: texts[set_name] for set_name in SETS}
    for divisor in (2, growth.THRESHOLD_DIVISOR, 10**15):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(growth, "THRESHOLD_DIVISOR", divisor)
            grown.append(grow_documents(variant(name), texts, scripts=scripts, balance=Balance(n_targets=3)))
    for other in grown[1:]:
        assert other.curve.equals(grown[0].curve)
        assert other.folds.equals(grown[0].folds)

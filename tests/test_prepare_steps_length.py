"""Bounds on length, against Python's own len and split."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vocabopt.errors import OptionError
from vocabopt.preparation.step import DocumentStep
from vocabopt.preparation.steps.limits import Length

# The separators FS, GS, RS and US are white space for Python's split and not for Unicode.
texts_of_words = st.text("가나 ab\n\t\u3000😀,", max_size=30) | st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\x1c\x1d\x1e\x1f"), max_size=30
)


def outcome_of(step: Length, *texts: str) -> list[tuple[str | None, str | None]]:
    outcome = step.load()(pl.Series(texts, dtype=pl.String))
    return list(zip(outcome.texts, outcome.why, strict=True))


def test_it_is_a_document_step() -> None:
    assert isinstance(Length(), DocumentStep)


def test_by_default_only_texts_below_ten_characters_go() -> None:
    assert outcome_of(Length(), "비가 온다고 한다.", "비가 온다고 했다네", "", "가" * 10_000) == [
        ("비가 온다고 한다.", None),
        ("비가 온다고 했다네", None),
        (None, "0 characters, below 10"),
        ("가" * 10_000, None),
    ]


@given(st.lists(texts_of_words, min_size=1, max_size=4), st.integers(0, 12), st.integers(12, 20))
def test_characters_and_words_are_those_of_python(texts: list[str], low: int, high: int) -> None:
    by_chars = outcome_of(Length(min_chars=low, max_chars=high), *texts)
    assert [text is not None for text, _ in by_chars] == [low <= len(text) <= high for text in texts]
    by_words = outcome_of(Length(min_chars=None, min_words=low, max_words=high), *texts)
    assert [text is not None for text, _ in by_words] == [low <= len(text.split()) <= high for text in texts]


@given(texts_of_words, st.floats(0, 8), st.floats(8, 20))
def test_the_mean_is_over_words_without_their_spaces(text: str, low: float, high: float) -> None:
    words = text.split()
    stays = bool(words) and low <= sum(map(len, words)) / len(words) <= high
    ((kept, _),) = outcome_of(Length(min_chars=None, min_mean_word_chars=low, max_mean_word_chars=high), text)
    assert (kept is not None) == stays


def test_reasons_name_the_measure_and_the_bound() -> None:
    step = Length(min_chars=3, max_chars=1_000, min_words=2, max_words=4, max_mean_word_chars=2.5)
    assert [
        why for _, why in outcome_of(step, "가", "가" * 1_001, "가나다", "가 나 다 라 마", "가나 나라마", "   ")
    ] == [
        "1 characters, below 3",
        "1001 characters, above 1,000",
        "1 words, below 2",
        "5 words, above 4",
        None,
        "0 words, below 2",
    ]
    assert outcome_of(Length(min_chars=None, max_mean_word_chars=2.5), "가나다 나라마라", " ") == [
        (None, "3.5 characters a word, above 2.5"),
        (None, "no words"),
    ]


def test_without_bounds_everything_stays() -> None:
    assert outcome_of(Length(min_chars=None), "", "가") == [("", None), ("가", None)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_chars": -3}, r"^\[length\] min_chars -3: must be at least 0\.$"),
        ({"max_words": 2.5}, r"^\[length\] max_words 2\.5: must be a whole number\.$"),
        ({"min_words": True}, r"^\[length\] min_words True: must be a whole number\.$"),
        ({"min_mean_word_chars": "3"}, r"^\[length\] min_mean_word_chars '3': must be a number\.$"),
        ({"min_mean_word_chars": float("nan")}, r"min_mean_word_chars nan: must be a number"),
        ({"min_chars": 9, "max_chars": 5}, r"^\[length\] min_chars 9: must not be above max_chars, which is 5\.$"),
    ],
)
def test_a_bound_that_cannot_be_used_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        Length(**options)  # type: ignore[arg-type]

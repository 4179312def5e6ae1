"""The share of a script among letters, against the `regex` module."""

import polars as pl
import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from vocabopt.errors import OptionError
from vocabopt.preparation.step import DocumentStep
from vocabopt.preparation.steps.limits import Script

# Assigned long ago, so that every library's Unicode agrees on them.
mixed = st.text("가한ㅋᄀᆨabÉжαー、あ漢字ªⅣ㈀10.,!😀 \n", max_size=30)


def outcome_of(step: Script, *texts: str) -> list[tuple[str | None, str | None]]:
    outcome = step.load()(pl.Series(texts, dtype=pl.String))
    return list(zip(outcome.texts, outcome.why, strict=True))


def test_it_is_a_document_step() -> None:
    assert isinstance(Script(), DocumentStep)


@given(st.lists(mixed, min_size=1, max_size=4), st.sampled_from([0, 0.25, 0.5, 0.8, 1]))
def test_hangul_is_counted_among_letters_as_regex_counts(texts: list[str], min_share: float) -> None:
    kept = [text is not None for text, _ in outcome_of(Script(min_share=min_share), *texts)]
    for text, stays in zip(texts, kept, strict=True):
        n_letters = len(regex.findall(r"\p{L}", text))
        n_hangul = len(regex.findall(r"[\p{Script=Hangul}&&\p{L}]", text, regex.VERSION1))
        assert stays == (n_hangul >= min_share * max(n_letters, 1)), text


def test_several_scripts_count_together() -> None:
    step = Script(script="hani, Hiragana,katakana", min_share=0.9)
    assert outcome_of(step, "漢字とカナー", "漢字 abc") == [
        ("漢字とカナー", None),
        (None, "Han+Hiragana+Katakana 40.0 % of letters, below 90 %"),
    ]


def test_digits_punctuation_and_spaces_count_neither_way() -> None:
    assert outcome_of(Script(min_share=1), "값 1,234.5! ~~ 😀", "값 x") == [
        ("값 1,234.5! ~~ 😀", None),
        (None, "Hangul 50.0 % of letters, below 100 %"),
    ]


def test_a_document_without_letters_goes_and_stays_where_nothing_is_asked() -> None:
    assert outcome_of(Script(), "", "123 !!") == [(None, "no letters"), (None, "no letters")]
    assert outcome_of(Script(min_share=0), "", "123 !!") == [("", None), ("123 !!", None)]


def test_a_share_just_below_the_limit_is_not_shown_as_the_limit() -> None:
    assert outcome_of(Script(), "가" * 4_999 + "a" * 5_001)[0][1] == "Hangul 49.9 % of letters, below 50 %"


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (
            "Hangull",
            r"^\[script\] script Hangull: 'Hangull' is not a Unicode script\. Did you mean Hangul\? Give names",
        ),
        ("auto", r"^\[script\] script auto: a document alone does not tell\. Give names such as Hangul"),
        ("none", r"^\[script\] script none: "),
        ("", r"^\[script\] script : '' is not a Unicode script\. Give names"),
        (3, r"^\[script\] script 3: must be text in quotes\."),
    ],
)
def test_what_is_no_script_is_refused(script: str, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        Script(script=script)


def test_a_share_above_one_is_refused() -> None:
    with pytest.raises(OptionError, match=r"^\[script\] min_share 50: must be a share, a number from 0 to 1\.$"):
        Script(min_share=50)

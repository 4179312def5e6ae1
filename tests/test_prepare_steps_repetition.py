"""Repetition inside documents, against datatrove's functions for Gopher's rules."""

import re

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vocabopt.errors import OptionError
from vocabopt.preparation.step import DocumentStep, code_points
from vocabopt.preparation.steps import repetition_kernel as kernel
from vocabopt.preparation.steps.limits import Repetition

gopher = pytest.importorskip("datatrove.pipeline.filters.gopher_repetition_filter")

# No word starts another, so that n-grams written without spaces, as datatrove compares them, are n-grams of words.
words = st.sampled_from(["가", "나다", "라마바", "😀", "s", "é"])
texts_of_words = st.lists(words, max_size=60).flatmap(
    lambda chosen: st.sampled_from([" ", "\n", " \t ", "\u3000"]).map(lambda space: space.join(chosen))
)
texts_of_lines = st.lists(st.sampled_from(["가", "나다 라", "", " ", "마바\n사", "\n"]), max_size=14).map("\n".join)


def measured(*texts: str, min_words: int = 0, min_run: int = 5) -> list[dict[str, int]]:
    rows = kernel.measure(*code_points(pl.Series(texts, dtype=pl.String)), min_words, min_run)
    names = [name for name, value in vars(kernel).items() if name.isupper() and isinstance(value, int)]
    names = [name for name in names if name not in ("LINE_FEED", "N_COLUMNS")]
    return [{name: int(row[getattr(kernel, name)]) for name in names} | {"row": row} for row in rows]


def outcome_of(step: Repetition, *texts: str) -> list[tuple[str | None, str | None]]:
    outcome = step.load()(pl.Series(texts, dtype=pl.String))
    return list(zip(outcome.texts, outcome.why, strict=True))


def test_it_is_a_document_step() -> None:
    assert isinstance(Repetition(), DocumentStep)


@given(st.lists(texts_of_words, min_size=1, max_size=3))
def test_n_grams_count_as_in_datatrove(texts: list[str]) -> None:
    for text, found in zip(texts, measured(*texts), strict=True):
        split = text.split()
        assert found["N_CHARS"] == len(text)
        assert found["N_WORDS"] == len(split)
        for i, n in enumerate(kernel.TOP):
            n_grams = gopher.get_n_grams(split, n)
            twice = len(set(n_grams)) < len(n_grams)
            assert found["row"][kernel.TOP_CHARS + i] == (gopher.find_top_duplicate(n_grams) if twice else 0)
        for i, n in enumerate(kernel.REPEATED):
            assert found["row"][kernel.REPEATED_CHARS + i] == gopher.find_all_duplicate(split, n)


@given(st.lists(texts_of_lines, min_size=1, max_size=3))
def test_lines_and_paragraphs_count_as_in_datatrove(texts: list[str]) -> None:
    for text, found in zip(texts, measured(*texts), strict=True):
        lines = [line for line in re.split("\n+", text) if line]
        assert (found["SAME_LINES"], found["SAME_LINE_CHARS"]) == gopher.find_duplicates(lines)
        assert found["N_LINES"] == len(lines)
        paragraphs = [part for part in re.split("\n{2,}", text.strip("\n")) if part]
        assert (found["SAME_PARAGRAPHS"], found["SAME_PARAGRAPH_CHARS"]) == gopher.find_duplicates(paragraphs)
        assert found["N_PARAGRAPHS"] == len(paragraphs)


@given(st.text("ㅋ!가 \u3000\n", max_size=30), st.integers(2, 6))
def test_runs_are_those_a_regular_expression_finds(text: str, min_run: int) -> None:
    runs = [match[0] for match in re.finditer(r"(.)\1*", text, re.DOTALL)]
    expected = sum(len(run) for run in runs if len(run) >= min_run and not run.isspace())
    assert measured(text, min_run=min_run)[0]["RUN_CHARS"] == expected


def test_white_space_is_that_of_python_for_every_character() -> None:
    characters = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    n_words = kernel.measure(*code_points(pl.Series([f"a{char}b" for char in characters])), 0, 5)[:, kernel.N_WORDS]
    spaces = [char for char, n in zip(characters, n_words, strict=True) if n == 2]
    # Python also splits at four separators that Unicode does not call White_Space.
    assert spaces == [char for char in characters if char.isspace() and char not in "\x1c\x1d\x1e\x1f"]


SENTENCE = "아침에 창문을 열면 바람이 들어온다. "
PROSE = " ".join(f"{i}번째 사람이 {i * 7}원을 내고 {i * 3}쪽을 읽었다." for i in range(12))


def test_prose_stays_and_repeated_sentences_go() -> None:
    assert outcome_of(Repetition(), SENTENCE * 20, PROSE) == [
        (None, "most frequent 2-gram: 33.4 %, above 20 %"),  # "아침에 창문을": 7 of 21 characters
        (PROSE, None),
    ]


def test_the_same_document_below_min_words_stays() -> None:
    text = SENTENCE * 3
    assert outcome_of(Repetition(), text) == [(text, None)]
    assert outcome_of(Repetition(min_words=15), text)[0][0] is None


def test_a_short_document_in_which_nothing_occurs_twice_stays() -> None:
    assert outcome_of(Repetition(min_words=0), "오늘은 값이 올랐다", "", " ")[0][1] is None


def test_every_rule_names_what_it_measured() -> None:
    only = {option: None for option in vars(Repetition()) if option.startswith("max_")}
    lines = "\n".join(["가나", "다라", "가나", "마바사아자차카"])
    assert outcome_of(Repetition(**{**only, "max_duplicate_line_share": 0.2}), lines) == [
        (None, "lines that repeat another: 25.0 % of lines, above 20 %")
    ]
    assert outcome_of(Repetition(**{**only, "max_duplicate_line_char_share": 0.1}), lines) == [
        (None, "lines that repeat another: 12.5 %, above 10 %")
    ]
    paragraphs = "가나\n\n다라\n\n\n가나"
    assert outcome_of(Repetition(**{**only, "max_duplicate_paragraph_share": 0.3}), paragraphs) == [
        (None, "paragraphs that repeat another: 33.4 % of paragraphs, above 30 %")
    ]
    assert outcome_of(Repetition(**{**only, "max_duplicate_paragraph_char_share": 0.1}), paragraphs) == [
        (None, "paragraphs that repeat another: 18.2 %, above 10 %")
    ]
    assert outcome_of(Repetition(**{**only, "max_run_char_share": 0.5}), "웃긴다ㅋㅋㅋㅋㅋ", "웃긴다네ㅋㅋㅋㅋ") == [
        (None, "runs of one character: 62.5 %, above 50 %"),
        ("웃긴다네ㅋㅋㅋㅋ", None),
    ]
    text = "가 나 다 라 마 바 사 " * 2
    for n in (2, 3, 4):
        options = {**only, f"max_top_{n}gram_char_share": 0.1, "min_words": 5}
        assert outcome_of(Repetition(**options), text)[0][1] == (
            f"most frequent {n}-gram: {-(-1000 * (4 * n - 2) // 28) / 10} %, above 10 %"
        )
    for n in (5, 6, 7):
        options = {**only, f"max_duplicate_{n}gram_char_share": 0.1, "min_words": 5}
        assert outcome_of(Repetition(**options), text)[0][1] == (
            f"repeated {n}-grams: {-(-1000 * n // 28) / 10} %, above 10 %"
        )


def test_a_share_equal_to_its_limit_stays() -> None:
    text = "가나다라마ㅋㅋㅋㅋㅋ"
    assert outcome_of(Repetition(max_run_char_share=0.5), text) == [(text, None)]


def test_the_result_of_a_document_does_not_depend_on_its_neighbours() -> None:
    texts = [SENTENCE * 20, PROSE, "", "가\n가\n나", PROSE * 2, SENTENCE]
    together = kernel.measure(*code_points(pl.Series(texts)), 10, 5)
    alone = [kernel.measure(*code_points(pl.Series([text])), 10, 5)[0] for text in texts]
    assert np.array_equal(together, np.stack(alone))
    assert kernel.measure(*code_points(pl.Series([], dtype=pl.String)), 10, 5).shape == (0, kernel.N_COLUMNS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_words": -1}, r"^\[repetition\] min_words -1: must be at least 0\.$"),
        ({"min_run_chars": 1}, r"^\[repetition\] min_run_chars 1: must be at least 2\.$"),
        ({"max_top_3gram_char_share": 18}, r"^\[repetition\] max_top_3gram_char_share 18: must be a share"),
        (
            {"max_duplicate_9gram_char_share": "x"},
            r"^\[repetition\] max_duplicate_9gram_char_share 'x': must be",
        ),
    ],
)
def test_an_option_that_cannot_be_used_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        Repetition(**options)  # type: ignore[arg-type]

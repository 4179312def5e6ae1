"""What every document step promises, whatever it does: a row per text, the input untouched, the same by any cut."""

import pickle
from dataclasses import FrozenInstanceError, fields

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vocabopt.preparation import STEP_NAMES
from vocabopt.preparation.options import registry
from vocabopt.preparation.step import DocumentStep
from vocabopt.preparation.steps.limits import Length, Repetition, Script
from vocabopt.preparation.steps.lines import Lines
from vocabopt.preparation.steps.personal import Personal
from vocabopt.preparation.steps.repair import Normalize, Repair

STEPS: list[DocumentStep] = [Repair(), Normalize(), Lines(), Script(), Length(), Repetition(min_words=3), Personal()]
every_step = pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
# Pieces that some step changes or removes, and pieces that none does.
PIECES = [
    "아침에 창문을 열었다.",
    "ÇÑ±Û ¹®¼\xad",
    "\x00",
    "cafe\u0301",
    "홈 > 뉴스",
    "=====",
    "010-1234-5678",
    "abc",
    "\n",
    " ",
]
texts_of_pieces = st.lists(st.lists(st.sampled_from(PIECES), max_size=6).map("".join), max_size=8)


def rows(step: DocumentStep, texts: pl.Series) -> list[tuple[str | None, str | None]]:
    outcome = step.load()(texts)
    assert outcome.texts.dtype == pl.String
    assert outcome.why.dtype == pl.String
    return list(zip(outcome.texts, outcome.why, strict=True))


@every_step
@given(texts=texts_of_pieces)
def test_each_text_has_a_row_of_its_own_however_the_column_is_cut(step: DocumentStep, texts: list[str]) -> None:
    column = pl.Series(texts, dtype=pl.String)
    together = rows(step, column)
    assert column.to_list() == texts
    assert together == [row for text in texts for row in rows(step, pl.Series([text], dtype=pl.String))]
    chunks = [pl.Series([text], dtype=pl.String) for text in texts]
    if chunks:
        assert rows(step, pl.concat(chunks, rechunk=False)) == together
    assert rows(step, pl.Series(["x", *texts, "y"])[1:-1]) == together


@every_step
@given(texts=texts_of_pieces)
def test_a_removed_text_has_a_reason(step: DocumentStep, texts: list[str]) -> None:
    for text, why in rows(step, pl.Series(texts, dtype=pl.String)):
        assert text is not None or why


@every_step
def test_no_texts_are_no_rows(step: DocumentStep) -> None:
    assert rows(step, pl.Series([], dtype=pl.String)) == []


@every_step
def test_a_step_travels_to_another_process_and_does_not_change(step: DocumentStep) -> None:
    assert pickle.loads(pickle.dumps(step)) == step
    for field in fields(step):  # type: ignore[arg-type]
        with pytest.raises(FrozenInstanceError):
            setattr(step, field.name, None)


def test_every_step_is_in_the_registry_by_its_name() -> None:
    assert all(registry()[step.name] is type(step) for step in STEPS)
    assert tuple(registry()) == STEP_NAMES

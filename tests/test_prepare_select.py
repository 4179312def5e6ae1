"""Selection under a budget: against brute force where all choices can be tried, and the same documents in any order."""

import itertools
import math
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import polars as pl
import pytest
from helpers import lines_of
from hypothesis import given
from hypothesis import strategies as st

from vocabopt.errors import OptionError
from vocabopt.preparation.mapped import MappedArrays, sorted_rows
from vocabopt.preparation.step import CorpusStep, Decision, Sketch
from vocabopt.preparation.steps.select import Select

WAYS: tuple[dict[str, Any], ...] = (
    {"by": "random"}, {"by": "random", "seed": 7}, {"by": "length"}, {"by": "length", "prefer": "short"},
    {"by": "diversity", "n_chars": 3, "table_bits": 16},
)  # fmt: skip


class InMemory(list[Sketch]):
    memory_bytes = 1 << 30

    def scratch(self) -> IO[bytes]:
        return tempfile.TemporaryFile()


def decided(step: Select, *shards: Sequence[str]) -> Decision:
    sketch = step.load()
    sketches = InMemory(sketch(pl.Series(texts, dtype=pl.String)) for texts in shards)
    return step.decide(sketches, [len(texts) for texts in shards])


@pytest.mark.parametrize("options", WAYS)
def test_the_memory_of_a_decision_changes_nothing(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [line for line in lines_of("ko")[:300] if line] + lines_of("ko")[:20]
    step = Select(share=0.3, **options)
    whole = decided(step, texts[:50], texts[50:])
    monkeypatch.setattr(InMemory, "memory_bytes", 5_000)
    monkeypatch.setattr("vocabopt.preparation.mapped.ROWS_AT_ONCE", 7)
    parts = decided(step, texts[:50], texts[50:])
    assert (parts.keep.tolist(), parts.facts) == (whole.keep.tolist(), whole.facts)
    assert whole.score is not None
    assert parts.score is not None
    assert parts.score.tolist() == whole.score.tolist()


@given(st.lists(st.tuples(st.sampled_from([0.5, -1.0, 2.0, math.inf, math.nan]), st.integers(0, 3)), max_size=40))
def test_rows_sorted_in_parts_are_those_sorted_at_once(rows: list[tuple[float, int]]) -> None:
    key, ties = np.array([row[0] for row in rows]), np.array([row[1] for row in rows], np.uint64)
    arrays = MappedArrays(InMemory())
    for arrays.n_sorted_bytes in (60, 300, 1 << 20):
        assert sorted_rows(arrays, key, ties).tolist() == np.lexsort((ties, key)).tolist()


def kept(step: Select, texts: Sequence[str]) -> list[str]:
    return list(itertools.compress(texts, decided(step, texts).keep))


def diverse(budget: str) -> Select:
    return Select(by="diversity", budget=budget, n_chars=3, table_bits=16)


def n_bytes(texts: Sequence[str]) -> int:
    return sum(len(text.encode()) for text in texts)


def coverage(texts: Sequence[str], n: int = 3) -> float:
    """The sum over n-grams of log(1 + documents that hold it), by its definition."""
    held = Counter(gram for text in texts for gram in {text[i : i + n] for i in range(len(text) - n + 1)})
    return sum(math.log1p(count) for count in held.values())


texts_of_any_length = st.lists(st.text("abc가나", min_size=3, max_size=14), min_size=1, max_size=9)
texts_of_one_length = st.lists(st.text("abcd", min_size=6, max_size=6), min_size=1, max_size=9)


def best_coverage(texts: Sequence[str], budget: int) -> float:
    choices = itertools.chain.from_iterable(itertools.combinations(texts, k) for k in range(len(texts) + 1))
    return max(coverage(choice) for choice in choices if n_bytes(choice) <= budget)


def test_it_is_a_corpus_step() -> None:
    assert isinstance(Select(share=0.5), CorpusStep)


@pytest.mark.parametrize("options", WAYS)
@given(data=st.data())
def test_the_budget_holds_and_nothing_more_would_fit(options: dict[str, Any], data: st.DataObject) -> None:
    texts = data.draw(texts_of_any_length)
    budget = data.draw(st.integers(1, n_bytes(texts) + 5))
    decision = decided(Select(budget=str(budget), **options), texts)
    used = n_bytes(list(itertools.compress(texts, decision.keep)))
    assert used == decision.facts["n_bytes_kept"] <= budget == decision.facts["budget_bytes"]
    assert all(used + n_bytes([text]) > budget for text, keep in zip(texts, decision.keep, strict=True) if not keep)


@pytest.mark.parametrize("options", WAYS)
@given(data=st.data())
def test_text_in_another_order_and_other_shards_gives_the_same_documents(
    options: dict[str, Any], data: st.DataObject
) -> None:
    texts = data.draw(texts_of_any_length)
    step = Select(share=0.5, **options)
    shuffled = data.draw(st.permutations(texts))
    cut = data.draw(st.integers(0, len(texts)))
    decision = decided(step, shuffled[:cut], shuffled[cut:])
    assert sorted(itertools.compress(shuffled, decision.keep)) == sorted(kept(step, texts))


@given(texts_of_one_length, st.integers(1, 9))
def test_diversity_of_equal_lengths_is_within_1_minus_1_over_e_of_the_best(texts: list[str], n_kept: int) -> None:
    budget = 6 * n_kept
    chosen = kept(diverse(str(budget)), texts)
    assert coverage(chosen) >= (1 - 1 / math.e - 0.05) * best_coverage(texts, budget) - 1e-9


@given(texts_of_any_length, st.integers(9, 60))
def test_diversity_of_any_lengths_is_within_1_minus_1_over_root_e_of_the_best(texts: list[str], budget: int) -> None:
    chosen = kept(diverse(str(budget)), texts)
    assert coverage(chosen) >= (1 - 1 / math.sqrt(math.e) - 0.05) * best_coverage(texts, budget) - 1e-9


def test_diversity_takes_each_of_three_subjects_where_random_takes_the_frequent_one() -> None:
    frequent = [f"날씨가 맑다 날씨가 흐리다 {n}" for n in range(40)]
    rare = ["고래는 바다에서 새끼를 낳는다", "피아노 소나타는 세 악장이다", "감자를 삶아 으깬 다음 굽는다"]
    texts = [*frequent[:20], *rare, *frequent[20:]]
    step = diverse("200")
    decision = decided(step, texts)
    assert set(rare) < set(itertools.compress(texts, decision.keep))
    assert decision.facts["coverage"] == pytest.approx(coverage(kept(step, texts)))
    at_random = kept(Select(budget="200"), texts)
    assert decision.facts["coverage_random"] == pytest.approx(coverage(at_random))
    assert decision.facts["coverage"] > 1.5 * decision.facts["coverage_random"]


def test_a_document_that_alone_covers_most_is_not_shut_out_by_a_short_one() -> None:
    # abc adds 1 n-gram in 3 bytes and goes first by density; then the other, of 8 in 30, would not fit any more.
    long = "defghijklmmmmmmmmmmmmmmmmmmmmm"
    assert kept(diverse("30"), ["abc", long]) == [long]


def test_sampled_features_are_the_same_in_every_text() -> None:
    sketch = Select(by="diversity", share=0.5, feature_share=0.3).load()
    text = "".join(map(chr, range(0xAC00, 0xAC00 + 3_000)))
    whole, halves = sketch(pl.Series([text])), sketch(pl.Series([text[:1_500], text[1_497:]]))
    assert 0.25 < len(whole["features"]) / 2_997 < 0.35
    assert set(whole["features"]) == set(halves["features"])
    assert halves["ends"].tolist()[-1] == len(halves["features"])


def test_random_depends_on_the_seed_and_not_on_length() -> None:
    texts = [f"{n} " + "가" * (n % 50) for n in range(2_000)]
    first, second = (kept(Select(share=0.2, seed=seed), texts) for seed in (0, 1))
    assert len(set(first) & set(second)) == pytest.approx(0.2 * 0.2 * 2_000, rel=0.5)
    assert n_bytes(first) / len(first) == pytest.approx(n_bytes(texts) / len(texts), rel=0.1)


def test_length_takes_the_longest_or_the_shortest_first() -> None:
    texts = ["aaaa", "b", "cccccc", "dd", "eeeee"]
    assert kept(Select(by="length", budget="11"), texts) == ["cccccc", "eeeee"]
    assert kept(Select(by="length", budget="9", prefer="short"), texts) == ["aaaa", "b", "dd"]
    # 6 + 4 leaves 2: what is too long is passed over for what fits.
    assert kept(Select(by="length", budget="10"), texts) == ["aaaa", "cccccc"]


def test_perplexity_takes_the_most_usual_first_and_can_leave_out_the_very_lowest(tmp_path: Path) -> None:
    pytest.importorskip("kenlm", reason="needs kenlm")
    reference = tmp_path / "reference.txt"
    reference.write_text("바람이 분다\n창문을 열면 바람이 들어온다\n책을 읽는다\n" * 9, encoding="utf-8")
    texts = ["zq9%w#x!", "바람이 분다", "창문을 읽는다", "바람이 분다", "책을 들고 온다"]
    step = Select(by="perplexity", reference=str(reference), budget="36").prepare(tmp_path / "work")
    decision = decided(step, texts)
    assert list(itertools.compress(texts, decision.keep)) == ["바람이 분다", "바람이 분다"]
    assert decision.score is not None
    assert np.argsort(decision.score, kind="stable").tolist() == [1, 3, 2, 4, 0]
    skipping = Select(by="perplexity", model=step.model, budget="45", skip_lowest_share=0.41)
    assert kept(skipping, texts) == ["창문을 읽는다", "책을 들고 온다"]
    assert decided(skipping, texts).facts["n_skipped_lowest"] == 2


def test_share_is_of_the_bytes() -> None:
    assert decided(Select(share=0.25), ["가나다라", "abcd"]).facts == {
        "n_bytes_before": 16,
        "budget_bytes": 4,
        "n_bytes_kept": 4,
    }


@pytest.mark.parametrize("options", WAYS)
def test_no_documents_at_all(options: dict[str, Any]) -> None:
    assert decided(Select(budget="1MB", **options), [], []).keep.tolist() == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, r"\[select\] budget, share: neither given"),
        ({"budget": "1MB", "share": 0.5}, "budget, share: both given"),
        ({"budget": "-3MB"}, r"\[select\] budget -3MB: write a number of at least 1, such as 80GB"),
        ({"share": 1.5}, r"share 1\.5: must be above 0 and at most 1"),
        ({"share": 0.5, "by": "size"}, "by 'size': must be one of random, length, perplexity, diversity"),
        ({"share": 0.5, "prefer": "tall"}, "prefer 'tall': must be one of long, short"),
        ({"share": 0.5, "by": "perplexity"}, "model, reference: 0 given with by = 'perplexity'; give one"),
        ({"share": 0.5, "model": "x.arpa"}, "model, reference: 1 given with by = 'random'; only by"),
        ({"share": 0.5, "skip_lowest_share": 1}, "skip_lowest_share 1: must be at least 0 and below 1"),
        ({"share": 0.5, "n_chars": 0}, "n_chars 0: must be at least 1"),
        ({"share": 0.5, "feature_share": 0}, "feature_share 0: must be above 0"),
        ({"share": 0.5, "table_bits": 31}, "table_bits 31: must be from 10 to 30"),
    ],
)
def test_options_that_cannot_be_used_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        Select(**options)

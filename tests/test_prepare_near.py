"""Exact and near copies: what is found against what comparing every pair finds."""

import random
from collections.abc import Iterable
from itertools import combinations, pairwise
from pathlib import Path
from typing import IO

import numpy as np
import polars as pl
import pytest
from helpers import lines_of
from hypothesis import given
from hypothesis import strategies as st

from experiments.near_copies import documents, edited, measure, planted
from vocabopt.preparation.mapped import parts_by_hash
from vocabopt.preparation.ngrams import jaccard, shingles
from vocabopt.preparation.step import Decision, Sketch
from vocabopt.preparation.steps.duplicates import Exact, Near


class Stored(list[Sketch]):
    """Sketches in memory, with a file beside them as those on disk have."""

    def __init__(self, sketches: Iterable[Sketch], memory_bytes: int = 1 << 30) -> None:
        super().__init__(sketches)
        self.memory_bytes = memory_bytes

    def scratch(self) -> IO[bytes]:
        import tempfile

        return tempfile.TemporaryFile()


def decided(step: Near | Exact, *shards: list[str], memory_bytes: int = 1 << 30) -> Decision:
    sketch = step.load()
    sketches = (sketch(pl.Series(texts, dtype=pl.String)) for texts in shards)
    return step.decide(Stored(sketches, memory_bytes), [*map(len, shards)])


def similarity(a: str, b: str, n_chars: int = 3) -> float:
    """Jaccard of the sets of n-grams, by Python's own sets."""
    one, two = (_ngrams(" ".join(text.split()), n_chars) for text in (a, b))
    return len(one & two) / len(one | two)


def _ngrams(text: str, n: int) -> set[str]:
    return {text[i : i + n] for i in range(len(text) - n + 1)} or {text}


def sample_documents(n: int) -> list[str]:
    """Documents of 200 characters and more, of lines of the sample corpus that no other one has."""
    lines, found = iter(lines_of("ko")), []
    while len(found) < n:
        text = next(lines)
        while len(text) < 220:
            text += "\n" + next(lines)
        found.append(text)
    return found


@given(st.lists(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\0"), min_size=1), max_size=8))
def test_the_kernel_s_n_grams_are_those_of_python_s_sets(texts: list[str]) -> None:
    # White space is what both sides split at; the kernel knows that of running text.
    spaces = {c for text in texts for c in text if c.isspace()} - set(" \t\n\v\f\r\xa0\u3000")
    texts = [text for text in texts if not spaces & set(text) and text.strip()]
    hashes, ends = shingles(pl.Series(texts, dtype=pl.String), 3)
    own = [hashes[start:end] for start, end in pairwise([0, *ends])]
    for text, found in zip(texts, own, strict=True):
        assert len(found) == len(_ngrams(" ".join(text.split()), 3))
        assert (np.diff(found.astype(np.int64)) > 0).all()
    for (i, a), (j, b) in combinations(enumerate(texts), 2):
        assert jaccard(own[i], own[j]) == pytest.approx(similarity(a, b))


@pytest.mark.slow
def test_what_is_found_is_what_comparing_every_pair_finds() -> None:
    rng, originals = random.Random(0), sample_documents(120)
    words = [word for text in originals for word in text.split()]
    texts = [*originals, *(edited(text, share, words, rng) for text in originals for share in (0.05, 0.1, 0.3))]
    rng.shuffle(texts)
    decision = decided(Near(), texts)
    kept: list[int] = []
    copies: dict[int, list[int]] = {}
    for i, text in enumerate(texts):
        near = [j for j in kept if similarity(text, texts[j]) >= 0.7]
        if near:
            copies[i] = near
        else:
            kept.append(i)
    assert decision.of is not None
    removed = set(np.flatnonzero(~decision.keep).tolist())
    assert len(copies) > 200
    assert len(removed & copies.keys()) >= 0.99 * len(copies)
    assert all(similarity(texts[i], texts[decision.of[i]]) >= 0.7 for i in removed)


def test_copies_of_documents_of_200_characters_with_a_tenth_of_their_words_replaced_are_found() -> None:
    originals = sample_documents(150)
    texts = planted(originals, 0.10, seed=1)
    decision = decided(Near(), texts[:100], texts[100:])
    n = len(originals)
    assert (~decision.keep[n:]).mean() >= 0.95
    assert decision.keep[:n].mean() >= 0.99


def test_the_first_of_a_chain_takes_only_what_is_near_to_it() -> None:
    rng, (text, *others) = random.Random(2), sample_documents(30)
    words = [word for other in others for word in other.split()]
    chain = [text]
    while similarity(text, chain[-1]) > 0.4:
        chain.append(edited(chain[-1], 0.08, words, rng))
    decision = decided(Near(), chain)
    assert decision.of is not None
    assert decision.keep[0]
    assert not decision.keep[1]
    # The far end is no copy of the beginning, though each one is of the one before it.
    assert decision.keep.sum() >= 2
    for i in np.flatnonzero(~decision.keep):
        assert decision.keep[decision.of[i]]
        assert similarity(chain[i], chain[decision.of[i]]) >= 0.7


def test_short_documents_stay() -> None:
    text = "짧은 글은 몇 글자만 고쳐도 다른 글이 된다."
    assert decided(Near(), [text, text]).keep.all()
    assert decided(Near(min_chars=10), [text, text]).keep.tolist() == [True, False]


def test_exact_copies_are_those_of_a_set_of_normalised_texts() -> None:
    texts = ["가 나", "가  나", " 가 나\n", "가나", "다", "가나", "가\u00a0나"]
    decision = decided(Exact(), texts[:3], texts[3:])
    seen: set[str] = set()
    expected = [not (key in seen or seen.add(key)) for key in (" ".join(text.split()) for text in texts)]  # type: ignore[func-returns-value]
    assert decision.keep.tolist() == expected
    assert decision.of is not None
    assert decision.of.tolist() == [-1, 0, 0, -1, -1, 3, 0]


@pytest.mark.parametrize("step", [Exact(), Near(), Near(max_compared=2, min_jaccard=0.2, bands=40, rows=1)])
@pytest.mark.parametrize("memory_bytes", [300, 5_000])
def test_the_memory_of_a_decision_changes_nothing(
    step: Exact | Near, memory_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    originals = sample_documents(60)
    texts = [*planted(originals, 0.10, seed=1), *originals[:20], "짧은 글", "짧은 글"]
    whole = decided(step, texts[:50], texts[50:])
    # Each part then has a row or a few, and the documents are gone through seven at a time.
    monkeypatch.setattr("vocabopt.preparation.mapped.ROWS_AT_ONCE", 7)
    parts = decided(step, texts[:3], texts[3:50], [], texts[50:], memory_bytes=memory_bytes)
    assert whole.of is not None
    assert parts.of is not None
    assert (parts.of.tolist(), parts.keep.tolist(), parts.facts) == (
        whole.of.tolist(), whole.keep.tolist(), whole.facts,
    )  # fmt: skip
    assert not whole.keep.all()
    assert whole.facts.get("n_limited", 1) > 0 or step == Near()


def test_rows_in_parts_are_all_rows_once_and_equal_ones_are_together() -> None:
    rng = np.random.default_rng(0)
    keys = rng.integers(0, 1 << 64, 50, np.uint64)[rng.integers(0, 50, 300)]
    for n_at_once in (1, 7, 100, 1_000):
        found: dict[int, list[int]] = {}
        for places, rows in parts_by_hash(Stored([{"key": keys[:90]}, {"key": keys[90:]}]), "key", 300, n_at_once):
            assert (keys[places] == rows).all()
            assert (np.diff(places) > 0).all()
            for key in set(rows.tolist()):
                assert key not in found
                found[key] = places[rows == key].tolist()
        assert sorted(place for own in found.values() for place in own) == list(range(300))


@pytest.mark.data
def test_of_encyclopedia_text_near_copies_are_found_and_word_n_grams_miss_them(data: Path) -> None:
    texts = planted(documents(str(data / "ko_wiki" / "kowiki.jsonl.gz"), 4000, 200), 0.10, seed=0)
    (ours,) = measure(texts, "c3", [(20, 5)])
    (theirs,) = measure(texts, "w5", [(14, 8)])
    assert ours.recall >= 0.95
    assert ours.n_true >= 0.95 * ours.n_found
    assert theirs.recall < 0.5

"""Exact and near copies: what is found against what comparing every pair finds."""

import random
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
from vocabopt.preparation.ngrams import jaccard, shingles
from vocabopt.preparation.step import Decision, Sketch
from vocabopt.preparation.steps.duplicates import Exact, Near


class Stored(list[Sketch]):
    """Sketches in memory, with a file beside them as those on disk have."""

    def scratch(self) -> IO[bytes]:
        import tempfile

        return tempfile.TemporaryFile()


def decided(step: Near | Exact, *shards: list[str]) -> Decision:
    sketch = step.load()
    return step.decide(Stored(sketch(pl.Series(texts, dtype=pl.String)) for texts in shards), [*map(len, shards)])


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


@pytest.mark.data
def test_of_encyclopedia_text_near_copies_are_found_and_word_n_grams_miss_them(data: Path) -> None:
    texts = planted(documents(str(data / "ko_wiki" / "kowiki.jsonl.gz"), 4000, 200), 0.10, seed=0)
    (ours,) = measure(texts, "c3", [(20, 5)])
    (theirs,) = measure(texts, "w5", [(14, 8)])
    assert ours.recall >= 0.95
    assert ours.n_true >= 0.95 * ours.n_found
    assert theirs.recall < 0.5

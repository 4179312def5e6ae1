"""What the defaults of the steps decontaminate, select and perplexity rest on."""

import random
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import IO

import numpy as np
import polars as pl

from experiments.plants import texts_of
from experiments.tables import markdown
from vocabopt.preparation import coverage_kernel
from vocabopt.preparation.character_lm import estimate
from vocabopt.preparation.step import Sketch
from vocabopt.preparation.steps.decontaminate import build_index, items_of, letters
from vocabopt.preparation.steps.perplexity import load_perplexities
from vocabopt.preparation.steps.select import Select, sampled_ngrams

OVERLAPS = (0.5, 0.6, 0.7, 0.8)
_PLANTED = 3_000


class _InMemory(list[Sketch]):
    def scratch(self) -> IO[bytes]:
        return tempfile.TemporaryFile()


# --- Benchmark items -------------------------------------------------------------------------------------------------


def _respaced(text: str, rng: random.Random) -> str:
    return "".join(char + (" " if rng.random() < 0.3 else "") for char in text if char != " ")


def _one_word(text: str, rng: random.Random) -> str:
    words = text.split()
    words[rng.randrange(len(words))] = "그래서"
    return " ".join(words)


def _letters_replaced(text: str, rng: random.Random) -> str:
    return "".join(chr(rng.randrange(0xAC00, 0xD7A4)) if char != " " and rng.random() < 0.03 else char for char in text)


EDITS: Mapping[str, Callable[[str, random.Random], str]] = {
    "spacing": _respaced, "one word": _one_word, "3 % of letters": _letters_replaced,
}  # fmt: skip


def decontamination(
    benchmarks: Mapping[str, str], clean: Mapping[str, str], sizes: Iterable[tuple[int, int]], seed: int
) -> str:
    """Found of edited items, each between two clean documents; and taken of clean text. At each min_overlap.

    clean: NAME to path; the first gives the documents around the items. sizes: n_chars and min_item_chars.
    """
    paths = {name: (path,) for name, path in benchmarks.items()}
    texts = {name: pl.Series(texts_of(path, 10**9)) for name, path in clean.items()}
    around = next(iter(texts.values()))
    columns = [*(f"found, {edit}" for edit in EDITS), *(f"taken of {len(t):,} {n}" for n, t in texts.items())]
    rows = []
    for n_chars, min_item_chars in sizes:
        rng = random.Random(seed)
        long = [text for _, text in items_of(paths) if len(letters(text)) >= min_item_chars]
        items = rng.sample(long, min(_PLANTED, len(long)))
        index = build_index(paths, fields=(), n_chars=n_chars, min_item_chars=min_item_chars)
        cells = []
        for edit in EDITS.values():
            between = iter(around.sample(2 * len(items), seed=seed, with_replacement=True))
            planted = [f"{next(between)} {edit(text, rng)} {next(between)}" for text in items]
            found, shares = index.find(pl.Series(planted), min(OVERLAPS))
            cells.append(" ".join(f"{((found >= 0) & (shares >= least)).mean():.3f}" for least in OVERLAPS))
        for own in texts.values():
            found, shares = index.find(own, min(OVERLAPS))
            cells.append(" ".join(str(int(((found >= 0) & (shares >= least)).sum())) for least in OVERLAPS))
        rows.append([str(n_chars), str(min_item_chars), f"{len(index.labels):,}", *cells])
    return markdown(["n_chars", "min_item_chars", "items", *columns], rows)


# --- Selection and perplexity ----------------------------------------------------------------------------------------


def coverage(path: str, n_documents: int, share: float, feature_shares: Sequence[float]) -> str:
    """The coverage of all n-grams that a choice by a share of them reaches, in terms of a random choice."""
    texts = pl.Series(texts_of(path, n_documents))
    features, ends = sampled_ngrams(texts, Select(share=share).n_chars, 1.0)
    starts = np.concatenate([np.zeros(1, np.int64), ends])
    rows = []
    for feature_share in feature_shares:
        step = Select(by="diversity", share=share, feature_share=feature_share)
        decision = step.decide(_InMemory([step.load()(texts)]), [len(texts)])
        at_random = Select(share=share).decide(_InMemory([Select(share=share).load()(texts)]), [len(texts)])
        reached, random_ = (
            coverage_kernel.coverage(features, starts, kept, np.zeros(1 << step.table_bits, np.int32))
            for kept in (decision.keep, at_random.keep)
        )
        seen = decision.facts["coverage"] / decision.facts["coverage_random"]
        rows.append([str(feature_share), f"{seen:.2f}", f"{reached / random_:.2f}"])
    return markdown(["feature_share", "coverage of those, in random's", "of all, in random's"], rows)


def character_models(path: str, n_train: int, n_held_out: int, min_counts: Sequence[int]) -> str:
    """Size of the model and bits per character of held-out paragraphs, by min_count."""
    texts = pl.Series(islice(texts_of(path, n_train + n_held_out), n_train + n_held_out))
    rows = []
    for min_count in min_counts:
        model = estimate([texts[:n_train]], min_count=min_count)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "model.arpa"
            model.write_arpa(file)
            held_out = pl.Series(["\n".join(texts[n_train:])])
            bits = float(np.log2(load_perplexities("perplexity", str(file))(held_out)[0]))
        rows.append([str(min_count), f"{model.n_ngrams:,}", f"{bits:.3f}"])
    return markdown(["min_count", "n-grams", "bits per character"], rows)

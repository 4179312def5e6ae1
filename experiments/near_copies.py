"""Which features and bands find near copies of Korean documents: planted copies, found and missed."""

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import IO, Any

import numpy as np
import polars as pl

from vocabopt.preparation.ngrams import jaccard, shingles
from vocabopt.preparation.step import Sketch
from vocabopt.preparation.steps.duplicates import Near
from vocabopt.text.corpus import named_set
from vocabopt.text.readers import ReadOptions, read_blocks

#: Characters ("c3": 3-grams) and words, and bands x rows, to choose from.
FEATURES = ("w5", "w1", "c2", "c3", "c4", "c5")
BANDS_AND_ROWS = ((14, 8), (20, 5), (16, 4), (20, 6))
#: Word n-grams as n-grams of characters: each distinct word becomes one, from here on.
_FIRST_WORD = 0x10000


@dataclass(frozen=True)
class Row:
    """One choice. n_found: pairs found; n_true: of them with a similarity of 0.7 or more; recall: of planted pairs."""

    features: str
    bands: int
    rows: int
    median_similarity: float
    recall: float
    n_found: int
    n_true: int
    n_compared: int


def documents(path: str, n: int, min_chars: int) -> list[str]:
    """The first n documents of at least that many characters, and of longer ones the paragraphs."""
    blocks = (read_blocks(file, ReadOptions()) for file in named_set("text", path, "eval").files)
    texts = chain.from_iterable(block.documents.to_list() for block in chain.from_iterable(blocks))
    parts = chain.from_iterable((text, *(text.split("\n") if "\n" in text else ())) for text in texts)
    return list(islice((part for part in parts if len(part) >= min_chars), n))


def edited(text: str, share: float, words: Sequence[str], rng: random.Random) -> str:
    """A copy with that share of its words replaced by others."""
    parts = re.split(r"(\s+)", text)
    places = [i for i in range(0, len(parts), 2) if parts[i]]
    for i in rng.sample(places, int(len(places) * share)):
        parts[i] = rng.choice(words)
    return "".join(parts)


def planted(texts: Sequence[str], max_share: float, seed: int, *, min_share: float = 0.02) -> list[str]:
    """The texts, and behind them a copy of each, with that share of the words replaced, evenly between the two."""
    rng = random.Random(seed)
    words = [word for text in texts for word in text.split()]
    return [*texts, *(edited(text, rng.uniform(min_share, max_share), words, rng) for text in texts)]


def _as_words(texts: Sequence[str]) -> list[str]:
    numbers: dict[str, int] = {}
    return ["".join(chr(_FIRST_WORD + numbers.setdefault(w, len(numbers))) for w in text.split()) for text in texts]


class _InMemory(list[Sketch]):
    memory_bytes = 1 << 30

    def scratch(self) -> IO[bytes]:
        import tempfile

        return tempfile.TemporaryFile()


def measure(texts: Sequence[str], features: str, choices: Sequence[tuple[int, int]] = BANDS_AND_ROWS) -> Iterator[Row]:
    """features: "c3" for character 3-grams, "w5" for word 5-grams. texts: originals, then their copies in order."""
    n_chars, half = int(features[1:]), len(texts) // 2
    series = pl.Series(_as_words(texts) if features[0] == "w" else list(texts))
    hashes, ends = shingles(series, n_chars)
    starts = np.concatenate([[0], ends[:-1]])
    rows = [hashes[start:end] for start, end in zip(starts, ends, strict=True)]
    similarity = np.array([jaccard(rows[i], rows[half + i]) for i in range(half)])
    for bands, n_rows in choices:
        step = Near(n_chars=n_chars, bands=bands, rows=n_rows, min_chars=0)
        decision = step.decide(_InMemory([step.load()(series)]), [len(series)])
        assert decision.of is not None, "of near copies"
        # A planted pair is dealt with when not both of it stay.
        recall = float((~(decision.keep[:half] & decision.keep[half:])).mean())
        found = np.flatnonzero(~decision.keep)
        n_true = sum(jaccard(rows[i], rows[decision.of[i]]) >= 0.7 for i in found)
        facts: dict[str, Any] = decision.facts
        yield Row(
            features, bands, n_rows, float(np.median(similarity)), recall, len(found), n_true, facts["n_compared"]
        )


def as_markdown(rows: Sequence[Row]) -> str:
    """The table for the log."""
    lines = [
        "| features | bands x rows | median similarity | recall | pairs found | precision | compared |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        precision = f"{row.n_true / row.n_found:.4f}" if row.n_found else "-"
        lines.append(
            f"| {row.features} | {row.bands} x {row.rows} | {row.median_similarity:.3f} | {row.recall:.4f} | "
            f"{row.n_found:,} | {precision} | {row.n_compared:,} |"
        )
    return "\n".join(lines)

"""Exact copies: the first stays."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from vocabopt.errors import OptionError
from vocabopt.prepare.step import Decision, Sketch, Sketches
from vocabopt.text.content import bytes_of_texts, content_hashes

_SEEDS = (0, 1)  # two hashes of 64 bits: one alone would meet itself by chance in some ten billion documents


@dataclass(frozen=True, kw_only=True)
class Exact:
    """Documents that are equal but for white space: a run of it counts as one space, at the ends as none.

    min_chars: shorter ones stay.
    """

    name: ClassVar[str] = "exact"
    unit: ClassVar[str] = "document"
    min_chars: int = 0

    def __post_init__(self) -> None:
        if self.min_chars < 0:
            raise OptionError(f"[{self.name}] min_chars {self.min_chars}: must be at least 0.")

    def load(self) -> Callable[[pl.Series], Sketch]:
        def sketch(texts: pl.Series) -> Sketch:
            long = (texts.str.len_chars() >= self.min_chars).arg_true().to_numpy().astype(np.int64)
            return {"long": long, "hashes": _hashes(texts.gather(long))}

        return sketch

    def decide(self, sketches: Sketches, n_units: Sequence[int]) -> Decision:
        starts = np.concatenate([[0], np.cumsum(n_units)]).astype(np.int64)
        parts = [(sketch["long"] + start, sketch["hashes"]) for sketch, start in zip(sketches, starts, strict=False)]
        units = np.concatenate([np.zeros(0, np.int64), *(long for long, _ in parts)])
        first, of_group = _first_of_each(np.concatenate([np.zeros((0, 2), np.uint64), *(rows for _, rows in parts)]))
        of = np.full(int(starts[-1]), -1, np.int64)
        copies = np.flatnonzero(first[of_group] != np.arange(len(units)))
        of[units[copies]] = units[first[of_group[copies]]]
        return Decision(keep=of < 0, of=of, facts={"n_copied": int((np.bincount(of_group) > 1).sum())})


@dataclass(frozen=True, kw_only=True)
class ExactParagraphs(Exact):
    """Paragraphs that were in the text before, in the same document or another; short ones, such as headings, stay."""

    name: ClassVar[str] = "exact_paragraphs"
    unit: ClassVar[str] = "paragraph"
    min_chars: int = 30


def _hashes(texts: pl.Series) -> NDArray[np.uint64]:
    """128 bits of each text, uint64 [n, 2]."""
    texts = texts.str.replace_all(r"\s+", " ").str.strip_chars()
    data, starts, ends = bytes_of_texts(texts)
    return np.stack([content_hashes(data, starts, ends, seed) for seed in _SEEDS], axis=1)


def _first_of_each(hashes: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Index of the first row of each distinct one, and which distinct one each row is."""
    order = np.lexsort((hashes[:, 1], hashes[:, 0]))  # stable: equal rows stay in order
    ordered = hashes[order]
    is_first = np.ones(len(order), np.bool_)
    is_first[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    of_group = np.empty(len(order), np.int64)
    of_group[order] = np.cumsum(is_first) - 1
    return order[is_first], of_group

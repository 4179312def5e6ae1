"""Steps that remove copies of documents or paragraphs: exact ones by hash, near ones by MinHash."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from vocabopt.errors import OptionError, how_to_install
from vocabopt.preparation.ngrams import first_kept_copies, shingles
from vocabopt.preparation.step import Decision, Sketch, Sketches
from vocabopt.text.documents import bytes_of_texts, content_hashes

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


@dataclass(frozen=True, kw_only=True)
class Near:
    """Documents of which an earlier, kept one is a near copy.

    n_chars: characters of an n-gram. bands, rows: of the signature of bands x rows hashes. min_jaccard: similarity from
    which two are copies. min_chars: shorter ones stay, since a few edits make them another text; 150
    leaves room for copies of 200 characters that editing made shorter. max_compared: kept
    documents that one is compared with at most; how often that limit was met is among the facts. seed: of MinHash.
    """

    name: ClassVar[str] = "near"
    unit: ClassVar[str] = "document"
    n_chars: int = 3
    bands: int = 20
    rows: int = 5
    min_jaccard: float = 0.7
    min_chars: int = 150
    max_compared: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("n_chars", "bands", "rows", "max_compared"):
            if getattr(self, name) < 1:
                raise OptionError(f"[{self.name}] {name} {getattr(self, name)}: must be at least 1.")
        if not 0 < self.min_jaccard <= 1:
            raise OptionError(f"[{self.name}] min_jaccard {self.min_jaccard}: must be above 0 and at most 1.")
        if self.min_chars < 0 or not 0 <= self.seed < 2**64:
            raise OptionError(f"[{self.name}] min_chars {self.min_chars}, seed {self.seed}: must be at least 0.")

    def probability(self, similarity: float) -> float:
        """That a pair of this similarity is found: that it shares a band."""
        return float(1 - (1 - similarity**self.rows) ** self.bands)

    def load(self) -> Callable[[pl.Series], Sketch]:
        """Raises OptionError: rensa is not installed."""
        try:
            from rensa import RMinHash
        except ImportError as error:
            raise OptionError(f"[{self.name}] needs rensa. {how_to_install('prepare')}") from error

        def sketch(texts: pl.Series) -> Sketch:
            long = (texts.str.len_chars() >= self.min_chars).arg_true().to_numpy()
            features, ends = shingles(texts.gather(long), self.n_chars)
            offsets = np.concatenate([np.zeros(1, np.uint64), ends.astype(np.uint64)])
            n_hashes = self.bands * self.rows
            matrix = RMinHash.digest_matrix_from_flat_token_hashes(
                features.astype(np.uint64), offsets, n_hashes, self.seed
            )
            rows = np.array(matrix.to_rows() if len(long) else [], np.uint32).reshape(len(long), n_hashes)
            return {"long": long.astype(np.int64), "bands": self._bands(rows), "features": features, "ends": ends}

        return sketch

    def _bands(self, rows: NDArray[np.uint32]) -> NDArray[np.uint64]:
        """A key per band, uint64 [n, bands]."""
        parts = rows.reshape(len(rows), self.bands, self.rows).astype(np.uint64)
        keys = np.zeros((len(rows), self.bands), np.uint64)
        for row in range(self.rows):
            keys = (keys ^ parts[:, :, row]) * np.uint64(0x9E3779B97F4A7C15)
            keys ^= keys >> np.uint64(29)
        return keys

    def decide(self, sketches: Sketches, n_units: Sequence[int]) -> Decision:
        starts = np.concatenate([[0], np.cumsum(n_units)]).astype(np.int64)
        n = int(starts[-1])
        long = np.concatenate([[], *(sketch["long"] + start for sketch, start in zip(sketches, starts, strict=False))])
        long = long.astype(np.int64)
        bucket, n_buckets = _buckets(sketches, len(long), self.bands)
        # Only what shares a bucket is looked at again: one pass more over the sketches, for its n-grams.
        chosen = np.flatnonzero((bucket >= 0).any(axis=1))
        features, ends = _features_of(sketches, chosen)
        of_chosen = np.empty(len(chosen), np.int64)
        n_compared, n_limited = first_kept_copies(
            bucket[chosen], n_buckets, features, ends, self.min_jaccard, self.max_compared, of_chosen
        )
        of = np.full(n, -1, np.int64)
        copies = np.flatnonzero(of_chosen >= 0)
        of[long[chosen[copies]]] = long[chosen[of_chosen[copies]]]
        facts: dict[str, Any] = {
            "n_long": len(long),
            "n_candidates": len(chosen),
            "n_compared": int(n_compared),
            "n_limited": int(n_limited),
        }
        return Decision(keep=of < 0, of=of, facts=facts)


@dataclass(frozen=True, kw_only=True)
class NearParagraphs(Near):
    """Paragraphs of which an earlier, kept one is a near copy."""

    name: ClassVar[str] = "near_paragraphs"
    unit: ClassVar[str] = "paragraph"


def _buckets(sketches: Sketches, n: int, n_bands: int) -> tuple[NDArray[np.int32], int]:
    """The bucket of each unit in each band, int32 [n, n_bands], -1 where it is alone; and how many there are."""
    keys = np.empty((n_bands, n), np.uint64)
    begin = 0
    for sketch in sketches:
        bands = sketch["bands"]
        keys[:, begin : begin + len(bands)] = bands.T
        begin += len(bands)
    bucket = np.full((n, n_bands), -1, np.int32)
    n_buckets = 0
    for band in range(n_bands):
        order = np.argsort(keys[band], kind="stable")
        ordered = keys[band][order]
        is_first = np.ones(n, np.bool_)
        is_first[1:] = ordered[1:] != ordered[:-1]
        group = np.cumsum(is_first) - 1
        shared = np.bincount(group, minlength=1)[group] > 1 if n else np.zeros(0, np.bool_)
        number = np.cumsum(is_first & shared) - 1
        bucket[order[shared], band] = n_buckets + number[shared]
        n_buckets += int(number[-1]) + 1 if n else 0
    return bucket, n_buckets


def _features_of(sketches: Sketches, chosen: NDArray[np.int64]) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """The n-grams of the chosen units, one after another, and where each one's end.

    They are about as large as the text itself, so they lie in a file, and the system decides how much of it is in
    memory at a time.
    """
    lengths: list[NDArray[np.int64]] = [np.zeros(0, np.int64)]
    begin = 0
    with sketches.scratch() as file:
        for sketch in sketches:
            ends = sketch["ends"]
            sizes = np.diff(ends, prepend=0)
            is_chosen = np.zeros(len(ends), np.bool_)
            is_chosen[chosen[(chosen >= begin) & (chosen < begin + len(ends))] - begin] = True
            file.write(sketch["features"][np.repeat(is_chosen, sizes)].data)
            lengths.append(sizes[is_chosen])
            begin += len(ends)
        file.flush()
        ends = np.cumsum(np.concatenate(lengths))
        n_features = int(ends[-1]) if len(ends) else 0
        features = np.memmap(file, np.uint32, "r+", shape=(n_features,)) if n_features else np.zeros(0, np.uint32)
    return np.asarray(features), ends

"""Steps that remove copies of documents or paragraphs: exact ones by hash, near ones by MinHash."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from vocabopt.errors import OptionError, how_to_install
from vocabopt.option_fields import at_least, option
from vocabopt.preparation.ngrams import first_kept_copies, shingles
from vocabopt.preparation.step import ABOVE_0, SEED, CorpusStep, Decision, Ints, Sketch, Sketches, features_of
from vocabopt.text.documents import bytes_of_texts, content_hashes

_SEEDS = (0, 1)  # two hashes of 64 bits: one alone would meet itself by chance in some ten billion documents


@dataclass(frozen=True, kw_only=True)
class Exact(CorpusStep):
    """Documents that are equal but for white space: a run of it counts as one space, at the ends as none.

    min_chars: shorter ones stay.
    """

    name: ClassVar[str] = "exact"
    min_chars: int = option(0, check=at_least(0))

    def load(self) -> Callable[[pl.Series], Sketch]:
        def sketch(texts: pl.Series) -> Sketch:
            long = (texts.str.len_chars() >= self.min_chars).arg_true().to_numpy().astype(np.int64)
            flat = texts.gather(long).str.replace_all(r"\s+", " ").str.strip_chars()
            data, starts, ends = bytes_of_texts(flat)
            hashes = [content_hashes(data, starts, ends, seed) for seed in _SEEDS]
            return {"long": long, "hashes": np.stack(hashes, axis=1)}

        return sketch

    def decide(self, sketches: Sketches, n_units: Sequence[int]) -> Decision:
        units, hashes = _units(sketches, n_units), (sketch["hashes"] for sketch in sketches)
        first, of_group = _first_of_each(np.concatenate([np.zeros((0, 2), np.uint64), *hashes]))
        of = np.full(sum(n_units), -1, np.int64)
        copies = np.flatnonzero(first[of_group] != np.arange(len(units)))
        of[units[copies]] = units[first[of_group[copies]]]
        return Decision(keep=of < 0, of=of, facts={"n_copied": int((np.bincount(of_group) > 1).sum())})


@dataclass(frozen=True, kw_only=True)
class ExactParagraphs(Exact):
    """Paragraphs that were in the text before, in the same document or another; short ones, such as headings, stay."""

    name: ClassVar[str] = "exact_paragraphs"
    unit = "paragraph"
    min_chars: int = option(30, check=at_least(0))


def _units(sketches: Sketches, n_units: Sequence[int]) -> Ints:
    """The units that are long enough to be compared, of all shards, int64 [n]."""
    starts = np.cumsum([0, *n_units])
    own = (sketch["long"] + start for sketch, start in zip(sketches, starts, strict=False))
    return np.concatenate([np.zeros(0, np.int64), *own])


def _first_of_each(hashes: NDArray[np.uint64]) -> tuple[Ints, Ints]:
    """Index of the first row of each distinct one, and which distinct one each row is."""
    order = np.lexsort((hashes[:, 1], hashes[:, 0]))  # stable: equal rows stay in order
    ordered = hashes[order]
    is_first = np.ones(len(order), np.bool_)
    is_first[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    of_group = np.empty(len(order), np.int64)
    of_group[order] = np.cumsum(is_first) - 1
    return order[is_first], of_group


@dataclass(frozen=True, kw_only=True)
class Near(CorpusStep):
    """Documents of which an earlier, kept one is a near copy.

    n_chars: characters of an n-gram. bands, rows: of the signature of bands x rows hashes. min_jaccard: similarity from
    which two are copies. min_chars: shorter ones stay, since a few edits make them another text; 150
    leaves room for copies of 200 characters that editing made shorter. max_compared: kept
    documents that one is compared with at most; how often that limit was met is among the facts. seed: of MinHash.
    """

    name: ClassVar[str] = "near"
    n_chars: int = option(3, check=at_least(1))
    bands: int = option(20, check=at_least(1))
    rows: int = option(5, check=at_least(1))
    min_jaccard: float = option(0.7, check=ABOVE_0)
    min_chars: int = option(150, check=at_least(0))
    max_compared: int = option(256, check=at_least(1))
    seed: int = option(0, check=SEED)

    def load(self) -> Callable[[pl.Series], Sketch]:
        """Raises OptionError: rensa is not installed."""
        try:
            from rensa import RMinHash
        except ImportError as error:
            raise OptionError(f"[{self.name}] needs rensa. {how_to_install('prepare')}") from error

        def sketch(texts: pl.Series) -> Sketch:
            long = (texts.str.len_chars() >= self.min_chars).arg_true().to_numpy().astype(np.int64)
            features, ends = shingles(texts.gather(long), self.n_chars)
            offsets = np.concatenate([np.zeros(1, np.uint64), ends.astype(np.uint64)])
            wide, n_hashes = features.astype(np.uint64), self.bands * self.rows
            matrix = RMinHash.digest_matrix_from_flat_token_hashes(wide, offsets, n_hashes, self.seed)
            rows = np.array(matrix.to_rows() if len(long) else [], np.uint32).reshape(len(long), self.bands, self.rows)
            keys = np.zeros((len(rows), self.bands), np.uint64)  # one per band
            for row in range(self.rows):
                keys = (keys ^ rows[:, :, row].astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
                keys ^= keys >> np.uint64(29)
            return {"long": long, "bands": keys, "features": features, "ends": ends}

        return sketch

    def decide(self, sketches: Sketches, n_units: Sequence[int]) -> Decision:
        long = _units(sketches, n_units)
        bucket, n_buckets = _buckets(sketches, len(long), self.bands)
        # Only what shares a bucket is looked at again: one pass more over the sketches, for its n-grams.
        is_chosen: NDArray[np.bool_] = np.any(bucket >= 0, axis=1)
        features, starts = features_of(sketches, is_chosen)
        chosen, of_chosen = long[is_chosen], np.empty(int(is_chosen.sum()), np.int64)
        n_compared, n_limited = first_kept_copies(
            bucket[is_chosen], n_buckets, features, starts, self.min_jaccard, self.max_compared, of_chosen
        )
        of = np.full(sum(n_units), -1, np.int64)
        copies = np.flatnonzero(of_chosen >= 0)
        of[chosen[copies]] = chosen[of_chosen[copies]]
        facts = {"n_long": len(long), "n_candidates": len(chosen), "n_compared": n_compared, "n_limited": n_limited}
        return Decision(keep=of < 0, of=of, facts={name: int(value) for name, value in facts.items()})

    @classmethod
    def note(cls, facts: Mapping[str, Any]) -> str | None:
        if not (n_limited := facts.get("n_limited")):
            return None
        return (
            f"{n_limited:,} documents shared bands with more kept ones than max_compared allows to compare; copies of "
            "others among them may be left."
        )


@dataclass(frozen=True, kw_only=True)
class NearParagraphs(Near):
    """Paragraphs of which an earlier, kept one is a near copy."""

    name: ClassVar[str] = "near_paragraphs"
    unit = "paragraph"


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

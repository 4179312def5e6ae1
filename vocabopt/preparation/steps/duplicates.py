"""Steps that remove copies of documents or paragraphs: exact ones by hash, near ones by MinHash."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from vocabopt.errors import OptionError, how_to_install
from vocabopt.option_fields import at_least, option
from vocabopt.preparation.mapped import MappedArrays, blocks, features_of, long_units, parts_by_hash
from vocabopt.preparation.ngrams import first_kept_copies, shingles
from vocabopt.preparation.step import ABOVE_0, SEED, CorpusStep, Decision, Ints, Sketch, Sketches
from vocabopt.text.documents import bytes_of_texts, content_hashes

#: Bytes in memory for each hash of a part, with what sorting them takes.
_EXACT_BYTES, _BAND_BYTES = 120, 80
#: Documents whose MinHash signatures are made at once: rensa gives them as Python's numbers, 40 bytes each.
_SIGNED_AT_ONCE = 2_048
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
        arrays, n_copied = MappedArrays(sketches), 0
        long = long_units(sketches, n_units, arrays)
        of = arrays.zeros(sum(n_units), np.int64)
        for own in blocks(len(of)):
            of[own] = -1
        for places, hashes in parts_by_hash(sketches, "hashes", len(long), arrays.n_sorted_bytes // _EXACT_BYTES):
            first, of_group = _first_of_each(hashes)
            copies = np.flatnonzero(first[of_group] != np.arange(len(places)))
            of[long[places[copies]]] = long[places[first[of_group[copies]]]]
            n_copied += int((np.bincount(of_group) > 1).sum())
            arrays.release()
        return Decision(keep=_kept(of, arrays), of=of, facts={"n_copied": n_copied})


@dataclass(frozen=True, kw_only=True)
class ExactParagraphs(Exact):
    """Paragraphs that were in the text before, in the same document or another; short ones, such as headings, stay."""

    name: ClassVar[str] = "exact_paragraphs"
    unit = "paragraph"
    min_chars: int = option(30, check=at_least(0))


def _kept(of: Ints, arrays: MappedArrays) -> NDArray[np.bool_]:
    """Which units are no copy, bool [N], on disk."""
    keep: NDArray[np.bool_] = arrays.zeros(len(of), np.bool_)
    for own in blocks(len(of)):
        keep[own] = of[own] < 0
        arrays.release()
    return keep


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
            keys = np.empty((self.bands, len(long)), np.uint64)
            for begin in range(0, len(long), _SIGNED_AT_ONCE):
                own = slice(begin, begin + _SIGNED_AT_ONCE)
                starts = np.concatenate([ends[begin - 1 : begin] if begin else np.zeros(1, np.int64), ends[own]])
                wide = features[starts[0] : starts[-1]].astype(np.uint64)
                offsets = (starts - starts[0]).astype(np.uint64)
                matrix = RMinHash.digest_matrix_from_flat_token_hashes(wide, offsets, self.bands * self.rows, self.seed)
                keys[:, own] = self._keys(np.array(matrix.to_rows(), np.uint64))
            bands = {_band(band): of_band for band, of_band in enumerate(keys)}
            return {"long": long, **bands, "features": features, "ends": ends}

        return sketch

    def _keys(self, signatures: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """A hash for each band of each signature, uint64 [bands, n]. signatures: [n, bands * rows]."""
        keys = np.zeros((len(signatures), self.bands), np.uint64)
        for row in range(self.rows):
            keys = (keys ^ signatures[:, row :: self.rows]) * np.uint64(0x9E3779B97F4A7C15)
            keys ^= keys >> np.uint64(29)
        return keys.T

    def decide(self, sketches: Sketches, n_units: Sequence[int]) -> Decision:
        arrays = MappedArrays(sketches)
        long = long_units(sketches, n_units, arrays)
        n = len(long)
        bucket, n_buckets = self._buckets(sketches, arrays, n)
        # Only what shares a bucket is looked at again: one pass more over the sketches, for its n-grams.
        is_chosen = arrays.zeros(n, np.bool_)
        for own in blocks(n):
            is_chosen[own] = np.any(bucket[:, own] > 0, axis=0)
            arrays.release()
        features, starts = features_of(sketches, arrays, is_chosen)
        of_long, counts = arrays.zeros(n, np.int64), np.zeros(2, np.int64)
        newest = arrays.zeros(int(n_buckets.sum()) + 1, np.int32)
        older, compared_with = arrays.zeros((self.bands, n), np.int32), arrays.zeros(n, np.int32)
        begins = np.cumsum(n_buckets) - n_buckets
        of = arrays.zeros(sum(n_units), np.int64)
        for own in blocks(n):
            first_kept_copies(
                own.start, own.stop, bucket, begins, newest, older, compared_with, features, starts, self.min_jaccard,
                self.max_compared, of_long, counts,
            )  # fmt: skip
            arrays.release()
        for own in blocks(len(of)):
            of[own] = -1
        for own in blocks(n):
            copies = np.flatnonzero(of_long[own] >= 0) + own.start
            of[long[copies]] = long[of_long[copies]]
            arrays.release()
        facts = {"n_long": n, "n_candidates": is_chosen.sum(), "n_compared": counts[0], "n_limited": counts[1]}
        return Decision(keep=_kept(of, arrays), of=of, facts={name: int(value) for name, value in facts.items()})

    def _buckets(self, sketches: Sketches, arrays: MappedArrays, n: int) -> tuple[NDArray[np.int32], Ints]:
        """The bucket of each unit in each band, int32 [bands, n], from 1, 0 where it is alone; how many bands have."""
        bucket = arrays.zeros((self.bands, n), np.int32)
        n_buckets = np.zeros(self.bands, np.int64)
        for band in range(self.bands):
            for places, keys in parts_by_hash(sketches, _band(band), n, arrays.n_sorted_bytes // _BAND_BYTES):
                order = np.argsort(keys, kind="stable")
                ordered = keys[order]
                is_first = np.ones(len(keys), np.bool_)
                is_first[1:] = ordered[1:] != ordered[:-1]
                group = np.cumsum(is_first) - 1
                shared = np.bincount(group, minlength=1)[group] > 1
                number = np.cumsum(is_first & shared)
                bucket[band, places[order[shared]]] = n_buckets[band] + number[shared]
                n_buckets[band] += number[-1] if len(number) else 0
                arrays.release()
        return bucket, n_buckets

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


def _band(band: int) -> str:
    """The name of the keys of a band in a sketch, uint64 [n]."""
    return f"band{band}"

"""The documents on which a run is proved: whole, as they were read, kept in the run directory.

A sweep counts chunks. Whether documents are what their chunks say, only whole documents can tell, encoded by the
finished tokenizer.json. The sample holds a document for every character of the text, every run of white space, every
added token of the base (apart, and glued to what stands beside it) and words of every length; the rest is picked by
content hash. Where all text fits, it holds all of it. A document longer than EXCERPT_BYTES is offered in excerpts of
that length, each of which is a document to the proof. The shortest of these documents is kept whole beside them, if it
is at most WHOLE_BYTES: only of whole documents are the chunks those that were counted.
"""

import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from vocabopt.errors import RunDirectoryError
from vocabopt.folder import read_parquet, read_parquet_metadata, write_parquet_atomic
from vocabopt.growth import proof_kernel as kernel
from vocabopt.text.documents import content_hashes

PROOF_PARQUET = "proof_sample.parquet"
#: Text of the sample at most, and the part of it that the features may take.
SAMPLE_BYTES, FEATURE_BYTES = 2 << 20, 3 << 19
EXCERPT_BYTES = 16 << 10
#: The long document that is kept whole, at most; it comes on top of SAMPLE_BYTES.
WHOLE_BYTES = 256 << 10
#: Features that are no characters, at most: text without end may have runs of white space without end.
MOST_FEATURES = 1 << 17
_NOTHING = np.iinfo(np.int32).max


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What a run keeps. is_excerpt: bool, one a text. is_all: whether it is all text of the run.

    n_features, n_features_held: features that the text has, and those that a document of the sample has.
    """

    texts: Sequence[str]
    is_excerpt: Sequence[bool]
    is_all: bool
    n_features: int
    n_features_held: int

    @property
    def n_bytes(self) -> int:
        return sum(len(text.encode()) for text in self.texts)


class ProofSample:
    """Picks the documents of the sample, in whatever order they come."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._char_bytes = np.full(kernel.N_CODE_POINTS, _NOTHING, np.int32)
        self._char_hashes = np.zeros(kernel.N_CODE_POINTS, np.uint64)
        self._table = _empty_table(1 << 17)
        self._n_keys = np.zeros(1, np.int64)
        self._below = np.uint64(2**64 - 1)
        #: Features told by name -> (size, hash) of the document that stands for them.
        self._named: dict[str, tuple[int, int]] = {}
        self._by_feature: dict[int, bytes] = {}
        self._n_by_feature_kept = 0
        #: By content hash: the smallest ones, as many as fit.
        self._picked: dict[int, bytes] = {}
        self._picked_bytes, self._picked_below, self._is_all = 0, 2**64 - 1, True
        self._excerpts: set[int] = set()
        #: Size, hash and text of the shortest long document.
        self._whole: tuple[int, int, bytes] = (WHOLE_BYTES + 1, 0, b"")

    def offer(
        self, data: bytes, starts: NDArray[np.int64], ends: NDArray[np.int64], hashes: NDArray[np.uint64]
    ) -> None:
        """Documents data[starts[i]:ends[i]], UTF-8, with the hashes of their content."""
        for i in np.flatnonzero((ends - starts > EXCERPT_BYTES) & (ends - starts <= self._whole[0])):
            if (found := (int(ends[i] - starts[i]), int(hashes[i]))) < self._whole[:2]:
                self._whole = *found, data[starts[i] : ends[i]]
        starts, ends, hashes, excerpts = self._in_excerpts(data, starts, ends, hashes)
        for i in np.flatnonzero(hashes <= np.uint64(self._picked_below)):
            if int(hashes[i]) not in self._picked:
                self._picked[int(hashes[i])] = data[starts[i] : ends[i]]
                self._picked_bytes += int(ends[i] - starts[i])
                if self._picked_bytes > 2 * SAMPLE_BYTES:
                    self._prune_picked()
        wanted, first = np.zeros(len(starts), np.bool_), 0
        view = np.frombuffer(data, np.uint8)
        while True:
            first = kernel.offer(
                view, starts, ends, hashes, first, self._below,
                self._char_bytes, self._char_hashes, *self._table, self._n_keys, wanted,
            )  # fmt: skip
            if first == len(starts):
                break
            self._make_room()
        for i in np.flatnonzero(wanted):
            self._by_feature[int(hashes[i])] = data[starts[i] : ends[i]]
        self._excerpts |= excerpts & (self._by_feature.keys() | self._picked.keys())
        if len(self._by_feature) > 2 * self._n_by_feature_kept + 10_000:
            self._forget_beaten()

    def offer_named(self, features_of: Callable[[str], Sequence[str]], document: bytes) -> None:
        """A document, in excerpts where it is longer than one may be, with features that only names tell."""
        excerpts = [document[start:end] for start, end in _excerpts(document, 0, len(document))]
        for text in excerpts:
            content_hash = int(content_hashes(text, np.zeros(1, np.int64), np.array([len(text)]), self._seed)[0])
            for feature in features_of(text.decode()):
                if (len(text), content_hash) < self._named.get(feature, (_NOTHING, 0)):
                    self._named[feature] = len(text), content_hash
                    self._by_feature[content_hash] = text
                    self._excerpts |= {content_hash} if len(excerpts) > 1 else set()

    def sample(self) -> Sample:
        """What was picked, in the order of content hashes."""
        while self._n_keys[0] > MOST_FEATURES:
            # Whenever there were too many they were halved; only the last time depends on the order of the text.
            self._make_room()
        self._forget_beaten()
        self._prune_picked()
        chosen: dict[int, bytes] = {}
        n_bytes = n_held = 0
        characters: set[str] = set()
        features = list(self._in_order())
        for character, content_hash in features:
            document = self._by_feature[content_hash]
            is_held = content_hash in chosen or character in characters
            if not is_held and n_bytes + len(document) <= FEATURE_BYTES:
                chosen[content_hash] = document
                n_bytes += len(document)
                characters |= set(document.decode())
                is_held = True
            n_held += is_held
        for content_hash in sorted(self._picked):
            document = self._picked[content_hash]
            if content_hash not in chosen:
                n_bytes += len(document)
                if n_bytes > SAMPLE_BYTES:
                    self._is_all = False
                    break
                chosen[content_hash] = document
        if self._whole[2]:
            chosen[self._whole[1]] = self._whole[2]
        order = sorted(chosen)
        return Sample(
            texts=[chosen[content_hash].decode() for content_hash in order],
            is_excerpt=[content_hash in self._excerpts for content_hash in order],
            is_all=self._is_all,
            n_features=len(features),
            n_features_held=len(features) if self._is_all else n_held,
        )

    def _in_order(self) -> Iterator[tuple[str, int]]:
        """(character or "", hash of the document that stands for the feature), the most telling features first."""
        yield from (("", self._named[feature][1]) for feature in sorted(self._named))
        keys, _, hashes = self._table
        held = np.flatnonzero(keys)
        yield from (("", int(hashes[i])) for i in held[np.argsort(keys[held])])
        found = np.flatnonzero(self._char_bytes < _NOTHING)
        ordinary = [(_is_ordinary(chr(code)), chr(code)) for code in found.tolist()]
        yield from ((character, int(self._char_hashes[ord(character)])) for _, character in sorted(ordinary))

    def _in_excerpts(
        self, data: bytes, starts: NDArray[np.int64], ends: NDArray[np.int64], hashes: NDArray[np.uint64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint64], set[int]]:
        """The same with long documents in excerpts, and the hashes of these."""
        long = np.flatnonzero(ends - starts > EXCERPT_BYTES)
        if not len(long):
            return starts, ends, hashes, set()
        cut = np.array([pair for i in long for pair in _excerpts(data, int(starts[i]), int(ends[i]))], np.int64)
        cut_hashes = content_hashes(data, cut[:, 0].copy(), cut[:, 1].copy(), self._seed)
        keep = np.ones(len(starts), bool)
        keep[long] = False
        return (
            np.concatenate([starts[keep], cut[:, 0]]),
            np.concatenate([ends[keep], cut[:, 1]]),
            np.concatenate([hashes[keep], cut_hashes]),
            set(cut_hashes.tolist()),
        )

    def _prune_picked(self) -> None:
        """Keep those of the smallest hashes that fit."""
        if self._picked_bytes <= SAMPLE_BYTES:
            return
        kept: dict[int, bytes] = {}
        n_bytes = 0
        for content_hash in sorted(self._picked):
            n_bytes += len(self._picked[content_hash])
            if n_bytes > SAMPLE_BYTES:
                self._picked_below, self._is_all = content_hash - 1, False
                break
            kept[content_hash] = self._picked[content_hash]
        self._picked, self._picked_bytes = kept, sum(map(len, kept.values()))

    def _forget_beaten(self) -> None:
        """Drop documents that stand for nothing any more, and what is known of excerpts that are not kept."""
        keys, _, hashes = self._table
        alive = set(np.unique(self._char_hashes[self._char_bytes < _NOTHING]).tolist())
        alive |= set(hashes[keys != 0].tolist()) | {content_hash for _, content_hash in self._named.values()}
        self._by_feature = {
            content_hash: self._by_feature[content_hash] for content_hash in self._by_feature if content_hash in alive
        }
        self._n_by_feature_kept = len(self._by_feature)
        self._excerpts &= alive | self._picked.keys()

    def _make_room(self) -> None:
        """Twice the room for features; where there would be too many, half of them, told by their keys."""
        if self._n_keys[0] > MOST_FEATURES:
            self._below >>= np.uint64(1)
        size = len(self._table[0]) * (1 if self._n_keys[0] > MOST_FEATURES else 2)
        table = _empty_table(size)
        self._n_keys[0] = kernel.refill(*self._table, self._below, *table)
        self._table = table


def warm_up() -> None:
    """Compile what the sample needs only where there is much text (`vocabopt.warmup`)."""
    kernel.refill(*_empty_table(1), np.uint64(0), *_empty_table(1))


def _empty_table(size: int) -> tuple[NDArray[np.uint64], NDArray[np.int64], NDArray[np.uint64]]:
    return np.zeros(size, np.uint64), np.zeros(size, np.int64), np.zeros(size, np.uint64)


def _excerpts(data: bytes, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Where excerpts start and end: EXCERPT_BYTES each, less what would end inside a character."""
    while end - start > EXCERPT_BYTES:
        cut = start + EXCERPT_BYTES
        while data[cut] & 0xC0 == 0x80:
            cut -= 1
        yield start, cut
        start = cut
    yield start, end


def _is_ordinary(character: str) -> bool:
    """Whether a character is a letter or number that compatibility forms leave as it is."""
    return unicodedata.category(character) in ("Lo", "Lu", "Ll", "Nd") and unicodedata.is_normalized("NFKC", character)


def save_proof_sample(run_dir: Path, sample: Sample, inputs_sha256: str) -> None:
    """Write proof_sample.parquet. Raises RunDirectoryError."""
    frame = pl.DataFrame(
        {"text": pl.Series(sample.texts, dtype=pl.String), "is_excerpt": pl.Series(sample.is_excerpt, dtype=pl.Boolean)}
    )
    settings = {
        "sample_bytes": SAMPLE_BYTES,
        "feature_bytes": FEATURE_BYTES,
        "excerpt_bytes": EXCERPT_BYTES,
        "whole_bytes": WHOLE_BYTES,
        "is_all": int(sample.is_all),
        "n_features": sample.n_features,
        "n_features_held": sample.n_features_held,
    }
    metadata = {"inputs_sha256": inputs_sha256, **{name: str(value) for name, value in settings.items()}}
    write_parquet_atomic(run_dir / PROOF_PARQUET, frame, metadata=metadata)


def read_proof_sample(run_dir: Path, inputs_sha256: str) -> Sample | None:
    """The sample of a run; None where there is none, it is broken, or it is of other text."""
    path = run_dir / PROOF_PARQUET
    if not path.is_file():
        return None
    try:
        metadata = read_parquet_metadata(path, next_step="")
        if metadata.get("inputs_sha256") != inputs_sha256:
            return None
        frame = read_parquet(path, next_step="")
        return Sample(
            texts=frame["text"].to_list(),
            is_excerpt=frame["is_excerpt"].to_list(),
            is_all=metadata["is_all"] == "1",
            n_features=int(metadata["n_features"]),
            n_features_held=int(metadata["n_features_held"]),
        )
    except (RunDirectoryError, KeyError, ValueError, pl.exceptions.PolarsError):
        return None

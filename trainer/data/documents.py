"""Sources of training text, and pass one over them: of every document its hash and its bytes, never the text itself.

From these comes the order of the text. It depends on the content of the documents alone: not on the order of files or
of lines in them, and not on any tokenizer.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import xxhash
from numpy.typing import NDArray

from vocabopt.choice.options import parse_bytes, parse_tokens
from vocabopt.console import Console
from vocabopt.errors import CorpusError, OptionError
from vocabopt.growth.counts import Documents
from vocabopt.records import SweepRecord
from vocabopt.text.corpus import TextSet, corpus_set, n_stored_bytes
from vocabopt.text.documents import content_hashes, documents_of_sets, is_held_out
from vocabopt.text.readers import ReadOptions
from vocabopt.text.storage import STDIN

_EXAMPLES = {
    "--budget": "500kB, 10MB, 1.5GB, or in tokens 300Mtok, 2Btok",
    "--batch": "100kB, or in tokens 32768tok, 64ktok",
}


@dataclass(frozen=True, kw_only=True)
class TextSource:
    """Text to train on. share: of all training bytes; `options` says how it is read."""

    name: str
    text_set: TextSet
    share: float
    options: ReadOptions


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """Which documents a sweep with this share and seed held out, by their content."""

    share: float
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.share < 1:
            raise OptionError(f"held-out share {self.share}: must be at least 0 and below 1 (0.05 holds out 5 %).")

    @classmethod
    def of_sweep(cls, sweep: SweepRecord) -> "HeldOut":
        """That of the sweep whose sweep.json this is."""
        return cls(share=sweep.options.heldout, seed=sweep.options.seed)

    def picks(self, block: Documents) -> NDArray[np.bool_]:
        """Which documents of a block are held out, bool [n_documents]."""
        return is_held_out(content_hashes(block.data, block.starts, block.ends, self.seed), self.share)


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How much to train on, start and end tokens included where it is in tokens."""

    amount: int
    unit: Literal["bytes", "tokens"]


def parse_budget(value: str, option: str = "--budget") -> Budget:
    """`10MB`, `1.5GB`, `2Btok`: a number and its unit, which must be there, since 2B could be either.

    Raises:
        OptionError: it is no such amount, or less than one.
    """
    match = re.fullmatch(r"(.*?\d\s*[A-Za-z]*?)\s*tok(?:en)?s?", value.strip(), re.IGNORECASE)
    if match is None and not re.fullmatch(r".*\d\s*[KMGT]i?B", value.strip(), re.IGNORECASE):
        raise OptionError(f"{option} {value}: write a number and its unit: {_EXAMPLES[option]}.")
    try:
        if match is None:
            return Budget(amount=parse_bytes(value, option), unit="bytes")
        return Budget(amount=parse_tokens(match[1], option), unit="tokens")
    except OptionError as error:
        raise OptionError(f"{option} {value}: write a number above 0 and its unit: {_EXAMPLES[option]}.") from error


def target_and_replays(
    target: tuple[str, str], replays: Mapping[str, tuple[str, float]], options: ReadOptions
) -> tuple[TextSource, ...]:
    """The text to adapt to, as (name, path), and the base-language text mixed into it; the target comes first.

    Args:
        replays: name -> path and share of all training bytes, between 0 and 1, which leave the target something.
        options: how all of it is read.

    Raises:
        CorpusError: a path is missing or holds no text. OptionError: a path is standard input.
    """
    left = 1 - sum(share for _, share in replays.values())
    assert left > 1e-9, "checked with the options"
    name, path = target
    assert name not in replays, "checked with the options"
    found = [(name, _found(name, path, options, f"--text {name}={path}"), left)]
    for other, (where, share) in replays.items():
        found.append((other, _found(other, where, options, f"--replay {other}={where}:{share:g}"), share))
    return tuple(
        TextSource(name=name, text_set=text_set, share=share, options=options) for name, text_set, share in found
    )


def _found(name: str, path: str, options: ReadOptions, place: str) -> TextSet:
    if path == STDIN:
        raise OptionError(f"{place}: standard input can be read once, and training text is read twice. Save it first.")
    try:
        return corpus_set(name, path, options)
    except CorpusError as error:
        raise CorpusError(f"{place}: {error}") from error


def document_blocks(text_set: TextSet, options: ReadOptions) -> Iterator[Documents]:
    """The documents of a text set in its own order, in blocks, some of which may be empty."""
    return documents_of_sets((text_set,), options)


def held_out_documents(text_set: TextSet, options: ReadOptions, held_out: HeldOut) -> Iterator[str]:
    """The documents of a text set that are held out: text to evaluate on."""
    for block in document_blocks(text_set, options):
        for i in np.flatnonzero(held_out.picks(block)) if len(block.starts) else ():
            yield block.data[block.starts[i] : block.ends[i]].decode()


def hashes_of_documents(text_sets: Iterable[tuple[TextSet, ReadOptions]]) -> NDArray[np.uint64]:
    """Content hashes, sorted and distinct, of the documents of some text sets: what training must leave out."""
    found = [
        content_hashes(block.data, block.starts, block.ends)
        for text_set, options in text_sets
        for block in document_blocks(text_set, options)
        if len(block.starts)
    ]
    return np.unique(np.concatenate(found)) if found else np.zeros(0, np.uint64)


#: Text kept of each source to measure a tokenizer on, and how much of a long document is.
SAMPLE_BYTES = 1 << 20
_SAMPLE_DOCUMENT_BYTES = 1 << 16
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def mixed(values: NDArray[np.uint64], purpose: str) -> NDArray[np.uint64]:
    """A permutation of the 64-bit numbers that `purpose` chooses: distinct values stay distinct, their order is new."""
    h = values ^ np.uint64(xxhash.xxh3_64_intdigest(purpose.encode()))
    h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)  # the finaliser of splitmix64
    h = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return h ^ (h >> np.uint64(31))


@dataclass(frozen=True, kw_only=True)
class ScannedSource:
    """What is known of a source after pass one; D documents, in the order in which they are read.

    hashes: uint64 [D], of the content. sizes: uint32 [D], bytes of UTF-8. usable: bool [D], neither held out nor
    excluded. sample: some usable documents, long ones cut, for measuring a tokenizer.
    """

    source: TextSource
    hashes: NDArray[np.uint64]
    sizes: NDArray[np.uint32]
    usable: NDArray[np.bool_]
    n_held_out: int
    n_excluded: int
    sample: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.source.name

    @property
    def n_usable(self) -> int:
        return int(self.usable.sum())

    @property
    def n_usable_bytes(self) -> int:
        return int(self.sizes[self.usable].sum(dtype=np.int64))

    @cached_property
    def _identities(self) -> NDArray[np.uint64]:
        """One number per usable document: its hash, and for further copies of a document another one each, so that
        copies do not lie side by side. Which copy gets which does not matter: they are equal."""
        hashes = self.hashes[self.usable]
        by_hash = np.argsort(hashes, kind="stable")
        same_as_before = np.zeros(len(hashes), bool)
        same_as_before[1:] = hashes[by_hash[1:]] == hashes[by_hash[:-1]]
        first_of_run = np.maximum.accumulate(np.where(same_as_before, 0, np.arange(len(hashes))))
        identities = np.empty_like(hashes)
        copies = (np.arange(len(hashes)) - first_of_run).astype(np.uint64)
        identities[by_hash] = hashes[by_hash] + copies * _GOLDEN
        return identities

    def order(self, seed: int, n_pass: int) -> NDArray[np.int64]:
        """The usable documents in the order in which pass `n_pass` (from 0) over the text takes them, [n_usable]."""
        keys = mixed(self._identities, f"order {seed} {n_pass}")
        return np.flatnonzero(self.usable)[np.argsort(keys, kind="stable")]


class _Sample:
    """Keeps the documents that come first by a hash of their content, in whatever order they come."""

    def __init__(self) -> None:
        self._kept: dict[int, bytes] = {}
        self._below = np.uint64(2**64 - 1)

    def offer(self, block: Documents, hashes: NDArray[np.uint64], usable: NDArray[np.bool_]) -> None:
        keys = mixed(hashes, "sample")
        candidates = np.flatnonzero(usable & (keys < self._below))
        distinct, first = np.unique(keys[candidates], return_index=True)
        documents = candidates[first]
        sizes = np.minimum(block.ends[documents] - block.starts[documents], _SAMPLE_DOCUMENT_BYTES)
        enough = int(np.searchsorted(np.cumsum(sizes), SAMPLE_BYTES)) + 1
        for key, document, size in zip(distinct[:enough].tolist(), documents[:enough], sizes[:enough], strict=True):
            start = int(block.starts[document])
            self._kept[key] = block.data[start : start + int(size)]
        self._trim()

    def _trim(self) -> None:
        n_bytes, kept = 0, {}
        for key in sorted(self._kept):
            kept[key] = self._kept[key]
            n_bytes += len(kept[key])
            if n_bytes >= SAMPLE_BYTES:
                self._below = np.uint64(key)
                break
        self._kept = kept

    def texts(self) -> tuple[str, ...]:
        # A document cut inside a character loses the broken rest of it.
        return tuple(self._kept[key].decode(errors="ignore") for key in sorted(self._kept))


def scan_text(
    sources: Sequence[TextSource],
    *,
    held_out: HeldOut | None = None,
    exclude: NDArray[np.uint64] | None = None,
    console: Console | None = None,
) -> tuple[ScannedSource, ...]:
    """Read all sources once.

    Args:
        held_out: documents of any source that this rule picks are left out.
        exclude: hashes of documents to leave out as well (`hashes_of_documents`), sorted.

    Raises:
        CorpusError: text cannot be read, or a source has no document to train on.
    """
    console = console or Console(quiet=True)
    total = n_stored_bytes([source.text_set for source in sources])
    with console.step("read text", total, "bytes") as advance:
        found: list[ScannedSource] = []
        n_read = 0
        for source in sources:
            scan = _Scan(source, held_out, exclude)
            for block in document_blocks(source.text_set, source.options):
                scan.add(block)
                n_read += block.n_stored_bytes
                advance(n_read)
            found.append(scan.finish())
    return tuple(found)


class _Scan:
    """Gathers what pass one learns of a source, block by block."""

    def __init__(self, source: TextSource, held_out: HeldOut | None, exclude: NDArray[np.uint64] | None) -> None:
        self.source, self.held_out, self.exclude = source, held_out, exclude
        self.hashes: list[NDArray[np.uint64]] = []
        self.sizes: list[NDArray[np.uint32]] = []
        self.usable: list[NDArray[np.bool_]] = []
        self.n_held_out = self.n_excluded = self.n_blank = self.n_skipped = 0
        self.sample = _Sample()

    def add(self, block: Documents) -> None:
        self.n_blank += block.n_blank
        self.n_skipped += block.n_skipped
        if not len(block.starts):
            return
        hashes = content_hashes(block.data, block.starts, block.ends)
        usable = np.ones(len(hashes), bool)
        if self.held_out is not None:
            usable &= ~self.held_out.picks(block)
            self.n_held_out += int(len(usable) - usable.sum())
        if self.exclude is not None and len(self.exclude):
            places = np.minimum(np.searchsorted(self.exclude, hashes), len(self.exclude) - 1)
            equal = usable & (self.exclude[places] == hashes)
            self.n_excluded += int(equal.sum())
            usable &= ~equal
        self.hashes.append(hashes)
        self.sizes.append((block.ends - block.starts).astype(np.uint32))
        self.usable.append(usable)
        self.sample.offer(block, hashes, usable)

    def finish(self) -> ScannedSource:
        if not any(usable.any() for usable in self.usable):
            raise CorpusError(self._nothing_left())
        return ScannedSource(
            source=self.source,
            hashes=np.concatenate(self.hashes),
            sizes=np.concatenate(self.sizes),
            usable=np.concatenate(self.usable),
            n_held_out=self.n_held_out,
            n_excluded=self.n_excluded,
            sample=self.sample.texts(),
        )

    def _nothing_left(self) -> str:
        files = self.source.text_set.files
        listed = ", ".join(file.url for file in files[:3]) + (", ..." if len(files) > 3 else "")
        return (
            f"{self.source.name}: no document of {listed} is left to train on: {self.n_held_out:,} held out, "
            f"{self.n_excluded:,} equal to evaluation text, {self.n_skipped:,} unreadable, {self.n_blank:,} blank. "
            "Give more text."
        )

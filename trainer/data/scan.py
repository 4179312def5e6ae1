"""Pass one over the text: of every document its hash and its bytes, never the text itself.

From these comes the order of the text. It depends on the content of the documents alone: not on the order of files or
of lines in them, and not on any tokenizer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import xxhash
from numpy.typing import NDArray

from trainer.data.sources import HeldOut, TextSource, document_blocks
from vocabopt.console import Console
from vocabopt.errors import CorpusError
from vocabopt.growth.counts import Documents
from vocabopt.text.corpus import n_stored_bytes
from vocabopt.text.documents import content_hashes

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

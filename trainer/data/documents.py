"""Sources of training text, and pass one over them: of every document its hash and its bytes, never the text itself.

From these comes the order of the text. It depends on the content of the documents alone: not on the order of files or
of lines in them, and not on any tokenizer.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import xxhash
from numpy.typing import NDArray

from trainer.replay_options import NO_PATH, replay_place
from vocabopt.choice.options import parse_bytes, parse_tokens
from vocabopt.console import Console
from vocabopt.errors import CorpusError, OptionError
from vocabopt.growth.counts import Documents
from vocabopt.records import SweepRecord
from vocabopt.text.corpus import TextSet, corpus_set, n_stored_bytes
from vocabopt.text.documents import content_hashes, documents_of_sets, is_held_out
from vocabopt.text.readers import ReadOptions
from vocabopt.text.shards import Shard, documents_of_shard, shards_of
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
        replays: name -> path and share of all training bytes, between 0 and 1, which leave the target something; what
            has no path is text that the model writes itself, and is left out here.
        options: how all of it is read.

    Raises:
        CorpusError: a path is missing or holds no text. OptionError: a path is standard input.
    """
    left = 1 - sum(share for _, share in replays.values())
    assert left > 1e-9, "checked with the options"
    name, path = target
    assert name not in replays, "checked with the options"
    wanted = [(name, path, left, f"--text {name}={path}")]
    wanted += [
        (name, path, share, replay_place(name, path, share))
        for name, (path, share) in replays.items()
        if path != NO_PATH
    ]
    found = []
    for name, path, share, place in wanted:
        if path == STDIN:
            raise OptionError(
                f"{place}: standard input can be read once, and training text is read twice. Save it first."
            )
        try:
            text_set = corpus_set(name, path, options)
        except CorpusError as error:
            raise CorpusError(f"{place}: {error}") from error
        found.append(TextSource(name=name, text_set=text_set, share=share, options=options))
    return tuple(found)


def held_out_documents(text_set: TextSet, options: ReadOptions, held_out: HeldOut) -> Iterator[str]:
    """The documents of a text set that are held out: text to evaluate on."""
    for block in documents_of_sets((text_set,), options):
        for i in np.flatnonzero(held_out.picks(block)) if len(block.starts) else ():
            yield block.data[block.starts[i] : block.ends[i]].decode()


def hashes_of_documents(text_sets: Iterable[tuple[TextSet, ReadOptions]]) -> NDArray[np.uint64]:
    """Content hashes, sorted and distinct, of the documents of some text sets: what training must leave out."""
    found = [
        content_hashes(block.data, block.starts, block.ends)
        for text_set, options in text_sets
        for block in documents_of_sets((text_set,), options)
        if len(block.starts)
    ]
    return np.unique(np.concatenate(found)) if found else np.zeros(0, np.uint64)


#: Text that a worker encodes at a time.
SHARD_BYTES = 8 << 20
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
class ScannedSource(TextSource):
    """What is known of a source after pass one; D documents, in the order in which they are read.

    shards: the text in parts. shard_ends: int64 [n_shards], documents up to the end of each. hashes: uint64 [D], of the
    content. sizes: uint32 [D], bytes of UTF-8. usable: bool [D], neither held out nor excluded. sample: some
    usable documents, long ones cut, for measuring a tokenizer.
    """

    shards: tuple[Shard, ...]
    shard_ends: NDArray[np.int64]
    hashes: NDArray[np.uint64]
    sizes: NDArray[np.uint32]
    usable: NDArray[np.bool_]
    n_held_out: int
    n_excluded: int
    sample: tuple[str, ...]

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
        for i in np.flatnonzero(usable & (keys < self._below)).tolist():
            start = int(block.starts[i])
            self._kept[int(keys[i])] = block.data[start : min(int(block.ends[i]), start + _SAMPLE_DOCUMENT_BYTES)]
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
        n_before = 0

        def advance_from_before(n_bytes: int) -> None:
            advance(n_before + n_bytes)

        for source in sources:
            scanned, n_read = _scan(source, held_out, exclude, advance_from_before)
            found.append(scanned)
            n_before += n_read
    return tuple(found)


def _scan(
    source: TextSource, held_out: HeldOut | None, exclude: NDArray[np.uint64] | None, advance: Callable[[int], None]
) -> tuple[ScannedSource, int]:
    """What pass one learns of a source, and the stored bytes that it read."""
    hashes, sizes, usable = [np.zeros(0, np.uint64)], [np.zeros(0, np.uint32)], [np.zeros(0, bool)]
    n_held_out = n_excluded = n_blank = n_skipped = n_read = 0
    sample = _Sample()
    shards = shards_of((source.text_set,), source.options, shard_bytes=SHARD_BYTES)
    n_of_shard = np.zeros(len(shards), np.int64)
    blocks = ((shard.number, block) for shard in shards for block in documents_of_shard(shard, source.options))
    for number, block in blocks:
        n_of_shard[number] += len(block.starts)
        n_blank += block.n_blank
        n_skipped += block.n_skipped
        if len(block.starts):
            of_block = content_hashes(block.data, block.starts, block.ends)
            kept = np.ones(len(of_block), bool)
            if held_out is not None:
                kept &= ~held_out.picks(block)
                n_held_out += int(len(kept) - kept.sum())
            if exclude is not None and len(exclude):
                places = np.minimum(np.searchsorted(exclude, of_block), len(exclude) - 1)
                equal = kept & (exclude[places] == of_block)
                n_excluded += int(equal.sum())
                kept &= ~equal
            hashes.append(of_block)
            sizes.append((block.ends - block.starts).astype(np.uint32))
            usable.append(kept)
            sample.offer(block, of_block, kept)
        n_read += block.n_stored_bytes
        advance(n_read)
    scanned = ScannedSource(
        **vars(source),
        shards=tuple(shards),
        shard_ends=np.cumsum(n_of_shard),
        hashes=np.concatenate(hashes),
        sizes=np.concatenate(sizes),
        usable=np.concatenate(usable),
        n_held_out=n_held_out,
        n_excluded=n_excluded,
        sample=sample.texts(),
    )
    if not scanned.n_usable:
        files = source.text_set.files
        listed = ", ".join(file.url for file in files[:3]) + (", ..." if len(files) > 3 else "")
        raise CorpusError(
            f"{source.name}: no document of {listed} is left to train on: {n_held_out:,} held out, "
            f"{n_excluded:,} equal to evaluation text, {n_skipped:,} unreadable, {n_blank:,} blank. Give more text."
        )
    return scanned, n_read

"""The documents of a stage to token ids, shard by shard, on all cores (vocabopt.engine)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.data.documents import SHARD_BYTES, ScannedSource
from trainer.data.encoder import DocumentEncoder
from vocabopt.errors import CorpusError
from vocabopt.text.documents import content_hashes
from vocabopt.text.readers import ReadOptions
from vocabopt.text.shards import Shard, documents_of_shard

#: Text encoded at a time: what `tokenizers` gives back for it takes a few hundred megabytes.
_BATCH_BYTES = 2 << 20
#: Text of each source on which the fast encoder must agree with `tokenizers` before it is used.
_AGREED_BYTES = 256 << 10


@dataclass(frozen=True, kw_only=True)
class Part:
    """A shard of a source. wanted: places in it of the documents to encode, ascending. hashes: uint64, of all its
    documents, as they were planned. source, files: for messages."""

    shard: Shard
    wanted: NDArray[np.int64]
    hashes: NDArray[np.uint64]
    options: ReadOptions
    source: str
    files: str


@dataclass(frozen=True, kw_only=True)
class Job:
    """Shards to encode together. first: the number of the first wanted document, of all that the stage wants."""

    first: int
    parts: tuple[Part, ...]


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """The wanted documents of a job, in order: ids, in the encoder's dtype; ids and lost characters of each, int64."""

    first: int
    ids: NDArray[Any]
    lengths: NDArray[np.int64]
    n_lost: NDArray[np.int64]


def jobs_of(sources: Sequence[ScannedSource], wanted: Sequence[NDArray[np.int64]]) -> Iterator[Job]:
    """All wanted documents, places in each source's reading order, ascending; shards that hold none are not read."""
    first = n_wanted = n_bytes = 0
    parts: list[Part] = []
    for source, places in zip(sources, wanted, strict=True):
        listed = ", ".join(file.url for file in source.text_set.files[:3])
        for shard, end in zip(source.shards, source.shard_ends.tolist(), strict=True):
            start = int(source.shard_ends[shard.number - 1]) if shard.number else 0
            begin, stop = np.searchsorted(places, (start, end))
            if begin == stop:
                continue
            in_shard = places[begin:stop]
            parts.append(
                Part(
                    shard=shard,
                    wanted=in_shard - start,
                    hashes=source.hashes[start:end],
                    options=source.options,
                    source=source.name,
                    files=listed,
                )
            )
            n_wanted += len(in_shard)
            n_bytes += int(source.sizes[in_shard].sum(dtype=np.int64))
            if n_bytes >= SHARD_BYTES // 2:
                yield Job(first=first, parts=tuple(parts))
                first, n_bytes, parts = n_wanted, 0, []
    if parts:
        yield Job(first=first, parts=tuple(parts))


def start_encoder(encoder: DocumentEncoder, texts: Sequence[str]) -> "ShardEncoder":
    """A worker. texts: those on which the fast encoder must agree with `tokenizers` before it is used."""
    encoder.use_fast(texts)
    return ShardEncoder(encoder)


def texts_to_agree_on(sources: Sequence[ScannedSource]) -> list[str]:
    """Some documents of each source."""
    texts = []
    for source in sources:
        n_left = _AGREED_BYTES
        for text in source.sample:
            texts.append(text)
            n_left -= len(text.encode())
            if n_left <= 0:
                break
    return texts


class ShardEncoder:
    """Encodes the wanted documents of shards, one job after another."""

    def __init__(self, encoder: DocumentEncoder) -> None:
        self._encoder = encoder

    def __call__(self, job: Job) -> Encoded:
        """Encode a job.

        Raises:
            CorpusError: the text cannot be read, or is not what was planned.
            BaseTokenizerError, PromiseError: as `DocumentEncoder.encode`.
        """
        dtype, nothing = self._encoder.dtype, np.zeros(0, np.int64)
        ids, lengths, n_lost = [nothing.astype(dtype)], [nothing], [nothing]
        for part in job.parts:
            for data, starts, ends in _wanted_documents(part):
                batch_ids, batch_lengths, batch_lost = self._encoder.encode(data, starts, ends)
                ids.append(batch_ids.astype(dtype))
                lengths.append(batch_lengths)
                n_lost.append(batch_lost)
        return Encoded(
            first=job.first, ids=np.concatenate(ids), lengths=np.concatenate(lengths), n_lost=np.concatenate(n_lost)
        )


def _wanted_documents(part: Part) -> Iterator[tuple[bytes, NDArray[np.int64], NDArray[np.int64]]]:
    """The wanted documents of a shard in batches, as data[starts[i]:ends[i]].

    Raises:
        CorpusError: the text is not what pass one read.
    """
    changed = CorpusError(
        f"{part.source}: the text of {part.files} changed while it was prepared. Leave it as it is, and start again."
    )
    n_read = 0
    for block in documents_of_shard(part.shard, part.options):
        n_before, n_read = n_read, n_read + len(block.starts)
        if not len(block.starts):
            continue
        if not np.array_equal(content_hashes(block.data, block.starts, block.ends), part.hashes[n_before:n_read]):
            raise changed
        first, last = np.searchsorted(part.wanted, (n_before, n_read))
        chosen = part.wanted[first:last] - n_before
        starts, ends = block.starts[chosen], block.ends[chosen]
        n_bytes = np.cumsum(ends - starts)
        begin = 0
        while begin < len(chosen):
            before = int(n_bytes[begin - 1]) if begin else 0
            stop = max(begin + 1, int(np.searchsorted(n_bytes, before + _BATCH_BYTES, side="right")))
            yield block.data, starts[begin:stop], ends[begin:stop]
            begin = stop
    if n_read != len(part.hashes):
        raise changed

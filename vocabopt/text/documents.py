"""Documents of text sets: in blocks as counting takes them, by content as they are held out, and a few to show.

A content hash is the same on every machine and in any order of the text, so that what a sweep held out is found again
in training.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from vocabopt.growth import chunk_kernel as kernel
from vocabopt.records import SamplesRecord, read_record, write_record
from vocabopt.text.corpus import TextSet
from vocabopt.text.readers import Block, ReadOptions, read_blocks

_NOTHING_SUSPICIOUS = np.zeros(1 << 16, bool)
#: Text counted at a time; fewer and larger blocks make fewer entries per chunk and group.
_COUNTED_BYTES = 16 << 20
SAMPLES_JSON = "samples.json"
N_SAMPLES = 5
#: A sentence or two: shorter documents say little, longer ones are cut.
MIN_CHARS, MAX_CHARS = 20, 160


@dataclass(frozen=True)
class Documents:
    """Documents of one text set: `data[starts[i]:ends[i]]` (UTF-8), and what was left out on the way."""

    text_set: str
    data: bytes
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    n_blank: int = 0
    n_skipped: int = 0
    n_stored_bytes: int = 0


def content_hashes(
    data: bytes, starts: NDArray[np.int64], ends: NDArray[np.int64], seed: int = 0
) -> NDArray[np.uint64]:
    """The hash of each document `data[starts[i]:ends[i]]`, [n_documents]: that of a sweep with this seed."""
    hashes, *_ = kernel.scan_documents(
        np.frombuffer(data, np.uint8), starts, ends, np.uint64(seed), _NOTHING_SUSPICIOUS
    )
    return np.asarray(hashes, np.uint64)


def bytes_of_texts(texts: pl.Series) -> tuple[bytes, NDArray[np.int64], NDArray[np.int64]]:
    """A column of text as UTF-8, one after another, and where each text starts and ends, int64 [n]."""
    data = texts.str.join("").cast(pl.Binary).item() if len(texts) else b""
    ends = np.cumsum(texts.str.len_bytes().to_numpy().astype(np.int64))
    return data, np.concatenate([np.zeros(min(1, len(ends)), np.int64), ends[:-1]]), ends


def is_held_out(hashes: NDArray[np.uint64], share: float) -> NDArray[np.bool_]:
    """Which documents a sweep that holds out `share` of them picks, by their content hashes."""
    return (hashes & np.uint64(0xFFFFFFFF)) < np.uint64(round(share * 2**32))


def documents_of_sets(text_sets: tuple[TextSet, ...], options: ReadOptions) -> Iterator[Documents]:
    """Blocks of documents of all sets, joined by NUL, which no document holds."""
    for text_set in text_sets:
        name = text_set.counted_as
        gathered: list[Block] = []
        for block in chain.from_iterable(read_blocks(file, options) for file in text_set.files):
            gathered.append(block)
            if sum(block.n_stored_bytes for block in gathered) >= _COUNTED_BYTES:
                yield joined(name, gathered)
                gathered = []
        yield joined(name, gathered)


def joined(text_set: str, blocks: list[Block]) -> Documents:
    """Blocks of one text set, one after another."""
    # As bytes, not by way of Python's strings: a third of the time.
    filled = [block.documents for block in blocks if len(block.documents)]
    data = b"\0".join([*(documents.str.join("\0").cast(pl.Binary).item() for documents in filled), b""])
    ends = np.flatnonzero(np.frombuffer(data, np.uint8) == 0)
    return Documents(
        text_set=text_set,
        data=data,
        starts=np.concatenate([np.zeros(min(1, len(ends)), np.int64), ends[:-1] + 1]),
        ends=ends,
        n_blank=sum(block.n_blank for block in blocks),
        n_skipped=sum(block.n_skipped for block in blocks),
        n_stored_bytes=sum(block.n_stored_bytes for block in blocks),
    )


def texts_of(text_set: TextSet, options: ReadOptions) -> Iterator[pl.Series]:
    """The documents of a text set, in blocks."""
    for file in text_set.files:
        yield from (block.documents for block in read_blocks(file, options))


class Samples:
    """Keeps, per text set, the documents that come first by (fits, content hash), in whatever order they come."""

    def __init__(self, names: Sequence[str]) -> None:
        self._kept: dict[str, dict[tuple[int, int], bytes]] = {name: {} for name in names}

    def offer(
        self,
        name: str,
        data: bytes,
        starts: NDArray[np.int64],
        ends: NDArray[np.int64],
        hashes: NDArray[np.uint64],
        n_chars: NDArray[np.int64],
    ) -> None:
        """Documents of one set: data[starts[i]:ends[i]], UTF-8."""
        kept = self._kept[name]
        is_short, is_long = n_chars < MIN_CHARS, n_chars > MAX_CHARS
        # Neither too short nor too long; where there are few of those, cut ones; then short ones.
        for rank, fits in enumerate((~is_short & ~is_long, is_long, is_short)):
            # Above the last hash that is kept none of this rank is: most need not be looked at again.
            last = sorted(kept)[N_SAMPLES - 1 :][:1]
            bound = last[0][1] if last and last[0][0] == rank else 2**64 - 1
            of_rank = np.flatnonzero(fits & (hashes <= np.uint64(bound)))
            distinct, first = np.unique(hashes[of_rank], return_index=True)
            for content_hash, i in zip(distinct[:N_SAMPLES].tolist(), of_rank[first[:N_SAMPLES]], strict=True):
                # Four bytes a character at most: enough of a long document.
                kept[rank, content_hash] = data[starts[i] : min(ends[i], starts[i] + 4 * MAX_CHARS + 4)]
            if sum(key[0] <= rank for key in kept) >= N_SAMPLES:
                break
        self._kept[name] = {key: kept[key] for key in sorted(kept)[:N_SAMPLES]}

    def texts(self) -> dict[str, list[str]]:
        """The documents kept, by set; a long one ends at a space, where it has one, with an ellipsis."""
        return {name: [_shortened(kept[key]) for key in sorted(kept)] for name, kept in self._kept.items()}

    def save(self, run_dir: Path) -> None:
        """Write samples.json. Raises RunDirectoryError."""
        write_record(run_dir / SAMPLES_JSON, SamplesRecord(samples=self.texts()))


def read_samples(run_dir: Path) -> dict[str, list[str]] | None:
    """What an earlier run kept; None where it kept none. Raises RunDirectoryError for a broken file."""
    path = run_dir / SAMPLES_JSON
    return read_record(path, SamplesRecord).samples if path.is_file() else None


def _shortened(data: bytes) -> str:
    # A document cut inside a character loses the broken rest of it.
    text = data.decode(errors="ignore")
    if len(text) <= MAX_CHARS:
        return text
    head = text[:MAX_CHARS]
    return (head.rsplit(" ", 1)[0] if " " in head else head) + " …"

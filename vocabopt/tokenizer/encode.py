"""Encoding unique chunks in bulk: by gigatoken where it gives the ids of the `tokenizers` library, else by that."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from vocabopt.growth.counts import ChunkCounts

#: Chunks encoded at a time: bounds the memory that an encoder's results take.
_BATCH_BYTES = 8 << 20
#: Unique chunks of each run on which the fast encoder must agree with `tokenizers`.
N_CHECKED = 2_000
#: Longer ones are left out of that: `tokenizers` takes gigabytes for a chunk of 100 MB.
_MAX_CHECKED_BYTES = 4_096


@dataclass(frozen=True)
class ChunkEncoder:
    """An encoder of runs of chunks. fast: a gigatoken tokenizer, or None."""

    authority: Tokenizer
    fast: Any

    @classmethod
    def of(cls, authority: Tokenizer, fast: Any, counts: ChunkCounts) -> "ChunkEncoder":
        """Encode with `fast` where it agrees with `authority` on chunks spread evenly over `counts`."""
        if fast is not None:
            sample = counts.sample(N_CHECKED, max_bytes=_MAX_CHECKED_BYTES)
            expected = authority.encode_batch_fast(sample, add_special_tokens=False)
            if any(a.ids != b for a, b in zip(expected, fast.encode_batch_list(sample), strict=True)):
                fast = None
        return cls(authority, fast)

    @property
    def name(self) -> str:
        """Which library encodes."""
        return "tokenizers" if self.fast is None else "gigatoken"

    def encode(self, data: bytes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Token ids of the chunks in `data`, which NUL separates, and where each chunk's end."""
        if self.fast is None:
            encodings = self.authority.encode_batch_fast(data.decode().split("\0"), add_special_tokens=False)
            rows = [encoding.ids for encoding in encodings]
            return np.fromiter(chain.from_iterable(rows), np.int64), np.cumsum(np.fromiter(map(len, rows), np.int64))
        from gigatoken import BytesSource

        layout = self.fast.encode_batch(BytesSource([data], separator="\0")).layout
        return np.asarray(layout.content.data).astype(np.int64), np.asarray(layout.offsets.data)[1:].astype(np.int64)


def batches(counts: ChunkCounts) -> Iterator[bytes]:
    """The chunks in runs of bounded size, NUL-separated."""
    first, begin = 0, 0
    while first < counts.n_chunks:
        last = int(np.searchsorted(counts.ends, begin + _BATCH_BYTES, side="left"))
        last = min(max(last, first + 1), counts.n_chunks)
        end = int(counts.ends[last - 1])
        yield counts.text[begin:end].tobytes()
        first, begin = last, end + 1

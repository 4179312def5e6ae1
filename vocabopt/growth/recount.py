"""Counting again: the unique chunks of a run, encoded with a finished tokenizer. The proof of a curve's counts (P1).

The growth pass never encodes with the tokenizers it makes. Here their own encoder does, on the same chunks, so that a
fault in the pass or in the export shows as a difference.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from vocabopt.growth.counts import ChunkCounts
from vocabopt.tokenizer import Tokenizer
from vocabopt.tokenizer.chunks import ChunkEncoder, batches


class Encoder(Protocol):
    """What encodes runs of chunks, as `ChunkEncoder` does."""

    @property
    def name(self) -> str: ...

    def encode(self, data: bytes) -> tuple[NDArray[np.int64], NDArray[np.int64]]: ...


@dataclass(frozen=True, kw_only=True)
class Recount:
    """Tokens of a tokenizer on counted text.

    token_counts: int64 [n_sets, n_tokens], how often each id occurs, special tokens inside the text left out.
    encoder: which library encoded.
    """

    token_counts: NDArray[np.int64]
    encoder: str

    def n_tokens(self, counts: ChunkCounts) -> dict[str, int]:
        """Tokens of each text set, special tokens inside the text included."""
        totals = self.token_counts.sum(axis=1)
        return {
            name: int(total) + stats.n_special_tokens
            for (name, stats), total in zip(counts.sets.items(), totals, strict=True)
        }


def recount(
    tokenizer: Tokenizer, counts: ChunkCounts, weights: NDArray[np.int64], encoder: Encoder | None = None
) -> Recount:
    """Encode every unique chunk and add its tokens up, times `weights` [n_chunks, n_sets].

    Args:
        encoder: what encodes; None for the tokenizer's own (`ChunkEncoder`).
    """
    token_counts = np.zeros((weights.shape[1], tokenizer.n_tokens), np.int64)
    if encoder is None:
        encoder = ChunkEncoder.of(tokenizer.whole_chunk_tokenizer, tokenizer.fast_chunk_tokenizer, counts)
    first = 0
    for data in batches(counts):
        ids, ends = encoder.encode(data)
        lengths = np.diff(ends, prepend=0)
        for text_set in range(weights.shape[1]):
            weight = np.repeat(weights[first : first + len(ends), text_set], lengths)
            # Exact: the sums stay far below 2^53.
            token_counts[text_set] += np.bincount(ids, weight, minlength=tokenizer.n_tokens).astype(np.int64)
        first += len(ends)
    return Recount(token_counts=token_counts, encoder=encoder.name)


def changed_chunks(before: Tokenizer, after: Tokenizer, counts: ChunkCounts, chosen: NDArray[np.int64]) -> list[str]:
    """The chunks, of those `chosen` by number, that the two tokenizers encode differently."""
    if not len(chosen):
        return []
    texts = counts.texts().gather(chosen)
    data = texts.str.join("\0").cast(pl.Binary).item()
    sides = []
    for base in (before, after):
        encoder = ChunkEncoder.of(base.whole_chunk_tokenizer, base.fast_chunk_tokenizer, counts)
        sides.append(encoder.encode(data))
    (old, old_ends), (new, new_ends) = sides
    if np.array_equal(old, new) and np.array_equal(old_ends, new_ends):
        return []
    rows = zip(texts.to_list(), np.split(old, old_ends[:-1]), np.split(new, new_ends[:-1]), strict=True)
    return [text for text, a, b in rows if not np.array_equal(a, b)]

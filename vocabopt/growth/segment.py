"""The base tokenizer's own segmentation of unique chunks, as the rows of symbols that the growth pass works on."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vocabopt.compiled import njit
from vocabopt.growth.counts import ChunkCounts, SetStats
from vocabopt.tokenizer import Tokenizer
from vocabopt.tokenizer.chunks import ChunkEncoder, batches
from vocabopt.tokenizer.families import char_of_byte


@dataclass(frozen=True)
class Segmentation:
    """Unique chunks as symbols.

    slots: int32 [n_slots, 2]: (symbol, chunk), symbol 0 before, between and after chunks; a base token is its id + 1.
    closed: int32 [n_closed]: code points of the characters that the base spells in bytes; closed[i] is symbol
    n_tokens + 1 + i. tokens_per_chunk: int64 [n_chunks]. token_counts: int64 [n_sets, n_tokens], base tokens per text
    set. encoder: which library encoded. n_lost_chars: int64 [n_chunks], characters that the base has no token for;
    n_lost_chars_of: int64 [n_sets], the same per text set.
    """

    slots: NDArray[np.int32]
    closed: NDArray[np.int32]
    tokens_per_chunk: NDArray[np.int64]
    token_counts: NDArray[np.int64]
    encoder: str
    n_lost_chars: NDArray[np.int64]
    n_lost_chars_of: NDArray[np.int64]

    def base_tokens(self, sets: Mapping[str, SetStats]) -> dict[str, int]:
        """Tokens of each text set with the base tokenizer, special tokens in the text included: size 0 of the curve."""
        n_plain = self.token_counts.sum(axis=1)
        return {name: int(n) + stats.n_special_tokens for (name, stats), n in zip(sets.items(), n_plain, strict=True)}


@njit(cache=True, nogil=True)
def _fill_slots(ids, ends, first_chunk, byte_values, weights, slots, n_slots, closed_symbols, closed, sizes, counts):  # type: ignore[no-untyped-def]
    """Write one batch of encoded chunks as slots. sizes: [n_closed]; closed_symbols: int32 [0x110000], 0 = not met."""
    n_tokens = byte_values.size
    position = 0
    for batch_chunk in range(ends.size):
        chunk = first_chunk + batch_chunk
        while position < ends[batch_chunk]:
            token = ids[position]
            byte = byte_values[token]
            n_units = 1
            symbol = token + 1
            if byte >= 0:
                n_units = 1 + (byte >= 0xC0) + (byte >= 0xE0) + (byte >= 0xF0)
                code_point = byte if n_units == 1 else byte & (0x7F >> n_units)
                for k in range(1, n_units):
                    code_point = code_point << 6 | (byte_values[ids[position + k]] & 0x3F)
                if closed_symbols[code_point] == 0:
                    closed[sizes[0]] = code_point
                    closed_symbols[code_point] = n_tokens + 1 + sizes[0]
                    sizes[0] += 1
                symbol = closed_symbols[code_point]
            for k in range(n_units):
                for text_set in range(counts.shape[0]):
                    counts[text_set, ids[position + k]] += weights[chunk, text_set]
            slots[n_slots, 0] = symbol
            slots[n_slots, 1] = chunk
            n_slots += 1
            position += n_units
        slots[n_slots, 0] = 0
        slots[n_slots, 1] = 0
        n_slots += 1
    return n_slots


def segment(base: Tokenizer, counts: ChunkCounts, weights: NDArray[np.int64]) -> Segmentation:
    """Encode every unique chunk with the base tokenizer.

    Which library encodes: `ChunkEncoder`.
    """
    byte_values = np.array(base.byte_values, np.int32)
    token_counts = np.zeros((weights.shape[1], base.n_tokens), np.int64)
    closed_symbols, closed = np.zeros(0x110000, np.int32), np.empty(0x110000, np.int32)
    sizes = np.zeros(1, np.int64)
    # A chunk has at most as many symbols as bytes, and one slot between it and the next; pages not used cost nothing.
    slots = np.empty((len(counts.text) + 1, 2), np.int32)
    slots[0] = 0
    tokens_per_chunk = np.zeros(counts.n_chunks, np.int64)
    n_slots, first_chunk = 1, 0
    encoder = ChunkEncoder.of(base.chunk_tokenizer, base.fast_chunk_tokenizer, counts)
    for data in batches(counts):
        ids, ends = encoder.encode(data)
        n_slots = _fill_slots(
            ids, ends, first_chunk, byte_values, weights, slots, n_slots, closed_symbols, closed, sizes, token_counts
        )
        tokens_per_chunk[first_chunk : first_chunk + len(ends)] = np.diff(ends, prepend=0)
        first_chunk += len(ends)
    lost = lost_chars(base, counts)
    return Segmentation(
        slots=slots[:n_slots],
        closed=closed[: sizes[0]].copy(),
        tokens_per_chunk=tokens_per_chunk,
        token_counts=token_counts,
        encoder=encoder.name,
        n_lost_chars=lost,
        n_lost_chars_of=lost @ weights,
    )


def lost_chars(base: Tokenizer, counts: ChunkCounts) -> NDArray[np.int64]:
    """How many characters of each chunk [n_chunks] the base has no token for; chunks as `base.chunk_tokenizer` takes
    them.

    A base is taken only where the bytes it lacks begin characters, so every such byte is one character lost.
    """
    if not base.missing_bytes:
        return np.zeros(counts.n_chunks, np.int64)
    if base.cuts_bytes:
        spelled = [char_of_byte()[byte] for byte in base.missing_bytes]
        return sum(
            (counts.texts().str.count_matches(char, literal=True).to_numpy().astype(np.int64) for char in spelled),
            start=np.zeros(counts.n_chunks, np.int64),
        )
    is_missing = np.isin(counts.text, np.frombuffer(base.missing_bytes, np.uint8))
    # The NUL behind each chunk is the store's, and no chunk holds one.
    is_missing[counts.ends] = False
    return np.diff(np.cumsum(is_missing)[counts.ends], prepend=0)

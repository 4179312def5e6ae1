"""Text as the growth pass takes it: unique chunks as rows of symbols, and the table of symbols.

Symbols are the tokens of the base, and the characters that it spells in bytes.
"""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vocabopt.compiled import njit
from vocabopt.growth import kernel as kernel
from vocabopt.growth.counts import ChunkCounts, SetStats
from vocabopt.growth.floor import CROSSING_KINDS, Floor, crossings_of
from vocabopt.text.scripts import byte_guard, contains_target, piece_is_guarded
from vocabopt.tokenizer import Tokenizer
from vocabopt.tokenizer.chunks import ChunkEncoder, batches
from vocabopt.tokenizer.families import char_of_byte

# --- Chunks as symbols ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Segmentation:
    """Unique chunks as symbols.

    slots: int32 [n_slots, 2]: (symbol, chunk), symbol 0 before, between and after chunks; a base token is its id + 1.
    closed: int32 [n_closed]: code points of the characters that the base spells in bytes; closed[i] is symbol
    n_tokens + 1 + i. tokens_per_chunk: int64 [n_chunks]. token_counts: int64 [n_sets, n_tokens], base tokens per text
    set. encoder: which library encoded. n_lost_chars: int64 [n_chunks], characters that the base has no token for;
    n_lost_chars_of: int64 [n_sets], the same per text set. n_parts_of: int64 [n_sets], parts that no added token can
    join (`floor.Floor`).
    """

    slots: NDArray[np.int32]
    closed: NDArray[np.int32]
    tokens_per_chunk: NDArray[np.int64]
    token_counts: NDArray[np.int64]
    encoder: str
    n_lost_chars: NDArray[np.int64]
    n_lost_chars_of: NDArray[np.int64]
    n_parts_of: NDArray[np.int64]

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


def segment(
    base: Tokenizer, counts: ChunkCounts, weights: NDArray[np.int64], *, cross_spaces: bool = False
) -> Segmentation:
    """Encode every unique chunk with the base tokenizer. Which library encodes: `ChunkEncoder`."""
    byte_values = np.array(base.byte_values, np.int32)
    token_counts = np.zeros((weights.shape[1], base.n_tokens), np.int64)
    closed_symbols, closed = np.zeros(0x110000, np.int32), np.empty(0x110000, np.int32)
    sizes = np.zeros(1, np.int64)
    # A chunk has at most as many symbols as bytes, and one slot between it and the next; pages not used cost nothing.
    slots = np.empty((len(counts.text) + 1, 2), np.int32)
    slots[0] = 0
    tokens_per_chunk, n_parts = np.zeros(counts.n_chunks, np.int64), np.zeros(counts.n_chunks, np.int64)
    n_slots, first_chunk, floor = 1, 0, Floor.of(base, cross_spaces=cross_spaces)
    encoder = ChunkEncoder.of(base.chunk_tokenizer, base.fast_chunk_tokenizer, counts)
    for data in batches(counts):
        ids, ends = encoder.encode(data)
        n_slots = _fill_slots(
            ids, ends, first_chunk, byte_values, weights, slots, n_slots, closed_symbols, closed, sizes, token_counts
        )
        tokens_per_chunk[first_chunk : first_chunk + len(ends)] = np.diff(ends, prepend=0)
        n_parts[first_chunk : first_chunk + len(ends)] = floor.parts(ids, ends)
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
        n_parts_of=n_parts @ weights,
    )


def lost_chars(base: Tokenizer, counts: ChunkCounts) -> NDArray[np.int64]:
    """How many characters of each chunk [n_chunks] the base has no token for.

    A base is taken only where the bytes it lacks begin characters, so every such byte is one character lost.
    """
    lost = np.zeros(counts.n_chunks, np.int64)
    if not base.missing_bytes:
        return lost
    if base.cuts_bytes:
        for byte in base.missing_bytes:
            lost += counts.texts().str.count_matches(char_of_byte()[byte], literal=True).to_numpy().astype(np.int64)
        return lost
    is_missing = np.isin(counts.text, np.frombuffer(base.missing_bytes, np.uint8))
    # The NUL behind each chunk is the store's, and no chunk holds one.
    is_missing[counts.ends] = False
    return np.diff(np.cumsum(is_missing)[counts.ends], prepend=0)


# --- The table of symbols ---------------------------------------------------------------------------------------------


class Symbols:
    """The kernel's table of symbols: base tokens, then closed characters, then room for `n_new` new ones.

    scripts: what a new piece must show. crossings: bool [4, 4], which ends no new piece may join: those between which
    text is cut into chunks (tokenizer/chunks.py). A piece that crosses such a place could only be learned where a piece
    of the base keeps the text together, and would apply where it is cut as well. reserved: see `_reserved`.
    """

    def __init__(
        self,
        base: Tokenizer,
        closed: NDArray[np.int32],
        scripts: tuple[str, ...],
        *,
        n_new: int,
        cross_spaces: bool = False,
    ) -> None:
        self.base, self.scripts = base, scripts
        closed_texts = [chr(code_point).encode() for code_point in closed]
        pieces = [b"" if index in base.frozen_ids else piece for index, piece in enumerate(base.pieces)]
        self.texts = texts = [b"", *pieces, *closed_texts]
        self.n_symbols = len(texts)
        self.first_closed = base.n_tokens + 1
        ends = np.cumsum([len(text) for text in texts])
        self.n_text = int(ends[-1])
        self.text = np.zeros(self.n_text + 1024, np.uint8)
        self.text[: self.n_text] = np.frombuffer(b"".join(texts), np.uint8)
        self.table = table = np.zeros((self.n_symbols + n_new + 1, kernel.N_SYMBOL_COLUMNS), np.int64)
        table[: self.n_symbols, kernel.TEXT_END] = ends
        table[1 : self.n_symbols, kernel.TEXT_START] = ends[:-1]
        table[:, kernel.USED_AT] = -1
        # Tokens without text of their own (special tokens, byte pieces), and frozen ones, take part in nothing.
        self.is_open = np.zeros(len(table), bool)
        self.is_open[: self.first_closed] = [bool(text) for text in texts[: self.first_closed]]
        table[self.first_closed : self.n_symbols, kernel.EXTRA] = [len(text) - 1 for text in closed_texts]
        # The guard's tables; one state that accepts nothing where bytes are not what is guarded.
        nothing = np.zeros((1, 256), np.int16), np.zeros((1, 256), bool)
        shown = (byte_guard(scripts).next_state.copy(), byte_guard(scripts).accepts.copy()) if scripts else nothing
        self.guard = nothing if base.family == "sentencepiece-bpe" else shown
        self.crossings = np.zeros((4, 4), bool) if cross_spaces else crossings_of(base)
        _fill_columns(table, self.text, self.n_symbols, not scripts, shown[0], shown[1], self.crossings, CROSSING_KINDS)
        self.reserved = self._reserved()

    def _allows(self, text: bytes) -> bool:
        """Whether the guard would let `text` be a piece."""
        if not self.scripts:
            return True
        if self.base.family == "sentencepiece-bpe":
            return contains_target(text.decode(), self.scripts)
        return piece_is_guarded(text, byte_guard(self.scripts))

    def _reserved(self) -> NDArray[np.int64]:
        """Spellings that no new piece may take: [n, 2] of hash and the symbol that stands for it already (0: none).

        A piece that the base's own merges reach is never spelled by two neighbours: wherever its bytes stand between
        token boundaries they are that piece already. So only special tokens, byte pieces and pieces without a way
        to them are listed. The last can be opened: once a new piece makes a way, SentencePiece would take it.
        """
        base = self.base
        spelled: dict[bytes, int] = {}
        for content in base.added_contents:
            spelled[content.encode()] = 0
            with contextlib.suppress(KeyError):  # not every content can be a spelling of the byte-level alphabet
                spelled[base.piece_bytes(content)] = 0
        candidates: dict[str, int] = {}
        of_base = self.table[1 : self.first_closed]
        is_allowed = (of_base[:, kernel.OK] & ((of_base[:, kernel.INSIDE] == 0) | (not self.scripts))).tolist()
        for piece, index in base.tokenizer_json["model"]["vocab"].items():
            if not self.texts[index + 1]:
                spelled[piece.encode()] = 0
            elif is_allowed[index]:
                candidates[piece] = index
        encodings = base.merging_tokenizer.encode_batch_fast(list(candidates))
        for index, encoding in zip(candidates.values(), encodings, strict=True):
            if encoding.ids != [index]:
                spelled[base.pieces[index]] = index + 1
        rows = [
            (_hash_of(np.frombuffer(text, np.uint8)), symbol)
            for text, symbol in spelled.items()
            if text and self._allows(text)
        ]
        return np.array(sorted(rows, key=lambda row: row[0]), np.int64).reshape(-1, 2)


@njit(cache=True)
def _hash_of(text):  # type: ignore[no-untyped-def]
    h = np.int64(0)
    for byte in text:
        h = h * kernel.HASH_BASE + byte + 1
    return h


@njit(cache=True)
def _fill_columns(symbols, text, n_symbols, is_free, guard_next, guard_accepts, crossings, kinds):  # type: ignore[no-untyped-def]
    """Fill what follows from the bytes of each symbol: OK, INSIDE, TAIL, CROSSING, HASH and POWER.

    is_free: nothing is guarded. guard_next, guard_accepts: the automaton, which whole characters leave in state 0.
    kinds: uint8 [256], what each byte is to `crossings`.
    """
    for symbol in range(n_symbols):
        start, end = symbols[symbol, kernel.TEXT_START], symbols[symbol, kernel.TEXT_END]
        # What a piece shows does not depend on the continuation bytes it may begin with.
        first = start
        while first < end and 0x80 <= text[first] < 0xC0:
            first += 1
        state, is_ok, crosses = np.int64(0), is_free and start < end, False
        power = np.int64(1)
        for k in range(start, end):
            if k >= first:
                is_ok |= guard_accepts[state, text[k]]
                state = np.int64(guard_next[state, text[k]])
            if k > start:
                crosses |= crossings[kinds[text[k - 1]], kinds[text[k]]]
            power *= kernel.HASH_BASE
        symbols[symbol, kernel.OK] = is_ok
        symbols[symbol, kernel.INSIDE] = first != start
        symbols[symbol, kernel.TAIL] = state
        symbols[symbol, kernel.HASH] = _hash_of(text[start:end])
        symbols[symbol, kernel.POWER] = power
        if start < end:
            last = np.int64(kinds[text[end - 1]]) << kernel.CROSSING_LAST_SHIFT
            symbols[symbol, kernel.CROSSING] = kinds[text[start]] | last | (kernel.CROSSING_INSIDE if crosses else 0)

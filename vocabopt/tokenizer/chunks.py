r"""Where a base tokenizer provably treats text apart: documents -> chunks -> pre-tokens -> ids.

Chunks are what is counted. Both families are cut before a run of spaces that follows another character:

    sentencepiece-bpe   where no piece of the base stands across that place in that very text, so that no merge of the
                        base crosses it, and no token that is added does (growth.kernel). Where a run of newlines
                        begins or ends, the same; where no piece holds two newlines, between them as well
    byte-level-bpe      where that character is not white space: the split patterns of tokenizer/patterns.py never match
                        across it, since none of their alternatives takes a space after such a character, none
                        looks behind, and the end of the text satisfies (?!\S) as a space does

With an unknown split pattern, many pieces that cross, tokens that may cross (`cross_spaces`), or a SentencePiece-style
base that looks for a whole text among its pieces, the chunk is the whole document: slower, and just as exact. Chunks of
the byte-level family are then cut into pre-tokens by the base's own normaliser and pre-tokenizer (pretokens.py), once
per unique chunk. Unique chunks are encoded in bulk, by gigatoken where it gives the ids of the `tokenizers` library.
"""

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import tokenizers
from numpy.typing import NDArray

from vocabopt.growth import chunk_kernel as kernel
from vocabopt.tokenizer.families import steps_of
from vocabopt.tokenizer.patterns import PATTERNS_CUT_AT_SPACES
from vocabopt.tokenizer.pretokens import Pretokenizer
from vocabopt.tokenizer.tokenizer import Tokenizer
from vocabopt.tokenizer.widening import own_pattern

if TYPE_CHECKING:
    from vocabopt.growth.counts import ChunkCounts

#: More pieces of the base that hold a space after another character than this, and text is not cut at all: each place
#: is compared with those that have its character before the space.
MOST_CROSSING_PIECES = 1_000
#: Chunks cut into pre-tokens at a time, in bytes.
_SPLIT_BYTES = 2 << 20
#: Chunks encoded at a time: bounds the memory that an encoder's results take.
_BATCH_BYTES = 8 << 20
#: Unique chunks of each run on which the fast encoder must agree with `tokenizers`.
N_CHECKED = 2_000
#: Longer ones are left out of that: `tokenizers` takes gigabytes for a chunk of 100 MB.
_MAX_CHECKED_BYTES = 4_096
#: Blocks of symbols: whatever comes into them is no letter, mark, number or space.
_SYMBOLS = range(0x1F000, 0x1FB00)
#: Planes from here on hold no letters, or none yet.
_FIRST_EMPTY = 0x40000


@dataclass(frozen=True, kw_only=True)
class Cuts:
    """Where documents are cut into chunks: one of the kernel's CUT_ constants, and the base's pieces that forbid a cut
    (`chunk_kernel._is_crossed`)."""

    at: int
    crossing: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint8]]


def cuts_of(base: Tokenizer, *, cross_spaces: bool = False) -> Cuts:
    """Where documents may be cut into chunks for this base.

    A change here, or in how chunks are cut or documents held out, raises run_directory.COUNTS_VERSION.

    Args:
        cross_spaces: tokens that are added may hold a space after another character.
    """
    if base.family == "byte-level-bpe":
        is_cut = _splits_at_spaces(base.tokenizer_json["pre_tokenizer"])
        return Cuts(at=kernel.CUT_AT_SPACES_AFTER_TEXT if is_cut else kernel.CUT_NOWHERE, crossing=_crossing({}))
    has_newlines = any(b"\n\n" in piece for piece in base.pieces)
    at = kernel.CUT_AT_SPACES_AND_NEWLINE_RUNS if has_newlines else kernel.CUT_AT_SPACES_AND_NEWLINES
    # Before a space after another character, and where a run of newlines begins or ends.
    cut = re.compile(rb"(?<=[^ ])(?= )|(?<=[^\n])(?=\n)|(?<=\n)(?=[^\n])")
    crossing = {piece: [m.start() for m in cut.finditer(piece)] for piece in base.pieces if cut.search(piece)}
    if cross_spaces or len(crossing) > MOST_CROSSING_PIECES or _takes_whole_texts(base):
        return Cuts(at=kernel.CUT_NOWHERE, crossing=_crossing({}))
    return Cuts(at=at, crossing=_crossing(crossing))


def _takes_whole_texts(base: Tokenizer) -> bool:
    """Whether a text that is a piece as a whole is encoded otherwise than inside a longer one (`ignore_merges`)."""
    if not base.tokenizer_json["model"].get("ignore_merges"):
        return False
    vocab = {piece: index for piece, index in base.tokenizer_json["model"]["vocab"].items() if base.pieces[index]}
    encodings = base.merging_tokenizer.encode_batch_fast(list(vocab), add_special_tokens=False)
    return any(encoding.ids != [index] for index, encoding in zip(vocab.values(), encodings, strict=True))


def _crossing(pieces: Mapping[bytes, Sequence[int]]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint8]]:
    """Pieces, each with where it would be cut, as `chunk_kernel._is_crossed` takes them."""
    rows: list[tuple[int, int, int, int]] = []
    text = b""
    for piece, places in pieces.items():
        rows += [(piece[place - 1], len(text), len(text) + len(piece), place) for place in places]
        text += piece
    table = np.array(sorted(rows), np.int64).reshape(-1, 4)
    first = np.searchsorted(table[:, 0], np.arange(257)).astype(np.int64)
    return first, np.ascontiguousarray(table[:, 1:]), np.frombuffer(text + b"\0", np.uint8).copy()


def _splits_at_spaces(pre_tokenizer: dict[str, Any]) -> bool:
    """Whether the first splitting step is a known pattern: later steps only split further."""
    first = steps_of(pre_tokenizer, "pretokenizers")[0]
    if first["type"] == "ByteLevel":
        # GPT-2's own pattern, built into the step.
        return bool(first.get("use_regex", True))
    pattern = first["pattern"].get("Regex") if first["type"] == "Split" else None
    # A widened one cuts before spaces where its own pattern does.
    return (
        pattern is not None
        and (own_pattern(pattern) or pattern) in PATTERNS_CUT_AT_SPACES
        and first["behavior"] == "Isolated"
        and not first.get("invert", False)
    )


def opening_of(base: Tokenizer, *, is_first: bool) -> int:
    """How a document, or a part of it after an added token, starts: one of the kernel's opening constants."""
    if base.prefix == "never" or (base.prefix == "first" and not is_first):
        return kernel.BARE
    return kernel.PREFIXED_UNLESS_SPACE if base.prefix_unless_space else kernel.PREFIXED


# --- Chunks -> pre-tokens, for byte-level bases -----------------------------------------------------------------------


def refine(
    base: Tokenizer, counts: "ChunkCounts", advance: Callable[[int], None] = lambda n_chunks: None
) -> "ChunkCounts":
    """Chunk counts -> pre-token counts, for a byte-level base: the unit that its merges never leave.

    Args:
        advance: told the chunks that are done, for a progress bar.
    """
    if not counts.n_chunks:
        return counts
    pretokenizer = Pretokenizer.of(base)
    entries = pl.DataFrame(
        {
            "chunk": np.repeat(np.arange(counts.n_chunks), np.diff(counts.offsets)),
            "group": counts.groups,
            "n": counts.counts,
        }
    )
    tables, first_chunk, first_piece = [], 0, 0
    for data in batches(counts, n_bytes=_SPLIT_BYTES):
        pieces, chunk = pretokenizer.cut(data.decode())
        at = np.arange(first_piece, first_piece + len(pieces))
        pairs = pl.DataFrame({"chunk": chunk + first_chunk, "piece": pieces, "at": at}).lazy()
        table = pairs.join(entries.lazy(), on="chunk").group_by("piece", "group")
        tables.append(table.agg(pl.col("n").sum(), pl.col("at").min()).collect())
        n_chunks = data.count(b"\0") + 1
        first_chunk, first_piece = first_chunk + n_chunks, first_piece + len(pieces)
        advance(first_chunk)
    # Pre-tokens are numbered as they first occur.
    every = pl.concat(tables)
    order = every.group_by("piece").agg(pl.col("at").min()).sort("at").select("piece").with_row_index("number")
    totals = every.join(order, on="piece").group_by("number", "group").agg(pl.col("n").sum()).sort("number", "group")
    text = np.frombuffer("\0".join([*order["piece"], ""]).encode(), np.uint8)
    return replace(
        counts,
        text=text,
        ends=np.flatnonzero(text == 0),
        offsets=np.concatenate([[0], np.cumsum(np.bincount(totals["number"].to_numpy(), minlength=len(order)))]),
        groups=totals["group"].to_numpy().astype(np.int32),
        counts=totals["n"].to_numpy(),
    )


# --- Unique chunks -> ids ---------------------------------------------------------------------------------------------


@cache
def newer_characters() -> NDArray[np.bool_]:
    """Which characters patterns and normal forms may treat otherwise in another version of Unicode, [0x110000].

    Letters, marks, numbers and spaces that Unicode 3.2 did not have as such: gigatoken's tables are newer than those of
    `tokenizers`.
    """
    chars = [*map(chr, range(_FIRST_EMPTY))]
    now, then = (np.array([*map(database.category, chars)]) for database in (unicodedata, unicodedata.ucd_3_2_0))
    # Punctuation, symbols and control characters are all the same to patterns and normal forms.
    is_newer = np.ones(0x110000, np.bool_)
    is_newer[:_FIRST_EMPTY] = (now == "Cn") | (np.isin(now.astype("U1"), ["L", "M", "N", "Z"]) & (now != then))
    is_newer[_SYMBOLS] &= ~np.isin(now[_SYMBOLS], ["So", "Sk", "Cn"])
    return is_newer


@dataclass(frozen=True)
class ChunkEncoder:
    """An encoder of runs of chunks.

    fast: a gigatoken tokenizer, or None. spares_newer: chunks with `newer_characters` are left to `authority`; a sample
    that is compared seldom holds them.
    """

    authority: tokenizers.Tokenizer
    fast: Any
    spares_newer: bool = False

    @classmethod
    def of(cls, authority: tokenizers.Tokenizer, fast: Any, counts: "ChunkCounts") -> "ChunkEncoder":
        """Encode with `fast` where it agrees with `authority` on chunks spread evenly over `counts`."""
        if fast is not None:
            sample = counts.sample(N_CHECKED, max_bytes=_MAX_CHECKED_BYTES)
            expected = authority.encode_batch_fast(sample, add_special_tokens=False)
            if any(a.ids != b for a, b in zip(expected, fast.encode_batch_list(sample), strict=True)):
                fast = None
        return cls(authority, fast, spares_newer=True)

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
        if self.spares_newer and (is_newer := _hold_newer(data)).any():
            return self._parted(data, is_newer)
        from gigatoken import BytesSource

        layout = self.fast.encode_batch(BytesSource([data], separator="\0")).layout
        return np.asarray(layout.content.data).astype(np.int64), np.asarray(layout.offsets.data)[1:].astype(np.int64)

    def _parted(self, data: bytes, is_newer: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """As `encode`: the chunks marked by the authority, the others by the fast encoder."""
        lengths = np.zeros(len(is_newer), np.int64)
        chunks, parts = np.array(data.split(b"\0"), object), []
        for of, fast in ((is_newer, None), (~is_newer, self.fast)):
            if of.any():
                ids, ends = ChunkEncoder(self.authority, fast).encode(b"\0".join(chunks[of]))
                lengths[of] = np.diff(ends, prepend=0)
                parts.append((of, ids))
        joined = np.empty(int(lengths.sum()), np.int64)
        for of, ids in parts:
            joined[np.repeat(of, lengths)] = ids
        return joined, np.cumsum(lengths)


def _hold_newer(data: bytes) -> NDArray[np.bool_]:
    """Which of the chunks that NUL separates hold a character of `newer_characters`."""
    view = np.frombuffer(data, np.uint8)
    ends = np.append(np.flatnonzero(view == 0), len(data))
    found = np.zeros(len(ends), np.bool_)
    kernel.mark_documents(view, np.append(0, ends[:-1] + 1), ends, newer_characters(), found)
    return found


def batches(counts: "ChunkCounts", *, n_bytes: int = _BATCH_BYTES) -> Iterator[bytes]:
    """The chunks in runs of bounded size, NUL-separated."""
    first, begin = 0, 0
    while first < counts.n_chunks:
        last = int(np.searchsorted(counts.ends, begin + n_bytes, side="left"))
        last = min(max(last, first + 1), counts.n_chunks)
        end = int(counts.ends[last - 1])
        yield counts.text[begin:end].tobytes()
        first, begin = last, end + 1

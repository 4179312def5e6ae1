r"""Where a base tokenizer provably treats text apart: documents -> chunks -> pre-tokens.

Chunks are what is counted. Both families are cut before a run of spaces that follows another character:

    sentencepiece-bpe   where no piece of the base stands across that place in that very text, so that no merge of the
                        base crosses it, and no token that is added does (growth.kernel). Where a run of newlines
                        begins or ends, the same; where no piece holds two newlines, between them as well
    byte-level-bpe      where that character is not white space: the split patterns of bases/patterns.py never match
                        across it, since none of their alternatives takes a space after such a character, none
                        looks behind, and the end of the text satisfies (?!\S) as a space does

With an unknown split pattern, many pieces that cross, tokens that may cross (`cross_spaces`), or a SentencePiece-style
base that looks for a whole text among its pieces, the chunk is the whole document: slower, and just as exact. Chunks of
the byte-level family are then cut into pre-tokens by the base's own normaliser and pre-tokenizer, once per unique
chunk.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vocabopt.growth import chunk_kernel as kernel
from vocabopt.tokenizer import Base
from vocabopt.tokenizer.families import steps_of
from vocabopt.tokenizer.patterns import PATTERNS_CUT_AT_SPACES

#: More pieces of the base that hold a space after another character than this, and text is not cut at all: each place
#: is compared with those that have its character before the space.
MOST_CROSSING_PIECES = 1_000


@dataclass(frozen=True, kw_only=True)
class Cuts:
    """Where documents are cut into chunks: one of the kernel's CUT_ constants, and the base's pieces that forbid a cut
    (`chunk_kernel._is_crossed`)."""

    at: int
    crossing: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint8]]


def cuts_of(base: Base, *, cross_spaces: bool = False) -> Cuts:
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


def _takes_whole_texts(base: Base) -> bool:
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
    return (
        first["type"] == "Split"
        and first["pattern"].get("Regex") in PATTERNS_CUT_AT_SPACES
        and first["behavior"] == "Isolated"
        and not first.get("invert", False)
    )


def opening_of(base: Base, *, is_first: bool) -> int:
    """How a document, or a part of it after an added token, starts: one of the kernel's opening constants."""
    if base.prefix == "never" or (base.prefix == "first" and not is_first):
        return kernel.BARE
    return kernel.PREFIXED_UNLESS_SPACE if base.prefix_unless_space else kernel.PREFIXED

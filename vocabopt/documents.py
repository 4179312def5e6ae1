r"""Where a base tokenizer provably treats text apart: documents -> chunks -> pre-tokens.

Chunks are what is counted. Both families are cut before a run of spaces that follows another character:

    sentencepiece-bpe   where no piece of the base stands across that place in that very text, so that no merge of the
                        base crosses it, and no token that is added does (growth_kernel). Where a run of newlines
                        begins or ends, the same; where no piece holds two newlines, between them as well
    byte-level-bpe      where that character is not white space: the split patterns of bases/patterns.py never match
                        across it, since none of their alternatives takes a space after such a character, none
                        looks behind, and the end of the text satisfies (?!\S) as a space does

With an unknown split pattern, many pieces that cross, or tokens that may cross (`cross_spaces`), the chunk is the whole
document: slower, and just as exact. Chunks of the byte-level family are then cut into pre-tokens by the base's own
normaliser and pre-tokenizer, once per unique chunk.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers.pre_tokenizers import PreTokenizer

from vocabopt import chunk_kernel as kernel
from vocabopt.bases import Base
from vocabopt.bases.families import steps_of
from vocabopt.bases.patterns import PATTERNS_CUT_AT_SPACES
from vocabopt.bases.pipeline import bpe_model, counting_tokenizer
from vocabopt.bases.sentencepiece_model import SPACE_SYMBOL


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
    seam = re.compile(rb"(?<=[^ ])(?= )|(?<=[^\n])(?=\n)|(?<=\n)(?=[^\n])")
    crossing = {piece: [m.start() for m in seam.finditer(piece)] for piece in base.pieces if seam.search(piece)}
    if cross_spaces or len(crossing) > MOST_CROSSING_PIECES:
        return Cuts(at=kernel.CUT_NOWHERE, crossing=_crossing({}))
    return Cuts(at=at, crossing=_crossing(crossing))


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


class AddedTokens:
    """Finds the added tokens of tokenizer.json in text (special-token strings), as the library itself finds them.

    The library takes them out before it cuts text into words; a pre-tokenizer that only notes what it is given sees
    exactly the parts that are left, as the normaliser wrote them. Offsets play no part: post-processors trim them, and
    normalisers move them.

    needles: what a document must hold, in UTF-8, for an added token to be in it. normal_needles: the same, where the
    document is normalised first, by `normalizer`.
    """

    def __init__(self, base: Base) -> None:
        self._base = base
        tokens = [token for token in base.tokenizer_json.get("added_tokens", []) if token["content"]]
        normalizer = base.full.normalizer
        self.normalizer = None
        needles = [token["content"] for token in tokens if not token["normalized"]]
        normal = [token["content"] for token in tokens if token["normalized"]]
        if normalizer is not None:
            # The library normalises the token as well, and looks for that.
            normal = [normalizer.normalize_str(content) for content in normal]
        normal_needles: list[str] = []
        if base.family == "sentencepiece-bpe":
            # A literal ▁ is what this family writes for a space: a document that holds one is looked at in any case.
            needles.append(SPACE_SYMBOL)
            written = [content.replace(SPACE_SYMBOL, " ") for content in normal]
            # The first space may be the one that the normaliser puts before the text.
            needles += [content[1:] if _is_prepended(base) else content for content in written]
        elif normalizer is None:
            needles += normal
        elif normal:
            self.normalizer, normal_needles = normalizer, normal
        self.needles = [needle.encode() for needle in dict.fromkeys(needles)]
        self.normal_needles = [needle.encode() for needle in dict.fromkeys(normal_needles)]
        self._parts = _Parts()
        self._tokenizer = counting_tokenizer(
            base.tokenizer_json,
            pre_tokenizer=None,
            post_processor=None,
            # The model has nothing to do, but its vocabulary gives added tokens their ids.
            model=bpe_model({token["content"]: token["id"] for token in tokens}, []),
        )
        self._tokenizer.pre_tokenizer = PreTokenizer.custom(self._parts)  # type: ignore[attr-defined]

    def may_be_in(self, document: bytes) -> bool:
        """Whether the document may hold an added token, or (SentencePiece family) a literal ▁."""
        if any(needle in document for needle in self.needles):
            return True
        if self.normalizer is None:
            return False
        if not document.isascii():
            document = self.normalizer.normalize_str(document.decode()).encode()
        return any(needle in document for needle in self.normal_needles)

    def split(self, text: str) -> tuple[list[tuple[str, int]], int]:
        """Take the added tokens out of a document.

        Returns:
            The parts of the document between them, as the normaliser writes them, each with how it starts (the
            kernel's opening constants), and the number of added tokens found. In the SentencePiece family a space
            stands for ▁.
        """
        self._tokenizer.encode(text, add_special_tokens=False)
        parts: list[tuple[str, int]] = []
        n_added = 0
        for part, (start, _), tokens in self._parts.found:
            if tokens is not None:
                n_added += len(tokens)
                continue
            written = part.replace(SPACE_SYMBOL, " ") if self._base.family == "sentencepiece-bpe" else part
            # What the normaliser puts first is there already.
            is_bare = _is_prepended(self._base)
            parts.append((written, kernel.BARE if is_bare else opening_of(self._base, is_first=start == 0)))
        return parts, n_added


class _Parts:
    """A pre-tokenizer that splits nothing and notes what it was given: (part, offsets, tokens) of the last text."""

    def __init__(self) -> None:
        self.found: list[tuple[str, tuple[int, int], list[Any] | None]] = []

    def pre_tokenize(self, text: Any) -> None:
        self.found = text.get_splits(offset_referential="original", offset_type="byte")


def _is_prepended(base: Base) -> bool:
    """Whether it is the normaliser that puts a space before text."""
    return base.prefix == "always" and not base.prefix_unless_space

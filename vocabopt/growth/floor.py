"""The floor of a curve: into how many parts text is cut that no added token can join.

Where a byte-level base is grown these are the pre-tokens that its own pattern makes. In a SentencePiece-style base they
are what lies between the places that no new piece may cross (`symbols.crossings_of`): spaces and newlines after other
characters; a piece of the base that does cross one is taken as it is, and is a part of its own.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vocabopt.tokenizer import Tokenizer

#: What a symbol begins or ends with, for the kernel's CROSSING: text, a space, a newline, other white space of ASCII.
_TEXT, _SPACE, _NEWLINE, _OTHER_WHITE = 0, 1, 2, 3


def _kind_of_byte() -> NDArray[np.uint8]:
    kinds = np.full(256, _TEXT, np.uint8)
    kinds[ord(" ")], kinds[ord("\n")] = _SPACE, _NEWLINE
    kinds[[*b"\t\x0b\x0c\r"]] = _OTHER_WHITE
    return kinds


#: What each byte is to `crossings_of`, uint8 [256].
CROSSING_KINDS = _kind_of_byte()


def crossings_of(base: Tokenizer) -> NDArray[np.bool_]:
    """Between which kinds of characters no new piece may stand, bool [4, 4]."""
    crossings = np.zeros((4, 4), bool)
    if base.family == "byte-level-bpe":
        # The base's own pattern cuts; a space after text is what it may leave where it is unknown.
        crossings[_TEXT, _SPACE] = True
    else:
        crossings[[_TEXT, _NEWLINE, _OTHER_WHITE], _SPACE] = True
        crossings[[_TEXT, _SPACE, _OTHER_WHITE], _NEWLINE] = True
        crossings[_NEWLINE, [_TEXT, _OTHER_WHITE]] = True
    return crossings


@dataclass(frozen=True)
class Floor:
    """Counts the parts of encoded chunks.

    first, last: uint8 [n_tokens], what a token begins and ends with. holds: bool [n_tokens], whether it stands across
    such a place, or no merge may take it. crossings: bool [4, 4], between which kinds of characters such a place is;
    none inside a pre-token.
    """

    first: NDArray[np.uint8]
    last: NDArray[np.uint8]
    holds: NDArray[np.bool_]
    crossings: NDArray[np.bool_]

    @classmethod
    def of(cls, base: Tokenizer, *, cross_spaces: bool) -> "Floor":
        """That of a base. cross_spaces: new tokens may hold a space after another character (`cuts_of`)."""
        crossings = np.zeros((4, 4), bool)
        if base.family == "sentencepiece-bpe" and not cross_spaces:
            crossings = crossings_of(base)
        kinds, n = CROSSING_KINDS, base.n_tokens
        first, last, holds = np.zeros(n, np.uint8), np.zeros(n, np.uint8), np.zeros(n, bool)
        if crossings.any():
            for index, (piece, byte) in enumerate(zip(base.pieces, base.byte_values, strict=True)):
                text = bytes([byte]) if byte >= 0 else piece
                if text:
                    of_text = kinds[np.frombuffer(text, np.uint8)]
                    first[index], last[index] = of_text[0], of_text[-1]
                    holds[index] = crossings[of_text[:-1], of_text[1:]].any() or index in base.frozen_ids
        return cls(first, last, holds, crossings)

    def parts(self, ids: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.int64]:
        """Parts of each chunk, int64 [n_chunks]; none of one without tokens.

        Args:
            ids: tokens of the base, chunk by chunk. ends: where those of each chunk end.
        """
        has_tokens = np.diff(ends, prepend=0) > 0
        if not self.crossings.any():
            return has_tokens.astype(np.int64)
        left, right = ids[:-1], ids[1:]
        is_cut = self.crossings[self.last[left], self.first[right]] | self.holds[left] | self.holds[right]
        # Cuts before each token; those between two chunks are no cuts of a chunk.
        n_cuts = np.concatenate([[0], np.cumsum(is_cut)])
        starts = np.concatenate([[0], ends[:-1]])
        last_token = np.maximum(ends - 1, 0)
        return np.where(has_tokens, 1 + n_cuts[last_token] - n_cuts[np.minimum(starts, last_token)], 0)

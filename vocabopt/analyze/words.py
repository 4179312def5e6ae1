r"""Words and the tokens that hold them, found for millions of words at once.

A word is a run of characters that are not white space (Unicode's). Its tokens are those that hold one of its
characters or the one space (U+0020) right before it: bases that write that space into the word's first token and bases
that do not are treated alike, and a word at the beginning of the text takes the tokens made for the dummy prefix.
Other white space before a word (tabs, line breaks, more spaces) is nobody's. A word is

    whole       one token is all it has: STRR of arXiv 2510.09947, here of running text, where the paper encodes the
                words of a list
    continued   it has two or more (Rust et al., arXiv 2012.15613)
    neither     where its text is lost: an unknown token among them, or none, since a normaliser drops its characters

An eojeol is a word with a Hangul character in it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vocabopt.analyze.spans import Spans

Ints = NDArray[np.int64]

_NUL, _SPACE = 0, 0x20
_WHITE = (
    *range(0x09, 0x0E),
    _SPACE,
    0x85,
    0xA0,
    0x1680,
    *range(0x2000, 0x200B),
    0x2028,
    0x2029,
    0x202F,
    0x205F,
    0x3000,
)
_PAST_WHITE = 0x3001
#: First and last code point of the blocks of Hangul: syllables, then jamo of all kinds.
HANGUL_SYLLABLES = (0xAC00, 0xD7A3)
CONJOINING_JAMO = ((0x1100, 0x11FF), (0xA960, 0xA97C), (0xD7B0, 0xD7FB))
COMPATIBILITY_JAMO = ((0x3131, 0x318E), (0xFFA0, 0xFFDC))


@dataclass(frozen=True, kw_only=True)
class Words:
    """Words of texts joined by NUL, int64 [n_words] each: places in the joined text, and the text that each is of.

    follows_space: a space, or the beginning of its text, is right before the word.
    """

    starts: Ints
    ends: Ints
    text_of_word: Ints
    is_eojeol: NDArray[np.bool_]
    follows_space: NDArray[np.bool_]
    n_texts: int

    @property
    def n_words(self) -> int:
        return len(self.starts)


def words_of(joined: str, *, in_bytes: bool) -> Words:
    """The words of texts joined by NUL, with places in characters or in UTF-8 bytes."""
    points = code_points(joined)
    white = np.zeros(_PAST_WHITE + 1, np.bool_)
    white[[_NUL, *_WHITE]] = True
    inside = ~white[np.minimum(points, _PAST_WHITE)]
    edges = np.flatnonzero(np.diff(inside, prepend=False, append=False))
    starts, ends = edges[0::2], edges[1::2]
    n_hangul = np.concatenate([[0], np.cumsum(is_hangul(points))])
    nuls = np.flatnonzero(points == _NUL)
    before = points[np.maximum(starts - 1, 0)]
    follows_space = (starts == 0) | (before == _SPACE) | (before == _NUL)
    places = byte_places(points) if in_bytes else None
    return Words(
        starts=starts if places is None else places[starts],
        ends=ends if places is None else places[ends],
        text_of_word=np.searchsorted(nuls, starts),
        is_eojeol=n_hangul[ends] > n_hangul[starts],
        follows_space=follows_space,
        n_texts=len(nuls) + 1,
    )


def code_points(text: str) -> NDArray[np.uint32]:
    return np.frombuffer(text.encode("utf-32-le"), np.uint32)


def byte_places(points: NDArray[np.uint32]) -> Ints:
    """Where each character begins in UTF-8, and where the last one ends."""
    lengths = 1 + (points >= 0x80).astype(np.int64) + (points >= 0x800) + (points >= 0x10000)
    return np.concatenate([[0], np.cumsum(lengths)])


def is_hangul(points: NDArray[np.uint32]) -> NDArray[np.bool_]:
    """Syllables and jamo of every kind."""
    found = np.zeros(len(points), np.bool_)
    for first, last in (HANGUL_SYLLABLES, *CONJOINING_JAMO, *COMPATIBILITY_JAMO):
        found |= (points >= first) & (points <= last)
    return found


def tokens_of_words(words: Words, spans: Spans) -> tuple[Ints, Ints]:
    """The first token of each word, and how many it has; none where a normaliser drops the word."""
    # NUL and the space take one place: a token that ends behind it holds the space, or begins with the text.
    first = np.searchsorted(spans.ends, words.starts - words.follows_space, side="right")
    last = np.searchsorted(spans.starts, words.ends, side="left") - 1
    return first, np.maximum(last - first + 1, 0)

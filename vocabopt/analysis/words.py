"""Words and morphemes of a text, and the tokens that hold them, found for millions of words at once.

A word is a run of characters that are not white space (Unicode's). Its tokens are those that hold one of its
characters or the one space (U+0020) right before it: bases that write that space into the word's first token and bases
that do not are treated alike, and a word at the beginning of the text takes the tokens made for the dummy prefix.
Other white space before a word (tabs, line breaks, more spaces) is nobody's. A word is

    whole       one token is all it has: STRR of arXiv 2510.09947, here of running text, where the paper encodes the
                words of a list
    continued   it has two or more (Rust et al., arXiv 2012.15613)
    neither     where its text is lost: an unknown token among them, or none, since a normaliser drops its characters

An eojeol is a word with a Hangul character in it.

How often a token begins where a morpheme does, in Korean text, by kiwipiepy's analysis (the extra `ko`).

Only places strictly inside eojeols (words with a Hangul character) are compared, as every tokenizer cuts between words.
Both are brought to character offsets of the document:

    morpheme boundary   where a morpheme begins or ends. Morphemes fused within one syllable (하 + 였 in 했) share their
                        characters and have no boundary between them.
    token boundary      where a token begins. One that begins inside a character (its first byte continues a UTF-8
                        sequence) is a boundary of its own that never meets a morpheme's; several in one character are
                        as many boundaries.

A token boundary and a morpheme boundary meet where their offsets are equal. Two shares come of it: of the token
boundaries, those that meet a morpheme's (precision), and of the morpheme boundaries, those that a token boundary meets
(recall). A tokenizer that keeps words whole has few token boundaries, so neither share alone says which is better.

Decomposed text (conjoining jamo) is left out, since the analysis counts its characters otherwise.
"""

import functools
import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vocabopt.analysis.record import Syllables
from vocabopt.analysis.subjects import Spans, Subject
from vocabopt.errors import how_to_install

Ints = NDArray[np.int64]

_NUL, _SPACE = 0, 0x20
_WHITE = (
    *range(0x09, 0x0E), _SPACE, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000,
)  # fmt: skip
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


HOW_TO_INSTALL = f"Morphemes need kiwipiepy. {how_to_install('ko')}"


@dataclass(frozen=True, kw_only=True)
class MorphemeText:
    """Documents whose morphemes are known. joined: they, joined by NUL. boundaries: int64, sorted, places in joined."""

    documents: tuple[str, ...]
    joined: str
    words: Words
    boundaries: Ints


def load_analyser() -> Any:
    """kiwipiepy's analyser; None where it is not installed."""
    try:
        return importlib.import_module("kiwipiepy").Kiwi()
    except ImportError:
        return None


def find_morphemes(analyser: Any, documents: Sequence[str]) -> MorphemeText:
    """Split documents into morphemes."""
    conjoining = {chr(point) for first, last in CONJOINING_JAMO for point in range(first, last + 1)}
    kept = [document for document in documents if conjoining.isdisjoint(document)]
    places: set[int] = set()
    first = 0
    for document, morphemes in zip(kept, analyser.tokenize(kept) if kept else [], strict=True):
        for morpheme in morphemes:
            places |= {first + morpheme.start, first + morpheme.start + morpheme.len}
        first += len(document) + 1
    joined = "\0".join(kept)
    words = words_of(joined, in_bytes=False)
    found = np.array(sorted(places), np.int64)
    inside = found[_eojeol_at(words, found, "left")]
    return MorphemeText(documents=tuple(kept), joined=joined, words=words, boundaries=inside)


def _eojeol_at(words: Words, places: Ints, side: Literal["left", "right"]) -> NDArray[np.bool_]:
    """Whether each place is of an eojeol: strictly inside it (left), or its first character included (right)."""
    if not words.n_words:
        return np.zeros(len(places), np.bool_)
    index = np.searchsorted(words.starts, places, side=side) - 1
    at = np.maximum(index, 0)
    found: NDArray[np.bool_] = (index >= 0) & (places < words.ends[at]) & words.is_eojeol[at]
    return found


def meet(subject: Subject, text: MorphemeText) -> dict[str, int]:
    """Boundaries of the tokenizer's tokens and of morphemes, and how many are both.

    Returns:
        n_documents, n_token_boundaries, n_morpheme_boundaries, and n_met, which are both.
    """
    spans = subject.spans(text.documents)
    starts = spans.starts
    if spans.in_bytes:  # bytes as the characters they lie in
        starts = np.searchsorted(byte_places(code_points(text.joined)), starts, side="right") - 1
    begins_inside = subject.vocabulary.begins_inside[spans.ids]
    n_within = int((begins_inside & _eojeol_at(text.words, starts, "right")).sum())
    between = starts[~begins_inside]
    places = np.unique(between[_eojeol_at(text.words, between, "left")])
    return {
        "n_documents": len(text.documents),
        "n_token_boundaries": len(places) + n_within,
        "n_morpheme_boundaries": len(text.boundaries),
        "n_met": int(np.isin(places, text.boundaries, assume_unique=True).sum()),
    }


# --- Syllables ------------------------------------------------------------------------------------------------------


@functools.cache
def modern_syllables() -> tuple[str, ...]:
    """All 11,172 syllables of modern Hangul that Unicode has: 19 x 21 x 28 initial, medial and final sounds."""
    first, last = HANGUL_SYLLABLES
    return tuple(map(chr, range(first, last + 1)))


@functools.cache
def common_syllables() -> frozenset[str]:
    """The 2,350 syllables of KS X 1001, in which Korean was long written: rows 16 to 40 of the standard."""
    rows = (bytes([0xA0 + row, 0xA0 + cell]) for row in range(16, 41) for cell in range(1, 95))
    return frozenset(pair.decode("euc_kr") for pair in rows)


def syllable_coverage(subject: Subject) -> Syllables:
    """How many syllables are one token when encoded alone, without the dummy prefix, and not the unknown one."""
    syllables, common = modern_syllables(), common_syllables()
    encoder = next(iter(subject.side.bare.values()))
    unknown = set(np.flatnonzero(subject.vocabulary.is_unknown).tolist())
    rows = encoder.encode(syllables)
    whole = {text for text, ids in zip(syllables, rows, strict=True) if len(ids) == 1 and ids[0] not in unknown}
    return Syllables(
        n_common=len(common),
        n_common_whole=len(common & whole),
        n_modern=len(syllables),
        n_modern_whole=len(whole),
    )

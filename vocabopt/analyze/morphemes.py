"""How often a token begins where a morpheme does, in Korean text, by kiwipiepy's analysis (the extra `ko`).

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

import importlib
import importlib.metadata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vocabopt.analyze.subjects import Subject
from vocabopt.analyze.words import CONJOINING_JAMO, Words, byte_places, code_points, words_of
from vocabopt.errors import how_to_install

Ints = NDArray[np.int64]

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


def version() -> str | None:
    """The version of kiwipiepy, which decides what a morpheme is."""
    try:
        return importlib.metadata.version("kiwipiepy")
    except importlib.metadata.PackageNotFoundError:
        return None


def find_morphemes(analyser: Any, documents: Sequence[str]) -> MorphemeText:
    """Split documents into morphemes."""
    kept = [document for document in documents if not _is_decomposed(document)]
    places: set[int] = set()
    first = 0
    for document, morphemes in zip(kept, analyser.tokenize(kept) if kept else [], strict=True):
        for morpheme in morphemes:
            places |= {first + morpheme.start, first + morpheme.start + morpheme.len}
        first += len(document) + 1
    joined = "\0".join(kept)
    words = words_of(joined, in_bytes=False)
    found = np.array(sorted(places), np.int64)
    inside = found[_word_around(words, found) >= 0]
    return MorphemeText(documents=tuple(kept), joined=joined, words=words, boundaries=inside)


def _is_decomposed(document: str) -> bool:
    return any(first <= ord(char) <= last for char in document for first, last in CONJOINING_JAMO)


def _word_around(words: Words, places: Ints) -> Ints:
    """The eojeol that each place lies strictly inside, -1 for none."""
    if not words.n_words:
        return np.full(len(places), -1)
    index = np.searchsorted(words.starts, places, side="left") - 1
    at = np.maximum(index, 0)
    is_inside = (index >= 0) & (places < words.ends[at]) & words.is_eojeol[at]
    return np.where(is_inside, index, -1)


def meet(subject: Subject, text: MorphemeText) -> dict[str, int]:
    """Boundaries of the tokenizer's tokens and of morphemes, and how many are both.

    Returns:
        n_documents, n_token_boundaries, n_morpheme_boundaries, and n_met, which are both.
    """
    spans = subject.spans(text.documents)
    starts = _in_characters(spans.starts, text.joined) if spans.in_bytes else spans.starts
    begins_inside = subject.vocabulary.begins_inside[spans.ids]
    n_within = int((begins_inside & _in_eojeol(text.words, starts)).sum())
    between = starts[~begins_inside]
    places = np.unique(between[_word_around(text.words, between) >= 0])
    return {
        "n_documents": len(text.documents),
        "n_token_boundaries": len(places) + n_within,
        "n_morpheme_boundaries": len(text.boundaries),
        "n_met": int(np.isin(places, text.boundaries, assume_unique=True).sum()),
    }


def _in_eojeol(words: Words, places: Ints) -> NDArray[np.bool_]:
    """Whether the character at each place is of an eojeol, its first one included."""
    if not words.n_words:
        return np.zeros(len(places), np.bool_)
    index = np.searchsorted(words.starts, places, side="right") - 1
    at = np.maximum(index, 0)
    is_in: NDArray[np.bool_] = (index >= 0) & (places < words.ends[at]) & words.is_eojeol[at]
    return is_in


def _in_characters(places: Ints, joined: str) -> Ints:
    """Byte offsets as offsets of the characters they lie in."""
    return np.searchsorted(byte_places(code_points(joined)), places, side="right") - 1

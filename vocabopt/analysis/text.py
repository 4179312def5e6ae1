"""The text itself, whatever the tokenizer: what each set holds, how much of it is Hangul, and a sample of documents."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vocabopt.analysis.words import COMPATIBILITY_JAMO, CONJOINING_JAMO, HANGUL_SYLLABLES
from vocabopt.growth import chunk_kernel as kernel
from vocabopt.growth.counts import Documents
from vocabopt.text.corpus import TextSet
from vocabopt.text.documents import documents_of_sets
from vocabopt.text.readers import ReadOptions
from vocabopt.text.scripts import scripts_of_counts

#: A set is Korean where at least this share of its letters (characters of a script) is Hangul.
MIN_HANGUL_SHARE = 0.1
#: Longer documents (characters) are left out of the sample, so that its size bounds the work.
MAX_SAMPLED_CHARS = 2_000
_NO_BYTES = np.zeros(1 << 16, np.bool_)


@dataclass
class SetText:
    """What a text set holds.

    Words: runs of characters that are not white space (Unicode's). n_syllables: Hangul syllables, one code point each.
    n_jamo: compatibility and halfwidth jamo, letters that stand alone (ㅋㅋ). n_conjoining: conjoining jamo, of which
    decomposed text (NFD) spells its syllables. sample: documents with the smallest content hashes.
    """

    n_documents: int = 0
    n_blank: int = 0
    n_skipped: int = 0
    n_words: int = 0
    n_chars: int = 0
    n_bytes: int = 0
    n_letters: int = 0
    n_syllables: int = 0
    n_jamo: int = 0
    n_conjoining: int = 0
    sample: list[tuple[int, str]] = field(default_factory=list)

    @property
    def n_hangul(self) -> int:
        return self.n_syllables + self.n_jamo + self.n_conjoining

    @property
    def is_korean(self) -> bool:
        return self.n_hangul > 0 and self.n_hangul >= MIN_HANGUL_SHARE * self.n_letters

    @property
    def documents(self) -> list[str]:
        """The sample's documents, in the order of their hashes."""
        return [document for _, document in self.sample]

    def as_record(self) -> dict[str, Any]:
        names = ("n_documents", "n_blank", "n_skipped", "n_words", "n_chars", "n_bytes", "is_korean")
        hangul = ("n_hangul", "n_syllables", "n_jamo", "n_conjoining")
        return {name: getattr(self, name) for name in (*names, *hangul)} | {
            "share_jamo": share(self.n_jamo, self.n_hangul),
            "share_nfd": share(self.n_conjoining, self.n_hangul),
        }


def share(part: int | None, whole: int | None) -> float | None:
    """part / whole; None where either is unknown or there is no whole."""
    return part / whole if part is not None and whole else None


def read_texts(
    text_sets: tuple[TextSet, ...], options: ReadOptions, *, n_sampled: int, advance: Callable[[int], None]
) -> dict[str, SetText]:
    """Look at all text once, for what no tokenizer changes; by the set's name.

    Args:
        n_sampled: documents to keep of each set.
        advance: told the stored bytes of each block read, for a progress bar.

    Raises:
        CorpusError: a document cannot be read.
    """
    texts = {text_set.name: SetText() for text_set in text_sets}
    char_counts = {name: np.zeros(0x110000, np.int64) for name in texts}
    for block in documents_of_sets(text_sets, options):
        text = texts[block.text_set]
        text.n_blank += block.n_blank
        text.n_skipped += block.n_skipped
        if len(block.ends):
            _look(block, text, char_counts[block.text_set], n_sampled)
        advance(block.n_stored_bytes)
    for name, text in texts.items():
        _count_letters(text, char_counts[name])
    return texts


def _look(block: Documents, text: SetText, char_counts: NDArray[np.int64], n_sampled: int) -> None:
    data = np.frombuffer(block.data, np.uint8)
    hashes, n_chars, _ = kernel.scan_documents(data, block.starts, block.ends, np.uint64(0), _NO_BYTES)
    # The kernels are compiled for text that can be written.
    copied, ones = data.copy(), np.ones(len(block.ends), np.int64)
    text.n_documents += len(block.ends)
    text.n_bytes += int((block.ends - block.starts).sum())
    text.n_chars += int(n_chars.sum())
    text.n_words += int(kernel.count_words(copied, block.ends).sum())
    char_counts += kernel.count_code_points(copied, block.ends, ones)
    short = np.flatnonzero(n_chars <= MAX_SAMPLED_CHARS)
    chosen = short[np.argsort(hashes[short], kind="stable")[:n_sampled]]
    found = [(int(hashes[i]), block.data[block.starts[i] : block.ends[i]].decode()) for i in chosen]
    text.sample = sorted([*text.sample, *found])[:n_sampled]


def _count_letters(text: SetText, char_counts: NDArray[np.int64]) -> None:
    present = np.flatnonzero(char_counts)
    text.n_letters = sum(scripts_of_counts({chr(point): int(char_counts[point]) for point in present}).values())
    text.n_syllables = _within(char_counts, HANGUL_SYLLABLES)
    text.n_jamo = sum(_within(char_counts, block) for block in COMPATIBILITY_JAMO)
    text.n_conjoining = sum(_within(char_counts, block) for block in CONJOINING_JAMO)


def _within(char_counts: NDArray[np.int64], block: tuple[int, int]) -> int:
    return int(char_counts[block[0] : block[1] + 1].sum())

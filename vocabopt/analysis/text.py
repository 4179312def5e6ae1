"""The text itself, whatever the tokenizer: what each set holds, how much of it is Hangul, and a sample of documents."""

from collections import Counter
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from vocabopt.analysis.record import TextNumbers, share
from vocabopt.analysis.words import COMPATIBILITY_JAMO, CONJOINING_JAMO, HANGUL_SYLLABLES
from vocabopt.growth import chunk_kernel as kernel
from vocabopt.text.corpus import TextSet
from vocabopt.text.documents import documents_of_sets
from vocabopt.text.readers import ReadOptions
from vocabopt.text.scripts import scripts_of_counts

#: A set is Korean where at least this share of its letters (characters of a script) is Hangul.
MIN_HANGUL_SHARE = 0.1
#: Longer documents (characters) are left out of the sample, so that its size bounds the work.
MAX_SAMPLED_CHARS = 2_000


def read_texts(
    text_sets: tuple[TextSet, ...], options: ReadOptions, *, n_sampled: int, advance: Callable[[int], None]
) -> list[tuple[TextNumbers, list[str]]]:
    """Look at all text once, for what no tokenizer changes: of each set what it holds, and a sample of its documents,
    those with the smallest content hashes.

    Args:
        n_sampled: documents to keep of each set.
        advance: told the stored bytes of each block read, for a progress bar.

    Raises:
        CorpusError: a document cannot be read.
    """
    names = [text_set.name for text_set in text_sets]
    totals: dict[str, Counter[str]] = {name: Counter() for name in names}
    samples: dict[str, list[tuple[int, str]]] = {name: [] for name in names}
    char_counts = {name: np.zeros(0x110000, np.int64) for name in names}
    no_bytes = np.zeros(1 << 16, np.bool_)
    for block in documents_of_sets(text_sets, options):
        name, total, n = block.text_set, totals[block.text_set], len(block.ends)
        total.update(n_documents=n, n_blank=block.n_blank, n_skipped=block.n_skipped)
        if n:
            data = np.frombuffer(block.data, np.uint8)
            hashes, n_chars, _ = kernel.scan_documents(data, block.starts, block.ends, np.uint64(0), no_bytes)
            copied = data.copy()  # the kernels are compiled for text that can be written
            total["n_bytes"] += int((block.ends - block.starts).sum())
            total["n_chars"] += int(n_chars.sum())
            total["n_words"] += int(kernel.count_words(copied, block.ends).sum())
            char_counts[name] += kernel.count_code_points(copied, block.ends, np.ones(n, np.int64))
            short = np.flatnonzero(n_chars <= MAX_SAMPLED_CHARS)
            chosen = short[np.argsort(hashes[short], kind="stable")[:n_sampled]]
            found = [(int(hashes[i]), block.data[block.starts[i] : block.ends[i]].decode()) for i in chosen]
            samples[name] = sorted([*samples[name], *found])[:n_sampled]
        advance(block.n_stored_bytes)
    return [
        (_text_numbers(totals[name], char_counts[name]), [document for _, document in samples[name]]) for name in names
    ]


def _text_numbers(total: Counter[str], char_counts: NDArray[np.int64]) -> TextNumbers:
    def within(*blocks: tuple[int, int]) -> int:
        return sum(int(char_counts[first : last + 1].sum()) for first, last in blocks)

    n_syllables, n_jamo, n_conjoining = within(HANGUL_SYLLABLES), within(*COMPATIBILITY_JAMO), within(*CONJOINING_JAMO)
    n_hangul = n_syllables + n_jamo + n_conjoining
    present = {chr(point): int(char_counts[point]) for point in np.flatnonzero(char_counts)}
    n_letters = sum(scripts_of_counts(present).values())
    names = ("n_documents", "n_blank", "n_skipped", "n_words", "n_chars", "n_bytes")
    return TextNumbers(
        **{name: total[name] for name in names},
        is_korean=n_hangul > 0 and n_hangul >= MIN_HANGUL_SHARE * n_letters,
        n_hangul=n_hangul,
        n_syllables=n_syllables,
        n_jamo=n_jamo,
        n_conjoining=n_conjoining,
        share_jamo=share(n_jamo, n_hangul),
        share_nfd=share(n_conjoining, n_hangul),
    )

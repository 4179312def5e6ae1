"""Korean syllables that a vocabulary holds whole."""

import functools
from typing import Any

import numpy as np

from vocabopt.analyze.subjects import Subject
from vocabopt.analyze.words import HANGUL_SYLLABLES


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


def syllable_coverage(subject: Subject) -> dict[str, Any]:
    """How many syllables are one token when encoded alone, without the dummy prefix, and not the unknown one.

    Returns:
        n_common, n_common_whole: of KS X 1001; n_modern, n_modern_whole: of Unicode's.
    """
    syllables = modern_syllables()
    encoder = next(iter(subject.side.bare.values()))
    unknown = set(np.flatnonzero(subject.vocabulary.is_unknown).tolist())
    rows = encoder.encode(syllables)
    whole = {text for text, ids in zip(syllables, rows, strict=True) if len(ids) == 1 and ids[0] not in unknown}
    common = common_syllables()
    return {
        "n_common": len(common),
        "n_common_whole": len(common & whole),
        "n_modern": len(syllables),
        "n_modern_whole": len(whole),
    }

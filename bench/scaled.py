"""Several times a text: the text and copies in which a tenth of the words have one Hangul syllable changed.

Plain copies would add no unique chunk, and so cost the growth pass nothing; changed ones grow like new text.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

N_COPIES = 4
SHARE_OF_WORDS = 0.1
_BLOCK_BYTES = 16 << 20
_FIRST, _LAST = ord("가"), ord("힣")


def write_scaled(source: Path, target: Path, *, n_copies: int = N_COPIES, seed: int = 0) -> None:
    """Write `source` and its changed copies to `target`; same seed, same bytes.

    `python -m bench.scaled SOURCE TARGET N` writes N copies.
    """
    partial = target.with_suffix(".partial")
    rng = np.random.default_rng(seed)
    with partial.open("wb") as out:
        for copy in range(n_copies + 1):
            for block in _blocks(source):
                out.write(block if copy == 0 else changed(block, rng))
    partial.replace(target)


def _blocks(path: Path) -> Iterator[bytes]:
    """Whole lines, so that no word or character is cut."""
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            yield block + file.readline()


def changed(block: bytes, rng: np.random.Generator) -> bytes:
    """`block` (UTF-8) with one Hangul syllable replaced in a tenth of its words, by one of the block's own syllables.

    Syllables come from the block so that the copy stays text of the same kind: characters as frequent as before,
    words mostly new. A tenth of the words that hold Hangul; words end at ASCII white space.
    """
    data = np.frombuffer(block, np.uint8).copy()
    at, code_points = _syllables(data)
    if not len(at):
        return block
    white = (data == 0x20) | ((data >= 0x09) & (data <= 0x0D))
    word = np.cumsum(white)[at]
    first = np.flatnonzero(np.concatenate([[True], word[1:] != word[:-1]]))
    n_syllables = np.diff(np.append(first, len(word)))
    picked = rng.random(len(first)) < SHARE_OF_WORDS
    place = first[picked] + (rng.random(picked.sum()) * n_syllables[picked]).astype(np.int64)
    drawn = code_points[rng.integers(len(code_points), size=len(place))]
    same = drawn == code_points[place]
    drawn[same] = np.where(drawn[same] == _LAST, _FIRST, drawn[same] + 1)
    data[at[place]] = 0xE0 | drawn >> 12
    data[at[place] + 1] = 0x80 | drawn >> 6 & 0x3F
    data[at[place] + 2] = 0x80 | drawn & 0x3F
    return data.tobytes()


def _syllables(data: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Where Hangul syllables (U+AC00 to U+D7A3, three bytes each) begin, and which they are."""
    at = np.flatnonzero((data >= 0xEA) & (data <= 0xED))
    lead, middle, last = (data[at + i].astype(np.int32) for i in range(3))
    code_points = (lead & 0xF) << 12 | (middle & 0x3F) << 6 | (last & 0x3F)
    is_syllable = (code_points >= _FIRST) & (code_points <= _LAST)
    return at[is_syllable], code_points[is_syllable]


if __name__ == "__main__":
    write_scaled(Path(sys.argv[1]), Path(sys.argv[2]), n_copies=int(sys.argv[3]))

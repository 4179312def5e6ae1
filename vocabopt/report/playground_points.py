"""Which code points `tokenizers` takes for what, asked of the library itself.

Its regular expressions (Oniguruma), its Rust functions and its normalisers come with Unicode versions of their own,
none of them the browser's. So the playground carries the answers, and no table here can go stale.

A set of code points is a boolean array over `POINTS`: planes 0 to 3 and 14 to 16, and U+40000 in place of planes 4 to
13, to which Unicode has assigned nothing. The tests ask of every code point.
"""

import functools
import json
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers

_UNASSIGNED = (0x40000, 0xE0000)
_SURROGATES = (0xD800, 0xE000)
#: Combining marks of the lowest and of a high class that no character is composed with.
_LOW_MARK, _HIGH_MARK = "\u0334", "\u0315"


@functools.cache
def points() -> NDArray[np.uint32]:
    """The code points asked about, in order."""
    first, last = _UNASSIGNED
    every = [range(_SURROGATES[0]), range(_SURROGATES[1], first + 1), range(last, 0x110000)]
    return np.concatenate([np.arange(part.start, part.stop, dtype=np.uint32) for part in every])


@functools.cache
def _text() -> str:
    return points().tobytes().decode("utf-32-le")


def _members(text: str) -> NDArray[np.bool_]:
    return np.isin(points(), np.frombuffer(text.encode("utf-32-le"), np.uint32), assume_unique=True)


@functools.cache
def matched_by(pattern: str) -> NDArray[np.bool_]:
    """The code points that a pattern for single characters matches, as a split pattern of tokenizer.json.

    Raises:
        ValueError: the pattern cannot be compiled.
    """
    try:
        compiled = Regex(f"(?:{pattern})+")
    except Exception as error:  # the binding raises plain Exception
        raise ValueError(str(error)) from error
    return ~_members(normalizers.Replace(compiled, "").normalize_str(_text()))


@functools.cache
def split_off_by(step: str) -> NDArray[np.bool_]:
    """The code points that a pre-tokenizer, given as JSON, takes for separators; it must keep runs of them whole."""
    splitter = _tokenizer(pre_tokenizer=json.loads(step)).pre_tokenizer
    members = np.zeros(len(points()), bool)
    # U+0000 is none, and the two kinds alternate.
    for _, (start, end) in splitter.pre_tokenize_str(_text())[1::2]:
        members[start:end] = True
    return members


@functools.cache
def active_in(form: str) -> NDArray[np.bool_]:
    """The code points that a Unicode normal form decomposes, reorders or composes with others.

    All others stand apart from their neighbours. A browser of a newer Unicode normalises more characters; those active
    here it treats as the library does, since normal forms of assigned characters never change.
    """
    decompose = _tokenizer(normalizer={"type": "NFKD" if "K" in form else "NFD"}).normalizer.normalize_str
    # A character of a combining class lets the low mark pass it, to its place before the high one.
    cases = [f"{_HIGH_MARK}{char}{_LOW_MARK}" for char in _text() if char != "\n"]
    found = decompose("\n".join(cases)).split("\n")
    changed = [(case[1], after) for case, after in zip(cases, found, strict=True) if case != after]
    composed = {char for _, after in changed for char in after}
    return _members("".join(sorted(composed.union(char for char, _ in changed))))


def white_space() -> NDArray[np.bool_]:
    """The code points that `lstrip` and `rstrip` of an added token take: Unicode's White_Space, as in patterns."""
    return matched_by(r"\s")


@functools.cache
def word_characters() -> NDArray[np.bool_]:
    """The code points beside which an added token with `single_word` does not stand. Takes seconds."""
    tokenizer = _tokenizer(model=json.loads(Tokenizer(models.BPE({"@": 0}, [])).to_str())["model"])
    tokenizer.add_tokens([AddedToken("@@", single_word=True, normalized=False)])
    encodings = tokenizer.encode_batch_fast([f"@@{char}" for char in _text()])
    return np.asarray([encoding.ids == [0, 0] for encoding in encodings])


def _tokenizer(**parts: Any) -> Tokenizer:
    plain = json.loads(Tokenizer(models.BPE()).to_str())
    return Tokenizer.from_str(json.dumps({**plain, **parts}))


def runs_of(keys: NDArray[Any]) -> tuple[list[int], list[int]]:
    """Runs of code points with an equal key: where each starts, less where the one before does, and its class.

    Classes are numbered in the order of the runs in which they first occur.
    """
    first = np.concatenate([[0], np.flatnonzero(keys[1:] != keys[:-1]) + 1])
    numbers: dict[int, int] = {}
    classes = [numbers.setdefault(key, len(numbers)) for key in keys[first].tolist()]
    starts = points()[first].astype(np.int64)
    return np.diff(starts, prepend=0).tolist(), classes


def partition(sets: list[NDArray[np.bool_]]) -> tuple[tuple[list[int], list[int]], list[list[int]]]:
    """The coarsest classes of code points of which every set is a union: their runs, and the classes of each set."""
    keys = np.zeros(len(points()), np.uint64)
    assert len(sets) <= 64
    for bit, members in enumerate(sets):
        keys |= members.astype(np.uint64) << np.uint64(bit)
    starts, classes = runs_of(keys)
    n_classes = max(classes) + 1
    where = np.searchsorted(points(), np.cumsum(starts))
    representative = [int(where[classes.index(number)]) for number in range(n_classes)]
    return (starts, classes), [[c for c, point in enumerate(representative) if members[point]] for members in sets]

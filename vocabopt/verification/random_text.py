"""Random strings of Unicode, to compare what two tokenizers decode, and what the forms of one give."""

from collections.abc import Iterator

import numpy as np

_MOST_CHARS = 24
_N_AT_ONCE = 20_000
#: First and last code point, and how often characters come from between: plain text, then scripts, then everything.
_RANGES = (
    (0x20, 0x7E, 4),
    (0x09, 0x0D, 1),
    (0x80, 0x24F, 2),
    (0x370, 0x1FFF, 2),
    (0x2000, 0x206F, 1),
    (0x3000, 0x9FFF, 2),
    (0xAC00, 0xD7A3, 2),
    (0xD7B0, 0xD7FF, 1),
    (0xE000, 0xFFFF, 1),
    (0x1F000, 0x1FAFF, 1),
    (0x10000, 0x10FFFF, 1),
)


def random_strings(n: int, seed: int = 0) -> Iterator[list[str]]:
    """`n` strings of 1 to 24 characters, in batches; the same for the same seed."""
    generator = np.random.default_rng(seed)
    first, last, share = (np.array(column) for column in zip(*_RANGES, strict=True))
    for done in range(0, n, _N_AT_ONCE):
        ends = np.cumsum(generator.integers(1, _MOST_CHARS, min(_N_AT_ONCE, n - done), endpoint=True) + 1)
        # A few of the ranges in each string, as text has it.
        n_strings, lengths = len(ends), np.diff(ends, prepend=0)
        of_string = generator.choice(len(share), (n_strings, 3), p=share / share.sum())
        kind = of_string[np.repeat(np.arange(n_strings), lengths), generator.integers(0, 3, ends[-1])]
        codes = generator.integers(first[kind], last[kind], endpoint=True).astype(np.uint32)
        codes[ends - 1] = 0
        yield codes.tobytes().decode("utf-32-le").split("\0")[:-1]

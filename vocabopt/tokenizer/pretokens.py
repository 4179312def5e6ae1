"""Chunks -> pre-tokens of a byte-level base: what its normaliser and its pre-tokenizer make of them.

`tokenizers` cuts a chunk at a time, which takes longer than all other work on counted text. So where the pre-tokenizer
consists of patterns that `split_patterns` can read, Python's `re` cuts many chunks in one search, over the classes of
their characters. A NUL stands between chunks: it is in no class, so that no match crosses it, and a lookahead finds
there what it finds at the end of a text. Other pre-tokenizers are left to the library.
"""

import re
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import polars as pl
import tokenizers
from numpy.typing import NDArray

from vocabopt.errors import PlaygroundError
from vocabopt.tokenizer.families import steps_of
from vocabopt.tokenizer.patterns import GPT2_PATTERN
from vocabopt.tokenizer.split_patterns import FIRST_SYMBOL, Pattern, literal, parse, partition
from vocabopt.tokenizer.tokenizer import Tokenizer
from vocabopt.tokenizer.tokenizer_json import split_step, without_model

#: As many sets of characters as `partition` tells apart.
_MOST_SETS = 64


@dataclass(frozen=True)
class Pretokenizer:
    """Cuts chunks of text into the (normalised) pre-tokens of a byte-level base: as text, or where cuts may fall inside
    characters (`Tokenizer.cuts_bytes`) as tokenizer.json spells their bytes.

    normalizer: None where it changes nothing. splitter: the library's. searches: the same as patterns over symbols, one
    a step; None where it cannot be written so. symbols: uint16 [0x110000], of each code point, 0 of NUL.
    """

    normalizer: tokenizers.normalizers.Normalizer | None
    splitter: tokenizers.pre_tokenizers.PreTokenizer
    searches: tuple[re.Pattern[str], ...] | None
    symbols: NDArray[np.uint16]

    @classmethod
    def of(cls, base: Tokenizer) -> "Pretokenizer":
        steps = _steps(base)
        splitter = without_model(base.chunk_json, pre_tokenizer={"type": "Sequence", "pretokenizers": steps})
        has_normalizer = bool(steps_of(base.tokenizer_json.get("normalizer"), "normalizers"))
        normalizer = base.full.normalizer if has_normalizer else None
        return cls(normalizer, splitter.pre_tokenizer, *_searches(steps))

    def cut(self, chunks: str) -> tuple[pl.Series, NDArray[np.int64]]:
        """Cut chunks, which NUL separates.

        Returns:
            The pre-tokens in order; and the number of the chunk that each comes from, from 0.
        """
        if self.normalizer is not None:
            # No character is composed with NUL or passes it: each chunk is normalised by itself.
            chunks = self.normalizer.normalize_str(chunks)
        if self.searches is None:
            rows = [[piece for piece, _ in self.splitter.pre_tokenize_str(chunk)] for chunk in chunks.split("\0")]
            pieces = pl.Series("piece", list(chain.from_iterable(rows)), dtype=pl.String)
            return pieces, np.repeat(np.arange(len(rows)), [len(row) for row in rows])
        points = np.frombuffer(chunks.encode("utf-32-le"), np.uint32)
        begins = self._begins(points, self.searches)
        places = np.flatnonzero(begins)
        # A NUL before each pre-token that has none before it.
        apart = places[1:][points[places[1:] - 1] != 0]
        joined = np.insert(points, apart, 0).tobytes().decode("utf-32-le")
        pieces = pl.Series("piece", [joined], dtype=pl.String).str.split("\0").explode()
        return pieces, np.cumsum(points == 0)[places]

    def _begins(self, points: NDArray[np.uint32], searches: tuple[re.Pattern[str], ...]) -> NDArray[np.bool_]:
        """Whether a pre-token begins at each code point, bool [n]."""
        symbols = self.symbols[points]
        is_text = points != 0
        begins: NDArray[np.bool_] = is_text.copy()
        begins[1:] &= ~is_text[:-1]
        for search in searches:
            # Each part that earlier steps made is a text of its own: a NUL is put before it.
            places = np.flatnonzero(begins)
            text = np.insert(symbols, places, 0).tobytes().decode("utf-16-le")
            spans = np.fromiter(chain.from_iterable(map(re.Match.span, search.finditer(text))), np.int64)
            first, last = spans[::2], spans[1::2] - 1
            # Where a symbol stood before: less the NULs put before it.
            at = places + np.arange(len(places))
            begins[first - np.searchsorted(at, first)] = True
            after = last - np.searchsorted(at, last) + 1
            after = after[after < len(points)]
            begins[after[is_text[after]]] = True
        return begins


def _steps(base: Tokenizer) -> list[dict[str, Any]]:
    """The steps of the pre-tokenizer; a ByteLevel step at the end only cuts, and does not spell bytes in characters."""
    steps = steps_of(base.tokenizer_json["pre_tokenizer"], "pretokenizers")
    splits = [{**step, "add_prefix_space": False} if step["type"] == "ByteLevel" else step for step in steps]
    if not base.cuts_bytes and splits.pop().get("use_regex", True):
        splits.append(split_step(GPT2_PATTERN))
    return splits


def _searches(steps: list[dict[str, Any]]) -> tuple[tuple[re.Pattern[str], ...] | None, NDArray[np.uint16]]:
    """The steps as patterns over symbols, or None; and the symbol of each code point."""
    nothing = np.zeros(0, np.uint16)
    try:
        patterns = [_pattern(step) for step in steps]
    except PlaygroundError:
        return None, nothing
    ones = list(dict.fromkeys(one for pattern in patterns for one in pattern.ones))
    if len(ones) > _MOST_SETS:
        return None, nothing
    (starts, numbers), classes = partition([one.members() for one in ones])
    lengths = np.diff([*np.cumsum(starts), 0x110000])
    symbols = np.repeat(np.array(numbers, np.uint16) + np.uint16(FIRST_SYMBOL), lengths)
    symbols[0] = 0
    classes_of = dict(zip(ones, classes, strict=True))
    return tuple(pattern.in_python(classes_of.__getitem__) for pattern in patterns), symbols


def _pattern(step: dict[str, Any]) -> Pattern:
    """Raises PlaygroundError: it is no pattern that cuts before and behind each match, or one that is not known."""
    if step["type"] != "Split" or step["behavior"] != "Isolated" or step.get("invert", False):
        raise PlaygroundError(f"{step['type']} is not a split at the matches of a pattern.")
    pattern = parse(step["pattern"]["Regex"]) if "Regex" in step["pattern"] else literal(step["pattern"]["String"])
    if pattern.sees_start:
        raise PlaygroundError("The pattern asks where a text begins.")
    return pattern

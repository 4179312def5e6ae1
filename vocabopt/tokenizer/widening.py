r"""A base whose split pattern is widened: words of a script keep their marks.

GPT-2, Llama 3 and Qwen cut at every combining mark, so that no added token could hold a word of Hindi or Thai. A
widened pattern matches what the base's own matches; and where a match ends between a letter and a mark of the script
(or two marks), it goes on with the next:

    (?:PATTERN)(?:(?:(?<=LETTER OR MARK)(?=MARK)|(?<=MARK)(?=LETTER OR MARK))(?:PATTERN))*

So cuts are only taken away, and only inside words of the script; every other cut is where the base has it, beside such
words too. A text without a character of the script is cut exactly as before, since one of the two characters at a cut
that is taken away is always of the script. Whatever a base's pattern puts before a word (a space) or behind its last
mark (a full stop) stays with it.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from vocabopt.errors import OptionError
from vocabopt.text.scripts import serving_mask, target_mask
from vocabopt.tokenizer.families import steps_of
from vocabopt.tokenizer.patterns import GPT2_PATTERN
from vocabopt.tokenizer.split_patterns import matched_by, points
from vocabopt.tokenizer.tokenizer import Tokenizer
from vocabopt.tokenizer.tokenizer_json import split_step, without_model

#: Zero-width non-joiner and joiner, which stand inside words of Indic and Arabic script.
_JOINERS = "\u200c\u200d"
_WIDENED = re.compile(
    r"\(\?:(?P<own>.*)\)\(\?:\(\?:\(\?<=\[(?P<word>[^\]]+)\]\)\(\?=\[(?P<mark>[^\]]+)\]\)"
    r"\|\(\?<=\[(?P=mark)\]\)\(\?=\[(?P=word)\]\)\)\(\?:(?P=own)\)\)\*",
    re.DOTALL,
)


def widened_pattern(pattern: str, scripts: tuple[str, ...]) -> str:
    """A split pattern that keeps words of these scripts together with their marks; code points as all programs that
    know split patterns write them."""
    word, mark = (f"[{_written(members)}]" for members in letters_and_marks(scripts))
    between = f"(?:(?<={word})(?={mark})|(?<={mark})(?={word}))"
    return f"(?:{pattern})(?:{between}(?:{pattern}))*"


def own_pattern(pattern: str) -> str | None:
    """The pattern that a widened one was made of; None for any other."""
    found = _WIDENED.fullmatch(pattern)
    return None if found is None else found["own"]


@cache
def letters_and_marks(scripts: tuple[str, ...]) -> tuple[str, str]:
    """Letters and marks of the scripts; and the marks that stand in their words, shared ones and joiners included.

    What a letter or a mark is, is asked of the library that matches split patterns.
    """
    every = points()
    is_mark, is_target = matched_by(r"\p{M}"), target_mask(scripts)[every]
    word = every[is_target & (is_mark | matched_by(r"\p{L}"))]
    mark = every[is_mark & serving_mask(scripts)[every]]
    chars = "".join(map(chr, mark.tolist())) + _JOINERS
    return "".join(map(chr, word.tolist())), "".join(sorted(set(chars)))


def _written(chars: str) -> str:
    """Characters as what stands in the brackets of a regular expression: ranges, above U+FFFF as they are."""
    codes = np.array([ord(char) for char in chars])
    starts = np.flatnonzero(np.diff(codes, prepend=-2) != 1)
    ends = np.append(starts[1:], len(codes)) - 1

    def one(code: int) -> str:
        return rf"\u{code:04X}" if code <= 0xFFFF else chr(code)

    ranges = [(int(codes[start]), int(codes[end])) for start, end in zip(starts, ends, strict=True)]
    return "".join(one(low) if low == high else f"{one(low)}-{one(high)}" for low, high in ranges)


# --- A base with another pattern --------------------------------------------------------------------------------------


def pattern_to_widen(base: Tokenizer) -> str:
    """The pattern by which a base cuts words.

    Raises:
        OptionError: it has none, or one that cannot be widened.
    """
    if base.family != "byte-level-bpe":
        raise OptionError(
            f"--widen-pattern: {base.name} has no split pattern to widen: SentencePiece-style bases cut at spaces and "
            "newlines alone, and never at marks. Leave it out."
        )
    steps, refused = steps_of(base.tokenizer_json["pre_tokenizer"], "pretokenizers"), f"{base.name}: its pre-tokenizer"
    step = steps[_place(steps)]
    if base.cuts_bytes:
        raise OptionError(f"--widen-pattern: {refused} cuts bytes and not characters. Leave it out.")
    if step["type"] == "ByteLevel":
        if not step.get("use_regex", True):
            raise OptionError(f"--widen-pattern: {refused} cuts by no regular expression. Leave it out.")
        if step.get("add_prefix_space"):
            raise OptionError(
                f"--widen-pattern: {refused} adds a space before text, which only its own pattern allows. Leave it out."
            )
        return GPT2_PATTERN
    own = step["pattern"].get("Regex") if step["type"] == "Split" else None
    is_kept = step.get("behavior") == ("Removed" if step.get("invert") else "Isolated")
    # A part that is written twice must mean the same in both places.
    if own is None or not is_kept or re.search(r"\\[1-9kg]|\(\?<[A-Za-z]", own):
        shown = own or json.dumps(step)
        raise OptionError(f"--widen-pattern: {refused} cuts last by {shown!r}, which cannot be widened. Leave it out.")
    return str(own)


def _place(steps: Sequence[Mapping[str, Any]]) -> int:
    """Which step cuts words: the last before bytes are written in characters, or the one that does both."""
    at = next(index for index, step in enumerate(steps) if step["type"] == "ByteLevel")
    return at if at == 0 or steps[at].get("use_regex", True) else at - 1


def with_pattern(base: Tokenizer, pattern: str) -> Tokenizer:
    """The base with another pattern in place of that of `pattern_to_widen`."""
    steps = steps_of(base.tokenizer_json["pre_tokenizer"], "pretokenizers")
    at = _place(steps)
    if steps[at]["type"] == "ByteLevel":
        new = [split_step(pattern), {**steps[at], "use_regex": False}]
    else:
        new = [{**steps[at], "pattern": {"Regex": pattern}}]
    pre_tokenizer = {"type": "Sequence", "pretokenizers": [*steps[:at], *new, *steps[at + 1 :]]}
    return replace(base, tokenizer_json={**base.tokenizer_json, "pre_tokenizer": pre_tokenizer})


def scripts_cut_at_marks(base: Tokenizer, scripts: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the scripts whose words the base cuts at marks: between a letter and a mark of the script, anywhere."""
    splitter = without_model(base.tokenizer_json).pre_tokenizer
    found = []
    for script in scripts:
        word, mark = letters_and_marks((script,))
        own_marks = sorted(set(word) & set(mark))
        letter = next((char for char in word if char not in mark), None)
        if letter and any(len(splitter.pre_tokenize_str(f"{letter}{char}{letter}")) > 1 for char in own_marks):
            found.append(script)
    return tuple(found)


def check_widened(base: Tokenizer, widened: Tokenizer, texts: Sequence[str]) -> str | None:
    """The first of the texts that a base and its widened form cut otherwise, or None."""
    before, after = (without_model(one.tokenizer_json).pre_tokenizer for one in (base, widened))
    return next((text for text in texts if before.pre_tokenize_str(text) != after.pre_tokenize_str(text)), None)

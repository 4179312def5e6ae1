"""The check of a split pattern that was widened on purpose: cuts are taken away where it says, and nowhere else.

The `tokenizers` library cuts text with both pre-tokenizers. Text without a character of the scripts must be cut alike;
in other text exactly the cuts between a letter and a mark of the scripts, or two marks, must be gone.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from vocabopt.text.scripts import contains_target, target_mask
from vocabopt.tokenizer.split_patterns import matched_by, points
from vocabopt.tokenizer.tokenizer_json import without_model
from vocabopt.tokenizer.widening import letters_and_marks
from vocabopt.verification.checks import Findings
from vocabopt.verification.pair import Pair, shown
from vocabopt.verification.record import Check
from vocabopt.verification.text import Batch

WIDENING = "The split pattern is widened, and only in words of its scripts"

#: Random strings without a character of the scripts, and with some; characters of each at most.
N_OTHER, N_TARGET, N_CHARS = 1_000_000, 100_000, 12
_BATCH = 20_000
#: What beside a word decides how a pattern cuts: quotes, contractions, signs, white space, joiners.
_ASCII = "".join(map(chr, range(0x20, 0x7F))) + "\t\n\r'sS'tT'llve  \u00a0\u2019\u200b\u200c\u200d\u3000"


@dataclass
class WideningPass:
    """Compares the cuts in all text; does nothing where no pattern was widened."""

    pair: Pair
    found: Findings = field(default_factory=Findings)
    n_other: int = 0
    n_target: int = 0

    @cached_property
    def _splitters(self) -> tuple[object, object]:
        base, new = (without_model(side.tokenizer_json).pre_tokenizer for side in (self.pair.base, self.pair.new))
        return base, new

    @cached_property
    def _word_and_mark(self) -> tuple[frozenset[str], frozenset[str]]:
        widened = self.pair.widened
        assert widened is not None
        word, mark = letters_and_marks(widened.scripts)
        return frozenset(word), frozenset(mark)

    def see(self, batch: Batch) -> None:
        if self.pair.widened is not None:
            for text in batch.documents:
                self._compare(text, batch.name)

    def check(self) -> Check | None:
        """What was found in the text, and in random strings; None where no pattern was widened."""
        if (widened := self.pair.widened) is None:
            return None
        n_lines = self.n_other + self.n_target
        for text in random_texts(widened.scripts, N_OTHER, has_target=False):
            self._compare(text, "random")
        for text in random_texts(widened.scripts, N_TARGET, has_target=True):
            self._compare(text, "random")
        scripts = ", ".join(widened.scripts)
        summary = (
            f"widened for {scripts}, on purpose: {self.found.n_wrong:,} of {self.n_other:,} texts without it and of "
            f"{self.n_target:,} with it are cut otherwise than it says ({n_lines:,} lines, the others random)"
        )
        counts = {"n_other": self.n_other, "n_target": self.n_target, "n_different": self.found.n_wrong}
        return self.found.check(WIDENING, summary, counts)

    def _compare(self, text: str, name: str) -> None:
        widened = self.pair.widened
        assert widened is not None
        base, new = self._splitters
        before, after = base.pre_tokenize_str(text), new.pre_tokenize_str(text)  # type: ignore[attr-defined]
        if not contains_target(text, widened.scripts):
            self.n_other += 1
            if before == after:
                return
        else:
            self.n_target += 1
            cuts = [start for _, (start, _) in before]
            if [start for _, (start, _) in after] == [at for at in cuts if not self._is_joined(text, at)]:
                return
        old, now = (str([piece for piece, _ in cut]) for cut in (before, after))
        self.found.add("cuts", [(f"{name}: {shown(text)}", old, now)])

    def _is_joined(self, text: str, at: int) -> bool:
        word, mark = self._word_and_mark
        left, right = text[at - 1 : at], text[at : at + 1]
        return bool(left) and ((left in word and right in mark) or (left in mark and right in word))


def random_texts(scripts: tuple[str, ...], n: int, *, has_target: bool) -> Iterator[str]:
    """Random strings, the same ones each time: ASCII, marks, characters beside the scripts in Unicode, and all others.

    Args:
        has_target: with a character of the scripts, mostly several; else without any.
    """
    every, is_target = points(), target_mask(scripts)[points()]
    near = np.convolve(is_target, np.ones(513), "same") > 0
    other = ~is_target
    pools = [
        np.array([ord(char) for char in _ASCII], np.uint32),
        every[other & matched_by(r"\p{M}")],
        every[other & near],
        every[other],
    ]
    if has_target:
        word = np.array([ord(char) for char in letters_and_marks(scripts)[0]], np.uint32)
        pools = [word, word, every[is_target & matched_by(r"\p{M}")], *pools]
    rng = np.random.default_rng(len(pools))
    while n > 0:
        chars = _drawn(pools, rng)
        lengths = rng.integers(1, N_CHARS + 1, _BATCH)
        rows = chars.tobytes().decode("utf-32-le")
        texts = (rows[i * N_CHARS : i * N_CHARS + length] for i, length in enumerate(lengths.tolist()))
        for text in texts:
            if n > 0 and contains_target(text, scripts) is has_target:
                yield text
                n -= 1


def _drawn(pools: list[NDArray[np.uint32]], rng: np.random.Generator) -> NDArray[np.uint32]:
    """Characters [_BATCH, N_CHARS], each from one of the pools."""
    which = rng.integers(0, len(pools), (_BATCH, N_CHARS))
    chars = np.zeros(which.shape, np.uint32)
    for number, pool in enumerate(pools):
        chosen = which == number
        chars[chosen] = pool[rng.integers(0, len(pool), int(chosen.sum()))]
    return chars

"""Documents that repeat themselves: Gopher's rules (Rae et al., arXiv 2112.11446, Table A1), set for Korean.

Words are what white space separates (eojeol). A Korean word carries its particles and endings, so the same n-gram comes
back less often than in English: Gopher's limits hold with room to spare, and are the defaults. What differs:

- n-grams are counted only in documents of `min_words` words or more, and the most frequent one only where it occurs
  twice: any 4-gram is more than 16 % of a sentence of five words;
- runs of one character ("ㅋㅋㅋㅋㅋㅋ") have a limit of their own, for comments and reviews.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import polars as pl

from vocabopt.prepare.checks import check_count, check_share
from vocabopt.prepare.columns import code_points
from vocabopt.prepare.step import Outcome
from vocabopt.prepare.steps import repetition_kernel as kernel

_LINES, _PARAGRAPHS = "lines that repeat another: {}", "paragraphs that repeat another: {}"
# Option -> the column measured, the column it is a share of, and how a reason names it.
_RULES = {
    "max_run_char_share": (kernel.RUN_CHARS, kernel.N_CHARS, "runs of one character: {}"),
    "max_duplicate_line_share": (kernel.SAME_LINES, kernel.N_LINES, f"{_LINES} of lines"),
    "max_duplicate_paragraph_share": (kernel.SAME_PARAGRAPHS, kernel.N_PARAGRAPHS, f"{_PARAGRAPHS} of paragraphs"),
    "max_duplicate_line_char_share": (kernel.SAME_LINE_CHARS, kernel.N_CHARS, _LINES),
    "max_duplicate_paragraph_char_share": (kernel.SAME_PARAGRAPH_CHARS, kernel.N_CHARS, _PARAGRAPHS),
}
_RULES |= {
    f"max_top_{n}gram_char_share": (column, kernel.N_CHARS, f"most frequent {n}-gram: {{}}")
    for column, n in enumerate(kernel.TOP, kernel.TOP_CHARS)
}
_RULES |= {
    f"max_duplicate_{n}gram_char_share": (column, kernel.N_CHARS, f"repeated {n}-grams: {{}}")
    for column, n in enumerate(kernel.REPEATED, kernel.REPEATED_CHARS)
}


@dataclass(frozen=True, kw_only=True)
class Repetition:
    """Remove documents of which too large a share repeats. Shares are of characters, unless the name says otherwise.

    min_words: n-grams of shorter documents are not looked at. min_run_chars: so many equal characters are a run, white
    space apart. max_duplicate_*: what came before in the document, of lines (between line feeds), paragraphs (between
    blank lines) and n-grams of 5 to 10 words. max_top_*: the most frequent n-gram of 2 to 4 words, times its count.
    None lifts a limit; a share equal to it stays.

    Raises OptionError for a share outside 0 to 1, or a count that is none.
    """

    name: ClassVar[str] = "repetition"
    min_words: int = 50
    min_run_chars: int = 5
    max_run_char_share: float | None = 0.5
    max_duplicate_line_share: float | None = 0.30
    max_duplicate_paragraph_share: float | None = 0.30
    max_duplicate_line_char_share: float | None = 0.20
    max_duplicate_paragraph_char_share: float | None = 0.20
    max_top_2gram_char_share: float | None = 0.20
    max_top_3gram_char_share: float | None = 0.18
    max_top_4gram_char_share: float | None = 0.16
    max_duplicate_5gram_char_share: float | None = 0.15
    max_duplicate_6gram_char_share: float | None = 0.14
    max_duplicate_7gram_char_share: float | None = 0.13
    max_duplicate_8gram_char_share: float | None = 0.12
    max_duplicate_9gram_char_share: float | None = 0.11
    max_duplicate_10gram_char_share: float | None = 0.10

    def __post_init__(self) -> None:
        check_count(self.name, "min_words", self.min_words)
        check_count(self.name, "min_run_chars", self.min_run_chars, lowest=2)
        for option in _RULES:
            check_share(self.name, option, getattr(self, option))

    def load(self) -> Callable[[pl.Series], Outcome]:
        """The step at work; compiles the counting where that is not cached (python -m vocabopt.warmup)."""
        kernel.measure(*code_points(pl.Series(["가"])), self.min_words, self.min_run_chars)
        return self._work

    def _work(self, texts: pl.Series) -> Outcome:
        measured = kernel.measure(*code_points(texts), self.min_words, self.min_run_chars)
        why = pl.Series([None], dtype=pl.String).new_from_index(0, len(texts))
        removed = np.zeros(len(texts), dtype=np.bool_)
        for option, (column, of, reason) in _RULES.items():
            limit = getattr(self, option)
            if limit is None:
                continue
            above = (measured[:, column] > limit * measured[:, of]) & ~removed
            where = np.flatnonzero(above)
            if where.size > 0:
                shares = [_percent(*pair) for pair in measured[where][:, [column, of]]]
                why.scatter(where, [f"{reason.format(share)}, above {100 * limit:g} %" for share in shares])
                removed |= above
        return Outcome.removing(texts, pl.Series(removed), why)


def _percent(measured: np.int64, of: np.int64) -> str:
    """Rounded up to a tenth: a share just above its limit does not look equal to it."""
    tenths = -(-1000 * int(measured) // int(of))
    return f"{tenths // 10}.{tenths % 10} %"

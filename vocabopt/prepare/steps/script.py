"""Documents that are not written in the script of the target language."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import polars as pl

from vocabopt.errors import OptionError
from vocabopt.prepare.checks import check_share, refuse
from vocabopt.prepare.step import Outcome
from vocabopt.text.scripts import parse_scripts, target_mask


@dataclass(frozen=True, kw_only=True)
class Script:
    """Remove documents with too small a share of letters of one script, or of several together.

    script: Unicode names, several with commas ("Han,Hiragana,Katakana"). A character counts where every script it is
    used with is one of these, as in vocabopt.text.scripts. min_share: of letters (Unicode category
    L); digits, punctuation, symbols and spaces count neither way. A document without letters has a share of 0.

    Raises OptionError for a name that is no script, or a share outside 0 to 1.
    """

    name: ClassVar[str] = "script"
    script: str = "Hangul"
    min_share: float = 0.5

    def __post_init__(self) -> None:
        _scripts(self.script)
        check_share(self.name, "min_share", self.min_share)

    def load(self) -> Callable[[pl.Series], Outcome]:
        """The step at work; nothing is loaded."""
        scripts = _scripts(self.script)
        target = _letters_of(scripts)
        shown = "+".join(scripts)
        limit = f"below {100 * self.min_share:g} %"

        def work(texts: pl.Series) -> Outcome:
            n_target = texts.str.count_matches(target).cast(pl.Int64)
            n_letters = texts.str.count_matches(r"\p{L}").cast(pl.Int64)
            # An empty text divides 0 by 1: its share is 0.
            n_compared = n_letters.clip(1)
            counts = pl.DataFrame({"letters": n_letters, "permille": n_target * 1000 // n_compared})
            permille = pl.col("permille")
            why = counts.select(
                pl.when(pl.col("letters") == 0)
                .then(pl.lit("no letters"))
                .otherwise(pl.format(f"{shown} {{}}.{{}} % of letters, {limit}", permille // 10, permille % 10))
            ).to_series()
            return Outcome.removing(texts, n_target < self.min_share * n_compared, why)

        return work


def _scripts(value: str) -> tuple[str, ...]:
    """Names of scripts, canonical and sorted. Raises OptionError."""
    example = "Give names such as Hangul or Han,Hiragana,Katakana."
    if not isinstance(value, str):
        raise refuse(Script.name, "script", value, f"must be text. {example}")
    try:
        scripts = parse_scripts(value)
    except OptionError as error:  # its message says what is wrong, and names an option of another command
        what = str(error).partition("': ")[2].partition("Give ")[0]
        raise refuse(Script.name, "script", value, f"{what}{example}") from error
    if not scripts:  # "auto" must see all of the text, "none" would remove nothing
        raise refuse(Script.name, "script", value, f"a document alone does not tell. {example}")
    return scripts


def _letters_of(scripts: tuple[str, ...]) -> str:
    """Pattern of one letter of the target, as polars reads it."""
    edges = np.flatnonzero(np.diff(target_mask(scripts), prepend=False, append=False)).tolist()
    ranges = (rf"\u{{{first:X}}}-\u{{{end - 1:X}}}" for first, end in zip(edges[::2], edges[1::2], strict=True))
    return rf"[[{''.join(ranges)}]&&\p{{L}}]"

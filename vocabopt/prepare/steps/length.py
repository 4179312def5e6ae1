"""Documents that are too short, too long, or of words too short or too long to be prose."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import polars as pl

from vocabopt.prepare.checks import check_count, check_number, check_order
from vocabopt.prepare.step import Outcome


@dataclass(frozen=True, kw_only=True)
class Length:
    """Remove documents outside bounds on characters, words and characters per word. None is no bound.

    min_chars, max_chars: Unicode characters of the whole text, spaces and line feeds included. min_words, max_words:
    words are what white space separates (eojeol in Korean). min_mean_word_chars, max_mean_word_chars: characters that
    are not white space per word; a text of no words has no mean, and is removed where one is asked for.

    The default is for paragraphs and sentences: ten characters are a short Korean one ("비가 온다고 한다."). Gopher's
    50 words and 3 to 10 characters a word (Rae et al., arXiv 2112.11446, A.1.1) are for English web pages.

    Raises OptionError for a bound that is no number, below 0, or above its counterpart.
    """

    name: ClassVar[str] = "length"
    min_chars: int | None = 10
    max_chars: int | None = None
    min_words: int | None = None
    max_words: int | None = None
    min_mean_word_chars: float | None = None
    max_mean_word_chars: float | None = None

    def __post_init__(self) -> None:
        for option in ("min_chars", "max_chars", "min_words", "max_words"):
            check_count(self.name, option, getattr(self, option))
        for option in ("min_mean_word_chars", "max_mean_word_chars"):
            check_number(self.name, option, getattr(self, option))
        for measure in ("chars", "words", "mean_word_chars"):
            lower, upper = f"min_{measure}", f"max_{measure}"
            check_order(self.name, lower, getattr(self, lower), upper, getattr(self, upper))

    def load(self) -> Callable[[pl.Series], Outcome]:
        """The step at work; nothing is loaded."""
        return self._work

    def _work(self, texts: pl.Series) -> Outcome:
        rules = [
            *_outside("chars", "{} characters", self.min_chars, self.max_chars),
            *_outside("words", "{} words", self.min_words, self.max_words),
        ]
        if self.min_mean_word_chars is not None or self.max_mean_word_chars is not None:
            rules.append(pl.when(pl.col("words") == 0).then(pl.lit("no words")))
            rules += _outside("mean", "{} characters a word", self.min_mean_word_chars, self.max_mean_word_chars)
        if not rules:
            return Outcome.changing(texts)
        # polars computes of these what the rules ask for, once.
        text = pl.col("text")
        measures = pl.LazyFrame({"text": texts}).select(
            chars=text.str.len_chars(),
            words=text.str.count_matches(r"\S+"),
            mean=(text.str.len_chars() - text.str.count_matches(r"\s")) / text.str.count_matches(r"\S+"),
        )
        why = measures.select(pl.coalesce(*rules)).collect().to_series()
        return Outcome.removing(texts, why.is_not_null(), why)


def _outside(measure: str, what: str, low: float | None, high: float | None) -> list[pl.Expr]:
    """Reasons, String [n], null where the bound holds: "7 characters, below 10"."""
    rules: list[pl.Expr] = []
    measured = pl.col(measure)
    shown = measured.round(2).cast(pl.String)  # counts as they are
    if low is not None:
        rules.append(pl.when(measured < low).then(pl.format(f"{what}, below {low:,}", shown)))
    if high is not None:
        rules.append(pl.when(measured > high).then(pl.format(f"{what}, above {high:,}", shown)))
    return rules

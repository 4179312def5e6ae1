"""Steps that remove documents whose statistics are out of bounds: length, script and repetition."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import polars as pl

from vocabopt.errors import OptionError
from vocabopt.option_fields import Check, at_least, option
from vocabopt.preparation.step import SHARE, DocumentStep, Outcome, code_points, no_text
from vocabopt.preparation.steps import repetition_kernel as kernel
from vocabopt.text.scripts import parse_scripts, target_mask

_COUNT = at_least(0)
_NUMBER = Check(lambda value: bool(value >= 0), "must be a number, at least 0")


@dataclass(frozen=True, kw_only=True)
class Length(DocumentStep):
    """Remove documents outside bounds on characters, words and characters per word. None is no bound.

    min_chars, max_chars: Unicode characters of the whole text, spaces and line feeds included. min_words, max_words:
    words are what white space separates (eojeol in Korean). min_mean_word_chars, max_mean_word_chars: characters that
    are not white space per word; a text of no words has no mean, and is removed where one is asked for.

    The default is for paragraphs and sentences: ten characters are a short Korean one ("비가 온다고 한다."). Gopher's
    50 words and 3 to 10 characters a word (Rae et al., arXiv 2112.11446, A.1.1) are for English web pages.
    """

    name: ClassVar[str] = "length"
    min_chars: int | None = option(10, check=_COUNT)
    max_chars: int | None = option(None, check=_COUNT)
    min_words: int | None = option(None, check=_COUNT)
    max_words: int | None = option(None, check=_COUNT)
    min_mean_word_chars: float | None = option(None, check=_NUMBER)
    max_mean_word_chars: float | None = option(None, check=_NUMBER)

    def __post_init__(self) -> None:
        super().__post_init__()
        for measure in ("chars", "words", "mean_word_chars"):
            low, high = getattr(self, f"min_{measure}"), getattr(self, f"max_{measure}")
            if low is not None and high is not None and low > high:
                raise self.refusal(f"min_{measure}", low, f"must not be above max_{measure}, which is {high}.")

    def load(self) -> Callable[[pl.Series], Outcome]:
        rules = [
            *_outside("chars", "{} characters", self.min_chars, self.max_chars),
            *_outside("words", "{} words", self.min_words, self.max_words),
        ]
        if self.min_mean_word_chars is not None or self.max_mean_word_chars is not None:
            rules.append(pl.when(pl.col("words") == 0).then(pl.lit("no words")))
            rules += _outside("mean", "{} characters a word", self.min_mean_word_chars, self.max_mean_word_chars)
        text = pl.col("text")
        measures = {
            "chars": text.str.len_chars(),
            "words": text.str.count_matches(r"\S+"),
            "mean": (text.str.len_chars() - text.str.count_matches(r"\s")) / text.str.count_matches(r"\S+"),
        }

        def work(texts: pl.Series) -> Outcome:
            if not rules:
                return Outcome.changing(texts)
            # polars computes of these what the rules ask for, once.
            why = pl.LazyFrame({"text": texts}).select(**measures).select(pl.coalesce(*rules))
            return Outcome.removing(texts, why.collect().to_series())

        return work


def _outside(measure: str, what: str, low: float | None, high: float | None) -> list[pl.Expr]:
    """Reasons, String [n], null where the bound holds: "7 characters, below 10"."""
    rules: list[pl.Expr] = []
    shown = pl.col(measure).round(2).cast(pl.String)  # counts as they are
    if low is not None:
        rules.append(pl.when(pl.col(measure) < low).then(pl.format(f"{what}, below {low:,}", shown)))
    if high is not None:
        rules.append(pl.when(pl.col(measure) > high).then(pl.format(f"{what}, above {high:,}", shown)))
    return rules


@dataclass(frozen=True, kw_only=True)
class Script(DocumentStep):
    """Remove documents with too small a share of letters of one script, or of several together.

    script: Unicode names, several with commas ("Han,Hiragana,Katakana"). A character counts where every script it is
    used with is one of these, as in vocabopt.text.scripts. min_share: of letters (Unicode category
    L); digits, punctuation, symbols and spaces count neither way. A document without letters has a share of 0.
    """

    name: ClassVar[str] = "script"
    script: str = "Hangul"
    min_share: float = option(0.5, check=SHARE)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._scripts()

    def _scripts(self) -> tuple[str, ...]:
        """Names of scripts, canonical and sorted. Raises OptionError."""
        example = "Give names such as Hangul or Han,Hiragana,Katakana."
        try:
            scripts = parse_scripts(self.script)
        except OptionError as error:  # its message says what is wrong, and names an option of another command
            what = str(error).partition("': ")[2].partition("Give ")[0]
            raise self.refusal("script", self.script, f"{what}{example}") from error
        if not scripts:  # "auto" must see all of the text, "none" would remove nothing
            raise self.refusal("script", self.script, f"a document alone does not tell. {example}")
        return scripts

    def load(self) -> Callable[[pl.Series], Outcome]:
        scripts = self._scripts()
        edges = np.flatnonzero(np.diff(target_mask(scripts), prepend=False, append=False)).tolist()
        ranges = (rf"\u{{{first:X}}}-\u{{{end - 1:X}}}" for first, end in zip(edges[::2], edges[1::2], strict=True))
        target = rf"[[{''.join(ranges)}]&&\p{{L}}]"  # one letter of these scripts, as polars reads it
        share = f"{'+'.join(scripts)} {{}}.{{}} % of letters, below {100 * self.min_share:g} %"

        def work(texts: pl.Series) -> Outcome:
            n_target = texts.str.count_matches(target).cast(pl.Int64)
            n_letters = texts.str.count_matches(r"\p{L}").cast(pl.Int64)
            # An empty text divides 0 by 1: its share is 0.
            n_compared = n_letters.clip(1)
            permille = n_target * 1000 // n_compared
            why = pl.DataFrame({"letters": n_letters, "whole": permille // 10, "tenth": permille % 10}).select(
                pl.when(pl.col("letters") == 0).then(pl.lit("no letters")).otherwise(pl.format(share, "whole", "tenth"))
            )
            return Outcome.removing(texts, why.to_series(), n_target < self.min_share * n_compared)

        return work


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
class Repetition(DocumentStep):
    """Remove documents of which too large a share repeats. Shares are of characters, unless the name says otherwise.

    min_words: n-grams of shorter documents are not looked at. min_run_chars: so many equal characters are a run, white
    space apart. max_duplicate_*: what came before in the document, of lines (between line feeds), paragraphs (between
    blank lines) and n-grams of 5 to 10 words. max_top_*: the most frequent n-gram of 2 to 4 words, times its count.
    None lifts a limit; a share equal to it stays.
    """

    name: ClassVar[str] = "repetition"
    min_words: int = option(50, check=_COUNT)
    min_run_chars: int = option(5, check=at_least(2))
    max_run_char_share: float | None = option(0.5, check=SHARE)
    max_duplicate_line_share: float | None = option(0.30, check=SHARE)
    max_duplicate_paragraph_share: float | None = option(0.30, check=SHARE)
    max_duplicate_line_char_share: float | None = option(0.20, check=SHARE)
    max_duplicate_paragraph_char_share: float | None = option(0.20, check=SHARE)
    max_top_2gram_char_share: float | None = option(0.20, check=SHARE)
    max_top_3gram_char_share: float | None = option(0.18, check=SHARE)
    max_top_4gram_char_share: float | None = option(0.16, check=SHARE)
    max_duplicate_5gram_char_share: float | None = option(0.15, check=SHARE)
    max_duplicate_6gram_char_share: float | None = option(0.14, check=SHARE)
    max_duplicate_7gram_char_share: float | None = option(0.13, check=SHARE)
    max_duplicate_8gram_char_share: float | None = option(0.12, check=SHARE)
    max_duplicate_9gram_char_share: float | None = option(0.11, check=SHARE)
    max_duplicate_10gram_char_share: float | None = option(0.10, check=SHARE)

    def load(self) -> Callable[[pl.Series], Outcome]:
        limits = {name: limit for name in _RULES if (limit := getattr(self, name)) is not None}

        def work(texts: pl.Series) -> Outcome:
            measured = kernel.measure(*code_points(texts), self.min_words, self.min_run_chars)
            why, removed = no_text(len(texts)), np.zeros(len(texts), dtype=np.bool_)
            for name, limit in limits.items():
                column, of, reason = _RULES[name]
                above = (measured[:, column] > limit * measured[:, of]) & ~removed
                removed |= above
                where = np.flatnonzero(above)
                if where.size > 0:
                    shares = [_percent(*pair) for pair in measured[where][:, [column, of]]]
                    why.scatter(where, [f"{reason.format(share)}, above {100 * limit:g} %" for share in shares])
            return Outcome.removing(texts, why)

        # Compiled here where that is not cached (python -m vocabopt.warmup).
        work(pl.Series(["가"]))
        return work


def _percent(measured: np.int64, of: np.int64) -> str:
    """Rounded up to a tenth: a share just above its limit does not look equal to it."""
    tenths = -(-1000 * int(measured) // int(of))
    return f"{tenths // 10}.{tenths % 10} %"

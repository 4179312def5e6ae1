"""Steps that remove documents whose statistics are out of bounds: length, script and repetition."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import polars as pl

from vocabopt.errors import OptionError
from vocabopt.preparation.step import Outcome, check_count, check_number, check_order, check_share, code_points, refuse
from vocabopt.preparation.steps import repetition_kernel as kernel
from vocabopt.text.scripts import parse_scripts, target_mask


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

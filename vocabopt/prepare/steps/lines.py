"""Lines that are no text: menus, notices, markup, rows of signs. What they leave of a document stays."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import polars as pl

from vocabopt.prepare.checks import check_count, check_flag, check_share, refuse
from vocabopt.prepare.columns import code_points
from vocabopt.prepare.step import Outcome
from vocabopt.prepare.steps.lines_patterns import PATTERNS, SENTENCE_END
from vocabopt.prepare.steps.repetition_kernel import count_runs

ALL_RULES = tuple(PATTERNS)


@dataclass(frozen=True, kw_only=True)
class Lines:
    """Cut lines of boilerplate, and documents of which nothing is left; a document of one line follows the same rules.

    rules: which of the patterns of lines_patterns.py apply: markup (HTML tags), javascript ("please enable"), cookies,
    notice (copyright, no redistribution), contact (news desk, reporter's e-mail), navigation (menus); to lines of at
    most max_boilerplate_chars characters, so that an article about them stays. patterns: regular expressions of your
    own (Rust syntax, no lookaround), for lines of any length. max_symbol_share: of the characters other than white
    space, those that are no letter, mark or digit. max_run_chars: of one character in a row, white space apart.
    require_sentence_end: cut lines that do not end like a sentence, headings too. None is no limit. Blank lines stay.

    Raises OptionError for a rule that is none, a pattern that cannot be read, or a limit that is none.
    """

    name: ClassVar[str] = "lines"
    rules: Sequence[str] = ALL_RULES
    patterns: Sequence[str] = ()
    max_boilerplate_chars: int = 120
    max_symbol_share: float | None = 0.6
    max_run_chars: int | None = 30
    require_sentence_end: bool = False

    def __post_init__(self) -> None:
        for option in ("rules", "patterns"):  # a list, as TOML gives it, becomes a tuple: frozen all through
            value = getattr(self, option)
            if isinstance(value, str) or not all(isinstance(item, str) for item in value):
                raise refuse(self.name, option, repr(value), "must be a list of texts.")
            object.__setattr__(self, option, tuple(value))
        for rule in self.rules:
            if rule not in PATTERNS:
                raise refuse(self.name, "rules", rule, f"must be among {', '.join(ALL_RULES)}.")
        for pattern in self.patterns:
            _check_pattern(self.name, pattern)
        check_count(self.name, "max_boilerplate_chars", self.max_boilerplate_chars)
        check_share(self.name, "max_symbol_share", self.max_symbol_share)
        check_count(self.name, "max_run_chars", self.max_run_chars, lowest=1)
        check_flag(self.name, "require_sentence_end", self.require_sentence_end)

    def load(self) -> Callable[[pl.Series], Outcome]:
        """The step at work; compiles the counting of runs where that is not cached."""
        return self._work

    def _work(self, texts: pl.Series) -> Outcome:
        lines = pl.DataFrame({"document": pl.int_range(len(texts), eager=True), "line": texts.str.split("\n")})
        lines = lines.explode("line")
        lines = lines.with_columns(rule=self._cut_by(lines["line"]), blank=~lines["line"].str.contains(r"\S"))
        # Most documents lose no line: only the others, and those without text, are put together anew.
        touched = (
            lines.group_by("document", maintain_order=True)
            .agg(cut=pl.col("rule").is_not_null().any(), empty=pl.col("blank").all())
            .filter(pl.col("cut") | pl.col("empty"))
        )
        if touched.height == 0:
            return Outcome.changing(texts)
        rebuilt = _rebuilt(lines.join(touched.select("document"), on="document", how="semi", maintain_order="left"))
        where = rebuilt["document"]
        why = pl.Series([None], dtype=pl.String).new_from_index(0, len(texts))
        return Outcome(texts.clone().scatter(where, rebuilt["text"]), why.scatter(where, rebuilt["why"]))

    def _cut_by(self, lines: pl.Series) -> pl.Series:
        """The first rule that cuts a line, String [n]; null where it stays."""
        line = pl.col("line")
        short = line.str.len_chars() <= self.max_boilerplate_chars
        cuts = [(rule, short & line.str.contains("|".join(f"(?:{p})" for p in PATTERNS[rule]))) for rule in self.rules]
        cuts += [("pattern", line.str.contains(pattern)) for pattern in self.patterns]
        if self.max_symbol_share is not None:
            n_symbols = line.str.count_matches(r"[^\p{L}\p{M}\p{N}\s]")
            n_chars = line.str.len_chars() - line.str.count_matches(r"\s")
            cuts.append(("symbols", n_symbols > self.max_symbol_share * n_chars))
        if self.max_run_chars is not None:
            in_runs = count_runs(*code_points(lines), self.max_run_chars + 1)
            cuts.append(("run of one character", pl.lit(pl.Series(in_runs > 0))))
        if self.require_sentence_end:
            cuts.append(("no sentence end", ~line.str.contains(SENTENCE_END) & line.str.contains(r"\S")))
        nothing = pl.lit(None, dtype=pl.String)
        named = pl.coalesce(*(pl.when(cut).then(pl.lit(rule)) for rule, cut in cuts), nothing)
        return pl.DataFrame({"line": lines}).with_columns(rule=named)["rule"]


def _check_pattern(step: str, pattern: str) -> None:
    try:
        pl.Series([""]).str.contains(pattern)
    except pl.exceptions.ComputeError as error:
        what = " ".join(str(error).split())
        raise refuse(step, "patterns", repr(pattern), f"not a regular expression that Rust reads: {what}.") from error


def _rebuilt(lines: pl.DataFrame) -> pl.DataFrame:
    """Documents that lost lines, or hold none: `document`, `text` (null where nothing is left), `why`."""
    documents = lines.group_by("document", maintain_order=True).agg(
        text=pl.col("line").filter(pl.col("rule").is_null()).str.join("\n").str.strip_chars("\n"),
        n_lines=(~pl.col("blank")).sum(),
        n_cut=pl.col("rule").count(),
    )
    cuts = (
        lines.filter(pl.col("rule").is_not_null())
        .group_by("document", "rule", maintain_order=True)
        .len()
        .group_by("document", maintain_order=True)
        .agg(cuts=pl.format("{} {}", "len", "rule").str.join(", "))
    )
    documents = documents.join(cuts, on="document", how="left", maintain_order="left")
    return documents.select(
        "document",
        text=pl.when(pl.col("text").str.contains(r"\S")).then("text"),
        why=pl.when(pl.col("n_cut") == 0)
        .then(pl.lit("no text"))
        .otherwise(pl.format("{} of {} lines: {}", "n_cut", "n_lines", "cuts")),
    )

"""What the page and its figures show: rows picked from the records of a run and its curve, nothing estimated.

The divisions made here are those of one given integer by another (tokens by base tokens, by words, bytes by tokens).
What is not known is None and shown as a dash.
"""

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl

from vocabopt.analysis.record import AnalyzeRecord
from vocabopt.choice.complexity import Floats, SizeCurve, size_curve
from vocabopt.choice.measured import SizesRecord
from vocabopt.preparation.record import PrepareRecord
from vocabopt.records import Answer, Choice, RunRecord, SweepRecord, TermsRecord, TextSet, UnionPoint, UnionRecord
from vocabopt.report.text import DASH
from vocabopt.report.training import Training
from vocabopt.swap.record import SwapRecord
from vocabopt.swap.tables import swap_notes, swap_reason, swap_table
from vocabopt.tables import PlainTable
from vocabopt.text.sets import HELDOUT, TRAIN
from vocabopt.tokenizer import Tokenizer
from vocabopt.training_record import AdaptRecord
from vocabopt.verification.record import Report
from vocabopt.wording import answered, rule_label, text_of

N_TOKENS_SHOWN = 40


@dataclass(frozen=True, kw_only=True)
class SetRow:
    """One text set, numbered as in figures and tables, with its tokens at the choice."""

    number: int
    name: str
    stats: TextSet
    n_tokens: int

    @property
    def ratio_choice(self) -> float | None:
        return self.stats.ratio_input(self.n_tokens)

    @property
    def ratio_floor(self) -> float | None:
        """What no number of added tokens brings the input ratio below; None where it was not counted."""
        return None if self.stats.n_chunks is None else self.stats.ratio_input(self.stats.n_chunks)

    @property
    def saved_choice(self) -> float | None:
        return None if self.ratio_choice is None else 1 - self.ratio_choice


@dataclass(frozen=True, kw_only=True)
class RuleRow:
    """One rule's answer as a figure shows it: what it is called, and its size: 18,378, ≥ 40,000, or a dash."""

    answer: Answer
    label: str
    size: str


@dataclass(frozen=True, eq=False)
class View:
    """The records of a run and its curve, asked in the words of the page.

    curve: one row per added token, as curve.parquet. union, swap: where these were measured. samples: per text set a
    few short documents, which the page cuts into tokens at the slider's size. base: the base tokenizer; without it
    the page has no playground and no sample sentences, and base_problem tells the reader why. verify, adapt, analysis,
    prepare, terms: what these commands left of the run, where they were run. measured: the probe of sizes that `choose`
    took.
    """

    sweep: SweepRecord
    curve: pl.DataFrame
    run: RunRecord
    union: UnionRecord | None = None
    _: KW_ONLY
    swap: SwapRecord | None = None
    samples: Mapping[str, Sequence[str]] | None = None
    base: Tokenizer | None = None
    base_problem: str = "the base tokenizer was not at hand."
    verify: Report | None = None
    adapt: AdaptRecord | None = None
    analysis: AnalyzeRecord | None = None
    prepare: PrepareRecord | None = None
    terms: TermsRecord | None = None
    measured: SizesRecord | None = None

    train = TRAIN

    @property
    def choice(self) -> Choice:
        return self.sweep.choice

    @property
    def n_choice(self) -> int:
        return self.choice.n_added

    @property
    def main(self) -> str:
        """The set whose numbers stand first: the one that the choice was made on."""
        return self.choice.set

    @property
    def heldout(self) -> str | None:
        """Every sweep has a held-out set; with --heldout 0, or too few documents, it has no tokens."""
        return HELDOUT if self.sweep.sets[HELDOUT].n_tokens_base else None

    @cached_property
    def training(self) -> Training | None:
        return None if self.adapt is None else Training(self.adapt)

    def words_of(self, name: str) -> str:
        if name == self.heldout:
            return "held-out text"
        if name == self.train:
            return "training text"
        words = text_of(name, self.sweep.targets)
        return f"text set {name}" if words == repr(name) else f"{words} text"

    # --- Sizes and text sets ---

    @cached_property
    def sizes(self) -> SizeCurve:
        """The curve over sizes 0, 1, 2 ..., the base first."""
        return size_curve(self.curve, self.sweep.sets, self.sweep.exhausted_at)

    @cached_property
    def sets(self) -> list[SetRow]:
        """Held-out and training text first, numbered 1 and 2; then the others as given."""
        names = [HELDOUT, TRAIN, *(name for name in self.sweep.sets if name not in (HELDOUT, TRAIN))]
        tokens = self.choice.point.sets
        return [
            SetRow(number=number, name=name, stats=self.sweep.sets[name], n_tokens=tokens[name].n_tokens)
            for number, name in enumerate(names, start=1)
        ]

    @property
    def target_sets(self) -> list[SetRow]:
        """What tells how each of several targets is served."""
        names = [] if self.sweep.targets is None else [*self.sweep.targets.measured_sets(self.sweep.sets).values()]
        return [row for row in self.sets if row.name in names]

    @cached_property
    def main_set(self) -> SetRow:
        """The set that the choice was made on."""
        return next(row for row in self.sets if row.name == self.main)

    def n_used(self, n_added: int) -> int | None:
        """Added tokens that held-out text uses at a size; None beyond the curve, or where nothing was held out."""
        is_known = self.heldout is not None and n_added <= self.sizes.end
        return int(self.sizes.n_used[HELDOUT][n_added]) if is_known else None

    @property
    def used(self) -> list[tuple[int, int | None]]:
        """The table's sizes, and how many of their added tokens held-out text uses."""
        sizes = [point.n_added for point in self.sweep.points_shown if 0 < point.n_added <= self.curve.height]
        return [(size, self.n_used(size)) for size in sizes]

    @property
    def scaffold(self) -> list[tuple[int, int]]:
        return sorted((int(size), n_rows) for size, n_rows in self.sweep.n_scaffold.items())

    @property
    def union_rows(self) -> list[tuple[UnionPoint, float | None, float | None]]:
        """The union at each of its sizes, its ratio, and that of as many grown rows; None beyond the curve."""
        ratio_input, grown = self.sweep.sets[self.main].ratio_input, self.sizes.n_tokens[self.main]
        return [
            (
                point,
                ratio_input(point.sets[self.main].n_tokens),
                ratio_input(int(grown[point.n_added])) if point.n_added <= self.sizes.end else None,
            )
            for point in (() if self.union is None else self.union.points)
        ]

    @cached_property
    def swap_table(self) -> PlainTable | None:
        return None if self.swap is None else swap_table(self.sweep, self.swap, self.curve)

    @property
    def is_swap(self) -> bool:
        """Whether the run's own method swaps rows: the page then begins with that choice."""
        return self.sweep.method == "swap" and self.swap is not None

    @cached_property
    def swap_reason(self) -> str:
        return "" if self.swap is None else swap_reason(self.sweep, self.swap)

    @property
    def swap_notes(self) -> list[str]:
        return [] if self.swap is None else swap_notes(self.sweep, self.swap)

    # --- Parameters and compute ---

    @property
    def ratio_embedding_choice(self) -> float:
        return self.sweep.base.ratio_embedding(self.choice.point.n_rows_total)

    @property
    def n_embedding_added(self) -> int | None:
        before, after = self.sweep.points_shown[0].n_embedding_params, self.choice.point.n_embedding_params
        return None if before is None or after is None else after - before

    @property
    def n_params_per_row(self) -> int | None:
        """Embedding parameters of one row; None where no model is known."""
        return None if self.sweep.model is None else self.sweep.model.n_embedding_params(1)

    def compute_ratio(self, *, context_shrinks: bool) -> float | None:
        """Compute of training at the choice per byte of text, base = 1; None where no model is known.

        flops of a token(k) = body + attention x context + head x rows(k); tokens per byte go with ratio_input. The
        page's script computes the same at every size (assets/sizes.js).

        Args:
            context_shrinks: of serving, where a text of fewer tokens has a shorter context too.
        """
        cost, ratio = self.choice.model_cost, self.main_set.ratio_choice
        if cost is None or ratio is None:
            return None
        flops, context = cost.flops, cost.context_tokens

        def per_token(n_rows: int, context: float) -> float:
            attention = flops.attention_per_token_per_context_token * context
            return attention + (flops.body_per_token + flops.head_per_row * n_rows)

        after = per_token(self.choice.point.n_rows_total, context * ratio if context_shrinks else context)
        return ratio * after / per_token(self.sweep.points_shown[0].n_rows_total, context)

    # --- The choice ---

    @cached_property
    def rules(self) -> list[RuleRow]:
        """Every rule's answer."""
        return [
            RuleRow(answer=answer, label=rule_label(answer, number), size=answered(answer, "\u2265 ", DASH))
            for number, answer in enumerate(self.choice.rules, start=1)
        ]

    # --- Tokens, and columns for the figures ---

    def _tokens(self, rows: pl.DataFrame) -> list[dict[str, Any]]:
        return [{**row, "count": self.sizes.n_occurrences[row["rank"] - 1]} for row in rows.to_dicts()]

    @property
    def first_tokens(self) -> list[dict[str, Any]]:
        return self._tokens(self.curve.head(N_TOKENS_SHOWN))

    @property
    def last_tokens(self) -> list[dict[str, Any]]:
        """The last tokens, leaving out those already among the first."""
        return self._tokens(self.curve.tail(max(0, min(N_TOKENS_SHOWN, self.curve.height - N_TOKENS_SHOWN))))

    def used_curve(self) -> Floats | None:
        """Share of added tokens that occur in held-out text; None where there is none. Size 0 is NaN."""
        if self.heldout is None:
            return None
        used = self.sizes.n_used[HELDOUT][1:]
        return np.concatenate(([np.nan], used / np.arange(1, len(used) + 1)))

    def embedding_line(self) -> tuple[Floats, Floats]:
        """ratio_embedding over all sizes by the corners of its line: flat while padding rows last, then straight."""
        base, end = self.sweep.base, self.curve.height
        n_padding = max(0, base.n_rows - base.n_tokens)
        sizes = np.unique([0, min(n_padding, end), end]).astype(np.float64)
        return sizes, np.maximum(base.n_rows, base.n_tokens + sizes) / base.n_rows

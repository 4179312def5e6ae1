"""One recommendation from the rules: the knee, clipped by what was stated of training and memory, rounded."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from vocabopt.choice.answers import Question, answers, exposure_need
from vocabopt.choice.cost import LEFT_OUT, ModelCost, model_cost
from vocabopt.choice.knee import Interval, WindowGrid, chord_knee, knee_interval, window_grid
from vocabopt.choice.options import DEFAULT_WINDOW, ChoiceOptions
from vocabopt.choice.paper_axis import PaperAxis, paper_axis
from vocabopt.choice.reason import agreement_sentence, knee_sentence, reason, window_sentence
from vocabopt.choice.rules import Answer
from vocabopt.choice.sizes import SizeCurve
from vocabopt.complexity import EmbeddingTable
from vocabopt.errors import OptionError

#: Where a curve ends before the paper's window does, the window is this share of its end, to its end.
SHORT_WINDOW_START = 1 / 5


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A size with its reason and everything that makes one trust or doubt it.

    rule: what decided. knee: before clipping and rounding; None where the curve has none. clipped_by: the rule that
    held the knee back. interval: of the knee. set_knees: per text set, over the same window.
    """

    rule: str
    n_added: int
    knee: int | None
    window: tuple[int, int]
    set: str
    reason: str
    clipped_by: str | None
    interval: Interval | None
    windows: WindowGrid
    window_sentence: str
    agreement_sentence: str
    set_knees: Mapping[str, int | None]
    roles: Mapping[str, str]
    rules: tuple[Answer, ...]
    paper_axis: PaperAxis | None
    model_cost: Mapping[str, Any] | None
    options: ChoiceOptions

    def as_record(self) -> dict[str, Any]:
        return {
            "rule": self.rule,
            "n_added": self.n_added,
            "knee": self.knee,
            "window": list(self.window),
            "set": self.set,
            "reason": self.reason,
            "clipped_by": self.clipped_by,
            "interval": vars(self.interval) if self.interval else None,
            "windows": {
                "starts": list(self.windows.starts),
                "ends": list(self.windows.ends),
                "knees": [list(row) for row in self.windows.knees],
            },
            "window_sentence": self.window_sentence,
            "agreement_sentence": self.agreement_sentence,
            "sets": [
                {"set": name, "role": self.roles.get(name, ""), "knee": knee, "window": list(self.window)}
                for name, knee in self.set_knees.items()
            ],
            "rules": [answer.as_record() for answer in self.rules],
            "paper_axis": vars(self.paper_axis) if self.paper_axis else None,
            "model_cost": self.model_cost,
            "options": self.options.as_record(),
        }


def choose(
    curve: SizeCurve,
    folds: pl.DataFrame,
    table: EmbeddingTable,
    options: ChoiceOptions,
    union: Mapping[str, Any] | None = None,
) -> Choice:
    """The recommended size of a curve.

    Args:
        folds: folds.parquet, for the interval. union: union.json where that method was measured, for the paper's axis.

    Raises:
        OptionError: the set or window of the options is not one of this curve.
    """
    text_set = _text_set(curve, options)
    window = _window(curve, options)
    rows = np.maximum(table.base_n_rows, table.base_n_tokens + np.arange(curve.end + 1))
    ratio_embedding = rows / table.base_n_rows
    cost = model_cost(table, curve.end)
    question = Question(
        curve=curve,
        text_set=text_set,
        window=window,
        ratio_embedding=ratio_embedding,
        table=table,
        cost=cost,
        options=options,
    )
    span = slice(window[0], window[1] + 1)
    set_knees = {
        name: chord_knee(range(window[0], window[1] + 1), ratio_embedding[span], curve.ratio_input(name)[span])
        for name, n_tokens in curve.n_tokens.items()
        if n_tokens[0]
    }
    knee = set_knees.get(text_set)
    grid = window_grid(ratio_embedding, question.ratio_input, DEFAULT_WINDOW[1])
    given = answers(question)
    decided = _decide(question, knee, given)
    axis = paper_axis(union, decided.n_added)
    return Choice(
        rule=decided.rule,
        n_added=decided.n_added,
        knee=knee,
        window=window,
        set=text_set,
        reason=reason(question, knee, decided),
        clipped_by=decided.clipped_by,
        interval=knee_interval(
            folds,
            text_set,
            curve.n_tokens[text_set],
            ratio_embedding,
            window,
            knee=knee,
            share=options.interval_share,
            n_resamples=options.n_resamples,
            seed=options.seed,
        ),
        windows=grid,
        window_sentence=window_sentence(grid, knee, window, union, text_set),
        agreement_sentence=agreement_sentence(given, decided.n_added),
        set_knees=set_knees,
        roles=curve.roles,
        rules=(_knee_answer(question, knee), *_with_needs(question, given, decided.n_added)),
        paper_axis=axis,
        model_cost=None if cost is None else _cost_record(cost, question, decided.n_added),
        options=options,
    )


@dataclass(frozen=True, kw_only=True)
class Decided:
    """The size, the rule that named it, what it named before clipping and rounding, and the rule that clipped it."""

    n_added: int
    rule: str
    named: int
    clipped_by: str | None = None
    clipped_to: int | None = None


def _text_set(curve: SizeCurve, options: ChoiceOptions) -> str:
    if options.text_set is None:
        return curve.decisive_set
    if options.text_set not in curve.n_tokens:
        raise OptionError(f"--set {options.text_set}: this run has {', '.join(curve.n_tokens)}. Name one of these.")
    if not curve.n_tokens[options.text_set][0]:
        raise OptionError(f"--set {options.text_set}: this set has no tokens. Name another of this run.")
    return options.text_set


def _window(curve: SizeCurve, options: ChoiceOptions) -> tuple[int, int]:
    if options.window is None:
        return DEFAULT_WINDOW if curve.end >= DEFAULT_WINDOW[1] else (round(curve.end * SHORT_WINDOW_START), curve.end)
    if options.window[1] > curve.end:
        why = "where the text ran dry" if curve.exhausted else "where --max-added ended it"
        raise OptionError(
            f"--window {options.window[0]}:{options.window[1]}: the curve ends at {curve.end:,} added tokens, {why}. "
            "Choose a window within it."
        )
    return options.window


def _decide(question: Question, knee: int | None, given: list[Answer]) -> Decided:
    """The knee; else padding rows that are free; else the smallest of the rules without a window that has an answer."""
    window, table, ratio = question.window, question.table, question.ratio_input
    if knee is not None:
        decided = Decided(n_added=knee, rule="knee", named=knee)
    elif len(ratio) and ratio[window[1]] < ratio[window[0]] and table.n_rows(window[1]) == table.base_n_rows:
        # Where padding rows take all of the window, tokens cost nothing and there is no knee: take them.
        decided = Decided(n_added=window[1], rule="padding", named=window[1])
    else:
        able = [a for a in given if a.kind in ("flops", "used", "marginal") and a.n_added is not None]
        bounded = [(a.n_added or 0, a.name) for a in able if a.bound == "at"]
        size, rule = min(bounded or [(a.n_added or 0, a.name) for a in able], default=(0, "none"))
        decided = Decided(n_added=size, rule=rule, named=size)
    decided = _clipped(decided, question, given)
    return replace(decided, n_added=_rounded(decided, question))


def _clipped(decided: Decided, question: Question, given: list[Answer]) -> Decided:
    """Held back by exposure, where a plan was stated, and by memory, where a budget was."""
    clips = ("memory-train", "memory-serve", f"exposure-{question.options.min_exposure}")
    limits = [(a.n_added, a.kind) for a in given if a.name in clips and a.n_added is not None]
    if not limits or min(limits)[0] >= decided.n_added:
        return decided
    limit, kind = min(limits)
    return replace(decided, n_added=limit, clipped_by=kind, clipped_to=limit)


def _rounded(decided: Decided, question: Question) -> int:
    """The size nearest to it, at least 1, within curve and clip, whose total rows are a multiple of row_multiple."""
    table, multiple, size = question.table, question.options.row_multiple, decided.n_added
    if size == 0 or table.n_rows(size) == table.base_n_rows:
        return size
    end = question.curve.end if decided.clipped_to is None else decided.clipped_to
    below = (table.base_n_tokens + size) // multiple * multiple - table.base_n_tokens
    within = [candidate for candidate in (below, below + multiple) if 1 <= candidate <= end]
    return min(within, key=lambda candidate: abs(candidate - size)) if within else size


def _knee_answer(question: Question, knee: int | None) -> Answer:
    return Answer(
        name="knee",
        kind="knee",
        n_added=knee,
        bound="none" if knee is None else "at",
        sentence=knee_sentence(question, knee),
        source="RedWhale (2408.11294) names the two ratios; the chord is Kneedle's distance (Satopaa et al. 2011)",
    )


def _with_needs(question: Question, given: list[Answer], n_added: int) -> list[Answer]:
    """Without a training plan, exposure says what the recommendation needs."""

    def completed(answer: Answer) -> Answer:
        n_times = int(answer.name.rpartition("-")[2]) if answer.kind == "exposure" else 0
        need = exposure_need(question, n_added, n_times) if n_times and question.options.train_tokens is None else None
        if need is None:
            return answer
        sentence = (
            f"Needs {need:,} training tokens of the base, for the last of {n_added:,} added tokens to be seen "
            f"{n_times:,} times; no plan is stated (--train-tokens), so this clips nothing."
        )
        return replace(answer, sentence=sentence)

    return [completed(answer) for answer in given]


def _cost_record(cost: ModelCost, question: Question, n_added: int) -> dict[str, Any]:
    """What the page and a reader need of the model, and what this size gains, new over base."""
    architecture, ratio, context = cost.architecture, question.ratio_input, question.options.context_tokens
    gain = None
    if len(ratio):
        train, serve = cost.training_flops(ratio, context), cost.serving_flops(ratio, context)
        gain = {
            "flops_per_byte_train_ratio": float(train[n_added] / train[0]),
            "flops_per_byte_serve_ratio": float(serve[n_added] / serve[0]),
            "context_ratio": float(1 / ratio[n_added]) if ratio[n_added] else None,
            "kv_bytes_per_text_byte_ratio": float(ratio[n_added]),
        }
    return {
        "n_body_params": architecture.n_body_params,
        "n_active_body_params": architecture.n_active_body_params,
        "n_layers": architecture.n_layers,
        "n_heads": architecture.n_heads,
        "n_kv_heads": architecture.n_kv_heads,
        "head_dim": architecture.head_dim,
        "context_tokens": context,
        "flops": {
            "body_per_token": cost.body_flops,
            "attention_per_token_per_context_token": cost.attention_flops_per_context_token,
            "head_per_row": cost.head_flops_per_row,
        },
        "gain": gain,
        "left_out": LEFT_OUT,
    }

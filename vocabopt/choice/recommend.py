"""One recommendation from the rules: the knee, clipped by what was stated of training and memory, rounded."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from vocabopt.choice.answers import MUV_STEP, Question, answers, exposure_need
from vocabopt.choice.complexity import EmbeddingTable
from vocabopt.choice.cost import BYTES_PER_KV_VALUE, BYTES_PER_LOGIT, LEFT_OUT, ModelCost, model_cost
from vocabopt.choice.decide import decide
from vocabopt.choice.knee import (
    MIN_INTERVAL_FOLDS,
    N_RESAMPLED_SIZES,
    WINDOW_ENDS,
    WINDOW_STARTS,
    Interval,
    WindowGrid,
    chord_knee,
    knee_interval,
    window_grid,
)
from vocabopt.choice.options import DEFAULT_WINDOW, ChoiceOptions
from vocabopt.choice.paper_axis import PaperAxis, paper_axis
from vocabopt.choice.reason import agreement_sentence, knee_sentence, reason, window_sentence
from vocabopt.choice.rules import RISE, Answer
from vocabopt.choice.sizes import SizeCurve
from vocabopt.errors import OptionError

#: Where a curve ends before the paper's window does, the window is this share of its end, to its end.
SHORT_WINDOW_START = 0.2
#: What moves an answer and is not an option: kept with the choice all the same.
FIXED: dict[str, Any] = {
    "short_window_start": SHORT_WINDOW_START,
    "window_starts": WINDOW_STARTS,
    "window_ends": WINDOW_ENDS,
    "n_resampled_sizes": N_RESAMPLED_SIZES,
    "min_interval_folds": MIN_INTERVAL_FOLDS,
    "muv_step": MUV_STEP,
    "flops_rise": RISE,
    "bytes_per_kv_value": BYTES_PER_KV_VALUE,
    "bytes_per_logit": BYTES_PER_LOGIT,
}


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
            "fixed": FIXED,
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
    question = _question(curve, table, options)
    text_set, window = question.text_set, question.window
    span = slice(window[0], window[1] + 1)
    cost = question.ratio_embedding[span]
    set_knees = {
        name: chord_knee(range(window[0], window[1] + 1), cost, curve.ratio_input(name)[span])
        for name, n_tokens in curve.n_tokens.items()
        if n_tokens[0]
    }
    knee = set_knees.get(text_set)
    grid = window_grid(question.ratio_embedding, question.ratio_input, DEFAULT_WINDOW[1])
    given = answers(question)
    decided = decide(question, knee, given)
    return Choice(
        rule=decided.rule,
        n_added=decided.n_added,
        knee=knee,
        window=window,
        set=text_set,
        reason=reason(question, knee, decided),
        clipped_by=decided.clipped_by,
        interval=_interval(question, folds, knee),
        windows=grid,
        window_sentence=window_sentence(grid, knee, window, union, text_set),
        agreement_sentence=agreement_sentence(given, decided.n_added),
        set_knees=set_knees,
        roles=curve.roles,
        rules=(_knee_answer(question, knee), *_with_needs(question, given, decided.n_added)),
        paper_axis=paper_axis(union, decided.n_added),
        model_cost=None if question.cost is None else _cost_record(question.cost, question, decided.n_added),
        options=options,
    )


def _question(curve: SizeCurve, table: EmbeddingTable, options: ChoiceOptions) -> Question:
    return Question(
        curve=curve,
        text_set=_text_set(curve, options),
        window=_window(curve, options),
        ratio_embedding=table.all_rows(curve.end) / table.base_n_rows,
        table=table,
        cost=model_cost(table, curve.end),
        options=options,
    )


def _interval(question: Question, folds: pl.DataFrame, knee: int | None) -> Interval | None:
    return knee_interval(
        folds,
        question.text_set,
        question.curve.n_tokens[question.text_set],
        question.ratio_embedding,
        question.window,
        knee=knee,
        share=question.options.interval_share,
        n_resamples=question.options.n_resamples,
        seed=question.options.seed,
    )


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

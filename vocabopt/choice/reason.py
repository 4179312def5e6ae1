"""The choice in words: one sentence each, with the numbers to check it by."""

from collections.abc import Mapping, Sequence
from typing import Any

from vocabopt.amounts import counted
from vocabopt.choice.answers import Question
from vocabopt.choice.decide import END, Decided
from vocabopt.choice.knee import WindowGrid
from vocabopt.choice.options import DEFAULT_WINDOW
from vocabopt.choice.paper_axis import union_window_sentence
from vocabopt.choice.rules import Answer
from vocabopt.text.sets import HELDOUT, TRAIN


def _text(question: Question) -> str:
    return {HELDOUT: "held-out", TRAIN: "training"}.get(question.text_set, f"{question.text_set!r}")


def _of_window(question: Question) -> str:
    first, last = question.window
    words = f"over {first:,}..{counted(last, 'added token')}"
    if question.options.window is not None or question.window == DEFAULT_WINDOW:
        return words
    if question.curve.exhausted:
        return f"{words} (the text ran dry at {last:,}, so the window starts at a fifth of that)"
    return f"{words} (the curve ends there, so the window starts at a fifth of that)"


def knee_sentence(question: Question, knee: int | None) -> str:
    """The knee with its window, or why there is none."""
    against = f"the {_text(question)} input ratio against the embedding ratio {_of_window(question)}"
    if knee is not None:
        return f"Knee of {against}: {knee:,}."
    first, last = question.window
    if last - first < 2:
        return f"No knee: {first:,}..{last:,} holds fewer than three sizes."
    if question.ratio_embedding[first] == question.ratio_embedding[last]:
        return f"No knee: all of {first:,}..{last:,} fits into padding rows that the table has already."
    return f"No knee: {against} does not bend below its chord."


def reason(question: Question, knee: int | None, decided: Decided) -> str:
    """The recommendation: what to add, why that many, and what it does."""
    n_added, text = decided.n_added, _text(question)
    if decided.rule == "padding":
        why = f"all of {decided.named:,} fit into padding rows that the table has already"
    elif knee is not None:
        why = f"the knee of the {text} input ratio against the embedding ratio {_of_window(question)} is at {knee:,}"
    else:
        why = f"the {text} input ratio has no knee {_of_window(question)}{_instead(decided)}"
    rounding = _rounding(question, decided) if n_added else ""
    if decided.clipped_by is not None:
        # What decided comes first, then what it held back.
        why = f"{_limit(question, decided)}{rounding}; {why}, which is more"
    else:
        why += rounding
    if n_added == 0:
        return f"Add no tokens: {why}."
    how_many = f"{counted(n_added, 'token')}"
    return f"Add {how_many}: {why}{_outcome(question, n_added)}"


def _limit(question: Question, decided: Decided) -> str:
    if decided.clipped_by == "exposure":
        n_planned, n_times = question.options.train_tokens or 0, question.options.min_exposure
        plan = f"{counted(n_planned, 'training token')} of the base allow{'s' if n_planned == 1 else ''}"
        return (
            f"{decided.limit:,} is the most that {plan}, as later tokens are seen fewer than {counted(n_times, 'time')}"
        )
    return f"{decided.limit:,} is the most that the memory budget allows"


def _instead(decided: Decided) -> str:
    if decided.rule == "none":
        return ""
    if decided.rule == END:
        return f", and no rule without a window bounds a size on this curve, so its end decides: {decided.named:,}"
    return f", so the smallest size that a rule without a window names decides: {decided.named:,} by {decided.rule!r}"


def _rounding(question: Question, decided: Decided) -> str:
    table, multiple = question.table, question.options.row_multiple
    rows = table.n_rows(decided.n_added)
    if decided.rule == "padding":
        return ""
    if rows == table.base_n_rows:
        return ", which fills padding rows that the table has already"
    if decided.n_added != decided.before_rounding:
        return f", rounded so that the total of {rows:,} rows is a multiple of {multiple}"
    if rows % multiple == 0:
        return ""
    within = f"up to {counted(decided.limit, 'added token')}"
    return f", not rounded: no size {within} makes the total rows a multiple of {multiple}"


def _outcome(question: Question, n_added: int) -> str:
    ratio = question.ratio_input
    if not len(ratio):
        return "."
    return (
        f"; {_text(question)} text then takes {ratio[n_added]:.1%} of the base's tokens, and the embedding "
        f"{question.table.ratio(n_added):.2f} times its rows."
    )


def window_sentence(
    grid: WindowGrid, knee: int | None, window: tuple[int, int], union: Mapping[str, Any] | None, text_set: str
) -> str:
    """How the knee moves with its window, on the axis of rows and, where a union was measured, on the paper's."""
    found = grid.found()
    if not found:
        return "No window of this curve has a knee."
    (low, low_start, low_end), (high, high_start, high_end) = found[0], found[-1]
    at_window = "none" if knee is None else f"{knee:,}"
    here = f"{at_window} over {window[0]:,}..{window[1]:,}, "
    return (
        f"The knee follows its window: {here}but {low:,} over {low_start:,}..{low_end:,} and {high:,} over "
        f"{high_start:,}..{high_end:,} on the same curve: it is a convention to compare by, not a property of the text."
        f"{union_window_sentence(union, text_set)}"
    )


def agreement_sentence(given: Sequence[Answer], n_added: int) -> str:
    """What the rules without a window say of the recommendation; those that this curve does not bound are left out."""
    without_window = [answer for answer in given if answer.kind != "knee" and not answer.second_opinion]
    named = sorted((a.n_added, a.name) for a in without_window if a.n_added is not None and a.bound == "at")
    unbounded = [answer.name for answer in without_window if answer.bound == "at_least"]
    sides = [
        f"{words} {', '.join(f'{name} {size:,}' for size, name in side)}"
        for words, side in (
            ("at or below it", [pair for pair in named if (pair[0] or 0) <= n_added]),
            ("above it", [pair for pair in named if (pair[0] or 0) > n_added]),
        )
        if side
    ]
    told = "; ".join(sides) if sides else "none names a size on this curve"
    left_out = f". Not bounded by this curve, so left out: {', '.join(unbounded)}" if unbounded else ""
    return f"Rules without a window, beside {n_added:,}: {told}{left_out}."

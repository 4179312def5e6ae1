"""The figures of a sweep: ratios over every size, each rule's answer, the knee over windows, the union, the funnel."""

from collections.abc import Sequence

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator

from vocabopt.choice.complexity import Floats
from vocabopt.records import RunRecord, SweepRecord, Windows
from vocabopt.report.charts_training import draw_training_bits, draw_training_loss, draw_training_memory
from vocabopt.report.draw import (
    BAND,
    BELOW,
    COLOURS,
    POINT,
    WIDTH,
    Drawing,
    Key,
    Picture,
    Style,
    arrow,
    axis_title,
    bare,
    bytes_axis,
    curve,
    dot,
    frame,
    house_style,
    moved,
    plot_of,
    render,
    series_style,
    size_axis,
    upright,
    words,
)
from vocabopt.report.inputs import PrepareRecord, PrepareStep
from vocabopt.report.text import DASH, count, fixed, percent, plain, size_of
from vocabopt.report.view import RuleRow, SetRow, View

# --- Over every size --------------------------------------------------------------------------------------------------

N_NAME = 15  # characters of a set's name that a legend column holds


def draw_all(view: View) -> list[Picture]:
    """Every figure there is data for, in the page's order."""
    drawings = {
        "complexity": draw_complexity,
        "rules": draw_rules,
        "windows": draw_windows,
        "sets": draw_sets,
        "funnel": lambda view: draw_funnel(view.prepare),
        "used": draw_used,
        "union": draw_union,
        "training_bits": draw_training_bits,
        "training_loss": draw_training_loss,
        "training_memory": draw_training_memory,
    }
    with house_style():
        return [render(name, drawn) for name, draw in drawings.items() if (drawn := draw(view)) is not None]


def complexity_figure(sweep: SweepRecord, curve: pl.DataFrame, run: RunRecord) -> Figure:
    """Figure 1 of a finished sweep, for a notebook."""
    with house_style():
        return draw_complexity(View(sweep, curve, run)).figure


def draw_complexity(view: View) -> Drawing:
    """Figure 1: input ratio on the left axis, embedding ratio on the right, the choice and its window."""
    curves: list[tuple[Floats, Style]] = []
    keys: list[Key] = []
    lines: list[tuple[str, str]] = []
    for text_set in _first_sets(view):
        values = view.ratio_curve(text_set.name)
        if values is not None:
            style = _series(text_set.number)
            curves.append((values, style))
            keys.append(Key(label=f"ratio_input, {_words(view, text_set)}", style=style))
            lines.append(_line(view, text_set))
    keys.append(Key(label="ratio_embedding (right axis)", style={"color": COLOURS["embedding"]}))
    lo, hi = view.choice.window
    keys.append(Key(label=f"window {lo:,} to {hi:,}", style={**BAND, "linewidth": 7}))

    figure, ax = frame(3.35, keys, columns=2, right=0.085)
    n_max = view.curve.height
    size_axis(ax, n_max)
    ax.axvspan(min(lo, n_max), min(hi, n_max), clip_on=False, linewidth=0, **BAND)
    _ratio_axis(ax, curves)
    axis_title(ax, "ratio_input", "s0")
    right_ax = _embedding_axis(ax, view)

    # Beside an early choice the embedding line runs low, beside a late one high: the label keeps out of its way.
    _mark_choice(ax, view, label_y=0.94 if _is_early(view) else 0.05)
    if (ratio := view.main_set.ratio_choice) is not None:
        dot(ax, view.n_choice, ratio)
    plot = plot_of(ax, right_ax, [*lines, ("embedding", "embedding")])
    return Drawing(figure=figure, label=_describe_complexity(view), plot=plot)


def _embedding_axis(ax: Axes, view: View) -> Axes:
    right_ax = ax.twinx()
    bare(right_ax)
    sizes, ratios = view.embedding_line()
    right_ax.plot(sizes, ratios, color=COLOURS["embedding"], clip_on=False)
    highest = max([1.0, *ratios])
    right_ax.set_ylim(1, highest if highest > 1 else 1.05)
    right_ax.ticklabel_format(axis="y", useOffset=False)
    right_ax.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    axis_title(right_ax, "ratio_embedding", "embedding", right=True)
    return right_ax


def _describe_complexity(view: View) -> str:
    told = " and ".join(f"{fixed(given.ratio_choice)} on {view.words_of(given.name)}" for given in _first_sets(view))
    return (
        f"Line chart over 0 to {count(view.curve.height)} added tokens. At the choice, {count(view.n_choice)} added, "
        f"ratio_input is {told}; ratio_embedding is "
        f"{fixed(view.ratio_embedding_choice)}. The table of sizes holds the numbers."
    )


def _first_sets(view: View) -> list[SetRow]:
    """The sets of figure 1: held-out and training text, and the set of the choice where it is neither."""
    return [given for given in view.sets if given.name in (view.heldout, view.train, view.main)]


def _words(view: View, text_set: SetRow) -> str:
    """A set in words that the font has."""
    return view.words_of(text_set.name) if text_set.number <= 2 else f"set {_set_label(text_set)}"


def draw_sets(view: View) -> Drawing:
    """The input ratio of every text set, numbered as in the page's table."""
    curves: list[tuple[Floats, Style]] = []
    keys: list[Key] = []
    lines: list[tuple[str, str]] = []
    for text_set in view.sets:
        values = view.ratio_curve(text_set.name)
        if values is not None:
            style = _series(text_set.number)
            curves.append((values, style))
            keys.append(Key(label=_set_label(text_set), style=style))
            lines.append(_line(view, text_set))
    figure, ax = frame(3.0, keys)
    size_axis(ax, view.curve.height)
    _ratio_axis(ax, curves)
    axis_title(ax, "ratio_input")
    _mark_choice(ax, view)
    told = "; ".join(f"{text_set.name} {fixed(text_set.ratio_choice)}" for text_set in view.sets)
    label = f"Line chart of ratio_input, one line per text set. At the choice: {told}. A table follows."
    return Drawing(figure=figure, label=label, plot=plot_of(ax, lines=lines))


def draw_used(view: View) -> Drawing | None:
    """Share of the added tokens that occur in held-out text; None where that was not counted."""
    used = view.used_curve()
    if used is None:
        return None
    figure, ax = frame(2.1)
    size_axis(ax, view.curve.height)
    curve(ax, used, _series(1))
    ax.set_ylim(0, 1)
    ax.yaxis.set_major_locator(MaxNLocator(4))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f} %"))
    axis_title(ax, "share of added tokens used in held-out text")
    _mark_choice(ax, view)
    last = percent(view.used[-1].share if view.used else None)
    label = f"Line chart of the share of added tokens that occur in held-out text, {last} at the last size below."
    return Drawing(figure=figure, label=label, plot=plot_of(ax, lines=[("used", "s0")]))


def draw_union(view: View) -> Drawing | None:
    """The union's sizes beside the grown curve, by new rows; None where it was not measured."""
    rows, values = view.union_rows, view.ratio_curve(view.main)
    if not rows or values is None:
        return None
    keys = [Key(label="grown", style=_series(1)), Key(label="union (dots)", style={"color": COLOURS["s1"]})]
    figure, ax = frame(2.6, keys)
    n_max = view.curve.height
    size_axis(ax, n_max)
    _ratio_axis(ax, [(values, _series(1))])
    axis_title(ax, "ratio_input")
    for row in rows:
        if row.ratio_union is not None and row.point.n_added <= n_max:
            dot(ax, row.point.n_added, row.ratio_union, colour="s1")
    told = "; ".join(f"{count(row.point.n_added)} rows {fixed(row.ratio_union)}" for row in rows)
    label = f"Line chart of the grown ratio_input, with a dot for each size of the union: {told}. A table follows."
    return Drawing(figure=figure, label=label, plot=plot_of(ax, lines=[_line(view, view.main_set)]))


def _line(view: View, text_set: SetRow) -> tuple[str, str]:
    """What the page's script draws a dot on: the text set by its place in the page's order, and its colour."""
    return f"set{view.sets.index(text_set)}", series_style(text_set.number)[0]


def _series(number: int) -> Style:
    colour, dash = series_style(number)
    return {"color": COLOURS[colour], "linestyle": dash, "linewidth": 1.6 if dash == "solid" else 1.3}


def _ratio_axis(ax: Axes, curves: list[tuple[Floats, Style]]) -> None:
    """Input ratios from 0: the height of a curve is what is left of the tokens."""
    for values, style in curves:
        curve(ax, values, style)
    ax.set_ylim(0, max([1.0, *(float(np.nanmax(values)) for values, _ in curves)]))


def _is_early(view: View) -> bool:
    return view.n_choice <= view.curve.height / 2


def _mark_choice(ax: Axes, view: View, *, label_y: float = 0.05) -> None:
    """The choice as an upright line; its label stands towards the middle of the figure."""
    upright(ax, view.n_choice, f"choice: {count(view.n_choice)} added", to_right=_is_early(view), label_y=label_y)


def _set_label(text_set: SetRow) -> str:
    """A set's number, and its name where the font surely has it; a long name is cut."""
    name = text_set.name
    if not (name.isascii() and name.isprintable()):
        return f"{text_set.number} (see table)"
    return f"{text_set.number} {name if len(name) <= N_NAME else name[: N_NAME - 2] + '..'}"


# --- The choice -------------------------------------------------------------------------------------------------------

ROW_HEIGHT = 18  # points
RULES_LEFT = 0.31  # of the width, for the rules' names
LABEL_SHARE = 0.2  # of the axis, for a number beside its dot in a phone's letters
CELL_HEIGHT = 22  # points
WINDOWS_LEFT = 0.135
N_CELLS = 9  # columns that hold their numbers in a phone's letters too
PALEST, DEEPEST = 0.06, 0.5


def draw_rules(view: View) -> Drawing | None:
    """Every rule's answer on the axis of sizes; None where there are no sizes."""
    rules = view.rules
    if not view.curve.height:
        return None
    figure, ax = frame(BELOW + (26 + ROW_HEIGHT * len(rules)) * POINT, left=RULES_LEFT)
    n_max = view.curve.height
    size_axis(ax, n_max)
    ax.set_ylim(len(rules) - 0.5, -0.5)
    ax.yaxis.set_visible(False)
    for row, rule in enumerate(rules):
        _draw_rule(ax, view, row, rule)
    over = ax.get_xaxis_transform()
    ax.plot([view.n_choice] * 2, [0, 1.02], transform=over, color=COLOURS["ink"], linewidth=0.9, clip_on=False)
    late = view.n_choice > n_max / 2
    shift = moved(ax, over, 4 if late else -4, 8)
    label = f"choice: {count(view.n_choice)} added"
    ax.text(view.n_choice, 1, label, transform=shift, ha="right" if late else "left", weight="bold")
    told = "; ".join(f"{rule.label} {rule.size}" for rule in rules)
    return Drawing(
        figure=figure,
        label=f"Every rule's answer on one axis of added tokens: {told}. The table holds a sentence on each.",
        plot=plot_of(ax),
    )


def _draw_rule(ax: Axes, view: View, row: int, rule: RuleRow) -> None:
    """A name, and on its row a dot; with an arrow where the answer is a bound, or lies beyond the curve."""
    n_max = view.curve.height
    colour = "window" if rule.answer.second_opinion else "s0"
    words(ax, 0, row, rule.label, shift=-17, align="right", weight="bold" if rule.decided else "normal")
    if rule.answer.n_added is None:
        words(ax, 0, row, DASH, shift=6, color=COLOURS["window"])
        return
    is_beyond = rule.answer.n_added > n_max
    x = min(rule.answer.n_added, n_max)
    to_left = _label_left(x, view)
    _draw_row_line(ax, row, x - (LABEL_SHARE * n_max if to_left else 0))
    beside = x
    interval = view.choice.interval
    if rule.answer.name == "knee" and interval is not None:
        span = [interval.low, interval.high]
        ax.plot(span, [row, row], color=COLOURS["s0"], linewidth=7, alpha=0.28, clip_on=False)
        beside = min(x, span[0]) if to_left else max(x, span[1])
    if rule.answer.bound == "at_least" or is_beyond:
        arrow(ax, x, row, colour=colour)
    if not is_beyond:
        dot(ax, x, row, colour=colour, hollow=rule.answer.second_opinion)
    shift = 17 if rule.answer.bound == "at_least" and not to_left else 8
    words(ax, beside, row, rule.size, shift=-8 if to_left else shift, align="right" if to_left else "left", zorder=4)


def _label_left(x: float, view: View) -> bool:
    """Does a number stand left of its dot? Where there is no room to the right, or the choice's line would cross it."""
    n_max = view.curve.height
    if x > (1 - LABEL_SHARE) * n_max:
        return True
    return x <= view.n_choice < x + LABEL_SHARE * n_max and x > LABEL_SHARE * n_max


def _draw_row_line(ax: Axes, row: int, end: float) -> None:
    if end > 0:
        ax.plot([0, end], [row, row], color=COLOURS["rule"], linewidth=0.8, clip_on=False, zorder=0)


def draw_windows(view: View) -> Drawing | None:
    """The knee of each window as a table of cells, in a stronger colour the later it is; None where there are none."""
    windows = view.choice.windows
    if not windows.ends:
        return None
    highest = max((knee for knee, _, _ in windows.found()), default=1)
    above = 38 * POINT
    height = above + (CELL_HEIGHT * len(windows.starts) + 6) * POINT
    figure = Figure(figsize=(WIDTH, height))
    ax = figure.add_axes((WINDOWS_LEFT, 6 * POINT / height, 1 - WINDOWS_LEFT - 0.01, 1 - (above + 6 * POINT) / height))
    bare(ax)
    ax.set_xlim(0, len(windows.ends))
    ax.set_ylim(len(windows.starts), 0)
    ax.set_xticks([])
    ax.set_yticks([])
    title = "the window starts at (rows) and ends at (columns)"
    ax.text(0, 0, title, transform=moved(ax, ax.transData, -0.127 * WIDTH / POINT, 27), color=COLOURS["ink"])
    for column, end in enumerate(windows.ends):
        ax.text(column + 0.5, 0, count(end), transform=moved(ax, ax.transData, 0, 7), ha="center")
    for row, (start, knees) in enumerate(zip(windows.starts, windows.knees, strict=True)):
        words(ax, 0, row + 0.5, count(start), shift=-9, align="right")
        for column, knee in enumerate(knees):
            is_given = view.choice.window == (start, windows.ends[column])
            depth = None if knee is None else PALEST + (DEEPEST - PALEST) * knee / max(highest, 1)
            number = "" if knee is None or len(windows.ends) > N_CELLS else count(knee)
            _draw_cell(ax, row, column, number, depth, is_given=is_given)
    return Drawing(figure=figure, label=_describe_windows(windows))


def _draw_cell(ax: Axes, row: int, column: int, number: str, depth: float | None, *, is_given: bool) -> None:
    """A cell with its number, the deeper its colour the later the knee; without a colour where there is none."""
    if depth is not None:
        cell = Rectangle((column, row), 1, 1, facecolor=COLOURS["s0"], alpha=depth, linewidth=0, clip_on=False)
        ax.add_artist(cell)
        weight = "bold" if is_given else "normal"
        if number:
            words(ax, column + 0.5, row + 0.5, number, align="center", weight=weight)
    if is_given:
        ring = Rectangle((column, row), 1, 1, fill=False, edgecolor=COLOURS["ink"], linewidth=1.2, clip_on=False)
        ax.add_artist(ring)


def _describe_windows(windows: Windows) -> str:
    knees = [knee for knee, _, _ in windows.found()]
    if not knees:
        return "A table of windows: no window has a knee."
    return (
        f"A table of windows, the knee of each in its cell: from {count(min(knees))} to {count(max(knees))} added "
        "tokens, later in windows that start and end later. The table below holds the numbers."
    )


# --- The preparation --------------------------------------------------------------------------------------------------

_ROW_HEIGHT = 20  # points
_LEFT, _RIGHT = 0.24, 0.27  # of the width, for the steps' names and for the words beside the longest bar
_NAME_CHARS = 18


def draw_funnel(prepare: PrepareRecord | None) -> Drawing | None:
    """A bar per step; behind it, pale, what the step was given. None where nothing was prepared."""
    if prepare is None or not prepare.steps:
        return None
    steps = prepare.steps
    figure, ax = frame(BELOW + (26 + _ROW_HEIGHT * len(steps)) * POINT, left=_LEFT, right=_RIGHT)
    most = max(step.n_bytes_in for step in steps) or 1
    bytes_axis(ax, most, "bytes of text")
    ax.set_ylim(len(steps) - 0.5, -0.5)
    ax.yaxis.set_visible(False)
    for row, step in enumerate(steps):
        words(ax, 0, row, plain(step.step, _NAME_CHARS), shift=-9, align="right")
        for n_bytes, colour in ((step.n_bytes_in, "rule"), (step.n_bytes_out, "s0")):
            bar = Rectangle((0, row - 0.2), n_bytes, 0.4, facecolor=COLOURS[colour], linewidth=0)
            bar.set_clip_on(False)
            ax.add_artist(bar)
        words(ax, max(step.n_bytes_in, step.n_bytes_out), row, _left(step), shift=6)
    return Drawing(figure=figure, label=_described(steps))


def _left(step: PrepareStep) -> str:
    kept = percent(step.n_bytes_out / step.n_bytes_in if step.n_bytes_in else None)
    return f"{size_of(step.n_bytes_out)}, {kept}"


def _described(steps: Sequence[PrepareStep]) -> str:
    told = "; ".join(f"{step.step} {_left(step)}" for step in steps)
    return f"Bar chart of the bytes that each step of the preparation left: {told}. The table holds the numbers."

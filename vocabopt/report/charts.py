"""The figures of a sweep: ratios over every size, each rule's answer, the knee over windows, the union, the funnel."""

from collections.abc import Callable, Sequence

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator

from vocabopt.choice.complexity import Floats
from vocabopt.preparation.record import PrepareRecord, StepRecord
from vocabopt.records import RunRecord, SweepRecord
from vocabopt.report.charts_measured import draw_measured
from vocabopt.report.charts_training import draw_training_bits, draw_training_loss, draw_training_memory
from vocabopt.report.draw import (
    BAND,
    COLOURS,
    POINT,
    STEPS,
    WIDTH,
    Drawing,
    Key,
    Picture,
    Style,
    arrow,
    axis_title,
    bar,
    bare,
    bytes_axis,
    curve,
    dot,
    frame,
    house_style,
    moved,
    plot_of,
    render,
    row_frame,
    series_style,
    size_axis,
    upright,
    words,
)
from vocabopt.report.text import DASH, count, fixed, percent, plain, quotient, size_of
from vocabopt.report.view import RuleRow, SetRow, View

FLOOR: Style = {"linewidth": 0.9, "linestyle": (0, (1, 2.5))}
N_NAME = 15  # characters of a set's name that a legend column holds


def draw_all(view: View) -> list[Picture]:
    """Every figure there is data for, in the page's order."""
    drawings: dict[str, Callable[[View], Drawing | None]] = {
        "complexity": draw_complexity,
        "rules": draw_rules,
        "measured": draw_measured,
        "windows": draw_windows,
        "sets": draw_sets,
        "targets": draw_targets,
        "funnel": lambda view: draw_funnel(view.prepare),
        "used": draw_used,
        "swap": draw_swap,
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


# --- Over every size --------------------------------------------------------------------------------------------------


def over_sizes(
    view: View, height: float, curves: Sequence[tuple[Floats, Style]], keys: Sequence[Key] = (), *, columns: int = 3,
    right: float = 0.045, title: str = "ratio_input", colour: str = "ink",
) -> tuple[Figure, Axes]:  # fmt: skip
    """Lines over the sizes 0, 1, 2 ... of the run, from 0 up: the height of an input ratio is what is left of it."""
    figure, ax = frame(height, keys, columns=columns, right=right)
    size_axis(ax, view.curve.height)
    for values, style in curves:
        curve(ax, values, style)
    ax.set_ylim(0, max([1.0, *(float(np.nan_to_num(values).max()) for values, _ in curves)]))
    axis_title(ax, title, colour)
    return figure, ax


def draw_complexity(view: View) -> Drawing:
    """Figure 1: input ratio on the left axis, embedding ratio on the right, the choice and its window."""
    # Held-out and training text, and the set of the choice where it is neither.
    shown = [given for given in view.sets if given.name in (view.heldout, view.train, view.main)]
    curves = _curves(view, shown)
    keys = [
        Key(
            label="ratio_input, " + (view.words_of(row.name) if row.number <= 2 else f"set {_set_label(row)}"),
            style=_series(row.number),
        )
        for row in curves
    ]
    low, high = view.choice.window
    keys.append(Key(label="ratio_embedding (right axis)", style={"color": COLOURS["embedding"]}))
    keys.append(Key(label=f"window {low:,} to {high:,}", style={**BAND, "linewidth": 7}))
    drawn = [(values, _series(row.number)) for row, values in curves.items()]
    keys += _floor_key(shown)
    figure, ax = over_sizes(view, 3.35, drawn, keys, columns=2, right=0.085, colour="s0")
    _draw_floors(ax, shown)
    n_max = view.curve.height
    ax.axvspan(min(low, n_max), min(high, n_max), clip_on=False, linewidth=0, **BAND)

    right_ax = ax.twinx()
    bare(right_ax)
    sizes, ratios = view.embedding_line()
    right_ax.plot(sizes, ratios, color=COLOURS["embedding"], clip_on=False)
    highest = max([1.0, *ratios])
    right_ax.set_ylim(1, highest if highest > 1 else 1.05)
    right_ax.ticklabel_format(axis="y", useOffset=False)
    right_ax.yaxis.set_major_locator(MaxNLocator(5, steps=STEPS))
    axis_title(right_ax, "ratio_embedding", "embedding", right=True)

    # Beside an early choice the embedding line runs low, beside a late one high: the label keeps out of its way.
    _mark_choice(ax, view, label_y=0.94 if _is_early(view) else 0.05)
    if (ratio := view.main_set.ratio_choice) is not None:
        dot(ax, view.n_choice, ratio)
    told = " and ".join(f"{fixed(given.ratio_choice)} on {view.words_of(given.name)}" for given in shown)
    label = (
        f"Line chart over 0 to {count(n_max)} added tokens. At the choice, {count(view.n_choice)} added, ratio_input "
        f"is {told}; ratio_embedding is {fixed(view.ratio_embedding_choice)}. The table of sizes holds the numbers."
    )
    lines = [*(_line(view, row) for row in curves), ("embedding", "embedding")]
    return Drawing(figure=figure, label=label, plot=plot_of(ax, right_ax, lines))


def draw_sets(view: View) -> Drawing:
    """The input ratio of every text set, numbered as in the page's table."""
    curves = _curves(view, view.sets)
    keys = [Key(label=_set_label(row), style=_series(row.number)) for row in curves] + _floor_key(view.sets)
    figure, ax = over_sizes(view, 3.0, [(values, _series(row.number)) for row, values in curves.items()], keys)
    _draw_floors(ax, view.sets)
    _mark_choice(ax, view)
    told = "; ".join(f"{text_set.name} {fixed(text_set.ratio_choice)}" for text_set in view.sets)
    label = f"Line chart of ratio_input, one line per text set. At the choice: {told}. A table follows."
    return Drawing(figure=figure, label=label, plot=plot_of(ax, lines=[_line(view, row) for row in curves]))


def draw_targets(view: View) -> Drawing | None:
    """The input ratio of each target, and worst over best on the right axis; None where there is one target."""
    if view.sweep.targets is None:
        return None
    curves = _curves(view, view.target_sets)
    keys = [Key(label=_set_label(row), style=_series(row.number)) for row in curves]
    keys.append(Key(label="worst over best (right axis)", style={"color": COLOURS["embedding"]}))
    drawn = [(values, _series(row.number)) for row, values in curves.items()]
    figure, ax = over_sizes(view, 3.0, drawn, keys, columns=2, right=0.085)
    spread = np.max([*curves.values()], axis=0) / np.min([*curves.values()], axis=0)
    right_ax = ax.twinx()
    bare(right_ax)
    right_ax.plot(spread, color=COLOURS["embedding"], clip_on=False)
    right_ax.set_ylim(1, max(1.05, float(spread.max())))
    right_ax.ticklabel_format(axis="y", useOffset=False)
    right_ax.yaxis.set_major_locator(MaxNLocator(5, steps=STEPS))
    axis_title(right_ax, "worst over best", "embedding", right=True)
    _mark_choice(ax, view)
    told = [*(f"{row.name} {fixed(row.ratio_choice)}" for row in curves)]
    told.append(f"worst over best {fixed(float(spread[view.n_choice]))}")
    label = f"Line chart of ratio_input, a line per target. At the choice: {'; '.join(told)}. A table follows."
    return Drawing(figure=figure, label=label, plot=plot_of(ax, right_ax, [_line(view, row) for row in curves]))


def draw_used(view: View) -> Drawing | None:
    """Share of the added tokens that occur in held-out text; None where that was not counted."""
    used = view.used_curve()
    if used is None:
        return None
    title = "share of added tokens used in held-out text"
    figure, ax = over_sizes(view, 2.1, [(used, _series(1))], title=title)
    ax.yaxis.set_major_locator(MaxNLocator(4))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f} %"))
    _mark_choice(ax, view)
    last = percent(quotient(*reversed(view.used[-1])) if view.used else None)
    label = f"Line chart of the share of added tokens that occur in held-out text, {last} at the last size below."
    return Drawing(figure=figure, label=label, plot=plot_of(ax, lines=[("used", "s0")]))


def draw_union(view: View) -> Drawing | None:
    """The union's sizes beside the grown curve, by new rows; None where it was not measured."""
    rows, values = view.union_rows, view.sizes.ratio_input(view.main)
    if not rows or not len(values):
        return None
    keys = [Key(label="grown", style=_series(1)), Key(label="union (dots)", style={"color": COLOURS["s1"]})]
    figure, ax = over_sizes(view, 2.6, [(values, _series(1))], keys)
    for point, ratio, _ in rows:
        if ratio is not None and point.n_added <= view.curve.height:
            dot(ax, point.n_added, ratio, colour="s1")
    told = "; ".join(f"{count(point.n_added)} rows {fixed(ratio)}" for point, ratio, _ in rows)
    label = f"Line chart of the grown ratio_input, with a dot for each size of the union: {told}. A table follows."
    return Drawing(figure=figure, label=label, plot=plot_of(ax, lines=[_line(view, view.main_set)]))


def draw_swap(view: View) -> Drawing | None:
    """Rows swapped beside as many new ones, and on the right axis what kept texts pay; None where none were swapped."""
    swap, values = view.swap, view.sizes.ratio_input(view.main)
    if swap is None or not len(values):
        return None
    numbers = {row.name: row.number for row in view.sets}
    keys = [Key(label="grown", style=_series(1)), Key(label="swapped (dots)", style={"color": COLOURS["ink"]})]
    keys += [Key(label=f"{plain(name, N_NAME)} (right axis)", style=_series(numbers[name])) for name in swap.kept_sets]
    figure, ax = over_sizes(view, 3.0, [(values, _series(1))], keys, right=0.085, colour="s0")
    base_tokens, sizes = view.sweep.base_tokens, [point.n_swapped for point in swap.points]
    ratios = [1 - swap.ratio_saved(point, base_tokens, view.main) for point in swap.points]
    for size, ratio in zip(sizes, ratios, strict=True):
        dot(ax, size, ratio)
    right_ax = ax.twinx()
    bare(right_ax)
    lost = {name: [100 * swap.ratio_lost(point, base_tokens, name) for point in swap.points] for name in swap.kept_sets}
    for name, column in lost.items():
        right_ax.plot(sizes, column, clip_on=False, **_series(numbers[name]))
    low, high = min(0.0, *map(min, lost.values())), max(0.1, *map(max, lost.values()))
    right_ax.set_ylim(low, high)
    right_ax.yaxis.set_major_locator(MaxNLocator(5, steps=STEPS))
    axis_title(right_ax, "more tokens, %", "ink", right=True)
    told = "; ".join(f"{count(size)} rows {fixed(ratio)}" for size, ratio in zip(sizes, ratios, strict=True))
    label = f"Line chart of the grown ratio_input, with a dot for each number of rows swapped: {told}. A table follows."
    return Drawing(figure=figure, label=label, plot=plot_of(ax, lines=[_line(view, view.main_set)]))


def _curves(view: View, rows: Sequence[SetRow]) -> dict[SetRow, Floats]:
    """The input ratio of those text sets that have tokens."""
    return {row: view.sizes.ratio_input(row.name) for row in rows if row.stats.n_tokens_base}


def _draw_floors(ax: Axes, rows: Sequence[SetRow]) -> None:
    """A level line under each curve: what no number of added tokens brings its text below."""
    for row in rows:
        if row.ratio_floor is not None:
            colour, _ = series_style(row.number)
            ax.plot(ax.get_xlim(), [row.ratio_floor] * 2, color=COLOURS[colour], clip_on=False, **FLOOR)


def _floor_key(rows: Sequence[SetRow]) -> list[Key]:
    """What the level lines are, in the colour of the first."""
    first = next((row for row in rows if row.ratio_floor is not None), None)
    if first is None:
        return []
    return [Key(label="floor: chunks of the base", style={"color": COLOURS[series_style(first.number)[0]], **FLOOR})]


def _line(view: View, text_set: SetRow) -> tuple[str, str]:
    """What the page's script draws a dot on: the text set by its place in the page's order, and its colour."""
    return f"set{view.sets.index(text_set)}", series_style(text_set.number)[0]


def _series(number: int) -> Style:
    colour, dash = series_style(number)
    return {"color": COLOURS[colour], "linestyle": dash, "linewidth": 1.6 if dash == "solid" else 1.3}


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

LABEL_SHARE = 0.2  # of the axis, for a number beside its dot in a phone's letters
CELL_HEIGHT = 22  # points
WINDOWS_LEFT = 0.135
N_CELLS = 9  # columns that hold their numbers in a phone's letters too
PALEST, DEEPEST = 0.06, 0.5


def draw_rules(view: View) -> Drawing | None:
    """Every rule's answer on the axis of sizes; None where there are no sizes."""
    if not view.curve.height:
        return None
    figure, ax = row_frame(len(view.rules), 18, left=0.31)
    size_axis(ax, view.curve.height)
    for row, rule in enumerate(view.rules):
        _draw_rule(ax, view, row, rule)
    _mark_choice(ax, view, label_y=1)
    told = "; ".join(f"{rule.label} {rule.size}" for rule in view.rules)
    label = f"Every rule's answer on one axis of added tokens: {told}. The table holds a sentence on each."
    return Drawing(figure=figure, label=label, plot=plot_of(ax))


def _draw_rule(ax: Axes, view: View, row: int, rule: RuleRow) -> None:
    """A name, and on its row a dot; with an arrow where the answer is a bound, or lies beyond the curve."""
    n_max, n_added, interval = view.curve.height, rule.answer.n_added, view.choice.interval
    colour = "window" if rule.answer.second_opinion else "s0"
    weight = "bold" if rule.answer.name == view.choice.rule else "normal"
    words(ax, 0, row, rule.label, shift=-17, align="right", weight=weight)
    if n_added is None:
        words(ax, 0, row, DASH, shift=6, color=COLOURS["window"])
        return
    x = beside = min(n_added, n_max)
    # The number stands left of its dot where there is no room to the right, or the choice's line would cross it.
    room = LABEL_SHARE * n_max
    to_left = x > n_max - room or (x <= view.n_choice < x + room and x > room)
    if (end := x - (room if to_left else 0)) > 0:
        ax.plot([0, end], [row, row], color=COLOURS["rule"], linewidth=0.8, clip_on=False, zorder=0)
    if rule.answer.name == "knee" and interval is not None:
        span = [interval.low, interval.high]
        ax.plot(span, [row, row], color=COLOURS["s0"], linewidth=7, alpha=0.28, clip_on=False)
        beside = min(x, span[0]) if to_left else max(x, span[1])
    if rule.answer.bound == "at_least" or n_added > n_max:
        arrow(ax, x, row, colour=colour)
    if n_added <= n_max:
        dot(ax, x, row, colour=colour, hollow=rule.answer.second_opinion)
    shift = 17 if rule.answer.bound == "at_least" and not to_left else 8
    words(ax, beside, row, rule.size, shift=-8 if to_left else shift, align="right" if to_left else "left", zorder=4)


def draw_windows(view: View) -> Drawing | None:
    """The knee of each window as a table of cells, in a stronger colour the later it is; None where there are none."""
    windows = view.choice.windows
    if not windows.ends:
        return None
    found = [knee for knee, _, _ in windows.found()]
    highest = max([*found, 1])
    above, height = 38 * POINT, (44 + CELL_HEIGHT * len(windows.starts)) * POINT
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
            _draw_cell(ax, row, column, knee, highest, is_given=is_given)
    label = "A table of windows: no window has a knee."
    if found:
        label = (
            f"A table of windows, the knee of each in its cell: from {count(min(found))} to {count(max(found))} added "
            "tokens, later in windows that start and end later. The table below holds the numbers."
        )
    return Drawing(figure=figure, label=label)


def _draw_cell(ax: Axes, row: int, column: int, knee: int | None, highest: int, *, is_given: bool) -> None:
    """A cell with its number, the deeper its colour the later the knee; without a colour where there is none."""
    if knee is not None:
        depth = PALEST + (DEEPEST - PALEST) * knee / highest
        cell = Rectangle((column, row), 1, 1, facecolor=COLOURS["s0"], alpha=depth, linewidth=0, clip_on=False)
        ax.add_artist(cell)
        if ax.get_xlim()[1] <= N_CELLS:
            weight = "bold" if is_given else "normal"
            words(ax, column + 0.5, row + 0.5, count(knee), align="center", weight=weight)
    if is_given:
        ring = Rectangle((column, row), 1, 1, fill=False, edgecolor=COLOURS["ink"], linewidth=1.2, clip_on=False)
        ax.add_artist(ring)


# --- The preparation --------------------------------------------------------------------------------------------------


def draw_funnel(prepare: PrepareRecord | None) -> Drawing | None:
    """A bar per step; behind it, pale, what the step was given. None where nothing was prepared."""
    if prepare is None or not prepare.steps:
        return None
    steps = prepare.steps
    figure, ax = row_frame(len(steps), 20, left=0.24, right=0.27)
    bytes_axis(ax, max(step.n_bytes_in for step in steps) or 1, "bytes of text")
    for row, step in enumerate(steps):
        words(ax, 0, row, plain(step.step, 18), shift=-9, align="right")
        bar(ax, row, step.n_bytes_in, 0.4, "rule")
        bar(ax, row, step.n_bytes_out, 0.4, "s0")
        words(ax, max(step.n_bytes_in, step.n_bytes_out), row, _left(step), shift=6)
    told = "; ".join(f"{step.step} {_left(step)}" for step in steps)
    label = f"Bar chart of the bytes that each step of the preparation left: {told}. The table holds the numbers."
    return Drawing(figure=figure, label=label)


def _left(step: StepRecord) -> str:
    kept = percent(step.n_bytes_out / step.n_bytes_in if step.n_bytes_in else None)
    return f"{size_of(step.n_bytes_out)}, {kept}"

"""The figures over every size: both ratios, every set's ratio, the tokens in use, the union beside the curve."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from vocabopt.report.charts_choice import draw_rules, draw_windows
from vocabopt.report.charts_funnel import draw_funnel
from vocabopt.report.charts_training import draw_training_bits, draw_training_loss, draw_training_memory
from vocabopt.report.draw import (
    BAND,
    Drawing,
    Key,
    Picture,
    Style,
    axis_title,
    bare,
    curve,
    dot,
    frame,
    house_style,
    plot_of,
    render,
    size_axis,
    upright,
)
from vocabopt.report.rows import TextSet
from vocabopt.report.svg import COLOURS, series_style
from vocabopt.report.text import count, fixed, percent
from vocabopt.report.view import Floats, View

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
            lines.append(_line(view, text_set.name))
    keys.append(Key(label="ratio_embedding (right axis)", style={"color": COLOURS["embedding"]}))
    if view.window:
        lo, hi = view.window
        keys.append(Key(label=f"window {lo:,} to {hi:,}", style={**BAND, "linewidth": 7}))

    figure, ax = frame(3.35, keys, columns=2, right=0.085)
    n_max = view.curve.height
    size_axis(ax, n_max)
    if view.window:
        ax.axvspan(min(max(lo, 0), n_max), min(max(hi, 0), n_max), clip_on=False, linewidth=0, **BAND)
    _ratio_axis(ax, curves)
    axis_title(ax, "ratio_input", "s0")
    right_ax = _embedding_axis(ax, view)

    # Beside an early choice the embedding line runs low, beside a late one high: the label keeps out of its way.
    _mark_choice(ax, view, label_y=0.94 if _is_early(view) else 0.05)
    main = view.set_of(view.main)
    if main and main.ratio_choice is not None and view.n_choice <= n_max:
        dot(ax, view.n_choice, main.ratio_choice)
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
        f"{fixed(view.choice_point.get('ratio_embedding'))}. The table of sizes holds the numbers."
    )


def _first_sets(view: View) -> list[TextSet]:
    """The sets of figure 1: held-out and training text, and the set of the choice where it is neither."""
    return [given for given in view.sets if given.name in (view.heldout, view.train, view.main)]


def _words(view: View, text_set: TextSet) -> str:
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
            lines.append(_line(view, text_set.name))
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
        if row.ratio_union is not None and row.given["n_added"] <= n_max:
            dot(ax, row.given["n_added"], row.ratio_union, colour="s1")
    told = "; ".join(f"{count(row.given['n_added'])} rows {fixed(row.ratio_union)}" for row in rows)
    label = f"Line chart of the grown ratio_input, with a dot for each size of the union: {told}. A table follows."
    return Drawing(figure=figure, label=label, plot=plot_of(ax, lines=[_line(view, view.main)]))


def _line(view: View, name: str | None) -> tuple[str, str]:
    """What the page's script draws a dot on: the text set by its place in the page's order, and its colour."""
    text_set = view.set_of(name)
    assert text_set is not None
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
    if view.n_choice > view.curve.height:
        return
    upright(ax, view.n_choice, f"choice: {count(view.n_choice)} added", to_right=_is_early(view), label_y=label_y)


def _set_label(text_set: TextSet) -> str:
    """A set's number, and its name where the font surely has it; a long name is cut."""
    name = text_set.name
    if not (name.isascii() and name.isprintable()):
        return f"{text_set.number} (see table)"
    return f"{text_set.number} {name if len(name) <= N_NAME else name[: N_NAME - 2] + '..'}"

"""The figures of the choice: every rule's answer on one axis, and the knee over a grid of windows."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from vocabopt.report.decision import Rule, Windows
from vocabopt.report.draw import (
    BELOW,
    POINT,
    WIDTH,
    Drawing,
    arrow,
    bare,
    dot,
    frame,
    moved,
    plot_of,
    size_axis,
    words,
)
from vocabopt.report.svg import COLOURS
from vocabopt.report.text import DASH, count
from vocabopt.report.view import View

ROW_HEIGHT = 18  # points
RULES_LEFT = 0.31  # of the width, for the rules' names
LABEL_SHARE = 0.2  # of the axis, for a number beside its dot in a phone's letters
CELL_HEIGHT = 22  # points
WINDOWS_LEFT = 0.135
N_CELLS = 9  # columns that hold their numbers in a phone's letters too
PALEST, DEEPEST = 0.06, 0.5


def draw_rules(view: View) -> Drawing | None:
    """Every rule's answer on the axis of sizes; None where the sweep holds no rules."""
    rules = view.decision.rules
    if not rules or not view.curve.height:
        return None
    figure, ax = frame(BELOW + (26 + ROW_HEIGHT * len(rules)) * POINT, left=RULES_LEFT)
    n_max = view.curve.height
    size_axis(ax, n_max)
    ax.set_ylim(len(rules) - 0.5, -0.5)
    ax.yaxis.set_visible(False)
    for row, rule in enumerate(rules):
        _draw_rule(ax, view, row, rule)
    if view.n_choice <= n_max:
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


def _draw_rule(ax: Axes, view: View, row: int, rule: Rule) -> None:
    """A name, and on its row a dot; with an arrow where the answer is a bound, or lies beyond the curve."""
    n_max = view.curve.height
    colour = "window" if rule.is_second_opinion else "s0"
    words(ax, 0, row, rule.label, shift=-17, align="right", weight="bold" if rule.decided else "normal")
    if rule.n_added is None or rule.bound == "none":
        words(ax, 0, row, DASH, shift=6, color=COLOURS["window"])
        return
    is_beyond = rule.n_added > n_max
    x = min(max(rule.n_added, 0), n_max)
    to_left = _label_left(x, view)
    _draw_row_line(ax, row, x - (LABEL_SHARE * n_max if to_left else 0))
    beside = x
    interval = view.decision.interval
    if rule.name == "knee" and interval is not None and view.decision.has_interval:
        span = [min(interval["low"], n_max), min(interval["high"], n_max)]
        ax.plot(span, [row, row], color=COLOURS["s0"], linewidth=7, alpha=0.28, clip_on=False)
        beside = min(x, span[0]) if to_left else max(x, span[1])
    if rule.bound == "at_least" or is_beyond:
        arrow(ax, x, row, colour=colour)
    if not is_beyond:
        dot(ax, x, row, colour=colour, hollow=rule.is_second_opinion)
    shift = 17 if rule.bound == "at_least" and not to_left else 8
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
    windows = view.decision.windows
    if windows is None:
        return None
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
    for row, (start, knees) in enumerate(windows.rows):
        words(ax, 0, row + 0.5, count(start), shift=-9, align="right")
        for column, knee in enumerate(knees):
            is_given = view.window == (start, windows.ends[column])
            _draw_cell(ax, row, column, knee, windows, is_given=is_given)
    return Drawing(figure=figure, label=_describe_windows(windows))


def _draw_cell(ax: Axes, row: int, column: int, knee: int | None, windows: Windows, *, is_given: bool) -> None:
    if knee is not None:
        depth = PALEST + (DEEPEST - PALEST) * knee / max(windows.highest, 1)
        cell = Rectangle((column, row), 1, 1, facecolor=COLOURS["s0"], alpha=depth, linewidth=0, clip_on=False)
        ax.add_artist(cell)
        if len(windows.ends) <= N_CELLS:
            weight = "bold" if is_given else "normal"
            words(ax, column + 0.5, row + 0.5, count(knee), align="center", weight=weight)
    if is_given:
        ring = Rectangle((column, row), 1, 1, fill=False, edgecolor=COLOURS["ink"], linewidth=1.2, clip_on=False)
        ax.add_artist(ring)


def _describe_windows(windows: Windows) -> str:
    knees = [knee for _, row in windows.rows for knee in row if knee is not None]
    if not knees:
        return "A table of windows: no window has a knee."
    return (
        f"A table of windows, the knee of each in its cell: from {count(min(knees))} to {count(max(knees))} added "
        "tokens, later in windows that start and end later. The table below holds the numbers."
    )

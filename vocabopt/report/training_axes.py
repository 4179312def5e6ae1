"""The axes of an adaptation's figures: text read with the stages apart and named, and bytes in round units."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator

from vocabopt.amounts import UNITS
from vocabopt.report.draw import POINT, WIDTH, moved
from vocabopt.report.svg import COLOURS
from vocabopt.report.training_loss import Track
from vocabopt.report.training_rows import StageRow

N_NAME = 22  # characters of a name that a figure holds
LETTER = 5.9  # points of an average letter, in a phone's size
NAME_HEIGHT = 13  # points
_STEPS = [1, 2, 2.5, 5, 10]


def is_plain(name: str, n_letters: int) -> bool:
    """Has the figures' font surely all its letters, and is it short enough?"""
    return name.isascii() and name.isprintable() and 0 < len(name.strip()) <= len(name) <= n_letters


def stage_label(stage: StageRow) -> str:
    """A stage's name where a figure can hold it, else its number, by which the table knows it too."""
    return stage.name if stage.name is not None and is_plain(stage.name, N_NAME) else f"stage {stage.number}"


def height_of(ax: Axes) -> float:
    """Of the axes, in points."""
    figure = ax.get_figure()
    assert isinstance(figure, Figure)
    return ax.get_position().height * figure.get_figheight() / POINT


def bytes_axis(ax: Axes, end: float, title: str) -> None:
    """The x axis in bytes from 0 to `end`, with round numbers of the unit that suits it."""
    factor, unit = next(((factor, unit) for factor, unit in UNITS if end >= 2 * factor), (1, "bytes"))
    ticks = MaxNLocator(5, steps=_STEPS).tick_values(0, end / factor)
    ax.set_xlim(0, end)
    ax.xaxis.set_major_locator(FixedLocator([tick * factor for tick in ticks if 0 <= tick * factor <= end]))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / factor:,.6g}"))
    below_axis(ax, f"{title}, {unit}")


def below_axis(ax: Axes, title: str) -> None:
    ax.text(1, 0, title, transform=moved(ax, ax.transAxes, 0, -34), ha="right")


def text_axis(ax: Axes, track: Track, end: float, *, before: float = 0.0) -> None:
    """The text read: from its start to `end`.

    before: the share of the axis left of the start, for what was measured of the model as it came.
    """
    if track.in_bytes and track.ends:
        bytes_axis(ax, end, "text read")
    else:
        ax.set_xticks([])
        below_axis(ax, "stages in order" if track.ends else "")
    ax.set_xlim(-before * end, end)
    if before:
        over = ax.get_xaxis_transform()
        ax.text(-before * end, 0, "before", transform=moved(ax, over, -6, -16))
        if not track.ends:
            ax.text(end, 0, "after", transform=moved(ax, over, 6, -16), ha="right")


def value_axis(ax: Axes, values: Sequence[float], stages: Sequence[StageRow], track: Track, *, at_start: bool) -> None:
    """The y axis from below the lowest value to above the highest; above that, the stages' names and where they start.

    at_start: is the start of the first stage marked too? Call after the x axis is set.
    """
    low, high = min(values), max(values)
    spread = (high - low) or abs(high) * 0.1 or 1.0
    bottom = max(0.0, low - 0.08 * spread) if low >= 0 else low - 0.08 * spread
    labels, n_rows = _stage_labels(ax, stages, track)
    row_share = NAME_HEIGHT / height_of(ax)
    ax.set_ylim(bottom, bottom + (high + 0.05 * spread - bottom) / (1 - n_rows * row_share))
    ax.yaxis.set_major_locator(MaxNLocator(5, steps=_STEPS))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.6g}"))
    over = ax.get_xaxis_transform()
    rows = {x: row for x, row, _ in labels}
    for start, _ in track.spans[0 if at_start else 1 :]:
        # Up to its own name, and not through the one above it.
        top = 1 - rows.get(start, 0) * row_share
        ax.plot([start, start], [0, top], transform=over, color=COLOURS["window"], linewidth=0.7, clip_on=False)
    for x, row, label in labels:
        ax.text(x, 1, label, transform=moved(ax, over, 4, 3 - NAME_HEIGHT * (row + 1)))


def _stage_labels(ax: Axes, stages: Sequence[StageRow], track: Track) -> tuple[list[tuple[float, int, str]], int]:
    """Where each stage's label stands: x, row from the top, words; and how many rows there are.

    Names on one row; or on two in turn, those below no wider than their stage; or numbers, as many as have room.
    """
    low, high = ax.get_xlim()
    points = ax.get_position().width * WIDTH / POINT / (high - low)
    starts = [start for start, _ in track.spans]
    names = [stage_label(stage) for stage in stages]
    wide = [len(name) * LETTER + 7 for name in names]
    ends = [*starts[1:], high, high]
    for rows in ([0] * len(names), [i % 2 for i in range(len(names))], [1 - i % 2 for i in range(len(names))]):
        n_rows = 1 + max(rows, default=-1)
        # Above, a name may reach over the next stage's too, whose own stands below.
        room = [
            ends[i + (n_rows - 1) * (1 - row)] - start for i, (start, row) in enumerate(zip(starts, rows, strict=True))
        ]
        if all(width <= points * free for width, free in zip(wide, room, strict=True)):
            return list(zip(starts, rows, names, strict=True)), n_rows
    labels: list[tuple[float, int, str]] = []
    free_from = starts[0]
    for stage, start in zip(stages, starts, strict=True):
        if start >= free_from:
            label = str(stage.number)
            labels.append((start, 0, label))
            free_from = start + (len(label) * LETTER + 9) / points
    return labels, 1

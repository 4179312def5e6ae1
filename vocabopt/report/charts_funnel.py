"""The figure of a preparation: the bytes of text that each step left."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.patches import Rectangle

from vocabopt.report.draw import BELOW, POINT, Drawing, frame, words
from vocabopt.report.svg import COLOURS
from vocabopt.report.text import percent, plain, size_of
from vocabopt.report.training_axes import bytes_axis

_ROW_HEIGHT = 20  # points
_LEFT, _RIGHT = 0.24, 0.27  # of the width, for the steps' names and for the words beside the longest bar
_NAME_CHARS = 18


def draw_funnel(prepare: Mapping[str, Any] | None) -> Drawing | None:
    """A bar per step; behind it, pale, what the step was given. None where nothing was prepared."""
    if prepare is None or not prepare["steps"]:
        return None
    steps: Sequence[Mapping[str, Any]] = prepare["steps"]
    figure, ax = frame(BELOW + (26 + _ROW_HEIGHT * len(steps)) * POINT, left=_LEFT, right=_RIGHT)
    most = max(step["n_bytes_in"] for step in steps) or 1
    bytes_axis(ax, most, "bytes of text")
    ax.set_ylim(len(steps) - 0.5, -0.5)
    ax.yaxis.set_visible(False)
    for row, step in enumerate(steps):
        words(ax, 0, row, plain(step["step"], _NAME_CHARS), shift=-9, align="right")
        for name, colour in (("n_bytes_in", "rule"), ("n_bytes_out", "s0")):
            bar = Rectangle((0, row - 0.2), step[name], 0.4, facecolor=COLOURS[colour], linewidth=0)
            bar.set_clip_on(False)
            ax.add_artist(bar)
        words(ax, max(step["n_bytes_in"], step["n_bytes_out"]), row, _left(step), shift=6)
    return Drawing(figure=figure, label=_described(steps))


def _left(step: Mapping[str, Any]) -> str:
    kept = percent(step["n_bytes_out"] / step["n_bytes_in"] if step["n_bytes_in"] else None)
    return f"{size_of(step['n_bytes_out'])}, {kept}"


def _described(steps: Sequence[Mapping[str, Any]]) -> str:
    told = "; ".join(f"{step['step']} {_left(step)}" for step in steps)
    return f"Bar chart of the bytes that each step of the preparation left: {told}. The table holds the numbers."

"""The figure of what short runs at several sizes measured: bits per byte over the sizes."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from vocabopt.choice.measured import SizeRow, bits_at
from vocabopt.choice.measured_table import EQUAL
from vocabopt.records import Equal, SizeFit
from vocabopt.report.draw import (
    BAND,
    COLOURS,
    STEPS,
    Drawing,
    Key,
    axis_title,
    dot,
    frame,
    plot_of,
    size_axis,
    upright,
)
from vocabopt.report.text import count, fixed
from vocabopt.report.view import View

_COLOURS: dict[Equal, str] = {"flops": "s0", "text": "s1"}
_N_DRAWN = 200  # points of a curve, spread by ratio as the sizes are
_MARGIN = 0.08  # of the values' range, above and below


def draw_measured(view: View) -> Drawing | None:
    """A dot for every size, with its spread over seeds, and the curve through those above 0; None without a probe."""
    record = view.measured
    if record is None or not record.fits:
        return None
    keys = [Key(label=EQUAL[fit.equal], style={"color": COLOURS[_COLOURS[fit.equal]]}) for fit in record.fits]
    deciding = record.fit
    if deciding is not None and deciding.within is not None:
        keys.append(Key(label="within noise of the best", style={**BAND, "linewidth": 7}))
    figure, ax = frame(2.9, keys, columns=3)
    size_axis(ax, view.curve.height)
    if deciding is not None and deciding.within is not None:
        ax.axvspan(*deciding.within, clip_on=False, linewidth=0, **BAND)
    told = []
    for fit in record.fits:
        rows = record.rows_of(fit.equal)
        _draw_fit(ax, fit, record.rows, _COLOURS[fit.equal])
        for row in rows:
            _draw_row(ax, row, _COLOURS[fit.equal])
        sizes = "; ".join(f"{count(row.n_added)} added {fixed(row.reached, 4)}" for row in rows)
        told.append(f"at {EQUAL[fit.equal]} {sizes}")
    ends = [row.reached + sign * (row.spread or 0) for row in record.rows for sign in (-1, 1)]
    margin = _MARGIN * ((max(ends) - min(ends)) or 1)
    ax.set_ylim(max(0.0, min(ends) - margin), max(ends) + margin)
    ax.yaxis.set_major_locator(MaxNLocator(5, steps=STEPS))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.6g}"))
    axis_title(ax, "bits per byte of target text")
    to_right = view.n_choice <= view.curve.height / 2
    upright(ax, view.n_choice, f"choice: {count(view.n_choice)} added", to_right=to_right, label_y=0.94)
    label = f"Bits per byte after short runs, by added tokens: {'. '.join(told)}. A table follows."
    return Drawing(figure=figure, label=label, plot=plot_of(ax))


def _draw_fit(ax: Axes, fit: SizeFit, rows: Sequence[SizeRow], colour: str) -> None:
    """The curve, over the sizes that it is fitted to."""
    if not fit.coefficients:
        return
    sizes = np.unique(np.geomspace(*fit.measured, _N_DRAWN).round().astype(np.int64)).tolist()
    bits = [bits for size in sizes if (bits := bits_at(fit, rows, size)) is not None]
    ax.plot(sizes, bits, color=COLOURS[colour], clip_on=False)


def _draw_row(ax: Axes, row: SizeRow, colour: str) -> None:
    if row.spread is not None:
        ends = [row.reached - row.spread, row.reached + row.spread]
        ax.plot([row.n_added] * 2, ends, color=COLOURS[colour], linewidth=1, clip_on=False)
    dot(ax, row.n_added, row.reached, colour=colour, hollow=not row.n_added)

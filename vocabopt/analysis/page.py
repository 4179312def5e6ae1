"""The files of an analysis: analyze.json, one self-contained page, and its figures for papers."""

import math
from pathlib import Path
from typing import Any

from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path as Outline
from matplotlib.transforms import Affine2D, ScaledTranslation

from vocabopt.analysis.measure import best
from vocabopt.analysis.record import AnalyzeRecord
from vocabopt.analysis.tables import warnings
from vocabopt.folder import write_bytes_atomic
from vocabopt.records import write_record
from vocabopt.report.draw import (
    COLOURS,
    LINE_HEIGHT,
    POINT,
    WIDTH,
    Drawing,
    Picture,
    bare,
    house_style,
    moved,
    render,
    write_figures,
)  # fmt: skip
from vocabopt.report.page import environment
from vocabopt.report.text import fixed, plain
from vocabopt.text.utf8 import encoded_for_display

_ROW = 15.5  # points a text set takes
_ABOVE, _BELOW = 14, 34  # points over and under the rows, for nothing and for the numbers of the axis
_LEFT = 0.19  # of the width, for the names of text sets
_COLUMNS = 3  # of the legend
# Of letters that a phone shows larger.
_NAME_CHARS, _LEGEND_CHARS = 11, 16
_COLOUR_NAMES = tuple(f"s{number}" for number in range(6))
# Told apart without colour as well. A square of the circle's area, standing on its side and on its corner.
_SHAPES = (
    Outline.unit_circle(),
    Outline([(-0.89, -0.89), (0.89, -0.89), (0.89, 0.89), (-0.89, 0.89), (-0.89, -0.89)], closed=True),
    Outline([(-1.1, -0.8), (1.1, -0.8), (0, 1.15), (-1.1, -0.8)], closed=True),
    Outline([(0, -1.25), (1.25, 0), (0, 1.25), (-1.25, 0), (0, -1.25)], closed=True),
)


#: Of each figure: its name, the number of each set, its title; is the axis logarithmic, or does it begin at 0?
_CHARTS = (
    ("fertility", "tokens_per_word", "tokens per word (logarithmic)", True),
    ("bytes-per-token", "bytes_per_token", "bytes per token", False),
)


def write_analysis(out: Path, record: AnalyzeRecord) -> Path:
    """Write DIR/analyze.json, DIR/analyze.html and DIR/figures/*.svg, *.png; equal input gives equal bytes.

    Returns:
        The path of the page.

    Raises:
        RunDirectoryError: a file cannot be written.
    """
    with house_style():
        pictures = [picture for chart in _CHARTS if (picture := _draw(record, *chart)) is not None]
    write_record(out / "analyze.json", record)
    write_figures(out, pictures)
    names = [*record.sets, *(tokenizer.name for tokenizer in record.tokenizers)]
    page = (
        environment(Path(__file__).parent)
        .get_template("analyze.html")
        .render(
            best=best,
            record=record,
            notes=warnings(record),
            sets=record.sets,
            tokenizers=record.tokenizers,
            marks=[(colour_of(number), shape_of(number)) for number in range(len(record.tokenizers))],
            totals=[sum(counts.n_tokens for counts in given.sets.values()) for given in record.tokenizers],
            is_korean=record.is_korean,
            has_numbers=not all(map(_has_font, names)),
            # Trusted markup: figures whose every text matplotlib has escaped.
            figures={picture.name: Markup(picture.inline) for picture in pictures},
        )
    )
    write_bytes_atomic(out / "analyze.html", encoded_for_display(page))
    return out / "analyze.html"


def shape_of(number: int) -> int:
    """Which shape the tokenizer of this number (from 0) has."""
    return (number + number // len(_COLOUR_NAMES)) % len(_SHAPES)


def colour_of(number: int) -> str:
    """The name of the colour that the tokenizer of this number (from 0) has."""
    return _COLOUR_NAMES[number % len(_COLOUR_NAMES)]


def _draw(record: AnalyzeRecord, name: str, key: str, title: str, is_log: bool) -> Picture | None:
    """A row per text set, a mark per tokenizer; None where no set has the number."""
    names, tokenizers = list(record.sets), record.tokenizers
    rows = [[getattr(tokenizer.sets[name], key) for tokenizer in tokenizers] for name in names]
    values = [value for row in rows for value in row if value]
    if not values:
        return None
    # 1. The axes below a legend of three columns.
    legend = LINE_HEIGHT * -(-len(tokenizers) // _COLUMNS) + 6
    total = (legend + _ABOVE + _ROW * len(names) + _BELOW) * POINT
    figure = Figure(figsize=(WIDTH, total))
    bottom, height = _BELOW * POINT / total, _ROW * POINT / total  # of the axes; of a row
    ax = figure.add_axes((_LEFT, bottom, 1 - _LEFT - 0.03, height * len(names)))
    bare(ax)
    for number, tokenizer in enumerate(tokenizers):
        row, column = divmod(number, _COLUMNS)
        x, y = 0.015 + column / _COLUMNS, 1 - (9 + LINE_HEIGHT * row) * POINT / total
        _mark(figure, number, ScaledTranslation(x * WIDTH, y * total, figure.dpi_scale_trans))
        figure.text(x + 0.02, y - 3 * POINT / total, _label(tokenizer.name, number, _LEGEND_CHARS))
    # 2. The scale.
    ticks = _log_ticks(min(values), max(values)) if is_log else _even_ticks(max(values))
    to_place = math.log10 if is_log else float
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.set_yticks([])
    ax.set_xlim(to_place(ticks[0]), to_place(ticks[-1]))
    ax.set_xticks([to_place(tick) for tick in ticks], [f"{tick:g}" for tick in ticks])
    ax.text(1, 0, title, transform=moved(ax, ax.transAxes, 0, -29), ha="right")
    rule: dict[str, Any] = {"color": COLOURS["rule"], "linewidth": 0.6, "clip_on": False, "zorder": 0}
    for tick in ticks:
        ax.plot([to_place(tick)] * 2, [-0.5, len(names) - 0.5], **rule)
    # 3. The rows.
    span: dict[str, Any] = {"color": COLOURS["window"], "linewidth": 1.0, "alpha": 0.7, "clip_on": False, "zorder": 1}
    for row, of_set in enumerate(rows):
        placed = [(number, to_place(value)) for number, value in enumerate(of_set) if value]
        if placed:
            ax.plot([min(x for _, x in placed), max(x for _, x in placed)], [row, row], **span)
        for number, x in placed:
            _mark(figure, number, ScaledTranslation(x, row, ax.transData))  # type: ignore[arg-type]
    for row, name_of_set in enumerate(names):
        y = bottom + (len(names) - row - 0.5) * height - 3 * POINT / total
        figure.text(0.008, y, _label(name_of_set, row, _NAME_CHARS))
    # 4. What a screen reader says: the extremes; a table holds the rest.
    said = []
    for tokenizer, of_tokenizer in zip(tokenizers, zip(*rows, strict=True), strict=True):
        found = [(value, plain(row_name, 40)) for value, row_name in zip(of_tokenizer, names, strict=True) if value]
        if found:
            (low, low_name), (high, high_name) = min(found), max(found)
            said.append(f"{plain(tokenizer.name, 40)} from {fixed(low)} ({low_name}) to {fixed(high)} ({high_name})")
    label = f"Dot plot of {title}, a row per text set: {'; '.join(said)}. A table follows."
    return render(name, Drawing(figure=figure, label=label))


def _mark(figure: Figure, number: int, place: Any) -> None:
    """A mark of about 6 points, drawn as a plain path."""
    transform = Affine2D().scale(3.1 * POINT) + figure.dpi_scale_trans + place
    style: dict[str, Any] = {"color": COLOURS[colour_of(number)], "linewidth": 0, "clip_on": False, "zorder": 3}
    figure.add_artist(PathPatch(_SHAPES[shape_of(number)], transform=transform, **style))


def _has_font(name: str) -> bool:
    return name.isascii() and name.isprintable()


def _label(name: str, number: int, limit: int) -> str:
    """A name where the font surely has it, cut where it is long; else its number in the tables."""
    if not _has_font(name):
        return f"no. {number + 1}"
    return name if len(name) <= limit else name[: limit - 2] + ".."


def _log_ticks(lowest: float, highest: float) -> list[float]:
    """1, 2, 5, 10, 20 ... around the values; at least two."""
    first, last = math.floor(math.log10(lowest)), math.ceil(math.log10(highest))
    steps = [digit * 10.0**power for power in range(first - 1, last + 1) for digit in (1, 2, 5)]
    low = max(step for step in steps if step <= lowest * 1.0001)
    high = min([step for step in steps if step >= highest * 0.9999 and step > low], default=10.0 ** (last + 1))
    return [step for step in [*steps, 10.0 ** (last + 1)] if low <= step <= high]


def _even_ticks(highest: float) -> list[float]:
    """0 and at most six more, up to the first that is not below the highest value."""
    step = next(step for step in (d * 10.0**p for p in range(-6, 9) for d in (1, 2, 5)) if highest / step <= 6)
    return [step * number for number in range(math.ceil(highest / step) + 1)]

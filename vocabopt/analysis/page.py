"""The files of an analysis: analyze.json, one self-contained page, and its figures for papers."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path as Outline
from matplotlib.transforms import Affine2D, ScaledTranslation

from vocabopt import __version__
from vocabopt.analysis.measure import best
from vocabopt.folder import write_bytes_atomic, write_json_atomic
from vocabopt.report.draw import (
    COLOURS,
    DARK,
    LINE_HEIGHT,
    POINT,
    WIDTH,
    Drawing,
    Picture,
    bare,
    colour_rules,
    colour_variables,
    house_style,
    render,
)
from vocabopt.report.page import environment, policy
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
_SQUARE = Outline([(-0.89, -0.89), (0.89, -0.89), (0.89, 0.89), (-0.89, 0.89), (-0.89, -0.89)], closed=True)
_TRIANGLE = Outline([(-1.1, -0.8), (1.1, -0.8), (0, 1.15), (-1.1, -0.8)], closed=True)
_SHAPES = (
    Outline.unit_circle(),
    _SQUARE,
    Outline(_TRIANGLE.vertices, closed=True),
    Outline([(0, -1.25), (1.25, 0), (0, 1.25), (-1.25, 0), (0, -1.25)], closed=True),
)


@dataclass(frozen=True, kw_only=True)
class _Chart:
    """A figure to draw. key: of the record's sets. is_log: the axis is logarithmic, else it begins at 0."""

    name: str
    key: str
    title: str
    is_log: bool


_CHARTS = (
    _Chart(name="fertility", key="tokens_per_word", title="tokens per word (logarithmic)", is_log=True),
    _Chart(name="bytes-per-token", key="bytes_per_token", title="bytes per token", is_log=False),
)


def draw_all(record: Mapping[str, Any]) -> list[Picture]:
    """Every figure there is data for, in the page's order."""
    with house_style():
        return [picture for chart in _CHARTS if (picture := _draw(chart, record)) is not None]


def shape_of(number: int) -> int:
    """Which shape the tokenizer of this number (from 0) has."""
    return (number + number // len(_COLOUR_NAMES)) % len(_SHAPES)


def colour_of(number: int) -> str:
    """The name of the colour that the tokenizer of this number (from 0) has."""
    return _COLOUR_NAMES[number % len(_COLOUR_NAMES)]


def _draw(chart: _Chart, record: Mapping[str, Any]) -> Picture | None:
    names, tokenizers = list(record["sets"]), record["tokenizers"]
    rows = [[tokenizer["sets"][name][chart.key] for tokenizer in tokenizers] for name in names]
    values = [value for row in rows for value in row if value]
    if not values:
        return None
    figure, ax = _frame(len(names), [tokenizer["name"] for tokenizer in tokenizers])
    ticks = _log_ticks(min(values), max(values)) if chart.is_log else _even_ticks(max(values))
    to_place = math.log10 if chart.is_log else float
    ax.set_xlim(to_place(ticks[0]), to_place(ticks[-1]))
    ax.set_xticks([to_place(tick) for tick in ticks], [f"{tick:g}" for tick in ticks])
    ax.text(
        1,
        0,
        chart.title,
        transform=ax.transAxes + ScaledTranslation(0, -29 * POINT, figure.dpi_scale_trans),
        ha="right",
    )
    for tick in ticks:
        ax.plot(
            [to_place(tick)] * 2,
            [-0.5, len(names) - 0.5],
            color=COLOURS["rule"],
            linewidth=0.6,
            clip_on=False,
            zorder=0,
        )
    for row, values_of_set in enumerate(rows):
        placed = [(number, to_place(value)) for number, value in enumerate(values_of_set) if value]
        if not placed:
            continue
        ends = [min(x for _, x in placed), max(x for _, x in placed)]
        ax.plot(ends, [row, row], color=COLOURS["window"], linewidth=1.0, alpha=0.7, clip_on=False, zorder=1)
        for number, x in placed:
            _mark(figure, number, ScaledTranslation(x, row, ax.transData))  # type: ignore[arg-type]
    _name_rows(figure, ax, names)
    return render(chart.name, Drawing(figure=figure, label=_described(chart, names, tokenizers)))


def _frame(n_rows: int, names: Sequence[str]) -> tuple[Figure, Axes]:
    legend = LINE_HEIGHT * -(-len(names) // _COLUMNS) + 6
    total = (legend + _ABOVE + _ROW * n_rows + _BELOW) * POINT
    figure = Figure(figsize=(WIDTH, total))
    ax = figure.add_axes((_LEFT, _BELOW * POINT / total, 1 - _LEFT - 0.03, _ROW * n_rows * POINT / total))
    bare(ax)
    ax.set_ylim(n_rows - 0.5, -0.5)
    ax.set_yticks([])
    for number, name in enumerate(names):
        row, column = divmod(number, _COLUMNS)
        x, y = 0.015 + column / _COLUMNS, 1 - (9 + LINE_HEIGHT * row) * POINT / total
        _mark(figure, number, ScaledTranslation(x * WIDTH, y * total, figure.dpi_scale_trans))
        figure.text(x + 0.02, y - 3 * POINT / total, _label(name, number, _LEGEND_CHARS))
    return figure, ax


def _mark(figure: Figure, number: int, place: Any) -> None:
    """A mark of about 6 points, drawn as a plain path."""
    shape = _SHAPES[shape_of(number)]
    transform = Affine2D().scale(3.1 * POINT) + figure.dpi_scale_trans + place
    figure.add_artist(
        PathPatch(shape, transform=transform, color=COLOURS[colour_of(number)], linewidth=0, clip_on=False, zorder=3)
    )


def _name_rows(figure: Figure, ax: Axes, names: Sequence[str]) -> None:
    to_page = ax.get_position()
    height = (to_page.y1 - to_page.y0) / len(names)
    for row, name in enumerate(names):
        y = to_page.y1 - (row + 0.5) * height - 3 * POINT / figure.get_figheight()
        figure.text(0.008, y, _label(name, row, _NAME_CHARS))


def _label(name: str, number: int, limit: int) -> str:
    """A name where the font surely has it, cut where it is long; else its number in the tables."""
    if not (name.isascii() and name.isprintable()):
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


def _described(chart: _Chart, names: Sequence[str], tokenizers: Sequence[Mapping[str, Any]]) -> str:
    """What a screen reader says: the extremes; a table holds the rest."""
    said = []
    for tokenizer in tokenizers:
        found = [(tokenizer["sets"][name][chart.key], name) for name in names if tokenizer["sets"][name][chart.key]]
        if found:
            (low, low_name), (high, high_name) = min(found), max(found)
            said.append(
                f"{plain(tokenizer['name'], 40)} from {fixed(low)} ({plain(low_name, 40)}) "
                f"to {fixed(high)} ({plain(high_name, 40)})"
            )
    return f"Dot plot of {chart.title}, a row per text set: {'; '.join(said)}. A table follows."


def write_analysis(out: Path, record: Mapping[str, Any]) -> Path:
    """Write DIR/analyze.json, DIR/analyze.html and DIR/figures/*.svg, *.png; equal input gives equal bytes.

    Returns:
        The path of the page.

    Raises:
        RunDirectoryError: a file cannot be written.
    """
    pictures = draw_all(record)
    write_json_atomic(out / "analyze.json", record)
    for picture in pictures:
        write_bytes_atomic(out / "figures" / f"{picture.name}.svg", picture.svg)
        write_bytes_atomic(out / "figures" / f"{picture.name}.png", picture.png)
    page = out / "analyze.html"
    # Trusted markup: figures whose every text matplotlib has escaped.
    write_bytes_atomic(
        page, encoded_for_display(_render(record, {picture.name: Markup(picture.inline) for picture in pictures}))
    )
    return page


def _render(record: Mapping[str, Any], figures: Mapping[str, Markup]) -> str:
    folder = Path(__file__).parent
    style = (
        f":root {{ {colour_variables(COLOURS)} }}\n"
        f"@media screen and (prefers-color-scheme: dark) {{ :root {{ {colour_variables(DARK)} }} }}\n"
        f"{colour_rules()}\n{(folder / 'analyze.css').read_text(encoding='utf-8')}"
    )
    return (
        environment(folder)
        .get_template("analyze.html")
        .render(
            best=best,
            record=record,
            sets=record["sets"],
            tokenizers=record["tokenizers"],
            marks=[(colour_of(number), shape_of(number)) for number in range(len(record["tokenizers"]))],
            totals=[_total(tokenizer) for tokenizer in record["tokenizers"]],
            is_korean=any(given["is_korean"] for given in record["sets"].values()),
            has_numbers=any(not (name.isascii() and name.isprintable()) for name in _names(record)),
            figures=figures,
            style=Markup(style),
            policy=policy([style], []),
            version=__version__,
        )
    )


def _total(tokenizer: Mapping[str, Any]) -> int:
    """Tokens of all sets together."""
    return sum(counts["n_tokens"] for counts in tokenizer["sets"].values())


def _names(record: Mapping[str, Any]) -> list[str]:
    return [*record["sets"], *(tokenizer["name"] for tokenizer in record["tokenizers"])]

"""The look of the figures: frame, axes, legend, marks, colours in light and in dark, and a figure's three forms.

Only ASCII stands in a figure: the font has no glyphs for every corpus's names, and the page names each set in full.
Nothing is drawn that needs a definition (no clipping, no tick marks, no markers): an SVG then holds no reference at
all. All text lies level, so that its anchor survives in the SVG and larger letters on a phone stay in place.

A figure is drawn in the light colours. In the page each becomes a class that the page's style sheet colours, and every
other style a presentation attribute, since the page's policy forbids style attributes; a file keeps the plain colours,
which every program reads, and gains a style that browsers use where dark is preferred.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from html import escape
from io import BytesIO
from pathlib import Path as FilePath
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator
from matplotlib.transforms import Affine2D, ScaledTranslation, Transform

from vocabopt.amounts import UNITS
from vocabopt.choice.complexity import Floats
from vocabopt.folder import write_bytes_atomic
from vocabopt.report.text import plain
from vocabopt.text.utf8 import encoded_for_display

# --- SVG for a page and for a file ------------------------------------------------------------------------------------

# name -> colour as drawn (light), and the same in dark. Contrast with the page is at least 4.5 for text.
_PALETTE = {
    "ink": ("#2b303b", "#d9dce3"),
    "rule": ("#d5d8de", "#3a404c"),
    "window": ("#7d8594", "#8f97a6"),
    "embedding": ("#b22550", "#f583a4"),
    "s0": ("#0a5fb4", "#6db3f8"),
    "s1": ("#b7500c", "#f29a5c"),
    "s2": ("#197a4b", "#5ec995"),
    "s3": ("#7c44a8", "#c79af0"),
    "s4": ("#5f6b0f", "#c0cb5c"),
    "s5": ("#a8327d", "#ee8fd0"),
}
COLOURS = {name: light for name, (light, _) in _PALETTE.items()}
DARK = {name: dark for name, (_, dark) in _PALETTE.items()}
DARK_PAPER = "#16191f"
DASHES = ("solid", "dashed", "dotted")

_NAME_OF = {colour: name for name, colour in COLOURS.items()}
# Properties that are attributes of SVG elements as well. The page sets the family of the letters.
_ATTRIBUTES = re.compile(
    "fill|stroke|(fill-|stroke-)?opacity|stroke-(width|dasharray|dashoffset|linejoin|linecap)|font-(size|weight)|"
    "text-anchor"
)
# Texts hold no "<", and attributes no ">": matplotlib escapes both. In a text, quotes stand as they are.
_TAG = re.compile(r"<[A-Za-z][^>]*>")
_STYLE_ATTRIBUTE = re.compile(r' style="([^"]*)"')
_IDLE_TURN = re.compile(r' transform="rotate\(-0 [^)]*\)"')
_PROLOGUE = re.compile(r"^.*?(?=<svg\b)", re.DOTALL)
_METADATA = re.compile(r"\s*<metadata>.*?</metadata>", re.DOTALL)
_STYLE_ELEMENT = re.compile(r"\s*<defs>\s*<style\b.*?</style>\s*</defs>", re.DOTALL)
_GROUP = re.compile(r'<g id="[^"]*">')
_SIZE = re.compile(r' (?:width|height)="[0-9.]+pt"')


def colour_variables(colours: dict[str, str]) -> str:
    """The figures' colours as CSS declarations."""
    return " ".join(f"--{name}: {colour};" for name, colour in colours.items())


def series_style(number: int) -> tuple[str, str]:
    """Colour name and dash of the text set with this number, in figures and in the page's swatches.

    The first two, held-out and training text, share a colour that no other set has.
    """
    if number <= 2:
        return "s0", DASHES[number - 1]
    dash, colour = divmod(number - 3, 5)
    return f"s{1 + colour}", DASHES[dash % len(DASHES)]


def colour_rules() -> str:
    """The CSS rules of the classes that `for_page` gives: the colour of lines and areas."""
    return "".join(f".f-{name}{{fill:var(--{name})}}.k-{name}{{stroke:var(--{name})}}" for name in COLOURS)


def _named(svg: str, label: str) -> str:
    """Say to a screen reader that this is one picture, and what it shows."""
    return svg.replace("<svg ", f'<svg role="img" aria-label="{escape(plain(label, 2000))}" ', 1)


def _as_attributes(style: str) -> str:
    """A style attribute's declarations as attributes, and as classes where they paint in one of our colours."""
    classes, attributes = [], []
    for declaration in style.split(";"):
        name, _, value = (part.strip() for part in declaration.partition(":"))
        if name in ("fill", "stroke") and value in _NAME_OF:
            classes.append(f"{'f' if name == 'fill' else 'k'}-{_NAME_OF[value]}")
        elif name != "font-family":
            assert _ATTRIBUTES.fullmatch(name), f"matplotlib's SVG has gained the style {declaration!r}"
            attributes.append(f' {name}="{value}"')
    return (f' class="{" ".join(classes)}"' if classes else "") + "".join(attributes)


def for_page(svg: str, label: str, data: Mapping[str, str]) -> str:
    """The SVG as an element of the page: scaled by it, coloured by it, without styles, or ids that could meet others.

    data: what the page's script reads, as data- attributes: see `plot_of`.
    """
    svg = _STYLE_ELEMENT.sub("", _METADATA.sub("", _PROLOGUE.sub("", svg)), count=1)
    head, tag_end, rest = svg.partition(">")
    head = _SIZE.sub("", head) + "".join(f' data-{name}="{escape(value)}"' for name, value in data.items())

    def page_tag(found: re.Match[str]) -> str:
        return _STYLE_ATTRIBUTE.sub(lambda style: _as_attributes(style[1]), _IDLE_TURN.sub("", found[0]))

    rest = _TAG.sub(page_tag, _GROUP.sub("<g>", rest))
    return _named(head + tag_end + rest, label).strip()


def for_file(svg: str, label: str) -> bytes:
    """The SVG as a file of its own."""
    rules = "".join(
        f'[style*="{paint}: {COLOURS[name]}"]{{{paint}:{colour}!important}}'
        for name, colour in DARK.items()
        for paint in ("fill", "stroke")
    )
    style = f"<style>@media screen and (prefers-color-scheme:dark){{svg{{background:{DARK_PAPER}}}{rules}}}</style>"
    head, tag_end, rest = _named(svg, label).partition(">\n <metadata>")
    assert tag_end, "matplotlib's SVG has lost its metadata element"
    return encoded_for_display(f"{head}>\n {style}\n <metadata>{rest}")


# --- Frame, axes, legend, marks ---------------------------------------------------------------------------------------

Style = dict[str, Any]  # keyword arguments of a matplotlib line

PNG_DPI = 160
N_POINTS_DRAWN = 1500
POINT = 1 / 72  # inches
WIDTH = 5.8  # inches; the page scales it, a paper takes it as it is
LEFT = 0.085  # of the width, for the numbers of the left axis
BELOW = 0.54  # inches under the axes, for the numbers and the title of the size axis
LINE_HEIGHT = 14.5  # points, in the legend
STEPS = [1, 2, 2.5, 5, 10]  # of round numbers on an axis
BAND: Style = {"color": COLOURS["window"], "alpha": 0.16}

_STYLE: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8.5,
    "text.color": COLOURS["ink"],
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "text.usetex": False,
    "axes.edgecolor": COLOURS["window"],
    "axes.linewidth": 0.8,
    "axes.xmargin": 0.0,
    "axes.axisbelow": True,
    "grid.color": COLOURS["rule"],
    "grid.linewidth": 0.6,
    "grid.linestyle": "-",
    "xtick.color": COLOURS["ink"],
    "ytick.color": COLOURS["ink"],
    "lines.linewidth": 1.6,
    "lines.solid_capstyle": "butt",
    "path.simplify": True,
    "svg.fonttype": "none",  # real text: it can be selected, read aloud, and set in the page's own font
    "svg.hashsalt": "vocabopt",
}


def plot_of(ax: Axes, right_ax: Axes | None = None, lines: Sequence[tuple[str, str]] = ()) -> dict[str, str]:
    """Where the axes lie, in points from the upper left corner, and what they span, as data- attributes.

    lines: what is drawn and in which colour: "set0" is the first text set's input ratio, "used" the share of tokens in
    use, "embedding" the embedding ratio, which has the right axis to itself.
    """
    figure, place = figure_of(ax), ax.get_position()
    width, height = figure.get_figwidth() / POINT, figure.get_figheight() / POINT
    box = (place.x0 * width, (1 - place.y1) * height, place.width * width, place.height * height)
    spans = {"plot": box, "x": ax.get_xlim(), "y": ax.get_ylim()}
    if right_ax is not None:
        spans["right"] = right_ax.get_ylim()
    data = {name: " ".join(f"{value:g}" for value in span) for name, span in spans.items()}
    return data | {"lines": " ".join(f"{what}:{colour}" for what, colour in lines)}


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A figure, what a screen reader is told of it, and `plot_of` its axes (empty: the page's script leaves it)."""

    figure: Figure
    label: str
    plot: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One figure in its three forms."""

    name: str
    svg: bytes
    inline: str
    png: bytes


@dataclass(frozen=True, kw_only=True)
class Key:
    """One entry of a legend: a label and the line it explains."""

    label: str
    style: Style


@contextmanager
def house_style() -> Iterator[None]:
    """matplotlib draws as this report does, whatever the user's own settings, which come back afterwards."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def render(name: str, drawing: Drawing) -> Picture:
    """The figure as SVG without a background and as PNG on white; equal input gives equal bytes."""
    svg, png = BytesIO(), BytesIO()
    drawing.figure.savefig(svg, format="svg", transparent=True, metadata={"Date": None, "Creator": "vocabopt"})
    drawing.figure.savefig(png, format="png", dpi=PNG_DPI, facecolor="white", metadata={"Software": "vocabopt"})
    drawn, label = svg.getvalue().decode(), drawing.label
    inline = for_page(drawn, label, drawing.plot)
    return Picture(name=name, svg=for_file(drawn, label), inline=inline, png=png.getvalue())


def write_figures(out: FilePath, pictures: Sequence[Picture]) -> None:
    """Write OUT/figures/*.svg, *.png. Raises RunDirectoryError: a file cannot be written."""
    for picture in pictures:
        write_bytes_atomic(out / "figures" / f"{picture.name}.svg", picture.svg)
        write_bytes_atomic(out / "figures" / f"{picture.name}.png", picture.png)


def curve(ax: Axes, values: Floats, style: Style) -> None:
    """One value per size 0, 1, 2 ...; of many a third spread by ratio (the steep start), the rest evenly."""
    sizes = np.arange(len(values))
    if len(values) > N_POINTS_DRAWN:
        by_ratio = np.geomspace(1, len(values) - 1, N_POINTS_DRAWN // 3)
        evenly = np.linspace(0, len(values) - 1, N_POINTS_DRAWN - len(by_ratio))
        sizes = np.unique(np.concatenate((by_ratio, evenly)).round().astype(np.int64))
    ax.plot(sizes, values[sizes], clip_on=False, **style)


def frame(
    height: float, keys: Sequence[Key] = (), *, columns: int = 3, left: float = LEFT, right: float = 0.045
) -> tuple[Figure, Axes]:
    """A figure with its legend above empty axes.

    Parameters:
        height: inches, without the legend.
        left, right: shares of the width kept free beside the axes.
    """
    legend_height = LINE_HEIGHT * -(-len(keys) // columns) * POINT
    total = height + legend_height
    figure = Figure(figsize=(WIDTH, total))
    above = 26 * POINT + legend_height
    ax = figure.add_axes((left, BELOW / total, 1 - left - right, 1 - (BELOW + above) / total))
    bare(ax)
    ax.spines["bottom"].set_visible(True)
    ax.grid(axis="y", clip_on=False)
    # The legend: row by row, in columns of equal width that leave room for larger text.
    point = POINT / total
    for index, key in enumerate(keys):
        row, column = divmod(index, columns)
        x, y = 0.008 + column / columns, 1 - (8 + LINE_HEIGHT * row) * point
        figure.add_artist(Line2D([x, x + 0.048], [y, y], transform=figure.transFigure, **key.style))
        figure.text(x + 0.058, y - 3 * point, key.label)
    return figure, ax


def row_frame(
    n_rows: int, row_height: float, keys: Sequence[Key] = (), *, left: float, right: float = 0.045
) -> tuple[Figure, Axes]:
    """A figure whose y axis is rows 0, 1, ... from the top, each of so many points, without numbers."""
    figure, ax = frame(BELOW + (26 + row_height * n_rows) * POINT, keys, left=left, right=right)
    ax.set_ylim(n_rows - 0.5, -0.5)
    ax.yaxis.set_visible(False)
    return figure, ax


def bare(ax: Axes) -> None:
    """Take the box and the tick marks away."""
    for spine in ax.spines.values():
        spine.set_visible(False)
    ax.tick_params(length=0, pad=6, bottom=False, left=False, right=False)
    ax.tick_params(axis="x", pad=8)


def figure_of(ax: Axes) -> Figure:
    figure = ax.get_figure()
    assert isinstance(figure, Figure)
    return figure


def moved(ax: Axes, transform: Transform, x_points: float, y_points: float) -> Transform:
    """The transform, shifted by so many points."""
    return transform + ScaledTranslation(x_points * POINT, y_points * POINT, figure_of(ax).dpi_scale_trans)


def size_axis(ax: Axes, n_max: int) -> None:
    """The x axis of every figure: tokens added, 0 to n_max."""
    ax.set_xlim(0, max(n_max, 1))
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    below_axis(ax, "tokens added")


def bytes_axis(ax: Axes, end: float, title: str) -> None:
    """The x axis in bytes from 0 to `end`, with round numbers of the unit that suits it."""
    factor, unit = next(((factor, unit) for factor, unit in UNITS if end >= 2 * factor), (1, "bytes"))
    ticks = MaxNLocator(5, steps=STEPS).tick_values(0, end / factor)
    ax.set_xlim(0, end)
    ax.xaxis.set_major_locator(FixedLocator([tick * factor for tick in ticks if 0 <= tick * factor <= end]))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / factor:,.6g}"))
    below_axis(ax, f"{title}, {unit}")


def below_axis(ax: Axes, title: str) -> None:
    ax.text(1, 0, title, transform=moved(ax, ax.transAxes, 0, -34), ha="right")


def axis_title(ax: Axes, words: str, colour: str = "ink", *, right: bool = False) -> None:
    """What an axis measures, lying above its end."""
    figure = figure_of(ax)
    top = ax.get_position().y1 + 10 * POINT / figure.get_figheight()
    figure.text(0.992 if right else 0.008, top, words, ha="right" if right else "left", color=COLOURS[colour])


def dot(ax: Axes, x: float, y: float, *, colour: str = "ink", hollow: bool = False) -> None:
    """A round mark of 5.8 points, drawn as a plain path; a hollow one is a ring."""
    style: Style = {"facecolor": "none" if hollow else COLOURS[colour], "edgecolor": COLOURS[colour], "linewidth": 1.2}
    ax.add_artist(PathPatch(Path.unit_circle(), transform=_place(ax, x, y, 2.5), clip_on=False, zorder=3, **style))


def arrow(ax: Axes, x: float, y: float, *, colour: str) -> None:
    """What goes on beyond x: a stem of 8 points, drawn past the axes where x is their end, and its head."""
    path = Path([(0, 0.8), (8, 0.8), (8, 3), (13, 0), (8, -3), (8, -0.8), (0, -0.8), (0, 0.8)], closed=True)
    ax.add_artist(PathPatch(path, transform=_place(ax, x, y, 1), clip_on=False, linewidth=0, color=COLOURS[colour]))


def _place(ax: Axes, x: float, y: float, size: float) -> Transform:
    """From units of `size` points to a point of the axes."""
    to_place: Any = ax.transData  # a scale and a shift, as both axes are linear
    return Affine2D().scale(size * POINT) + figure_of(ax).dpi_scale_trans + ScaledTranslation(x, y, to_place)


def bar(ax: Axes, row: float, length: float, height: float, colour: str) -> None:
    """A bar from 0, its middle on the row."""
    shape = Rectangle((0, row - height / 2), length, height, facecolor=COLOURS[colour], linewidth=0, clip_on=False)
    ax.add_artist(shape)


def words(ax: Axes, x: float, y: float, shown: str, *, shift: float = 0, align: str = "left", **style: Any) -> None:
    """Text at a point of the axes, moved to the right by `shift` points; a little lower, so that it is centred."""
    ax.text(x, y, shown, transform=moved(ax, ax.transData, shift, -3), ha=align, **style)


def upright(ax: Axes, x: float, label: str, *, to_right: bool, label_y: float) -> None:
    """A line from the bottom to the top at x, labelled on one side at a share of the height, from 1 on above it."""
    over, is_above = ax.get_xaxis_transform(), label_y >= 1
    ax.plot([x, x], [0, 1.02 if is_above else 1], transform=over, color=COLOURS["ink"], linewidth=0.9, clip_on=False)
    shift = moved(ax, over, -4 if to_right else 4, 8) if is_above else moved(ax, over, 5 if to_right else -5, 0)
    ax.text(x, label_y, label, transform=shift, ha="left" if to_right else "right", weight="bold")

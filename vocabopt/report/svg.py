"""Colours of the figures, and matplotlib's SVG made fit for a page and for a file, in light and in dark.

A figure is drawn in the light colours. In the page each becomes a class that the page's style sheet colours, and every
other style a presentation attribute, since the page's policy forbids style attributes; a file keeps the plain colours,
which every program reads, and gains a style that browsers use where dark is preferred.
"""

import re
from collections.abc import Mapping
from html import escape

from vocabopt.report.text import plain
from vocabopt.text.utf8 import encoded_for_display

# name -> colour as drawn (light), and the same in dark. Contrast with the page is at least 4.5 for text.
COLOURS = {
    "ink": "#2b303b",
    "rule": "#d5d8de",
    "window": "#7d8594",
    "embedding": "#b22550",
    "s0": "#0a5fb4",
    "s1": "#b7500c",
    "s2": "#197a4b",
    "s3": "#7c44a8",
    "s4": "#5f6b0f",
    "s5": "#a8327d",
}
DARK = {
    "ink": "#d9dce3",
    "rule": "#3a404c",
    "window": "#8f97a6",
    "embedding": "#f583a4",
    "s0": "#6db3f8",
    "s1": "#f29a5c",
    "s2": "#5ec995",
    "s3": "#c79af0",
    "s4": "#c0cb5c",
    "s5": "#ee8fd0",
}
DARK_PAPER = "#16191f"
DASHES = ("solid", "dashed", "dotted")

_NAME_OF = {colour: name for name, colour in COLOURS.items()}
# Properties that are attributes of SVG elements as well. The page sets the family of the letters.
_ATTRIBUTES = re.compile(
    "fill|stroke|(fill-|stroke-)?opacity|stroke-(width|dasharray|dashoffset|linejoin|linecap)|font-(size|weight)|"
    "text-anchor"
)
_PAGE_SETS = frozenset(("font-family",))
# Texts hold no "<", and attributes no ">": matplotlib escapes both. In a text, quotes stand as they are.
_TAG = re.compile(r"<[A-Za-z][^>]*>")
_STYLE_ATTRIBUTE = re.compile(r' style="([^"]*)"')
_IDLE_TURN = re.compile(r' transform="rotate\(-0 [^)]*\)"')
_PROLOGUE = re.compile(r"^.*?(?=<svg\b)", re.DOTALL)
_METADATA = re.compile(r"\s*<metadata>.*?</metadata>", re.DOTALL)
_STYLE = re.compile(r"\s*<defs>\s*<style\b.*?</style>\s*</defs>", re.DOTALL)
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
        elif name not in _PAGE_SETS:
            assert _ATTRIBUTES.fullmatch(name), f"matplotlib's SVG has gained the style {declaration!r}"
            attributes.append(f' {name}="{value}"')
    return (f' class="{" ".join(classes)}"' if classes else "") + "".join(attributes)


def _page_tag(tag: str) -> str:
    return _STYLE_ATTRIBUTE.sub(lambda found: _as_attributes(found[1]), _IDLE_TURN.sub("", tag))


def for_page(svg: str, label: str, data: Mapping[str, str]) -> str:
    """The SVG as an element of the page: scaled by it, coloured by it, without styles, or ids that could meet others.

    data: what the page's script reads, as data- attributes: see `draw.Plot`.
    """
    svg = _STYLE.sub("", _METADATA.sub("", _PROLOGUE.sub("", svg)), count=1)
    head, tag_end, rest = svg.partition(">")
    head = _SIZE.sub("", head) + "".join(f' data-{name}="{escape(value)}"' for name, value in data.items())
    rest = _TAG.sub(lambda found: _page_tag(found[0]), _GROUP.sub("<g>", rest))
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

"""sensitivity.html and its figure: every corpus's own curve, with its recommendation."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vocabopt.artifacts import write_bytes_atomic
from vocabopt.choice.options import as_command_line
from vocabopt.report.draw import (
    Drawing,
    Key,
    Picture,
    Style,
    axis_title,
    curve,
    dot,
    frame,
    house_style,
    render,
    size_axis,
)
from vocabopt.report.svg import COLOURS, series_style
from vocabopt.report.tables_page import render_tables
from vocabopt.sensitivity.compare import TOGETHER, Grown
from vocabopt.sensitivity.table import sentence, tables
from vocabopt.tabular import listed
from vocabopt.text.sets import HELDOUT
from vocabopt.text.utf8 import encoded_for_display

_CAPTION = (
    "Input ratio of each corpus's own held-out text at every size, with tokens learned from its own training text; a "
    "dot marks the size recommended for it."
)
_N_NAME = 15  # characters of a name that the legend holds


def write_page(out: Path, record: Mapping[str, Any], grown: Sequence[Grown]) -> None:
    """Write sensitivity.html and figures/sensitivity.svg, *.png. Raises RunDirectoryError."""
    with house_style():
        picture = render("sensitivity", _draw(grown))
    for suffix, data in (("svg", picture.svg), ("png", picture.png)):
        write_bytes_atomic(out / "figures" / f"sensitivity.{suffix}", data)
    write_bytes_atomic(out / "sensitivity.html", encoded_for_display(_page(record, picture)))


def _page(record: Mapping[str, Any], picture: Picture) -> str:
    base, model, options = record["base"], record["model"], record["options"]
    facts = [
        ("base", f"{base['name']}, {base['n_tokens']:,} tokens, sha256 {base['sha256']}"),
        ("model", "not known" if model is None else model["name"]),
        ("scripts", ", ".join(record["scripts"]) or "no guard"),
        *options["corpora"].items(),
        ("options", listed({name: options[name] for name in options if name not in ("corpora", "choice", "read")})),
        ("reading", listed(options["read"])),
        ("choice", as_command_line(options["choice"])),
        ("versions", listed(record["versions"])),
    ]
    return render_tables("Several corpora side by side", sentence(record), [(picture, _CAPTION)], tables(record), facts)


def _draw(grown: Sequence[Grown]) -> Drawing:
    """One line per corpus; all together is drawn last, in the ink of the page."""
    styles = {one.name: _style_of(number, one.name) for number, one in enumerate(grown, start=3)}
    keys = [Key(label=_label(name), style=style) for name, style in styles.items()]
    figure, ax = frame(3.3, keys)
    size_axis(ax, max(len(one.curve) for one in grown))
    for one in grown:
        n_tokens = np.append(one.sets[HELDOUT]["n_tokens_base"], one.curve[f"n_tokens_{HELDOUT}"].to_numpy())
        ratio = n_tokens / n_tokens[0]
        curve(ax, ratio, styles[one.name])
        dot(ax, one.choice["n_added"], ratio[one.choice["n_added"]])
    ax.set_ylim(0, 1)
    axis_title(ax, "ratio_input")
    told = "; ".join(f"{one.name} {one.choice['n_added']:,} added" for one in grown)
    return Drawing(figure=figure, label=f"Line chart of ratio_input over added tokens, one line per corpus. {told}.")


def _style_of(number: int, name: str) -> Style:
    if name == TOGETHER:
        return {"color": COLOURS["ink"], "linewidth": 1.9}
    colour, dash = series_style(number)
    return {"color": COLOURS[colour], "linestyle": dash, "linewidth": 1.6}


def _label(name: str) -> str:
    return name if len(name) <= _N_NAME else name[: _N_NAME - 2] + ".."

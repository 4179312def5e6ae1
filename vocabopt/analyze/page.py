"""analyze.json, analyze.html and the chart of fertility."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vocabopt.analyze.table import sentence, tables
from vocabopt.artifacts import write_bytes_atomic, write_json_atomic
from vocabopt.report.draw import Drawing, Key, Picture, Style, axis_title, dot, frame, house_style, render, words
from vocabopt.report.svg import COLOURS
from vocabopt.report.tables_page import render_tables
from vocabopt.tabular import listed

_CAPTION = "Tokens per word of each text set; further left is fewer. The tables hold the numbers."
_ROW_INCHES = 0.21
_N_NAME = 14  # characters of a name that the chart holds
_COLOURS = ("s0", "s1", "s2", "s3", "s4", "s5")


def write_analysis(out: Path, record: Mapping[str, Any]) -> None:
    """Write analyze.json, analyze.html and figures/fertility.svg, *.png. Raises RunDirectoryError."""
    with house_style():
        picture = render("fertility", draw_fertility(record))
    write_json_atomic(out / "analyze.json", record)
    for suffix, data in (("svg", picture.svg), ("png", picture.png)):
        write_bytes_atomic(out / "figures" / f"fertility.{suffix}", data)
    write_bytes_atomic(out / "analyze.html", _page(record, picture).encode())


def _page(record: Mapping[str, Any], picture: Picture) -> str:
    options = record["options"]
    moving = ("aligned", "n_rare", "n_morpheme_documents", "pattern", "specials")
    facts = [
        *(
            (one["name"], f"{one['source']}, {one['n_tokens']:,} tokens, sha256 {one['sha256']}")
            for one in record["tokenizers"]
        ),
        *options["texts"].items(),
        ("options", listed({name: options[name] for name in moving})),
        ("reading", listed(options["read"])),
        ("versions", listed(record["versions"])),
    ]
    lead = sentence(record) + (f" {record['morpheme_note']}" if record["morpheme_note"] else "")
    return render_tables("Tokenizers side by side", lead, [(picture, _CAPTION)], tables(record), facts)


def draw_fertility(record: Mapping[str, Any]) -> Drawing:
    """A row per text set, a dot per tokenizer; sets without words have none."""
    tokenizers = record["tokenizers"]
    names = list(tokenizers[0]["sets"])
    colours = [_COLOURS[number % len(_COLOURS)] for number in range(len(tokenizers))]
    keys = [
        Key(label=_plain(one["name"]), style=_key_style(colour, number))
        for number, (one, colour) in enumerate(zip(tokenizers, colours, strict=True))
    ]
    figure, ax = frame(_ROW_INCHES * len(names) + 0.9, keys, left=0.2)
    values = [[one["sets"][name]["fertility"] for one in tokenizers] for name in names]
    highest = max([value for row in values for value in row if value is not None], default=1.0)
    ax.set_xlim(0, 1.04 * highest)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.set_yticks(range(len(names)), [""] * len(names))
    for row, (name, given) in enumerate(zip(names, values, strict=True)):
        words(ax, 0, row, _plain(name), shift=-6, align="right")
        for number, (value, colour) in enumerate(zip(given, colours, strict=True)):
            if value is not None:
                dot(ax, value, row, colour=colour, hollow=number >= len(_COLOURS))
    axis_title(ax, "tokens per word")
    told = "; ".join(
        f"{name} {', '.join('-' if value is None else f'{value:.2f}' for value in row)}"
        for name, row in zip(names, values, strict=True)
    )
    return Drawing(figure=figure, label=f"Dots for the tokens per word of each text set by tokenizer. {told}.")


def _key_style(colour: str, number: int) -> Style:
    return {"color": COLOURS[colour], "linewidth": 4 if number < len(_COLOURS) else 1.2}


def _plain(name: str) -> str:
    """A name as the chart's font surely has it, shortened."""
    if not (name.isascii() and name.isprintable()):
        return "(see table)"
    return name if len(name) <= _N_NAME else name[: _N_NAME - 2] + ".."

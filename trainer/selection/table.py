"""A comparison of selections as a table, a figure and a sentence."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np

from trainer.selection.parts import ALL, ARMS
from vocabopt.amounts import shown_bytes
from vocabopt.folder import write_bytes_atomic
from vocabopt.report.draw import (
    COLOURS,
    Drawing,
    Key,
    Style,
    axis_title,
    frame,
    house_style,
    render,
    series_style,
    size_axis,
)
from vocabopt.report.page import render_tables
from vocabopt.tables import PlainTable, listed, shown

_CAPTION = (
    "Tokens of all held-out text, of those the base takes, at every size; a line per part of the text that the tokens "
    "were learned from."
)


def reached(arm: Mapping[str, Any]) -> tuple[float, float | None]:
    """Bits per byte, the mean over held-out sets and seeds, and the standard deviation over seeds."""
    of_seeds = [mean(after.values()) for after in arm["after"]]
    return mean(of_seeds), stdev(of_seeds) if len(of_seeds) > 1 else None


def ratio(arm: Mapping[str, Any], name: str | None, at: int) -> float:
    """Tokens with so many added, per token of the base: of one held-out set, or of all (None)."""
    curve = arm["curve"]
    place = curve["sizes"].index(at)
    names = curve["n_tokens"] if name is None else [name]
    after, before = (sum(curve["n_tokens"][n][i] for n in names) for i in (place, 0))
    return float(after / before)


def compare_tables(record: Mapping[str, Any]) -> list[PlainTable]:
    """Each part: its text, its curve at the compared size, what the small model reached; then the same by text set."""
    arms: Sequence[Mapping[str, Any]] = record["arms"]
    names, size, n_seeds = list(record["sets"]), record["size"], len(arms[0]["after"])
    same = [number for number, arm in enumerate(arms) if arm["name"] in ARMS]
    bold = frozenset({min(same, key=lambda number: reached(arms[number])[0])})
    seeds = f"{n_seeds} seed{'s' if n_seeds > 1 else ''}"
    return [
        PlainTable(
            caption=f"Parts of the text, {size:,} added tokens, {seeds}; the best in bold",
            headers=("part", "text", "documents", "ratio_input", "trained\non", "bits per\nbyte", "±"),
            rows=[_row(arm, size) for arm in arms],
            bold=bold,
        ),
        PlainTable(
            caption="Bits per byte, and ratio_input, of each held-out text",
            headers=("part", *(f"{name}\nbits" for name in names), *(f"{name}\nratio" for name in names)),
            rows=[
                (
                    arm["name"],
                    *(f"{mean(after[name] for after in arm['after']):.4f}" for name in names),
                    *(f"{ratio(arm, name, size):.4f}" for name in names),
                )
                for arm in arms
            ],
            bold=bold,
        ),
    ]


def _row(arm: Mapping[str, Any], size: int) -> tuple[str, ...]:
    value, spread = reached(arm)
    return (
        arm["name"],
        shown_bytes(arm["n_bytes"]),
        f"{arm['n_documents']:,}",
        f"{ratio(arm, None, size):.4f}",
        shown_bytes(arm["n_train_bytes"]),
        f"{value:.4f}",
        shown(spread, ".4f"),
    )


def sentence(record: Mapping[str, Any]) -> str:
    """The answer that the table supports."""
    arms = {arm["name"]: arm for arm in record["arms"]}
    whole = next(arm for name, arm in arms.items() if name.startswith(f"{ALL},"))
    scores = {name: reached(arm) for name, arm in arms.items() if name in ARMS}
    ordered = sorted(scores, key=lambda name: scores[name][0])
    best, second = ordered[:2]
    lead = scores[second][0] - scores[best][0]
    told = f"At equal training text the part {best} comes out best ({scores[best][0]:.4f} bits per byte), "
    told += f"{lead:.4f} before {second}{_noise(lead, scores[best][1], scores[second][1])}"
    value, spread = reached(whole)
    gap = value - scores[best][0]
    times = whole["n_train_bytes"] / max(1, arms[best]["n_train_bytes"])
    way = "fewer" if gap < 0 else "more"
    noise = _noise(abs(gap), spread, scores[best][1])
    return f"{told}; all the text, read {times:.1f} times as long, reaches {value:.4f}, {abs(gap):.4f} {way}{noise}."


def _noise(gap: float, *spreads: float | None) -> str:
    """Two standard deviations over seeds are what a difference must be larger than to count."""
    known = [spread for spread in spreads if spread is not None]
    if not known:
        return " (with one seed nothing says how much of it is chance)"
    return " (within two standard deviations)" if gap <= 2 * max(known) else ""


def write_page(out: Path, record: Mapping[str, Any]) -> Path:
    """Write OUT/compare.html and OUT/figures/selections.svg, .png. Raises RunDirectoryError."""
    with house_style():
        picture = render("selections", _draw(record))
    for suffix, data in (("svg", picture.svg), ("png", picture.png)):
        write_bytes_atomic(out / "figures" / f"selections.{suffix}", data)
    options = record["options"]
    facts = [
        *((f"text {number}", path) for number, path in enumerate(options["paths"], 1)),
        (
            "cleaned by",
            "; ".join(f"{s['step']} {listed({k: v for k, v in s.items() if k != 'step'})}" for s in options["steps"]),
        ),
        (
            "options",
            listed({name: options[name] for name in options if name not in ("paths", "steps", "evals", "out")}),
        ),
        ("versions", listed(record["versions"])),
    ]
    page = render_tables(
        "Parts of the text compared", sentence(record), [(picture, _CAPTION)], compare_tables(record), facts
    )
    path = out / "compare.html"
    write_bytes_atomic(path, page.encode())
    return path


def _draw(record: Mapping[str, Any]) -> Drawing:
    arms = [arm for arm in record["arms"] if arm["name"] in ARMS]
    styles: list[Style] = []
    for number, arm in enumerate(arms, start=1):
        colour, dash = series_style(number)
        own: Style = {"color": COLOURS["ink"], "linewidth": 1.9}
        styles.append(own if arm["name"] == ALL else {"color": COLOURS[colour], "linestyle": dash, "linewidth": 1.4})
    keys = [Key(label=arm["name"], style=style) for arm, style in zip(arms, styles, strict=True)]
    figure, ax = frame(3.3, keys)
    size_axis(ax, max(arm["curve"]["sizes"][-1] for arm in arms))
    lowest = 1.0
    for arm, style in zip(arms, styles, strict=True):
        sizes = arm["curve"]["sizes"]
        values = np.array([ratio(arm, None, size) for size in sizes])
        lowest = min(lowest, float(values.min()))
        ax.plot(sizes, values, clip_on=False, **style)
    ax.set_ylim(max(0.0, lowest - 0.05), 1)
    axis_title(ax, "ratio_input")
    told = "; ".join(f"{arm['name']} {ratio(arm, None, record['size']):.4f}" for arm in arms)
    label = f"Line chart of ratio_input over added tokens, a line per part of the text. At {record['size']:,}: {told}."
    return Drawing(figure=figure, label=label)

"""Several corpora side by side: the tables, the sentence, and the page with its figure."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl

from vocabopt.amounts import shown_bytes
from vocabopt.choice.options import ChoiceOptions
from vocabopt.folder import write_bytes_atomic
from vocabopt.records import Corpus, SensitivityRecord
from vocabopt.report.draw import (
    COLOURS,
    Drawing,
    Key,
    Style,
    axis_title,
    curve,
    dot,
    frame,
    house_style,
    render,
    series_style,
    size_axis,
    write_figures,
)
from vocabopt.report.page import render_tables
from vocabopt.sensitivity import TOGETHER
from vocabopt.tables import DASH, PlainTable, listed, shown, shown_change
from vocabopt.text.sets import HELDOUT, TRAIN
from vocabopt.text.utf8 import encoded_for_display
from vocabopt.wording import as_command_line

_HEADERS = ("corpus", "text", "ran dry\nat", "knee", "interval", "added", "ratio_\ninput")
_CAPTION = (
    "Input ratio of each corpus's own held-out text at every size, with tokens learned from its own training text; a "
    "dot marks the size recommended for it."
)
_N_NAME = 15  # characters of a name that the legend holds


def tables(record: SensitivityRecord) -> list[PlainTable]:
    """Each corpus; what vocabularies share; what one costs on the text of another."""
    names = [corpus.name for corpus in record.corpora]
    first, last = f"the first {record.compared_at:,} added tokens", frozenset({len(names) - 1})
    corpora = []
    for corpus in record.corpora:
        choice, interval = corpus.choice, corpus.choice.interval
        corpora.append(
            (
                corpus.name,
                shown_bytes(corpus.sets[TRAIN].n_bytes),
                shown(corpus.exhausted_at, ","),
                shown(choice.knee, ","),
                DASH if interval is None else f"{interval.low:,}..{interval.high:,}",
                shown(choice.n_added, ","),
                shown(corpus.sets[HELDOUT].ratio_input(choice.point.sets[HELDOUT].n_tokens), ".4f"),
            )
        )
    shared = [(name, *(shown(value, ".1%") for value in row)) for name, row in zip(names, record.shared, strict=True)]
    lost = [(name, *map(shown_change, row)) for name, row in zip(names, record.lost, strict=True)]
    return [
        PlainTable(caption="Each corpus by itself, and all together", headers=_HEADERS, rows=corpora, bold=last),
        PlainTable(
            caption=f"Share of {first} of a row that are among those of a column",
            headers=("learned from", *names),
            rows=shared,
            bold=last,
        ),
        PlainTable(
            caption=f"More tokens for the held-out text of a column with {first} of a row than with its own",
            headers=("learned from", *(name for name in names if name != TOGETHER)),
            rows=lost,
            bold=last,
        ),
    ]


def sentence(record: SensitivityRecord) -> str:
    """How far the choice of text moves the size, and what it costs at most at one size."""
    apart = [corpus for corpus in record.corpora if corpus.name != TOGETHER]
    sizes = sorted(corpus.choice.n_added for corpus in apart)
    together = next(corpus for corpus in record.corpora if corpus.name == TOGETHER)
    names = [corpus.name for corpus in apart]
    costs = [
        (value, row, column)
        for row, values in zip(names, record.lost, strict=False)
        for column, value in zip(names, values, strict=True)
        if value is not None and row != column
    ]
    recommended = f"Sizes recommended: {sizes[0]:,} to {sizes[-1]:,}, together {together.choice.n_added:,}"
    if not costs or not record.compared_at:
        return f"{recommended}."
    value, row, column = max(costs)
    return (
        f"{recommended}. Which text the tokens come from: with {record.compared_at:,} learned from {row}, the text of "
        f"{column} takes {shown_change(value)} tokens against its own {record.compared_at:,}."
    )


def write_page(out: Path, record: SensitivityRecord, curves: Mapping[str, pl.DataFrame]) -> None:
    """Write sensitivity.html and figures/sensitivity.svg, *.png. Raises RunDirectoryError.

    Args:
        curves: of each corpus by name.
    """
    with house_style():
        picture = render("sensitivity", _draw(record.corpora, curves))
    write_figures(out, [picture])
    base, options = record.base, record.options
    facts = [
        ("base", f"{base.name}, {base.n_tokens:,} tokens, sha256 {base.sha256}"),
        ("model", "not known" if record.model is None else record.model.name),
        ("scripts", ", ".join(record.scripts) or "no guard"),
        *options["corpora"].items(),
        ("options", listed({name: options[name] for name in options if name not in ("corpora", "choice", "read")})),
        ("reading", listed(options["read"])),
        ("choice", as_command_line(ChoiceOptions(**options["choice"]))),
        ("versions", listed(record.versions)),
    ]
    title, figures = "Several corpora side by side", [(picture, _CAPTION)]
    page = render_tables(title, sentence(record), figures, tables(record), facts)
    write_bytes_atomic(out / "sensitivity.html", encoded_for_display(page))


def _draw(corpora: tuple[Corpus, ...], curves: Mapping[str, pl.DataFrame]) -> Drawing:
    """One line per corpus; all together is drawn last, in the ink of the page."""
    styles: dict[str, Style] = {}
    for number, one in enumerate(corpora, start=3):
        colour, dash = series_style(number)
        styles[one.name] = {"color": COLOURS[colour], "linestyle": dash, "linewidth": 1.6}
    styles[TOGETHER] = {"color": COLOURS["ink"], "linewidth": 1.9}
    keys = [
        Key(label=name if len(name) <= _N_NAME else name[: _N_NAME - 2] + "..", style=style)
        for name, style in styles.items()
    ]
    figure, ax = frame(3.3, keys)
    size_axis(ax, max(map(len, curves.values())))
    for one in corpora:
        n_tokens = np.append(one.sets[HELDOUT].n_tokens_base, curves[one.name][f"n_tokens_{HELDOUT}"].to_numpy())
        ratio = n_tokens / n_tokens[0]
        curve(ax, ratio, styles[one.name])
        dot(ax, one.choice.n_added, ratio[one.choice.n_added])
    ax.set_ylim(0, 1)
    axis_title(ax, "ratio_input")
    sizes = "; ".join(f"{one.name} {one.choice.n_added:,} added" for one in corpora)
    return Drawing(figure=figure, label=f"Line chart of ratio_input over added tokens, one line per corpus. {sizes}.")

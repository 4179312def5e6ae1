"""Several corpora side by side in the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from vocabopt.sensitivity.compare import TOGETHER
from vocabopt.sets import HELDOUT, TRAIN

DASH = "-"


def corpora_table(record: Mapping[str, Any], *, width: int = 80) -> Table:
    """A row per corpus: its size, where it ran dry, its knee with interval, its recommendation and what that saves."""
    table = _table("Each corpus by itself, and all together", width)
    for header in ("corpus", "million\nbytes", "ran dry\nat", "knee", "interval", "added", "ratio_\ninput"):
        table.add_column(header, justify="left" if header == "corpus" else "right", vertical="bottom", no_wrap=True)
    for corpus in record["corpora"]:
        choice, interval = corpus["choice"], corpus["choice"]["interval"]
        table.add_row(
            Text(corpus["name"]),
            f"{corpus['sets'][TRAIN]['n_bytes'] / 1e6:,.1f}",
            DASH if corpus["exhausted_at"] is None else f"{corpus['exhausted_at']:,}",
            DASH if choice["knee"] is None else f"{choice['knee']:,}",
            DASH if interval is None else f"{interval['low']:,}..{interval['high']:,}",
            f"{choice['n_added']:,}",
            _share(choice["point"]["sets"][HELDOUT]["ratio_input"], ".4f"),
            style="bold" if corpus["name"] == TOGETHER else "",
        )
    return table


def matrix_table(record: Mapping[str, Any], field: str, *, width: int = 80) -> Table:
    """`shared` or `lost`, rows being what the tokens were learned from."""
    names = [corpus["name"] for corpus in record["corpora"]]
    columns = names if field == "shared" else [name for name in names if name != TOGETHER]
    of = f"the first {record['compared_at']:,} added tokens"
    title = (
        f"Share of {of} of a row that are among those of a column"
        if field == "shared"
        else f"More tokens for the held-out text of a column with {of} of a row than with its own"
    )
    table = _table(title, width)
    table.add_column("learned from")
    for name in columns:
        table.add_column(Text(name), justify="right")
    rows: Sequence[Sequence[float | None]] = record[field]
    for name, values in zip(names, rows, strict=True):
        table.add_row(Text(name), *(_share(value, ".1%" if field == "shared" else "+.1%") for value in values))
    return table


def sensitivity_sentence(record: Mapping[str, Any]) -> str:
    """Does the choice of text move the size, and does it move the tokens? One sentence."""
    apart = [corpus for corpus in record["corpora"] if corpus["name"] != TOGETHER]
    sizes = sorted(corpus["choice"]["n_added"] for corpus in apart)
    together = next(corpus for corpus in record["corpora"] if corpus["name"] == TOGETHER)
    names = [corpus["name"] for corpus in apart]
    costs = [
        (value, row, column)
        for row, values in zip(names, record["lost"], strict=False)
        for column, value in zip(names, values, strict=True)
        if value is not None and row != column
    ]
    told = f"Sizes recommended: {sizes[0]:,} to {sizes[-1]:,}, together {together['choice']['n_added']:,}"
    if not costs:
        return f"{told}."
    value, row, column = max(costs)
    return (
        f"{told}; which tokens they are matters more: with {record['compared_at']:,} tokens learned from {row}, the "
        f"text of {column} takes {value:.1%} more tokens than with its own."
    )


def _table(title: str, width: int) -> Table:
    return Table(
        title=Text(title),
        title_justify="left",
        header_style="bold",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 1 if width >= 100 else 0),
        min_width=min(width, len(title)),
    )


def _share(value: float | None, form: str) -> str:
    return DASH if value is None else format(value, form)

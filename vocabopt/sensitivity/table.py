"""Several corpora side by side: the tables and the sentence, as records of sensitivity.json tell them."""

from collections.abc import Mapping, Sequence
from typing import Any

from vocabopt.amounts import shown_bytes
from vocabopt.sensitivity.compare import TOGETHER
from vocabopt.tabular import DASH, PlainTable, shown
from vocabopt.text.sets import HELDOUT, TRAIN

_HEADERS = ("corpus", "text", "ran dry\nat", "knee", "interval", "added", "ratio_\ninput")


def tables(record: Mapping[str, Any]) -> list[PlainTable]:
    """Each corpus; what vocabularies share; what one costs on the text of another."""
    return [corpora_table(record), matrix_table(record, "shared"), matrix_table(record, "lost")]


def corpora_table(record: Mapping[str, Any]) -> PlainTable:
    """A row per corpus: its size, where it ran dry, its knee with interval, its recommendation and what that saves."""
    rows = []
    for corpus in record["corpora"]:
        choice, interval = corpus["choice"], corpus["choice"]["interval"]
        rows.append(
            (
                corpus["name"],
                shown_bytes(corpus["sets"][TRAIN]["n_bytes"]),
                shown(corpus["exhausted_at"], ","),
                shown(choice["knee"], ","),
                DASH if interval is None else f"{interval['low']:,}..{interval['high']:,}",
                shown(choice["n_added"], ","),
                shown(choice["point"]["sets"][HELDOUT]["ratio_input"], ".4f"),
            )
        )
    return PlainTable(
        caption="Each corpus by itself, and all together",
        headers=_HEADERS,
        rows=rows,
        bold=frozenset({len(rows) - 1}),
    )


def matrix_table(record: Mapping[str, Any], field: str) -> PlainTable:
    """`shared` or `lost`, rows being what the tokens were learned from."""
    names = [corpus["name"] for corpus in record["corpora"]]
    of = f"the first {record['compared_at']:,} added tokens"
    is_shared = field == "shared"
    values: Sequence[Sequence[float | None]] = record[field]
    return PlainTable(
        caption=f"Share of {of} of a row that are among those of a column"
        if is_shared
        else f"More tokens for the held-out text of a column with {of} of a row than with its own",
        headers=("learned from", *(names if is_shared else [name for name in names if name != TOGETHER])),
        rows=[
            (name, *(shown(value, ".1%" if is_shared else "+.1%") for value in row))
            for name, row in zip(names, values, strict=True)
        ],
        bold=frozenset({len(names) - 1}),
    )


def sentence(record: Mapping[str, Any]) -> str:
    """How far the choice of text moves the size, and what it costs at most at one size."""
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
    if not costs or not record["compared_at"]:
        return f"{told}."
    value, row, column = max(costs)
    return (
        f"{told}. Which text the tokens come from: with {record['compared_at']:,} learned from {row}, the text of "
        f"{column} takes {value:+.1%} tokens against its own {record['compared_at']:,}."
    )

"""The result of a probe on a terminal."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from vocabopt.tabular import PlainTable, shown


def probe_table(record: Mapping[str, Any], width: int) -> Table:
    """Init methods and plans, the best first, with the start that does not tell the order."""
    names = list(record["rows"][0]["after"]) if record["rows"] else []
    rows = [
        [
            f"{rank}. {row['init']}, {row['plan']}",
            f"{row['initialised']:.4f}",
            f"{row['reached']:.4f}",
            shown(row["spread"], ".4f"),
            *(f"{row['after'][name]:.4f}" for name in names),
            f"{row['seconds']:.1f}",
        ]
        for rank, row in enumerate(record["rows"], start=1)
    ]
    options = record["options"]
    return PlainTable(
        caption=f"{options['n_steps']} steps each, {options['n_seeds']} seeds; bits per byte on target text",
        headers=["init, plan", "at step 0", "reached", "spread\nover seeds", *names, "seconds"],
        rows=rows,
        bold=frozenset((0,)),
    ).for_terminal(width)


def conclusion(record: Mapping[str, Any]) -> str:
    """Which won, and whether the seeds can tell it from the second."""
    rows = record["rows"]
    if len(rows) < 2:
        return "One row: nothing to rank. Name more --init methods or --plan plans."
    first, second = rows[0], rows[1]
    gap = second["reached"] - first["reached"]
    spread = max(first["spread"] or 0.0, second["spread"] or 0.0)
    best_start = min(rows, key=lambda row: row["initialised"])
    told = f"Best: {first['init']} with plan {first['plan']}, {gap:.4f} bits per byte before the second"
    if first["spread"] is None:
        told += "; one seed says nothing of chance (--seeds 3)"
    elif gap < spread:
        told += f", less than the spread over seeds ({spread:.4f}): not told apart"
    told += "."
    if best_start is not first:
        told += f" The lowest start ({best_start['init']}, {best_start['plan']}) did not win."
    return told

"""The funnel in the terminal, and what is to be said about it."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from vocabopt.amounts import shown_bytes
from vocabopt.tabular import DASH, PlainTable, shown

_HEADERS = (
    "step",
    "documents\nin",
    "documents\nout",
    "removed",
    "changed",
    "text out",
    "tokens out",
    "bytes\nkept",
    "seconds",
)


def funnel_table(record: Mapping[str, Any], *, width: int = 100) -> Table:
    """A row per step, in order."""
    return plain_table(record).for_terminal(width)


def plain_table(record: Mapping[str, Any]) -> PlainTable:
    """The same for a terminal or a page. Seconds are those of all workers together."""
    steps = record["steps"]
    first = steps[0]
    caption = f"{first['n_documents_in']:,} documents, {shown_bytes(first['n_bytes_in'])}"
    return PlainTable(caption=caption, headers=_HEADERS, rows=[_row(step) for step in steps])


def _row(step: Mapping[str, Any]) -> tuple[str, ...]:
    kept = step["n_bytes_out"] / step["n_bytes_in"] if step["n_bytes_in"] else None
    return (
        step["step"],
        f"{step['n_documents_in']:,}",
        f"{step['n_documents_out']:,}",
        f"{step['n_documents_in'] - step['n_documents_out']:,}",
        f"{step['n_changed']:,}",
        shown_bytes(step["n_bytes_out"]),
        shown(step["n_tokens_out"], ","),
        DASH if kept is None else f"{kept:.2%}",
        f"{step['seconds']:.1f}",
    )


def funnel_notes(record: Mapping[str, Any]) -> list[str]:
    """Sentences that the table needs: what was left out on reading, and what was kept in all."""
    steps = record["steps"]
    notes = []
    for file in record["files"]:
        if file["error"] is not None:
            notes.append(f"Not read to its end: {file['error']} ({file['n_documents']:,} documents of it are used).")
    n_blank = sum(file["n_blank"] for file in record["files"])
    n_unreadable = sum(file["n_unreadable"] for file in record["files"])
    if n_blank or n_unreadable:
        notes.append(f"{n_blank:,} blank lines or records left out; {n_unreadable:,} that are no text are in removed/.")
    for step in steps:
        if limited := step["facts"].get("n_limited"):
            notes.append(
                f"{step['step']}: {limited:,} documents shared bands with more kept ones than max_compared allows to "
                "compare; copies of others among them may be left."
            )
        if (coverage := step["facts"].get("coverage")) and (at_random := step["facts"].get("coverage_random")):
            notes.append(
                f"{step['step']}: {coverage / at_random:.2f} times the coverage of a random choice of as many bytes."
            )
    first, last = steps[0], steps[-1]
    notes.append(
        f"Kept {last['n_documents_out']:,} of {first['n_documents_in']:,} documents, "
        f"{shown_bytes(last['n_bytes_out'])} of {shown_bytes(first['n_bytes_in'])}."
    )
    return notes

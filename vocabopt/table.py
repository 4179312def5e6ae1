"""The table of a sweep in the terminal."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table

DASH = "-"


def sweep_table(sweep: Mapping[str, Any]) -> Table:
    """One row per size shown; the choice is in it, in bold. Sizes beyond a dry text are marked *."""
    base, model = sweep["base"], sweep["model"]
    title = f"{base['name']}: {base['n_tokens']:,} tokens"
    title += f", embedding of {model['name']}" if model else ", no model known: pass --model for parameters"
    table = Table(title=title, title_justify="left", header_style="bold")
    headers = (
        "added", "total rows", "tokens held-out", "ratio_input held-out", "ratio_input train", "ratio_embedding",
        "tokens per word", "bytes per token", "embedding params",
    )  # fmt: skip
    for header in headers:
        table.add_column(header, justify="right")
    choice = sweep["choice"]["n_added"]
    by_size = {point["n_added"]: point for point in [sweep["choice"]["point"], *sweep["points"]]}
    for size, point in sorted(by_size.items()):
        table.add_row(*_cells(point, sweep["sets"]), style="bold" if size == choice else "")
    return table


def _cells(point: Mapping[str, Any], sets: Mapping[str, Any]) -> list[str]:
    heldout, train = point["sets"]["heldout"], point["sets"]["train"]
    # Words and bytes are of the held-out text, or of the training text where nothing was held out.
    shown = "heldout" if heldout["n_tokens"] else "train"
    n_tokens, stats = point["sets"][shown]["n_tokens"], sets[shown]
    return [
        f"{point['n_added']:,}{'*' if point['dry'] else ''}",
        f"{point['n_rows_total']:,}",
        f"{heldout['n_tokens']:,}",
        _number(heldout["ratio_input"], ".4f"),
        _number(train["ratio_input"], ".4f"),
        _number(point["ratio_embedding"], ".3f"),
        _number(n_tokens / stats["n_words"] if stats["n_words"] else None, ".3f"),
        _number(stats["n_bytes"] / n_tokens if n_tokens else None, ".3f"),
        _number(point["n_embedding_params"], ",d"),
    ]


def _number(value: float | None, form: str) -> str:
    return DASH if value is None else format(value, form)

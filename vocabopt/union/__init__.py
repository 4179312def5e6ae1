"""The union of a base with a vocabulary trained apart: what RedWhale and Chinese-LLaMA do, measured beside growing."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl

#: The vocabulary as it was trained, or given with --vocab.
UNION_MODEL = "union.model"
#: What was measured of it (`run.run_union`).
UNION_JSON = "union.json"


def grown_beside(
    union: Mapping[str, Any], curve: "pl.DataFrame", base_tokens: Mapping[str, int]
) -> list[dict[str, int]]:
    """For each point of union.json the tokens per text set with as many grown rows; empty beyond the curve."""
    return [
        {
            name: int(curve[f"n_tokens_{name}"][point["n_added"] - 1]) if point["n_added"] else n_tokens
            for name, n_tokens in base_tokens.items()
        }
        if point["n_added"] <= len(curve)
        else {}
        for point in union["points"]
    ]

"""The growth curve as the rules take it: one value per size 0, 1, 2 ..., the base first."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from vocabopt.text.sets import HELDOUT, TRAIN

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class SizeCurve:
    """Everything the rules read of a curve, over sizes 0..end.

    n_tokens: per set, [end + 1]. n_used: per set, [end + 1], added tokens in use. entropy_bits: per set, [end + 1], of
    the token distribution; NaN where a set is empty. n_occurrences: [end], how often the token with rank k + 1 occurs
    in training text when it is added. n_chars: per set. exhausted: the text ran dry at `end`.
    """

    n_tokens: Mapping[str, Integers]
    n_used: Mapping[str, Integers]
    entropy_bits: Mapping[str, Floats]
    n_occurrences: Integers
    n_chars: Mapping[str, int]
    roles: Mapping[str, str]
    exhausted: bool

    @property
    def end(self) -> int:
        return len(self.n_occurrences)

    @property
    def decisive_set(self) -> str:
        """Held-out text; training text where too little was held out to have tokens."""
        return HELDOUT if HELDOUT in self.n_tokens and self.n_tokens[HELDOUT][0] else TRAIN

    def ratio_input(self, text_set: str) -> Floats:
        """n_tokens(k) / n_tokens(0) over all sizes; empty for a set without tokens."""
        n_tokens = self.n_tokens[text_set]
        return n_tokens / n_tokens[0] if n_tokens[0] else np.zeros(0)


def size_curve(curve: pl.DataFrame, sets: Mapping[str, Mapping[str, Any]], exhausted_at: int | None) -> SizeCurve:
    """From curve.parquet and `sets` of sweep.json. What a curve does not hold is left out of the mappings."""

    def columns(kind: str, base_field: str | None) -> dict[str, NDArray[Any]]:
        """Per set the column with the base's value before it: a field of the set, or 0."""
        held = [name for name in sets if f"{kind}_{name}" in curve.columns]
        starts = {name: sets[name].get(base_field) if base_field else 0 for name in held}
        return {
            name: np.insert(curve[f"{kind}_{name}"].to_numpy(), 0, np.nan if start is None else float(start))
            for name, start in starts.items()
        }

    return SizeCurve(
        n_tokens=columns("n_tokens", "n_tokens_base"),
        n_used=columns("n_used", None),
        entropy_bits=columns("entropy_bits", "entropy_bits_base"),
        n_occurrences=occurrences(curve),
        n_chars={name: int(given.get("n_chars") or 0) for name, given in sets.items()},
        roles={name: str(given.get("role", "")) for name, given in sets.items()},
        exhausted=exhausted_at is not None,
    )


def occurrences(curve: pl.DataFrame) -> Integers:
    """How often each added token occurs in training text when it is added: what it saves, per token saved each time.

    A merge saves one token each time; a character that the base spells in n bytes saves n - 1.
    """
    if "saving" not in curve.columns:
        return np.zeros(len(curve), np.int64)
    per_time = pl.when(pl.col("kind") == "char").then(pl.col("bytes").bin.size().cast(pl.Int64) - 1).otherwise(1)
    return curve.select(pl.col("saving") // per_time).to_series().to_numpy().astype(np.int64)

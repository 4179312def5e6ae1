"""Columns of text: changing the few that need Python, and their code points as one array."""

from collections.abc import Callable

import numpy as np
import polars as pl
from numpy.typing import NDArray


def change_flagged(texts: pl.Series, flagged: pl.Series, change: Callable[[str], str]) -> pl.Series:
    """`change` applied where `flagged` (Boolean [n]) is true; the other texts are never made Python strings."""
    where = flagged.arg_true()
    if len(where) == 0:
        return texts
    changed = pl.Series([change(text) for text in texts.gather(where).to_list()], dtype=pl.String)
    return texts.clone().scatter(where, changed)


def code_points(texts: pl.Series) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """All characters of the column, uint32 [N], and where each text starts: int64 [n + 1], the last is N."""
    offsets = np.zeros(len(texts) + 1, dtype=np.int64)
    np.cumsum(texts.str.len_chars().to_numpy(), out=offsets[1:])
    joined = "" if len(texts) == 0 else str(texts.str.join("").item())
    return np.frombuffer(joined.encode("utf-32-le"), dtype="<u4").astype(np.uint32, copy=False), offsets

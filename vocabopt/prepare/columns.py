"""Columns of text: changing the few that need Python, and their code points as one array."""

from collections.abc import Callable

import polars as pl


def change_flagged(texts: pl.Series, flagged: pl.Series, change: Callable[[str], str]) -> pl.Series:
    """`change` applied where `flagged` (Boolean [n]) is true; the other texts are never made Python strings."""
    where = flagged.arg_true()
    if len(where) == 0:
        return texts
    changed = pl.Series([change(text) for text in texts.gather(where).to_list()], dtype=pl.String)
    return texts.clone().scatter(where, changed)


def no_reasons(n: int) -> pl.Series:
    """String [n] of nulls: `Outcome.why` with nothing to say."""
    return pl.Series([None], dtype=pl.String).new_from_index(0, n)

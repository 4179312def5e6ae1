"""Counts of several corpora, made once, taken apart and together: whose text trains, whose is measured."""

from collections.abc import Mapping, Sequence
from dataclasses import fields

import numpy as np
import polars as pl

from vocabopt.growth.counts import ChunkCounts, SetStats
from vocabopt.text.sets import N_FOLDS


def select(counts: ChunkCounts, sets: Mapping[str, tuple[str, Sequence[str]]]) -> ChunkCounts:
    """Counts whose text sets are made of those of `counts`.

    Args:
        sets: new name -> (role, the old sets that it joins), in order; an old set may go into several.

    Returns:
        Chunks that no new set holds are left out; the order of the others stays.
    """
    old_names = list(counts.sets)
    chunk_of_entry = np.repeat(np.arange(counts.n_chunks), np.diff(counts.offsets))
    old_set, fold = np.divmod(counts.groups, N_FOLDS)
    parts = []
    for number, (_, joined) in enumerate(sets.values()):
        member = np.isin(old_set, [old_names.index(name) for name in joined])
        parts.append(
            pl.DataFrame(
                {
                    "chunk": chunk_of_entry[member],
                    "group": (number * N_FOLDS + fold[member]).astype(np.int32),
                    "n": counts.counts[member],
                }
            )
        )
    entries = pl.concat(parts).group_by("chunk", "group").agg(pl.col("n").sum()).sort("chunk", "group")
    kept, n_entries = np.unique(entries["chunk"].to_numpy(), return_counts=True)
    # A chunk's bytes, its NUL included, are kept or not as one.
    lengths = np.diff(counts.ends, prepend=-1)
    is_kept = np.zeros(counts.n_chunks, bool)
    is_kept[kept] = True
    text = counts.text[np.repeat(is_kept, lengths)]
    return ChunkCounts(
        sets={name: _joined(role, [counts.sets[old] for old in joined]) for name, (role, joined) in sets.items()},
        text=text,
        ends=np.cumsum(lengths[is_kept]) - 1,
        offsets=np.concatenate([[0], np.cumsum(n_entries)]),
        groups=entries["group"].to_numpy().astype(np.int32, copy=True),
        counts=entries["n"].to_numpy().copy(),
    )


def _joined(role: str, parts: Sequence[SetStats]) -> SetStats:
    """The statistics of sets taken as one."""
    totals = {
        field.name: sum(getattr(part, field.name) for part in parts)
        for field in fields(SetStats)
        if field.name != "role"
    }
    return SetStats(role=role, **totals)

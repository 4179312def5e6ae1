"""What a merge adds to a base: pieces with their ids in order, the merges that make them, how they were found."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl

from vocabopt.tokenizer import Base

Method = Literal["grow", "union"]
Scores = Literal["unique", "zero"]


@dataclass(frozen=True, kw_only=True)
class Addition:
    """New pieces of a base tokenizer.

    pieces: as tokenizer.json spells them; the first gets the id `base.n_tokens`. texts: the bytes they stand for.
    merges: behind the base's own, in this order; None where every split of a piece into two pieces is one (union).
    scores: what tokenizer.model is given: "unique" ones below all of the base's, or "zero". details: for each piece
    what extension.json says beside its counts (kind, parts).
    """

    method: Method
    pieces: Sequence[str]
    texts: Sequence[bytes]
    merges: Sequence[tuple[str, str]] | None
    scores: Scores = "unique"
    details: Sequence[Mapping[str, Any]]

    @property
    def n_added(self) -> int:
        return len(self.pieces)


def grown(base: Base, curve: pl.DataFrame, n_added: int) -> Addition:
    """The first `n_added` rows of a growth curve: one merge a piece, and those that open pieces of the base."""
    rows = curve.head(n_added)
    columns = rows.select("rank", "kind", "left", "right").iter_rows()
    return Addition(
        method="grow",
        pieces=rows["piece"].to_list(),
        texts=rows["bytes"].to_list(),
        merges=[pair for merges in merges_by_row(base, rows) for pair in merges],
        details=[
            {"rank": rank, "kind": kind, "parts": [left, right] if left >= 0 else None}
            for rank, kind, left, right in columns
        ],
    )


def merges_by_row(base: Base, rows: pl.DataFrame) -> list[list[tuple[str, str]]]:
    """The merges that each row of a growth curve brings: none where it is a character, and those that it opens."""
    spelling = {index: piece for piece, index in base.tokenizer_json["model"]["vocab"].items()}
    spelling.update(enumerate(rows["piece"], base.n_tokens))
    is_opening = rows["opened"].list.len().sum() > 0
    known = {(left, right) for left, right in base.tokenizer_json["model"]["merges"]} if is_opening else frozenset()
    merges = []
    for left, right, opened in rows.select("left", "right", "opened").iter_rows():
        own = [(spelling[left], spelling[right])] if left >= 0 else []
        # Pieces that the base had but its merges could not reach, and now can. A merge that the base has already (its
        # parts could not be reached) keeps its rank: written a second time it would move to the later one.
        merges.append(own + [pair for a, b, _ in opened if (pair := (spelling[a], spelling[b])) not in known])
    return merges

"""What the curves of several corpora say of each other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from vocabopt.text.sets import HELDOUT

#: The name of all corpora taken as one.
TOGETHER = "together"


@dataclass(frozen=True, kw_only=True)
class Grown:
    """One corpus, or all together: its curve, and the `sets` and choice of its sweep.json fields.

    The sets of a corpus are its own train and heldout, and the held-out text of each other corpus by name; those of all
    together have every corpus by name.
    """

    name: str
    curve: pl.DataFrame
    sets: Mapping[str, Mapping[str, Any]]
    exhausted_at: int | None
    choice: Mapping[str, Any]

    def n_tokens(self, of: str, n_added: int) -> int:
        """Tokens of another corpus's held-out text with this one's first `n_added` tokens."""
        text_set = HELDOUT if of == self.name else of
        if n_added == 0:
            return int(self.sets[text_set]["n_tokens_base"])
        return int(self.curve[f"n_tokens_{text_set}"][n_added - 1])

    def pieces(self, n_added: int) -> set[bytes]:
        return set(self.curve["bytes"][:n_added])


def compared_size(grown: Sequence[Grown], asked: int | None) -> int:
    """The size at which all are compared: the one asked for, else that of all together, as far as every curve goes."""
    together = next(one for one in grown if one.name == TOGETHER)
    wanted = int(together.choice["n_added"]) if asked is None else asked
    return min([wanted, *(len(one.curve) for one in grown)])


def shared(grown: Sequence[Grown], n_added: int) -> list[list[float | None]]:
    """[i][j]: the share of the first n_added pieces of i that are among those of j; None for no pieces."""
    pieces = [one.pieces(n_added) for one in grown]
    return [[len(mine & other) / n_added if n_added else None for other in pieces] for mine in pieces]


def lost(grown: Sequence[Grown], n_added: int) -> list[list[float | None]]:
    """[i][j]: how many more tokens the held-out text of corpus j takes with the tokens of i than with its own.

    Rows: what the tokens were learned from. Columns: the corpora, without all together. None where j held out nothing.
    """
    corpora = [one for one in grown if one.name != TOGETHER]
    own = [one.n_tokens(one.name, n_added) for one in corpora]
    return [
        [one.n_tokens(other.name, n_added) / n - 1 if n else None for other, n in zip(corpora, own, strict=True)]
        for one in grown
    ]

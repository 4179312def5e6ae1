"""Freeing rows in plain Python: slow, and short enough to be read. The compiled search (swap/kernel.py) must equal it.

After every row all is encoded again: every chunk, without each row that may go in turn.
"""

from collections.abc import Mapping, Sequence

Merge = tuple[str, str]


def encode(symbols: Sequence[str], rank: Mapping[Merge, int], freed: set[str]) -> list[str]:
    """BPE: the merge of the lowest rank, leftmost first, of those that make no freed piece."""
    symbols = list(symbols)
    while True:
        pairs = zip(symbols, symbols[1:], range(len(symbols)), strict=False)
        ranked = [(rank[a, b], i) for a, b, i in pairs if (a, b) in rank and a + b not in freed]
        if not ranked:
            return symbols
        _, i = min(ranked)
        symbols[i : i + 2] = [symbols[i] + symbols[i + 1]]


class ReferenceFreeing:
    """Rows freed, one at a time, each the cheapest of those that no kept merge takes as a part.

    units: characters of each unit -> its weight. ids: of the pieces. may_go: pieces that may be freed. n_bytes: tokens
    that a character takes which has no piece, or whose piece is freed.
    """

    def __init__(
        self, units: Mapping[str, int], merges: Sequence[Merge], ids: Mapping[str, int], may_go: set[str]
    ) -> None:
        self.units, self.rank = units, {pair: i for i, pair in enumerate(merges)}
        self.ids, self.may_go = ids, may_go
        self.freed: list[str] = []
        self.costs: list[int] = []

    def n_tokens(self, freed: set[str]) -> int:
        """Tokens of all units, times their weights."""

        def width(symbol: str) -> int:
            is_byted = len(symbol) == 1 and (symbol in freed or symbol not in self.ids)
            return len(symbol.encode()) if is_byted else 1

        return sum(w * sum(map(width, encode(unit, self.rank, freed))) for unit, w in self.units.items())

    def leaves(self) -> list[str]:
        gone = set(self.freed)
        parts = {part for pair in self.rank if "".join(pair) not in gone for part in pair}
        return [piece for piece in self.may_go if piece not in gone and piece not in parts]

    def free(self, n_wanted: int) -> None:
        while len(self.freed) < n_wanted and (leaves := self.leaves()):
            gone = set(self.freed)
            before = self.n_tokens(gone)
            cost, _, piece = min((self.n_tokens({*gone, leaf}) - before, -self.ids[leaf], leaf) for leaf in leaves)
            self.freed.append(piece)
            self.costs.append(cost)

"""How several targets share the rows that are added: what the growth pass compares, and whose turn it is.

tokens: one sum of savings, each target's times its weight. parity: each row goes to the target that is served worst at
that moment, to the token that saves most there. Targets are the first of the text sets that are counted.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Balance:
    """How rows are shared.

    weights: of each target, whole numbers without a common factor; () for parity, and for one target. measured: with
    parity, per target the index of the set whose tokens tell how it is served; () its own training text. reference: the
    index of the set whose tokens with the base these are divided by; None for their own with the base.
    """

    n_targets: int = 1
    weights: tuple[int, ...] = ()
    measured: tuple[int, ...] = ()
    reference: int | None = None

    def least_saving(self, min_saving: int) -> int:
        """What a token must save at least, in weighted tokens: weights count as if they were 1 on average."""
        return -(-min_saving * sum(self.weights) // len(self.weights)) if self.weights else min_saving

    def driving(self, weights: NDArray[np.int64], is_left_out: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Columns that drive the pass and are no text set's, int64 [n_chunks, n]; none where the targets' own do.

        Args:
            weights: [n_chunks, n_sets], the targets first. is_left_out: [n_chunks], nothing is learned from these.
        """
        own = weights[:, : self.n_targets]
        if is_left_out.any():
            own = np.where(is_left_out[:, None], 0, own)
        elif not self.weights:
            return own[:, :0]
        return own @ np.array(self.weights, np.int64)[:, None] if self.weights else own

    def steering(self, n_driving: int, n_tokens_base: NDArray[np.int64]) -> NDArray[np.int64]:
        """`steering` of kernel.grow. n_driving: columns before those of the sets; n_tokens_base: int64 [n_sets], of the
        counted text, special tokens not included, which no added token changes."""
        measured = np.array(self.measured or range(1 if self.weights else self.n_targets), np.int64)
        n_tokens = n_tokens_base[measured]
        divided_by = n_tokens if self.reference is None else np.full(len(measured), n_tokens_base[self.reference])
        return np.stack([measured + n_driving, n_tokens, np.maximum(divided_by, 1)])


ONE_TARGET = Balance()

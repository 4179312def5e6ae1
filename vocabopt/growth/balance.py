"""How several targets share the rows that are added: what the growth pass compares, and whose turn it is.

tokens: one sum of savings, each target's times its weight. parity: each row goes to the target that is served worst at
that moment, to the token that saves most there. Targets are the first of the text sets that are counted.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vocabopt.growth.counts import SetStats
from vocabopt.growth.curve import Uses
from vocabopt.text.sets import N_FOLDS

#: Set of the curve that is a sum of others -> its role, and counted set -> how often it is taken.
Sums: TypeAlias = Mapping[str, tuple[str, Mapping[str, int]]]


@dataclass(frozen=True, kw_only=True)
class Balance:
    """How rows are shared.

    weights: of each target, whole numbers without a common factor; () for parity, and for one target. measured: with
    parity, per target the index of the set whose tokens tell how it is served; () its own training text. reference: the
    index of the set whose tokens with the base these are divided by; None for their own with the base. sums: sets of
    the curve that are not counted.
    """

    n_targets: int = 1
    weights: tuple[int, ...] = ()
    measured: tuple[int, ...] = ()
    reference: int | None = None
    sums: Sums = field(default_factory=dict)

    def least_saving(self, min_saving: int) -> int:
        """What a token must save at least, in weighted tokens: weights count as if they were 1 on average."""
        weighted = -(-min_saving * sum(self.weights) // len(self.weights)) if self.weights else min_saving
        return min(weighted, 2**63 - 1)

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

    def with_sums(self, sets: Mapping[str, SetStats]) -> dict[str, SetStats]:
        """What the sets of the curve hold: the sums, then those that are counted."""
        counted = [given.name for given in fields(SetStats) if given.name != "role"]
        totals = {
            field: added_up(self.sums, {name: getattr(given, field) for name, given in sets.items()})
            for field in counted
        }
        totals["hash_sum"] = {name: total % 2**64 for name, total in totals["hash_sum"].items()}
        made = {
            name: SetStats(role, **{field: totals[field][name] for field in counted})
            for name, (role, _) in self.sums.items()
        }
        return {**made, **sets}

    def uses_with_sums(self, uses: Uses, sets: Mapping[str, SetStats]) -> Uses:
        """What all these sets add to the curve, given what those do that are counted."""
        if not self.sums:
            return uses
        own = np.eye(len(sets), dtype=np.int64)
        times = np.stack([*added_up(self.sums, dict(zip(sets, own, strict=True))).values(), *own])
        folds = np.kron(times, np.eye(N_FOLDS, dtype=np.int64))
        return replace(
            uses,
            per_merge=uses.per_merge @ times.T,
            late={place: times @ counts for place, counts in uses.late.items()},
            token_counts=times @ uses.token_counts,
            fold_tokens=folds @ uses.fold_tokens,
            fold_saved=uses.fold_saved @ folds.T,
            n_lost_chars=times @ uses.n_lost_chars,
            n_parts=times @ uses.n_parts,
        )


def added_up(sums: Sums, counts: Mapping[str, Any]) -> dict[str, Any]:
    """The sums of what the counted sets have, numbers or arrays: of each set of `sums` its own."""
    return {name: sum(times * counts[part] for part, times in parts.items()) for name, (_, parts) in sums.items()}


ONE_TARGET = Balance()

"""The room that the models and checkpoints of a run take on the disk."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True, kw_only=True)
class Written:
    """A model that a run writes. beside_bytes: of checkpoints that are there with it, or before it, more than it takes.

    removed_bytes: what goes once it is whole and measured.
    """

    n_bytes: int
    beside_bytes: int = 0
    removed_bytes: int = 0


def highest_bytes(written: Iterable[Written]) -> int:
    """The most that is there at once, of models written one after another."""
    level = highest = 0
    for model in written:
        highest = max(highest, level + model.n_bytes + model.beside_bytes)
        level += model.n_bytes - model.removed_bytes
    return highest


def of_arm(
    model_bytes: int, checkpoints: Sequence[int], *, starts: bool, keeps_all: bool, frees_start: bool
) -> list[Written]:
    """The models of an arm's stages that are not finished yet.

    Args:
        checkpoints: for each of these stages, bytes of its checkpoints beside its model.
        starts: whether the model that the first stage begins with is still to be written.
        keeps_all: --keep-stages all.
        frees_start: whether removing the model that the first of these stages begins with gives its room back: on a CPU
            the weights stay mapped from its file until the process ends; and a base model is never removed.
    """
    first = [Written(n_bytes=model_bytes)] if starts else []
    stages = [
        Written(n_bytes=model_bytes, beside_bytes=beside, removed_bytes=0 if keeps_all else model_bytes)
        for beside in checkpoints
    ]
    if stages and not frees_start:
        stages[0] = replace(stages[0], removed_bytes=0)
    return [*first, *stages]

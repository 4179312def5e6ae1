"""What a run takes of a disk, and what may be taken of a device."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

#: Share of a device's memory that stays free for what is not predicted: fragmentation, work space inside kernels.
DEFAULT_MARGIN = 0.05
#: A process with nothing in it: Python and torch take 0.6 GB on a CPU, a CUDA context with its libraries 0.5 to 1 GB.
DEFAULT_PROCESS_BYTES = 1_000_000_000


@dataclass(frozen=True, kw_only=True)
class Written:
    """A model that a run writes. beside_bytes: of checkpoints on disk while it is written, or the excess
    of those there before.

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
        checkpoints: for each of these stages, bytes of its checkpoints, without its model.
        starts: whether the model that the first stage begins with is still to be written.
        keeps_all: --keep-stages all.
        frees_start: whether removing the model that the first of these stages begins with gives its room back: on a CPU
            the weights stay mapped from its file until the process ends; and a base model is never removed.
    """
    removed = 0 if keeps_all else model_bytes
    stages = [Written(n_bytes=model_bytes, beside_bytes=beside, removed_bytes=removed) for beside in checkpoints]
    if stages and not frees_start:
        stages[0] = replace(stages[0], removed_bytes=0)
    return [*([Written(n_bytes=model_bytes)] if starts else []), *stages]


def limit_bytes(there_bytes: int, margin: float) -> int:
    """What may be taken of a memory, its margin left free."""
    return int(there_bytes * (1 - margin))

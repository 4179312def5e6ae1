"""What a run takes of disks and devices: models and checkpoints on the disk, one device's share of a stage."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from trainer.memory.predict import StageCost
from trainer.stages.settings import Optimizer


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
        checkpoints: for each of these stages, bytes of its checkpoints, without its model.
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


#: Share of a device's memory that stays free for what is not predicted: fragmentation, work space inside kernels.
DEFAULT_MARGIN = 0.05
#: A process with nothing in it: Python and torch take 0.6 GB on a CPU, a CUDA context with its libraries 0.5 to 1 GB.
DEFAULT_PROCESS_BYTES = 1_000_000_000


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """Devices that train one model together, one process each.

    shard: weights, gradients and optimizer state are split over them (FSDP) instead of copied to each (DDP).
    process_bytes: what a process takes of its device before it holds a model.
    """

    n_gpus: int = 1
    shard: bool = False
    process_bytes: int = DEFAULT_PROCESS_BYTES

    @property
    def is_sharded(self) -> bool:
        return self.shard and self.n_gpus > 1

    def peak_bytes(self, cost: StageCost, optimizer: Optimizer) -> int:
        """Highest bytes on one device; for several devices this is arithmetic, not a followed step.

        Copied: what one process alone takes, and the gradients once more, in the buckets that DDP sends. Sharded: each
        one's part of weights, gradients and state; its own activations; whole, the weights outside the blocks and those
        of two blocks, the one that computes and the next. Whole weights must fit besides: measuring is not sharded.
        """
        if self.is_sharded:
            held = cost.weight_bytes + cost.gradient_bytes + cost.state_bytes[optimizer]
            training = -(-held // self.n_gpus) + cost.activation_bytes + cost.root_bytes + 2 * cost.block_bytes
            return self.process_bytes + max(training, cost.resting_bytes)
        buckets = cost.gradient_bytes if self.n_gpus > 1 else 0
        return self.process_bytes + cost.peak_bytes(optimizer) + buckets


def limit_bytes(there_bytes: int, margin: float) -> int:
    """What may be taken of a memory, its margin left free."""
    return int(there_bytes * (1 - margin))

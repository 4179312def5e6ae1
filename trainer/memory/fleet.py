"""What one device holds of a stage that runs on one or several, and what must stay free on it."""

from dataclasses import dataclass

from trainer.memory.predict import StageCost
from trainer.stages.settings import Optimizer

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

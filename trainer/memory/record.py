"""What `vocabopt plan` predicts, as --json prints it and the table shows it."""

from typing import ClassVar

from trainer.memory.predict import StageCost
from trainer.options import PlanOptions
from trainer.stages.settings import Optimizer
from vocabopt.amounts import shown_bytes
from vocabopt.records import Count, FileRecord, Record


class Remedy(Record, frozen=True, kw_only=True):
    """What to change, in words and as it is written for a command or a plan, and the highest bytes on a device then."""

    changes: tuple[str, ...]
    peak_bytes: Count
    options: tuple[str, ...] = ()
    n_gpus: Count = 1

    @property
    def in_words(self) -> str:
        parts = [", ".join(self.changes[:-1]), self.changes[-1]] if len(self.changes) > 1 else self.changes
        return f"{' and '.join(parts)}: {shown_bytes(self.peak_bytes)}{' each' if self.n_gpus > 1 else ''}"


class PlannedStage(Record, frozen=True, kw_only=True):
    """A stage's part of the budget and what it costs."""

    name: str
    n_trainable: Count
    tokens: Count
    flops: Count
    hours: float
    #: Highest bytes on a GPU by optimizer, the process's own among them; and with a fused loss.
    peak_bytes: dict[Optimizer, Count]
    peak_bytes_fused_loss: dict[Optimizer, Count]
    fits: bool
    #: Where it does not fit: the first changes that help on these GPUs, and the GPUs that hold it when sharded.
    remedies: tuple[Remedy, ...]
    #: What the peak of tensors is made of.
    cost: StageCost


class PlannedMeasuring(Record, frozen=True, kw_only=True):
    """Bits per byte of all evaluation texts."""

    #: The base model, the new rows, stages, and, where weights are rounded at the end, those (n_of_rounded).
    n_times: Count
    n_of_rounded: Count
    n_tokens: Count
    flops: Count
    tflops: float
    hours: float


class PlanRecord(FileRecord, frozen=True, kw_only=True):
    """All stages of a plan on a model."""

    NEXT_STEP: ClassVar[str] = "Run `vocabopt plan` again."

    #: As given, the length of a sequence as it is taken.
    options: PlanOptions
    #: The default context is longer than the model's positions.
    is_context_clipped: bool
    model: str
    n_params: Count
    n_rows: Count
    n_added: Count
    plan: str
    stages: tuple[PlannedStage, ...]
    measuring: PlannedMeasuring
    #: On all GPUs together, communication left out.
    hours: float
    gpu_bytes: Count
    margin: float
    process_bytes: Count
    batch_tokens: Count
    micro_batch: Count
    #: The most that models and checkpoints take at once, by --keep-stages.
    disk_bytes: dict[str, Count]
    #: The most of the machine's own memory; null on a CPU, where it is that of the stages.
    host_bytes: Count | None

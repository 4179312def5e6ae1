"""How a stage is trained: what is the same for all stages of a run, and what one optimizer step takes."""

from dataclasses import dataclass
from typing import Literal

from trainer.options import Optimizer as Optimizer
from trainer.options import Precision as Precision
from vocabopt.errors import OptionError

PRECISIONS = ("fp32", "bf16-mixed", "bf16")
OPTIMIZERS: tuple[Optimizer, ...] = ("adamw", "adamw-8bit")


@dataclass(frozen=True, kw_only=True)
class StageSettings:
    """
    context_tokens: of one block of text. batch_tokens: of one step, over all processes and accumulated micro-batches.
    micro_batch: blocks that one process holds at once.
    precision: "fp32"; "bf16-mixed" holds weights in fp32 and computes in bf16; "bf16" holds them in bf16 too.
    gradient_checkpointing: blocks keep their input only and are computed again for the gradient.
    fused_loss: output table and loss in one kernel (liger-kernel, on a GPU), so that no logits are held.
    shard: weights, gradients and optimizer state are split over the processes (FSDP2) instead of copied to each.
    save_every_steps: None keeps the ends of stages only. report_to: as of transformers, "tensorboard" or any other.
    threads: of torch on CPU; None leaves them. Sums are bit for bit the same only with as many threads.
    cpu: train on the CPU also where there is a GPU.
    """

    context_tokens: int
    batch_tokens: int
    micro_batch: int
    precision: Precision = "fp32"
    gradient_checkpointing: bool = False
    compile: bool = False
    optimizer: Optimizer = "adamw"
    fused_loss: bool = False
    shard: bool = False
    save_every_steps: int | None = None
    log_every_steps: int = 10
    max_grad_norm: float = 1.0
    seed: int = 0
    report_to: tuple[str, ...] = ()
    threads: int | None = None
    cpu: bool = False

    def __post_init__(self) -> None:
        for field, option in (
            ("context_tokens", "--context"),
            ("batch_tokens", "--batch"),
            ("micro_batch", "--micro-batch"),
            ("save_every_steps", "--save-every"),
            ("log_every_steps", "--log-every"),
            ("threads", "--threads"),
        ):
            value = getattr(self, field)
            if value is not None and value < 1:
                raise OptionError(f"{option} {value}: must be at least 1.")
        if self.max_grad_norm <= 0:
            raise OptionError(f"--max-grad-norm {self.max_grad_norm}: must be above 0; inf clips nothing.")
        if self.precision not in PRECISIONS:
            raise OptionError(f"--precision {self.precision}: choose {', '.join(PRECISIONS)}.")
        if self.optimizer not in OPTIMIZERS:
            raise OptionError(f"--optimizer {self.optimizer}: choose {', '.join(OPTIMIZERS)}.")
        self.accumulation(1)

    @property
    def weights_dtype(self) -> Literal["float32", "bfloat16"]:
        """What the model must be loaded in."""
        return "bfloat16" if self.precision == "bf16" else "float32"

    @property
    def blocks_per_step(self) -> int:
        return self.batch_tokens // self.context_tokens

    def accumulation(self, n_processes: int) -> int:
        """Micro-batches that each process adds up for one step.

        Raises:
            OptionError: a step is not a whole number of micro-batches.
        """
        at_once = self.context_tokens * self.micro_batch * n_processes
        if self.batch_tokens % at_once:
            each = f"{self.micro_batch} blocks of {self.context_tokens} tokens"
            whole = max(at_once, self.batch_tokens // at_once * at_once)
            raise OptionError(
                f"--batch {self.batch_tokens}tok: must be a multiple of {at_once} ({each} on {n_processes} "
                f"process{'es' if n_processes > 1 else ''}). Choose {whole}tok, or another --micro-batch."
            )
        return self.batch_tokens // at_once

    def n_steps(self, n_blocks: int, max_steps: int | None) -> int:
        """Steps of a stage of `n_blocks` blocks; the last one may be smaller than the others."""
        n_all = -(-n_blocks // self.blocks_per_step)
        return n_all if max_steps is None else min(n_all, max_steps)


@dataclass(frozen=True, kw_only=True)
class StepBatch:
    """The text of one optimizer step in whole sequences, and how many of them a device computes at once.

    asked_tokens, asked_micro_batch: as the options say. n_each: sequences of a step on each of the processes.

    micro_batch: the most sequences at once, of those asked for, that divide n_each: then it moves no batch.
    """

    asked_tokens: float
    asked_micro_batch: int
    context_tokens: int
    n_processes: int

    @property
    def n_each(self) -> int:
        return max(1, round(self.asked_tokens / self.context_tokens / self.n_processes))

    @property
    def micro_batch(self) -> int:
        return max(size for size in range(1, self.asked_micro_batch + 1) if self.n_each % size == 0)

    @property
    def n_tokens(self) -> int:
        """Of a step, over all processes."""
        return self.n_each * self.n_processes * self.context_tokens

    def notes(self, batch: str) -> list[str]:
        """What is taken where it is not what was asked for, in sentences. batch: as it was written.

        A batch in bytes never comes to whole sequences, so a note is made only of one below one sequence.
        """
        where = f" on each of {self.n_processes} processes" if self.n_processes > 1 else ""
        sequence = f"sequence of {self.context_tokens:,} tokens{where}"
        told = []
        if self.asked_tokens < self.context_tokens * self.n_processes:
            told.append(
                f"--batch {batch}: {self.asked_tokens:,.0f} tokens are less than one {sequence}. A step takes "
                f"{self.n_tokens:,} tokens."
            )
        elif batch.endswith("tok") and self.n_tokens != self.asked_tokens:
            told.append(f"--batch {batch}: is no whole number of {sequence.replace('sequence', 'sequences', 1)}. "
                        f"A step takes {self.n_tokens:,} tokens.")  # fmt: skip
        are = "are" if self.micro_batch > 1 else "is"
        n_sequences = f"{self.n_each} sequence{'s' if self.n_each > 1 else ''}"
        if self.n_each < self.asked_micro_batch:
            told.append(
                f"--micro-batch {self.asked_micro_batch}: a step of --batch {batch} has {n_sequences}{where}, fewer "
                f"than one micro-batch. {self.micro_batch} at once {are} computed."
            )
        elif self.micro_batch < self.asked_micro_batch:
            told.append(
                f"--micro-batch {self.asked_micro_batch}: does not divide the {n_sequences}{where} of a step of "
                f"--batch {batch}. {self.micro_batch} at once {are} computed."
            )
        return told

"""How a stage is trained: what is the same for all stages of a run, and what one optimizer step takes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from trainer.options import Optimizer as Optimizer
from trainer.options import Precision as Precision
from vocabopt.amounts import counted
from vocabopt.errors import OptionError

OPTIMIZERS: Sequence[Optimizer] = get_args(Optimizer)


@dataclass(frozen=True, kw_only=True)
class StageSettings:
    """What of the options (checked there) and of the text a stage needs.

    batch_tokens: of one step, over all processes and accumulated micro-batches.
    micro_batch: blocks that one process holds at once.
    precision: "fp32"; "bf16-mixed" holds weights in fp32 and computes in bf16; "bf16" holds them in bf16 too.
    save_every_steps: None keeps the ends of stages only. report_to: as of transformers, "tensorboard" or any other.
    threads: of torch on CPU; None leaves them. cpu: train on the CPU also where there is a GPU.
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

    def n_steps(self, n_blocks: int) -> int:
        """Steps of a stage of `n_blocks` blocks; the last one may be smaller than the others."""
        return -(-n_blocks // self.blocks_per_step)


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
        of_tokens, takes = f"of {self.context_tokens:,} tokens{where}", f"A step takes {self.n_tokens:,} tokens."
        told = []
        if self.asked_tokens < self.context_tokens * self.n_processes:
            less = f"{self.asked_tokens:,.0f} tokens are less than one sequence {of_tokens}"
            told.append(f"--batch {batch}: {less}. {takes}")
        elif batch.endswith("tok") and self.n_tokens != self.asked_tokens:
            told.append(f"--batch {batch}: is no whole number of sequences {of_tokens}. {takes}")
        if self.micro_batch < self.asked_micro_batch:
            n_sequences = f"{counted(self.n_each, 'sequence')}{where}"
            why = f"does not divide the {n_sequences} of a step of --batch {batch}"
            if self.n_each < self.asked_micro_batch:
                why = f"a step of --batch {batch} has {n_sequences}, fewer than one micro-batch"
            are = "are" if self.micro_batch > 1 else "is"
            told.append(f"--micro-batch {self.asked_micro_batch}: {why}. {self.micro_batch} at once {are} computed.")
        return told

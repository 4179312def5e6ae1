"""The text of one optimizer step in whole sequences, and how many of them a device computes at once."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class StepBatch:
    """asked_tokens, asked_micro_batch: as the options say. n_each: sequences of a step on each of the processes.

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

        A batch in bytes never comes to whole sequences, so only what is below one of them is told of it.
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

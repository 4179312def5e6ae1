"""The options of a comparison of selections."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from trainer.init import INIT_METHODS, InitMethod
from vocabopt.choice.options import parse_bytes
from vocabopt.errors import OptionError
from vocabopt.prepare.options import step_record
from vocabopt.prepare.step import Step
from vocabopt.text.reading import TextFormat

#: The parts of the text, all of `budget` bytes but the last. The first four are the paper's.
SELECTIONS = ("random", "length", "perplexity", "diversity")
NONE, CLEANED, ALL = "none", "cleaned", "all"
ARMS = (*SELECTIONS, NONE, CLEANED, ALL)


@dataclass(frozen=True, kw_only=True)
class CompareOptions:
    """What moves the result.

    paths: the text; documents are held out of each path apart. model: folder of the small model that learns. steps: the
    chain of the arm "cleaned". budget: bytes of each part. reference: text that perplexity is measured by; None takes a
    random part of the text itself. evals: NAME -> PATH, measured beside what is held out. size: added tokens that every
    arm's tokenizer gets; None for the choice on all the text. max_added: tokens of the curves.
    probe_text: what a run trains on, the same bytes in every arm; the arm "all" trains a second time on as much more as
    it has more text. batch, context_tokens, plan, init, learning_rate_factor, lora_rank, precision, threads: of the
    runs, as in `vocabopt probe`. eval_bytes: of each held-out text at most. n_seeds: runs of each arm.
    """

    paths: tuple[str, ...]
    out: Path
    model: str
    steps: tuple[Step, ...]
    budget: str
    reference: str | None = None
    evals: Mapping[str, str] = field(default_factory=dict)
    heldout: float = 0.05
    size: int | None = None
    max_added: int = 20_000
    probe_text: str = "400kB"
    batch: str = "8kB"
    context_tokens: int | None = None
    micro_batch: int = 8
    plan: str = "full"
    init: InitMethod = "decompose"
    learning_rate_factor: float = 1.0
    lora_rank: int = 16
    precision: Literal["auto", "fp32", "bf16-mixed", "bf16"] = "auto"
    threads: int | None = None
    eval_bytes: str = "200kB"
    n_seeds: int = 3
    seed: int = 0
    unit: Literal["line", "file"] = "line"
    column: str | None = None
    encoding: str = "auto"
    format: TextFormat = "auto"
    shard: str = "16MB"
    workers: int = 2

    def __post_init__(self) -> None:
        for option, value in (("--budget", self.budget), ("--probe-text", self.probe_text), ("--batch", self.batch)):
            parse_bytes(value, option)
        if not 0 < self.heldout < 1:
            raise OptionError(f"--heldout {self.heldout}: must be above 0 and below 1: arms are measured on that text.")
        if self.n_seeds < 1:
            raise OptionError(f"--seeds {self.n_seeds}: must be at least 1.")
        if self.size is not None and not 1 <= self.size <= self.max_added:
            raise OptionError(f"--size {self.size}: must be between 1 and --max-added, {self.max_added:,}.")
        if self.init not in INIT_METHODS:
            raise OptionError(f"--init {self.init}: no such method. Choose {', '.join(INIT_METHODS)}.")
        if self.n_steps < 1:
            raise OptionError(f"--probe-text {self.probe_text}: is less than one --batch of {self.batch}.")

    @property
    def n_steps(self) -> int:
        return parse_bytes(self.probe_text, "--probe-text") // parse_bytes(self.batch, "--batch")

    @property
    def budget_bytes(self) -> int:
        return parse_bytes(self.budget, "--budget")

    def as_record(self) -> dict[str, Any]:
        record = {**asdict(self), "paths": list(self.paths), "out": str(self.out), "evals": dict(self.evals)}
        record["steps"] = [{"step": step.name, **step_record(step)} for step in self.steps]
        return record

    def identity(self) -> dict[str, Any]:
        """What must be the same for a comparison to be gone on with."""
        left_out = ("out", "workers", "threads", "n_seeds")
        return {name: value for name, value in self.as_record().items() if name not in left_out}

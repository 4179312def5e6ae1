"""The options of an adaptation: one home for every default, checked when made, stored with the run."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from trainer.data import parse_budget
from trainer.document_ends import AUTO
from trainer.init import INIT_METHODS, InitMethod
from trainer.memory.target import DEFAULT_CONTEXT
from trainer.plan import PLAN_NAMES
from vocabopt.choice.options import parse_bytes
from vocabopt.errors import OptionError
from vocabopt.text.reading import ReadOptions, TextFormat

#: Fields that the command line calls otherwise than --field-name.
_SPELLED = {
    "texts": "--text",
    "context_tokens": "--context",
    "replays": "--replay",
    "evals": "--eval",
    "base_evals": "--base-eval",
    "n_samples": "--samples",
    "n_steps": "--steps",
    "n_seeds": "--seeds",
    "save_every_steps": "--save-every",
    "log_every_steps": "--log-every",
}
#: What may differ between a run and its resumption: how it is computed, kept and judged. It moves no weight of the
#: adapted model, but for the rounding of sums.
IDLE_OPTIONS = frozenset(
    (
        *("log_every_steps", "save_every_steps", "report_to", "out", "micro_batch", "gradient_checkpointing"),
        *("shard", "compile", "control", "max_forgetting", "eval_every", "keep_stages"),
    )
)


def option_of(field_name: str) -> str:
    """A field of the options as the user writes it."""
    return _SPELLED.get(field_name, "--" + field_name.replace("_", "-"))


@dataclass(frozen=True, kw_only=True)
class AdaptOptions:
    """Everything that moves the result of `vocabopt adapt`, as given on the command line.

    model: the base model's folder. run: a sweep's run directory, whose tokenizer/ is taken; or tokenizer: a merged
    tokenizer's folder. size: tokens that the merged tokenizer must have added.
    texts: NAME -> PATH, the one target text. replays: NAME -> path of base-language text, and its share of all training
    bytes. evals: NAME -> PATH, measured beside the held-out documents of every training text. base_evals: evaluation
    texts of the base's language, where the script does not tell. heldout: share of documents held out, by content, as
    the run's sweep did; None takes its share.
    budget: text to train on, as 10MB or 2Btok; None reads the target text once. batch: text of one optimizer step,
    likewise; in bytes, every tokenizer takes as many steps. document_start, document_end: what opens and closes
    documents, see `document_ends`. context_tokens: longest sequence; None takes 1,024, or the
    model's positions where there are fewer. micro_batch: sequences at once on one device. learning_rate_factor: of all
    stages' rates. max_grad_norm: what longer gradients are cut to. seed: of the text's order and of random rows.
    max_forgetting: relative rise in bits per byte on base-language text that ends the run; None only reports it.
    eval_bytes: of each text at most. eval_every: "stage" measures the base model, the new rows and every stage; "end"
    the base model and the last stage. keep_stages: "last" removes a stage's model once the next stage is finished and
    measured; "all" keeps them. control: adapt the original tokenizer and model too, on the same text and plan.
    """

    model: str
    out: Path
    texts: Mapping[str, str]
    run: Path | None = None
    tokenizer: Path | None = None
    size: int | None = None
    replays: Mapping[str, tuple[str, float]] = field(default_factory=dict)
    evals: Mapping[str, str] = field(default_factory=dict)
    base_evals: tuple[str, ...] = ()
    heldout: float | None = None
    plan: str = "redwhale"
    lora_rank: int = 128
    init: InitMethod = "decompose"
    match_norm: bool = False
    budget: str | None = None
    batch: str = "32768tok"
    document_start: str = AUTO
    document_end: str = AUTO
    context_tokens: int | None = None
    micro_batch: int = 4
    learning_rate_factor: float = 1.0
    max_grad_norm: float = 1.0
    precision: Literal["auto", "fp32", "bf16-mixed", "bf16"] = "auto"
    optimizer: Literal["adamw", "adamw-8bit"] = "adamw"
    gradient_checkpointing: bool = False
    fused_loss: bool = False
    compile: bool = False
    shard: bool = False
    device: Literal["auto", "cpu"] = "auto"
    threads: int | None = None
    max_forgetting: float | None = None
    eval_bytes: str = "1MB"
    eval_every: Literal["stage", "end"] = "stage"
    keep_stages: Literal["last", "all"] = "last"
    n_samples: int = 5
    sample_tokens: int = 40
    control: bool = False
    seed: int = 0
    save_every_steps: int = 200
    log_every_steps: int = 10
    report_to: tuple[str, ...] = ("tensorboard",)
    unit: Literal["line", "file"] = "line"
    column: str | None = None
    encoding: str = "utf-8"
    on_error: Literal["fail", "skip"] = "fail"
    format: TextFormat = "auto"

    def __post_init__(self) -> None:
        if len(self.texts) != 1:
            raise OptionError(
                f"--text: {len(self.texts)} texts given. Name one target text, such as --text ko=PATH; PATH may be a "
                "folder or a pattern."
            )
        if self.run is not None and self.tokenizer is not None:
            raise OptionError(
                f"--run {self.run} and --tokenizer {self.tokenizer}: both name the merged tokenizer. Leave one out."
            )
        if self.run is None and self.tokenizer is None:
            raise OptionError(
                "Name the merged tokenizer: --run DIR (a sweep's folder after merge), or --tokenizer TOK."
            )
        if self.init not in INIT_METHODS:
            raise OptionError(f"--init {self.init}: no such method. Choose {', '.join(INIT_METHODS)}.")
        if self.plan not in PLAN_NAMES and not self.plan.endswith(".toml"):
            raise OptionError(
                f"--plan {self.plan}: no such plan. Choose {', '.join(PLAN_NAMES)}, or name a .toml file."
            )
        for name, (path, share) in self.replays.items():
            if not 0 < share < 1:
                raise OptionError(
                    f"--replay {name}={path}:{share:g}: the share {share:g} must lie between 0 and 1. For a fifth of "
                    f"the training text write --replay {name}={path}:0.2."
                )
        if sum(share for _, share in self.replays.values()) >= 1 - 1e-9:
            raise OptionError(
                "--replay: the shares leave nothing for the target text. Let them add up to less than 1, as 0.2 and "
                "0.1 do."
            )
        self._check_names()
        self._check_numbers()
        parse_budget(self.batch, "--batch")
        if self.budget is not None:
            parse_budget(self.budget)
        _ = self.max_eval_bytes

    def _check_names(self) -> None:
        taken = [*self.texts, *self.replays, *self.evals]
        if twice := next((name for name in taken if taken.count(name) > 1), None):
            raise OptionError(
                f"The name {twice!r} is given to two texts (--text, --replay, --eval). Names must differ."
            )
        if unknown := next((name for name in self.base_evals if name not in self.eval_names), None):
            raise OptionError(
                f"--base-eval {unknown}: no evaluation text of that name. There are: {', '.join(self.eval_names)}."
            )

    def _check_numbers(self) -> None:
        checks: tuple[tuple[str, Any, bool, str], ...] = (
            ("--context", self.context_tokens, self.context >= 8, "must be at least 8"),
            ("--micro-batch", self.micro_batch, self.micro_batch >= 1, "must be at least 1"),
            ("--learning-rate-factor", self.learning_rate_factor, self.learning_rate_factor > 0, "must be above 0"),
            ("--max-grad-norm", self.max_grad_norm, self.max_grad_norm > 0, "must be above 0 (inf cuts nothing)"),
            ("--lora-rank", self.lora_rank, self.lora_rank >= 1, "must be at least 1, such as 16"),
            (
                "--max-forgetting",
                self.max_forgetting,
                self.max_forgetting is None or self.max_forgetting >= 0,
                "must be at least 0 (0.1 allows 10 %)",
            ),
            ("--heldout", self.heldout, self.heldout is None or 0 <= self.heldout < 1, "must be from 0 to below 1"),
            ("--samples", self.n_samples, self.n_samples >= 0, "must be at least 0"),
            ("--sample-tokens", self.sample_tokens, self.sample_tokens >= 1, "must be at least 1"),
            ("--save-every", self.save_every_steps, self.save_every_steps >= 1, "must be at least 1 step"),
            ("--log-every", self.log_every_steps, self.log_every_steps >= 1, "must be at least 1 step"),
        )
        for option, value, holds, what in checks:
            if not holds:
                raise OptionError(f"{option} {value}: {what}.")

    @property
    def context(self) -> int:
        """Tokens of a sequence, once the default was held against the model (`with_context`)."""
        return DEFAULT_CONTEXT if self.context_tokens is None else self.context_tokens

    @property
    def max_eval_bytes(self) -> int:
        return parse_bytes(self.eval_bytes, "--eval-bytes", "1MB, 200kB or 500000")

    @property
    def eval_names(self) -> tuple[str, ...]:
        """Evaluation texts: the held-out documents of every training text, and the named ones."""
        return (*self.texts, *self.replays, *self.evals)

    @property
    def tokenizer_dir(self) -> Path:
        folder = self.tokenizer if self.run is None else self.run / "tokenizer"
        assert folder is not None, "checked when made"
        return folder

    def read_options(self) -> ReadOptions:
        """The part that says how text is read."""
        return ReadOptions.of(self)

    def as_record(self) -> dict[str, Any]:
        record = asdict(self)
        for name in ("out", "run", "tokenizer"):
            record[name] = None if record[name] is None else str(record[name])
        return {**record, "base_evals": list(self.base_evals), "report_to": list(self.report_to)}

"""The options of the commands that train or measure a model: every name, default, help text and check, on its field.

Importing this needs no torch, so that `vocabopt adapt --help` answers where none is installed.
"""

import json
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from trainer.plan import NO_PLAN, PLAN_NAMES
from trainer.replay_options import NO_PATH, SELF, SelfReplayOptions, parse_replays, replay_place
from trainer.row_options import RowOptions
from vocabopt.amounts import parse_bytes
from vocabopt.errors import OptionError
from vocabopt.option_fields import (
    Check,
    Options,
    above_0,
    argument,
    at_least,
    flag_of,
    from_to,
    one_of,
    option,
    share_from_0,
    specs,
)
from vocabopt.options import EngineOptions, ReadingOptions

InitMethod: TypeAlias = Literal[
    "random", "mean", "decompose-embedding", "decompose-head", "decompose", "eeve", "weighted", "distill"
]
INIT_METHODS: Sequence[InitMethod] = get_args(InitMethod)
Precision: TypeAlias = Literal["fp32", "bf16-mixed", "bf16"]
AnyPrecision: TypeAlias = Literal["auto", "fp32", "bf16-mixed", "bf16"]
Optimizer: TypeAlias = Literal["adamw", "adamw-8bit"]
DtypeName: TypeAlias = Literal["auto", "float32", "bfloat16", "float16"]

#: Values of --document-start and --document-end that are no token.
AUTO, NONE = "auto", "none"
#: Tokens of a training sequence, where the model has as many positions.
DEFAULT_CONTEXT = 1_024
#: Bytes of a file of weights: what the hub's own models have.
MAX_SHARD_BYTES = 5_000_000_000
#: 32-bit products without TF32 reach about this share of what 16-bit ones do: measuring computes in the weights' type.
_SHARE_OF_32_BITS = 0.1

#: What may differ between a run and its resumption: how it is computed, kept and judged. It moves no weight of the
#: adapted model, but for the rounding of sums.
IDLE_OPTIONS = frozenset((
    "log_every_steps", "save_every_steps", "report_to", "out", "micro_batch", "gradient_checkpointing", "shard",
    "compile", "control", "max_forgetting", "eval_every", "keep_stages",
))  # fmt: skip

#: Options of rows that every method reads.
_NORMS = {"match_norm", "calibrate_norms"}
_STEP, _MEMORY, _TEXT, _MEASURING = "training step", "memory and devices", "text and rows", "measuring"
_PLANS = f"{', '.join(PLAN_NAMES)}, or a .toml file"
_METHODS = f"{', '.join(INIT_METHODS)}. On a tied model decompose-head is random."
_SEED = from_to(0, 2**31 - 1)
#: What is said of another init method.
NO_INIT = f"no such method. Choose {', '.join(INIT_METHODS)}"
_EVERY_INIT = Check(lambda value: value in INIT_METHODS, NO_INIT)


# fmt: off
@dataclass(frozen=True, kw_only=True)
class StepOptions(Options):
    """What an optimizer step takes: shared by `adapt`, `probe` and `plan`."""

    batch: str = option(
        "32768tok", metavar="AMOUNT", section=_STEP,
        help="Text of one optimizer step, over all devices: 32768tok, or 100kB, which gives every tokenizer "
        "the same number of steps (`plan` counts tokens only)."
    )
    lora_rank: int = option(
        128, metavar="N", section=_STEP, check=at_least(1, ", such as 16"),
        help="Rank of the adapters, where there are any."
    )
    context_tokens: int | None = option(
        None, "--context", metavar="TOKENS", section=_STEP, check=at_least(8),
        default_text="1024, or the model's positions where fewer", help="Length of a sequence."
    )
    precision: AnyPrecision = option(
        "auto", section=_STEP, check=one_of(get_args(AnyPrecision), "choose"),
        help="bf16-mixed: weights in 32 bits, products in 16; bf16: all in 16. auto: bf16-mixed where the device "
        "computes in bf16, else fp32."
    )
    optimizer: Optimizer = option(
        "adamw", section=_STEP, check=one_of(get_args(Optimizer), "choose"),
        help="Optimizer; 8-bit states need bitsandbytes."
    )
    micro_batch: int = option(4, metavar="N", section=_MEMORY, check=at_least(1), help="Sequences at once on a device.")
    gradient_checkpointing: bool = option(
        False, section=_MEMORY,
        help="Compute activations again in the backward pass: less memory, about a third more compute."
    )
    fused_loss: bool = option(
        False, section=_MEMORY, help="Output table and loss in one kernel that holds no logits: liger-kernel, on a GPU."
    )
    shard: bool = option(
        False, section=_MEMORY,
        help="Split weights, gradients and optimizer state over the devices (FSDP); `adapt` and `probe` run under "
        "torchrun."
    )

    @property
    def context(self) -> int:
        """Tokens of a sequence, once the default was held against the model."""
        return DEFAULT_CONTEXT if self.context_tokens is None else self.context_tokens


@dataclass(frozen=True, kw_only=True)
class StageOptions(Options):
    """Which stages are trained, measured and kept: shared by `adapt` and `plan`."""

    plan: str = option("redwhale", metavar="PLAN", daily=True, help=f"{_PLANS}.")
    eval_every: Literal["stage", "end"] = option(
        "stage", section=_MEASURING,
        help="stage: measure the base, the new rows and every stage. end: the base and the last stage only."
    )
    keep_stages: Literal["last", "all"] = option(
        "last", section=_MEMORY,
        help="Models of stages that stay in OUT. last: a stage's model is deleted once the next stage is finished."
    )


@dataclass(frozen=True, kw_only=True)
class TrainingOptions(StepOptions, RowOptions, SelfReplayOptions, ReadingOptions):
    """What every training run needs: shared by `adapt` and `probe`.

    texts: one target text. replays: NAME -> path and share of all training bytes; no path for text of the model's own.
    heldout: None takes the share of the run's sweep.
    """

    model: str = argument(metavar="MODEL")
    run: Path | None = option(None, metavar="DIR", daily=True, help="A sweep's folder, after `vocabopt merge`.")
    tokenizer: Path | None = option(None, metavar="TOK", daily=True, help="Or: the merged tokenizer's folder.")
    texts: Mapping[str, str] = option(
        flag="--text", metavar="NAME=PATH", daily=True,
        help="The text of the target language to train on; PATH may be a folder or a pattern."
    )
    replays: Mapping[str, tuple[str, float]] = option(
        dict, "--replay", metavar="NAME=PATH:SHARE", parse=parse_replays, daily=True,
        help="Base-language text against forgetting, and its share of all training bytes; may be repeated. self:SHARE: "
        "text that the base model writes itself."
    )
    evals: Mapping[str, str] = option(
        dict, "--eval", metavar="NAME=PATH", daily=True,
        help="Text to measure on, beside the held-out documents of every training text; may be repeated."
    )
    heldout: float | None = option(
        None, metavar="SHARE", section=_TEXT, default_text="as in the sweep, else 0.05",
        check=Check(lambda value: 0 <= value < 1, "must be from 0 to below 1"),
        help="Share of the documents to measure on instead."
    )
    seed: int = option(0, metavar="N", section=_TEXT, check=_SEED, help="Seed of the text's order and of random rows.")
    document_start: str = option(
        AUTO, metavar="TOKEN|none", section=_TEXT,
        help="Token that opens a document. auto: the tokenizer's own, but never one that marks turns of a chat."
    )
    document_end: str = option(
        AUTO, metavar="TOKEN|none", section=_TEXT,
        help="Token that closes a document. auto: the tokenizer's own, but never one that marks turns of a chat."
    )
    special_rows: Literal["keep", "train"] = option(
        "keep", section=_TEXT,
        help="Rows of tokens that mark chat turns, which plain text lacks: kept bit for bit, or trained."
    )
    learning_rate_factor: float = option(
        1.0, metavar="X", section=_STEP, check=above_0(), help="Factor on every stage's learning rate."
    )
    max_grad_norm: float = option(
        1.0, metavar="X", section=_STEP, check=above_0(" (inf cuts nothing)"),
        help="Largest norm of the gradients; longer ones are scaled down. inf: never."
    )
    compile: bool = option(False, section=_STEP, help="torch.compile the model.")
    threads: int | None = option(
        None, metavar="N", section=_MEMORY, check=at_least(1), default_text="torch's own",
        help="Threads on a CPU; the same weights need as many threads."
    )
    device: Literal["auto", "cpu"] = option(
        "auto", section=_MEMORY, help="Device to train on; cpu: also where there is a GPU."
    )
    eval_bytes: str = option(
        "1MB", metavar="SIZE", section=_MEASURING, help="Bytes read of each evaluation text at most."
    )


@dataclass(frozen=True, kw_only=True)
class AdaptOptions(StageOptions, TrainingOptions, EngineOptions):
    """Everything that moves the result of `vocabopt adapt`."""

    out: Path = option(daily=True, default_text="the folder given with --run", help="Folder of the result.")
    budget: str | None = option(
        None, metavar="AMOUNT", daily=True, default_text="--text once",
        help="Text to train on: 10MB, or 2Btok of the merged tokenizer's tokens."
    )
    init: InitMethod = option(
        "decompose", metavar="METHOD", daily=True, check=_EVERY_INIT, help=f"New rows: {_METHODS}"
    )
    control: bool = option(
        False, daily=True, help="Adapt the original tokenizer too: same text, same plan, for comparison."
    )
    max_forgetting: float | None = option(
        None, metavar="SHARE", daily=True, check=at_least(0, " (0.1 allows 10 %)"), default_text="only report it",
        help="Rise in bits per byte on base-language text at which the run stops: 0.1 is 10 %."
    )
    size: int | None = option(
        None, metavar="N", section=_TEXT, check=at_least(1), help="Tokens that the merged tokenizer must have added."
    )
    base_evals: tuple[str, ...] = option(
        (), "--base-eval", metavar="NAME", section=_MEASURING,
        help="An evaluation text of the base's language, where its script does not tell."
    )
    n_samples: int = option(
        5, "--samples", section=_MEASURING, check=at_least(0), help="Sample continuations before and after."
    )
    sample_tokens: int = option(40, section=_MEASURING, check=at_least(1), help="Tokens of each sample continuation.")
    report_to: tuple[str, ...] = option(
        ("tensorboard",), metavar="NAME", section=_MEASURING,
        help="Where transformers reports to: tensorboard, wandb, mlflow ..., none; may be repeated."
    )
    save_every_steps: int = option(
        200, "--save-every", metavar="STEPS", section=_STEP, check=at_least(1, " step"),
        help="Steps between two checkpoints."
    )
    log_every_steps: int = option(
        10, "--log-every", metavar="STEPS", section=_MEASURING, check=at_least(1, " step"),
        help="Steps between two logged losses."
    )

    def __post_init__(self) -> None:
        from trainer.data import parse_budget

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
        if self.plan not in PLAN_NAMES and not self.plan.endswith(".toml"):
            raise OptionError(NO_PLAN.format(plan=self.plan))
        for name, (path, part) in self.replays.items():
            if not 0 < part < 1:
                raise OptionError(
                    f"{replay_place(name, path, part)}: the share {part:g} must lie between 0 and 1. For a fifth of "
                    f"the training text write {replay_place(name, path, 0.2)}."
                )
            if path == NO_PATH and name != SELF:
                raise OptionError(
                    f"--replay {name}: names no text. Write {name}=PATH:{part:g}, or {SELF}:{part:g} for text that the "
                    "model writes itself."
                )
        if sum(part for _, part in self.replays.values()) >= 1 - 1e-9:
            raise OptionError(
                "--replay: the shares leave nothing for the target text. Let them add up to less than 1, as 0.2 and "
                "0.1 do."
            )
        taken = [*self.texts, *self.replays, *self.evals]
        if twice := next((name for name in taken if taken.count(name) > 1), None):
            raise OptionError(
                f"The name {twice!r} is given to two texts (--text, --replay, --eval). Names must differ."
            )
        if unknown := next((name for name in self.base_evals if name not in self.eval_names), None):
            raise OptionError(
                f"--base-eval {unknown}: no evaluation text of that name. There are: {', '.join(self.eval_names)}."
            )
        super().__post_init__()
        parse_budget(self.batch, "--batch")
        if self.budget is not None:
            parse_budget(self.budget)
        _ = self.max_eval_bytes

    def as_record(self) -> dict[str, Any]:
        """What adapt.json says of them; where the text is encoded is no part of it."""
        return {name: value for name, value in super().as_record().items() if name not in ("engine", "workers")}

    @property
    def max_eval_bytes(self) -> int:
        return parse_bytes(self.eval_bytes, "--eval-bytes", "1MB, 200kB or 500000")

    @property
    def eval_names(self) -> tuple[str, ...]:
        """Evaluation texts: the held-out documents of every training text that is given, and the named ones."""
        given = [name for name, (path, _) in self.replays.items() if path != NO_PATH]
        return (*self.texts, *given, *self.evals)

    @property
    def self_share(self) -> float:
        """Share of the training bytes that the base model writes itself; 0 for none."""
        path, part = self.replays.get(SELF, ("", 0.0))
        return part if path == NO_PATH else 0.0

    @property
    def tokenizer_dir(self) -> Path:
        folder = self.tokenizer if self.run is None else self.run / "tokenizer"
        assert folder is not None, "checked when made"
        return folder


@dataclass(frozen=True, kw_only=True)
class ProbeTrainingOptions(TrainingOptions):
    """What the short runs of a probe share, as given on the command line."""

    out: Path = option(daily=True, help="Folder for probe.json and its cells.")
    eval_bytes: str = option(
        "200kB", metavar="SIZE", section=_MEASURING, help="Bytes read of each evaluation text at most."
    )


@dataclass(frozen=True, kw_only=True)
class ProbeRunOptions(Options):
    """How long and how often every kind of short run is made. adapt: what the runs share, but for what a probe varies
    and for the budget. Seeds move the order of the text and random rows; held-out documents stay the same."""

    adapt: AdaptOptions
    n_steps: int = option(50, "--steps", daily=True, check=at_least(1), help="Optimizer steps of each run.")
    n_seeds: int = option(
        3, "--seeds", daily=True, check=at_least(1), help="Runs of each, with other orders of the text."
    )


@dataclass(frozen=True, kw_only=True)
class ProbeOptions(ProbeRunOptions):
    """Which short runs are made: inits x plans x seeds, each for n_steps steps in all, divided over the plan's stages
    by their shares."""

    inits: Sequence[InitMethod] = option(
        INIT_METHODS, "--init", metavar="METHOD", daily=True, default_text="all", help=f"May be repeated: {_METHODS}",
        parse=lambda given, flag: given or INIT_METHODS
    )
    plans: tuple[str, ...] = option(("redwhale",), "--plan", metavar="PLAN", daily=True, help=f"Or: {_PLANS}.")

    def __post_init__(self) -> None:
        super().__post_init__()
        given: dict[str, list[str]] = {"--init": [*self.inits], "--plan": [*self.plans]}
        for flag, values in given.items():
            if twice := next((value for value in values if values.count(value) > 1), None):
                raise OptionError(f"{flag} {twice}: is given twice.")
        if unknown := next((init for init in self.inits if init not in INIT_METHODS), None):
            raise OptionError(f"--init {unknown}: {NO_INIT}.")

    def as_record(self) -> dict[str, Any]:
        own = {"inits": list(self.inits), "plans": list(self.plans)}
        return {**self.adapt.as_record(), **own, "n_steps": self.n_steps, "n_seeds": self.n_seeds}


@dataclass(frozen=True, kw_only=True)
class PlanOptions(StageOptions, StepOptions):
    """Everything that moves the prediction of `vocabopt plan`. run, tokenizer, n_added: one of them.

    process_memory: of a GPU's memory, and of the host's.
    """

    model: str = argument(metavar="MODEL")
    run: Path | None = option(None, metavar="DIR", daily=True, help="A sweep's folder: what it chose to add.")
    tokenizer: Path | None = option(None, metavar="TOK", daily=True, help="Or: a merged tokenizer's folder.")
    n_added: int | None = option(None, "--added", metavar="N", daily=True, help="Or: so many added tokens.")
    budget: str = option(metavar="AMOUNT", daily=True, help="Text to train on, in tokens: 2Btok, 300Mtok.")
    tflops: float = option(400.0, daily=True, check=above_0(), help="10^12 operations a second that a GPU reaches.")
    n_gpus: int = option(1, "--gpus", metavar="N", daily=True, check=at_least(1), help="GPUs that train together.")
    gpu: str = option("80GB", metavar="SIZE", daily=True, help="Memory of a GPU: 80GB, 24GiB.")
    margin: float = option(
        0.05, metavar="SHARE", section=_MEMORY,
        check=Check(lambda value: 0 <= value < 1, "must be from 0 to below 1; 0.05 leaves 5 % of --gpu free"),
        help="Share of --gpu that a stage must leave free."
    )
    process_memory: str = option(
        "1GB", metavar="SIZE", section=_MEMORY,
        help="What a process takes before it holds a model: Python, the CUDA context, libraries."
    )
    device: Literal["cuda", "cpu"] = option("cuda", section=_MEMORY, help="Device whose kernels run.")
    eval_tokens: str = option(
        "1Mtok", metavar="AMOUNT", section=_MEASURING,
        help="Tokens of all evaluation texts together; 1 MB of English has some 250,000."
    )
    eval_tflops: float | None = option(
        None, metavar="X", section=_MEASURING, check=above_0(),
        default_text="--tflops with bf16 weights, else a tenth of it",
        help="10^12 operations a second while measuring."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.shard and self.n_gpus == 1:
            raise OptionError("--shard: splits a model over several GPUs. Say how many: --gpus 8.")
        _ = self.budget_tokens, self.batch_tokens, self.gpu_bytes, self.process_bytes, self.measured_tokens

    @property
    def budget_tokens(self) -> int:
        return _tokens(self.budget, "--budget", "2Btok or 300Mtok")

    @property
    def batch_tokens(self) -> int:
        return _tokens(self.batch, "--batch", "32768tok")

    @property
    def gpu_bytes(self) -> int:
        return parse_bytes(self.gpu, "--gpu", "80GB or 24GiB")

    @property
    def measured_tokens(self) -> int:
        return _tokens(self.eval_tokens, "--eval-tokens", "1Mtok")

    @property
    def process_bytes(self) -> int:
        own = self.process_memory
        return 0 if own == "0" else parse_bytes(own, "--process-memory", "1GB, 800MB or 0")

    @property
    def tflops_of_measuring(self) -> float:
        return self.eval_tflops or self.tflops * (1.0 if self.weights == "bf16" else _SHARE_OF_32_BITS)

    @property
    def weights(self) -> Precision:
        if self.precision != "auto":
            return self.precision
        return "bf16-mixed" if self.device == "cuda" else "fp32"


def _tokens(value: str, flag: str, examples: str) -> int:
    """Raises OptionError: it cannot be read, or is in bytes."""
    from trainer.data import parse_budget

    try:
        found = parse_budget(value, flag)
    except OptionError:
        found = None
    if found is None or found.unit == "bytes":
        raise OptionError(
            f"{flag} {value}: write tokens, as {examples}. (Bytes take as many tokens as the tokenizer makes of "
            "them, which a plan does not measure.)"
        )
    return found.amount


@dataclass(frozen=True, kw_only=True)
class InitOptions(RowOptions, ReadingOptions):
    """What `vocabopt init` does. model: a folder or hub id. texts: one, for the method distill; none for the others."""

    model: str = argument(metavar="MODEL")
    tokenizer: Path = option(
        metavar="TOK", daily=True,
        help="The merged tokenizer's folder; any that keeps the ids of the model's own tokens."
    )
    out: Path = option(metavar="DIR", daily=True, help="Folder of the new model.")
    method: InitMethod = option(
        "decompose", daily=True, check=_EVERY_INIT,
        help="What makes the new rows. On a tied model decompose-head is random."
    )
    texts: Mapping[str, str] = option(
        dict, "--text", metavar="NAME=PATH", daily=True,
        help="With --method distill: text of the target language to learn the rows from."
    )
    heldout: float = option(
        0.05, metavar="SHARE", section=_TEXT, check=share_from_0(),
        help="Share of the documents that is not read: those that `sweep` and `adapt` hold out."
    )
    seed: int = option(
        0, metavar="N", help="Seed of rows drawn at random.",
        check=Check(lambda value: 0 <= value < 2**31, f"must be from 0 to {2**31 - 1:,}")
    )
    dtype: DtypeName = option(
        "auto", check=one_of(get_args(DtypeName), "no such type. Choose"),
        help="Type of the weights written; auto keeps theirs."
    )
    max_shard_bytes: int = option(
        MAX_SHARD_BYTES, "--max-shard-size", metavar="SIZE", default_text="5GB",
        parse=lambda value, flag: parse_bytes(value, flag, "5GB or 500MB"),
        help="Bytes of a file of weights at most."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.method == "distill" and len(self.texts) != 1:
            raise OptionError(
                f"--method distill: learns rows from one text, and {len(self.texts)} are given. Name it: --text "
                "ko=PATH, where PATH may be a folder or a pattern."
            )
        if self.method != "distill" and self.texts:
            raise OptionError(
                f"--text {min(self.texts)}: is read by --method distill alone, and the method is {self.method}. Leave "
                "one out."
            )

    def as_command(self, folder: Path) -> dict[str, Any]:
        """What must be the same for a run to write into a folder that is finished."""
        named = self.as_record()
        reads = {given.name for record in (RowOptions, ReadingOptions) for given, _ in specs(record)}
        unread = {"out"} if self.method == "distill" else {"out", "texts", "heldout", *reads} - _NORMS
        record = {name: value for name, value in named.items() if name not in unread}
        return {**record, "model": str(folder.resolve()), "tokenizer": str(self.tokenizer.resolve())}
# fmt: on


def option_of(field_name: str) -> str:
    """A field of an adaptation or a probe as the user writes it: "--context" for context_tokens."""
    for record in (AdaptOptions, ProbeOptions):
        if field_name in record.__dataclass_fields__:
            return flag_of(record, field_name)
    return "--" + field_name.replace("_", "-")


def changed_option(before: Mapping[str, Any], now: Mapping[str, Any], ignored: Container[str]) -> str | None:
    """The first option that differs from a run's record, with both values; None where none does."""
    for name, value in json.loads(json.dumps(now)).items():  # as JSON gives it back: tuples are lists there
        if name not in ignored and before.get(name) != value:
            return f"another {option_of(name)}: {before.get(name)!r} then, {value!r} now"
    return None

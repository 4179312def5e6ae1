"""`vocabopt plan`: what every stage of a plan costs on a model, and whether it fits."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from trainer.data import parse_budget
from trainer.memory.build import outline_of
from trainer.memory.fitting import FREE_PERCENT
from trainer.memory.predict import StageCost, StepSettings, predict_stage
from trainer.memory.remedies import Case, Remedy, first_that_fits, sharded
from trainer.memory.target import DEFAULT_CONTEXT, checked_context, read_config, read_vocabulary, with_rows
from trainer.plan import Lora, Plan, Stage
from trainer.plan_file import plan_by_name
from trainer.stages.settings import Optimizer, Precision
from vocabopt.choice.options import parse_bytes
from vocabopt.errors import OptionError

LEFT_OUT = (
    "Left out of memory: fragmentation (a few per cent), the CUDA context and libraries (0.5 to 1 GB), work space "
    "inside kernels, buffers of communication. FLOPs are of matrix products, recomputed ones included."
)


@dataclass(frozen=True, kw_only=True)
class PlanOptions:
    """Everything that moves the prediction.

    model: preset, config.json or its folder. run, tokenizer, n_added: what is added, one of them. budget: text to
    train on, in tokens ("2Btok"). batch: of one optimizer step on one GPU, in tokens. context_tokens: None takes 1,024,
    or the model's positions where there are fewer. tflops: what a GPU reaches, in 10**12 operations a second. gpu: its
    memory. precision: auto is bf16-mixed on cuda, fp32 on a cpu.
    """

    model: str
    budget: str
    run: Path | None = None
    tokenizer: Path | None = None
    n_added: int | None = None
    plan: str = "redwhale"
    lora_rank: int = 128
    tflops: float = 400.0
    gpu: str = "80GB"
    context_tokens: int | None = None
    batch: str = "32768tok"
    micro_batch: int = 4
    precision: Literal["auto", "fp32", "bf16-mixed", "bf16"] = "auto"
    optimizer: Optimizer = "adamw"
    gradient_checkpointing: bool = False
    fused_loss: bool = False
    device: Literal["cuda", "cpu"] = "cuda"

    def __post_init__(self) -> None:
        if not self.tflops > 0:
            raise OptionError(f"--tflops {self.tflops}: must be above 0.")
        if self.lora_rank < 1:
            raise OptionError(f"--lora-rank {self.lora_rank}: must be at least 1, such as 16.")
        _ = self.budget_tokens, self.batch_tokens, self.gpu_bytes

    @property
    def budget_tokens(self) -> int:
        """Raises OptionError: it cannot be read, or is in bytes."""
        return _tokens(self.budget, "--budget", "2Btok or 300Mtok")

    @property
    def batch_tokens(self) -> int:
        """Raises OptionError: it cannot be read, or is in bytes."""
        return _tokens(self.batch, "--batch", "32768tok")

    @property
    def gpu_bytes(self) -> int:
        return parse_bytes(self.gpu, "--gpu", "80GB or 24GiB")

    @property
    def context(self) -> int:
        """Tokens of a sequence, once the default was held against the model."""
        return DEFAULT_CONTEXT if self.context_tokens is None else self.context_tokens

    @property
    def weights(self) -> Precision:
        if self.precision != "auto":
            return self.precision
        return "bf16-mixed" if self.device == "cuda" else "fp32"

    def step_settings(self) -> StepSettings:
        return StepSettings(
            context_tokens=self.context,
            micro_batch=self.micro_batch,
            accumulates=self.batch_tokens > self.context * self.micro_batch,
            precision=self.weights,
            gradient_checkpointing=self.gradient_checkpointing,
            fused_loss=self.fused_loss,
            device=self.device,
        )

    def as_record(self) -> dict[str, Any]:
        paths = {
            name: None if getattr(self, name) is None else str(getattr(self, name)) for name in ("run", "tokenizer")
        }
        return {**asdict(self), **paths}


def _tokens(value: str, option: str, examples: str) -> int:
    try:
        found = parse_budget(value, option)
    except OptionError:
        found = None
    if found is None or found.unit == "bytes":
        raise OptionError(
            f"{option} {value}: write tokens, as {examples}. (Bytes take as many tokens as the tokenizer makes of "
            "them, which a plan does not measure.)"
        )
    return found.amount


@dataclass(frozen=True, kw_only=True)
class StageReport:
    """A stage's part of the budget and what it costs.

    fused: the same with a fused loss. limit_bytes: what it may take. remedies: where it does not fit, the first changes
    that help on one GPU, and the GPUs that hold it when sharded.
    """

    stage: Stage
    n_tokens: int
    cost: StageCost
    fused: StageCost
    limit_bytes: int
    optimizer: Optimizer
    remedies: tuple[Remedy, ...]

    @property
    def fits(self) -> bool:
        return self.cost.peak_bytes(self.optimizer) <= self.limit_bytes

    @property
    def flops(self) -> int:
        return self.cost.training_flops(self.n_tokens)

    def hours(self, tflops: float) -> float:
        return self.flops / (tflops * 1e12) / 3_600


@dataclass(frozen=True, kw_only=True)
class PlanReport:
    """All stages of a plan on a model. is_context_clipped: the default context is longer than the model's positions."""

    options: PlanOptions
    plan: Plan
    model: str
    n_params: int
    n_rows: int
    n_added: int
    is_context_clipped: bool
    stages: tuple[StageReport, ...]

    def as_record(self) -> dict[str, Any]:
        return {
            "format_version": 1,
            "options": self.options.as_record(),
            "model": self.model,
            "n_params": self.n_params,
            "n_rows": self.n_rows,
            "n_added": self.n_added,
            "plan": self.plan.name,
            "stages": [self._stage_record(stage) for stage in self.stages],
        }

    def _stage_record(self, report: StageReport) -> dict[str, Any]:
        return {
            "name": report.stage.name,
            "n_trainable": report.cost.n_trainable,
            "tokens": report.n_tokens,
            "flops": report.flops,
            "hours": report.hours(self.options.tflops),
            "peak_bytes": _peaks(report.cost),
            "peak_bytes_fused_loss": _peaks(report.fused),
            "limit_bytes": report.limit_bytes,
            "fits": report.fits,
            "remedies": [asdict(remedy) for remedy in report.remedies],
        }


def _peaks(cost: StageCost) -> dict[Optimizer, int]:
    return {optimizer: cost.peak_bytes(optimizer) for optimizer in cost.state_bytes}


def plan_report(options: PlanOptions) -> PlanReport:
    """Predict every stage.

    Raises:
        OptionError, ModelSpecError, ModelError, PlanError: as the parts it calls.
    """
    limit_bytes = options.gpu_bytes * (100 - FREE_PERCENT) // 100
    lora = Lora(rank=options.lora_rank, alpha=2 * options.lora_rank)
    plan = plan_by_name(options.plan, lora)
    config, spec = read_config(options.model)
    vocabulary = read_vocabulary(spec, run=options.run, tokenizer=options.tokenizer, n_added=options.n_added)
    context = checked_context(options.context_tokens, config, f"MODEL {options.model}")
    is_clipped = options.context_tokens is None and context < DEFAULT_CONTEXT
    options = replace(options, context_tokens=context)
    settings = options.step_settings()
    outline = outline_of(with_rows(config, vocabulary.n_rows))
    known: dict[tuple[Stage, StepSettings], StageCost] = {}

    def predict(stage: Stage, settings: StepSettings) -> StageCost:
        if (stage, settings) not in known:
            known[stage, settings] = predict_stage(outline, stage, settings, n_new=vocabulary.n_added)
        return known[stage, settings]

    def report(stage: Stage, share: float) -> StageReport:
        case = Case(stage=stage, settings=settings, optimizer=options.optimizer)
        cost = predict(stage, settings)
        found: list[Remedy | None] = []
        if cost.peak_bytes(options.optimizer) > limit_bytes:
            found = [first_that_fits(case, predict, limit_bytes, lora), sharded(case, predict, limit_bytes)]
        return StageReport(
            stage=stage,
            n_tokens=round(options.budget_tokens * share),
            cost=cost,
            fused=predict(stage, replace(settings, fused_loss=True)),
            limit_bytes=limit_bytes,
            optimizer=options.optimizer,
            remedies=tuple(remedy for remedy in found if remedy is not None),
        )

    return PlanReport(
        options=options,
        plan=plan,
        model=spec.name,
        n_params=outline.n_params,
        n_rows=vocabulary.n_rows,
        n_added=vocabulary.n_added,
        is_context_clipped=is_clipped,
        stages=tuple(report(stage, share) for stage, share in zip(plan.stages, plan.shares(), strict=True)),
    )

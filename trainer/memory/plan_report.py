"""`vocabopt plan`: what every stage of a plan costs on a model, and whether it fits."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from transformers import PreTrainedConfig

from trainer.memory.build import outline_of
from trainer.memory.machine import Written, highest_bytes, limit_bytes, of_arm
from trainer.memory.predict import StageCost, StepSettings, predict_stage
from trainer.memory.remedies import Case, Predict, Remedy, first_that_fits, sharded
from trainer.memory.target import checked_context, read_config, read_vocabulary, with_rows
from trainer.options import DEFAULT_CONTEXT, MAX_SHARD_BYTES, PlanOptions
from trainer.plan import Lora, Plan, Stage, named_plan, plan_by_name
from trainer.stages.checkpoints import KEPT, highest_of_stage
from trainer.stages.settings import OPTIMIZERS, Optimizer


@dataclass(frozen=True, kw_only=True)
class StageReport:
    """A stage's part of the budget and what it costs.

    peaks: highest bytes on a GPU by optimizer, the process's own among them; fused_peaks: with a fused loss.
    limit_bytes: what it may take. remedies: where it does not fit, the first changes that help on these GPUs, and the
    GPUs that hold it when sharded.
    """

    stage: Stage
    n_tokens: int
    cost: StageCost
    peaks: Mapping[Optimizer, int]
    fused_peaks: Mapping[Optimizer, int]
    limit_bytes: int
    optimizer: Optimizer
    remedies: tuple[Remedy, ...]

    @property
    def fits(self) -> bool:
        return self.peaks[self.optimizer] <= self.limit_bytes

    @property
    def flops(self) -> int:
        return self.cost.training_flops(self.n_tokens)

    @property
    def checkpoint_bytes(self) -> int:
        """What trains and the optimizer's state."""
        return self.cost.gradient_bytes + self.cost.state_bytes[self.optimizer]


@dataclass(frozen=True, kw_only=True)
class MeasuringReport:
    """Bits per byte of all evaluation texts.

    n_times: the base model, the new rows, stages, and, where weights are rounded at the end, those (n_of_rounded).
    """

    n_times: int
    n_of_rounded: int
    n_tokens: int
    flops: int


@dataclass(frozen=True, kw_only=True)
class PlanReport:
    """All stages of a plan on a model.

    is_context_clipped: the default context is longer than the model's positions. disk_bytes: the most that models and
    checkpoints take at once, by --keep-stages. host_bytes: the most of the machine's own memory; None on a CPU, where
    it is that of the stages.
    """

    options: PlanOptions
    plan: Plan
    model: str
    n_params: int
    n_rows: int
    n_added: int
    is_context_clipped: bool
    stages: tuple[StageReport, ...]
    measuring: MeasuringReport
    disk_bytes: Mapping[str, int]
    host_bytes: int | None

    def hours(self, flops: int, tflops: float | None = None) -> float:
        """On all GPUs together, communication left out."""
        return flops / ((tflops or self.options.tflops) * 1e12 * self.options.n_gpus) / 3_600

    @property
    def measuring_hours(self) -> float:
        return self.hours(self.measuring.flops, self.options.tflops_of_measuring)

    @property
    def all_hours(self) -> float:
        return sum(self.hours(stage.flops) for stage in self.stages) + self.measuring_hours

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
            "measuring": {**asdict(self.measuring), "tflops": self.options.tflops_of_measuring,
                          "hours": self.measuring_hours},
            "hours": self.all_hours,
            "gpu_bytes": self.options.gpu_bytes,
            "margin": self.options.margin,
            "process_bytes": self.options.fleet.process_bytes,
            "batch_tokens": self.options.step_batch.n_tokens,
            "micro_batch": self.options.step_batch.micro_batch,
            "disk_bytes": dict(self.disk_bytes),
            "host_bytes": self.host_bytes,
        }  # fmt: skip

    def _stage_record(self, report: StageReport) -> dict[str, Any]:
        return {
            "name": report.stage.name,
            "n_trainable": report.cost.n_trainable,
            "tokens": report.n_tokens,
            "flops": report.flops,
            "hours": self.hours(report.flops),
            "peak_bytes": dict(report.peaks),
            "peak_bytes_fused_loss": dict(report.fused_peaks),
            "fits": report.fits,
            "remedies": [asdict(remedy) for remedy in report.remedies],
        }


def plan_report(options: PlanOptions) -> PlanReport:
    """Predict every stage.

    Raises:
        OptionError, ModelSpecError, ModelError, PlanError: as the parts it calls.
    """
    lora = Lora(rank=options.lora_rank, alpha=2 * options.lora_rank)
    plan = plan_by_name(options.plan, lora)
    config, spec = read_config(options.model)
    vocabulary = read_vocabulary(spec, run=options.run, tokenizer=options.tokenizer, n_added=options.n_added)
    context = checked_context(options.context_tokens, config, f"MODEL {options.model}")
    is_clipped = options.context_tokens is None and context < DEFAULT_CONTEXT
    options = replace(options, context_tokens=context)
    outline = outline_of(with_rows(config, vocabulary.n_rows))
    known: dict[tuple[Stage, StepSettings], StageCost] = {}

    def predict(stage: Stage, settings: StepSettings) -> StageCost:
        if (stage, settings) not in known:
            known[stage, settings] = predict_stage(outline, stage, settings, n_new=vocabulary.n_added)
        return known[stage, settings]

    stages = tuple(
        _stage_report(stage, share, options, lora, predict)
        for stage, share in zip(plan.stages, plan.shares(), strict=True)
    )
    weight_bytes = outline.n_params * (2 if options.weights == "bf16" else 4)
    rounds = options.weights != "bf16" and _is_published_in_16_bits(config)
    return PlanReport(
        options=options,
        plan=plan,
        model=spec.name,
        n_params=outline.n_params,
        n_rows=vocabulary.n_rows,
        n_added=vocabulary.n_added,
        is_context_clipped=is_clipped,
        stages=stages,
        measuring=_measuring(options, len(stages), rounds, predict),
        disk_bytes={keep: _disk_bytes(stages, weight_bytes, options, keep, rounds) for keep in ("last", "all")},
        host_bytes=None if options.device == "cpu" else max(_host_bytes(stage, options) for stage in stages),
    )


def _stage_report(stage: Stage, share: float, options: PlanOptions, lora: Lora, predict: Predict) -> StageReport:
    limit = limit_bytes(options.gpu_bytes, options.margin)
    case = Case(stage=stage, settings=options.step_settings(), optimizer=options.optimizer, fleet=options.fleet)
    fused = replace(case, settings=replace(case.settings, fused_loss=True))
    found: list[Remedy | None] = []
    if case.peak_bytes(predict) > limit:
        found = [first_that_fits(case, predict, limit, lora), sharded(case, predict, limit)]
    return StageReport(
        stage=stage,
        n_tokens=round(options.budget_tokens * share),
        cost=predict(stage, case.settings),
        peaks={optimizer: replace(case, optimizer=optimizer).peak_bytes(predict) for optimizer in OPTIMIZERS},
        fused_peaks={optimizer: replace(fused, optimizer=optimizer).peak_bytes(predict) for optimizer in OPTIMIZERS},
        limit_bytes=limit,
        optimizer=options.optimizer,
        remedies=tuple(remedy for remedy in found if remedy is not None),
    )


def _is_published_in_16_bits(config: PreTrainedConfig) -> bool:
    """What trained in 32 bits is then rounded, and measured once more. A config that does not say so counts as one."""
    return getattr(config, "dtype", None) in (None, torch.bfloat16, torch.float16)


def _measuring(options: PlanOptions, n_stages: int, rounds: bool, predict: Predict) -> MeasuringReport:
    """A forward pass is a third of a pass that trains everything: each product has two more behind it."""
    (everything,) = named_plan("full").stages
    settings = replace(options.step_settings(), gradient_checkpointing=False)
    flops = predict(everything, settings).training_flops(options.measured_tokens) // 3
    n_times = (2 + n_stages if options.eval_every == "stage" else 2) + rounds
    return MeasuringReport(
        n_times=n_times,
        n_of_rounded=int(rounds),
        n_tokens=n_times * options.measured_tokens,
        flops=n_times * flops,
    )


def _disk_bytes(stages: Sequence[StageReport], weight_bytes: int, options: PlanOptions, keep: str, rounds: bool) -> int:
    """Of the models after initialisation and after each stage, the checkpoints, and the finished model in 16 bits."""
    highest = [highest_of_stage(stage.checkpoint_bytes, KEPT + 1, weight_bytes) for stage in stages]
    written = of_arm(
        weight_bytes,
        [n_bytes - weight_bytes for n_bytes in highest],
        starts=True,
        keeps_all=keep == "all",
        frees_start=options.device != "cpu",
    )
    # What is not rounded is a link.
    return highest_bytes([*written, Written(n_bytes=weight_bytes // 2)] if rounds else written)


def _host_bytes(stage: StageReport, options: PlanOptions) -> int:
    """The most that the host's memory holds while weights are loaded, or while a stage trains and is saved.

    Every process loads the model before it goes to its GPU; sharded, they share the mapped file. While a stage trains
    the 32 bits of frozen matrices wait there, of every process. The first process gathers checkpoints there, and what
    it saves: sharded the whole model, else a file of it at a time.
    """
    fleet, cost = options.fleet, stage.cost
    weights = cost.resting_bytes
    n_copies = 1 if fleet.is_sharded else fleet.n_gpus
    waiting = 0 if fleet.is_sharded else fleet.n_gpus * 2 * (weights - cost.weight_bytes)
    saving = weights if fleet.is_sharded else min(weights, MAX_SHARD_BYTES)
    highest = max(n_copies * weights, waiting + max(stage.checkpoint_bytes, saving))
    return fleet.n_gpus * fleet.process_bytes + highest

"""`vocabopt plan`: what every stage of a plan costs on a model, and whether it fits."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import torch

from trainer.memory.build import outline_of
from trainer.memory.machine import Written, highest_bytes, limit_bytes, of_arm
from trainer.memory.predict import StageCost, StepSettings, predict_stage
from trainer.memory.record import PlannedMeasuring, PlannedStage, PlanRecord
from trainer.memory.remedies import Case, Predict, first_that_fits, sharded
from trainer.memory.target import checked_context, read_config, read_vocabulary, with_rows
from trainer.options import DEFAULT_CONTEXT, MAX_SHARD_BYTES, PlanOptions
from trainer.plan import Lora, Stage, named_plan, plan_by_name
from trainer.stages.checkpoints import KEPT, highest_of_stage
from trainer.stages.settings import OPTIMIZERS, Optimizer, StepBatch


def plan_report(options: PlanOptions) -> PlanRecord:
    """Predict every stage.

    Raises:
        OptionError, ModelSpecError, ModelError, PlanError: as the parts it calls.
    """
    lora = Lora(rank=options.lora_rank, alpha=2 * options.lora_rank)
    plan = plan_by_name(options.plan, lora)
    config, spec = read_config(options.model)
    n_rows, n_added = read_vocabulary(spec, run=options.run, tokenizer=options.tokenizer, n_added=options.n_added)
    context = checked_context(options.context_tokens, config, f"MODEL {options.model}")
    is_clipped = options.context_tokens is None and context < DEFAULT_CONTEXT
    options = replace(options, context_tokens=context)
    outline = outline_of(with_rows(config, n_rows))

    @cache
    def predict(stage: Stage, settings: StepSettings) -> StageCost:
        return predict_stage(outline, stage, settings, n_new=n_added)

    stages = tuple(
        _stage(stage, round(options.budget_tokens * share), options, lora, predict)
        for stage, share in zip(plan.stages, plan.shares(), strict=True)
    )
    weight_bytes = outline.n_params * (2 if options.weights == "bf16" else 4)
    # What trained in 32 bits is rounded, and measured once more. A config that does not say so is one of 16 bits.
    is_of_16_bits = getattr(config, "dtype", None) in (None, torch.bfloat16, torch.float16)
    rounds = options.weights != "bf16" and is_of_16_bits
    measuring = _measuring(options, len(stages), rounds, predict)
    return PlanRecord(
        options=options,
        is_context_clipped=is_clipped,
        model=spec.name,
        n_params=outline.n_params,
        n_rows=n_rows,
        n_added=n_added,
        plan=plan.name,
        stages=stages,
        measuring=measuring,
        hours=sum(stage.hours for stage in stages) + measuring.hours,
        gpu_bytes=options.gpu_bytes,
        margin=options.margin,
        process_bytes=options.process_bytes,
        batch_tokens=step_batch(options).n_tokens,
        micro_batch=step_batch(options).micro_batch,
        disk_bytes={keep: _disk_bytes(stages, weight_bytes, options, keep, rounds) for keep in ("last", "all")},
        host_bytes=None if options.device == "cpu" else max(_host_bytes(stage, options) for stage in stages),
    )


def step_batch(options: PlanOptions) -> StepBatch:
    """A step as `adapt` takes it: in whole sequences."""
    return StepBatch(
        asked_tokens=options.batch_tokens,
        asked_micro_batch=options.micro_batch,
        context_tokens=options.context,
        n_processes=options.n_gpus,
    )


def step_settings(options: PlanOptions) -> StepSettings:
    batch = step_batch(options)
    return StepSettings(
        context_tokens=options.context,
        micro_batch=batch.micro_batch,
        accumulates=batch.n_each > batch.micro_batch,
        precision=options.weights,
        gradient_checkpointing=options.gradient_checkpointing,
        fused_loss=options.fused_loss,
        device=options.device,
    )


def _stage(stage: Stage, n_tokens: int, options: PlanOptions, lora: Lora, predict: Predict) -> PlannedStage:
    case = Case(
        stage=stage,
        settings=step_settings(options),
        optimizer=options.optimizer,
        n_gpus=options.n_gpus,
        shard=options.shard,
        process_bytes=options.process_bytes,
    )

    def peaks(case: Case) -> dict[Optimizer, int]:
        return {optimizer: replace(case, optimizer=optimizer).peak_bytes(predict) for optimizer in OPTIMIZERS}

    peak_bytes, limit = peaks(case), limit_bytes(options.gpu_bytes, options.margin)
    fits = peak_bytes[options.optimizer] <= limit
    found = () if fits else (first_that_fits(case, predict, limit, lora), sharded(case, predict, limit))
    cost = predict(stage, case.settings)
    flops = cost.training_flops(n_tokens)
    return PlannedStage(
        name=stage.name,
        n_trainable=cost.n_trainable,
        tokens=n_tokens,
        flops=flops,
        hours=_hours(flops, options.tflops, options),
        peak_bytes=peak_bytes,
        peak_bytes_fused_loss=peaks(replace(case, settings=replace(case.settings, fused_loss=True))),
        fits=fits,
        remedies=tuple(remedy for remedy in found if remedy is not None),
        cost=cost,
    )


def _hours(flops: int, tflops: float, options: PlanOptions) -> float:
    """On all GPUs together."""
    return flops / (tflops * 1e12 * options.n_gpus) / 3_600


def _measuring(options: PlanOptions, n_stages: int, rounds: bool, predict: Predict) -> PlannedMeasuring:
    """A forward pass is a third of a pass that trains everything: each product has two more behind it."""
    (everything,) = named_plan("full").stages
    settings = replace(step_settings(options), gradient_checkpointing=False)
    n_times = (2 + n_stages if options.eval_every == "stage" else 2) + rounds
    flops = n_times * (predict(everything, settings).training_flops(options.measured_tokens) // 3)
    return PlannedMeasuring(
        n_times=n_times,
        n_of_rounded=int(rounds),
        n_tokens=n_times * options.measured_tokens,
        flops=flops,
        tflops=options.tflops_of_measuring,
        hours=_hours(flops, options.tflops_of_measuring, options),
    )


def _checkpoint_bytes(stage: PlannedStage, options: PlanOptions) -> int:
    """What trains and the optimizer's state."""
    return stage.cost.gradient_bytes + stage.cost.state_bytes[options.optimizer]


def _disk_bytes(
    stages: Sequence[PlannedStage], weight_bytes: int, options: PlanOptions, keep: str, rounds: bool
) -> int:
    """Of the models after initialisation and after each stage, the checkpoints, and the finished model in 16 bits."""
    highest = [highest_of_stage(_checkpoint_bytes(stage, options), KEPT + 1, weight_bytes) for stage in stages]
    beside, frees_start = [n_bytes - weight_bytes for n_bytes in highest], options.device != "cpu"
    written = of_arm(weight_bytes, beside, starts=True, keeps_all=keep == "all", frees_start=frees_start)
    # What is not rounded is a link.
    return highest_bytes([*written, Written(n_bytes=weight_bytes // 2)] if rounds else written)


def _host_bytes(stage: PlannedStage, options: PlanOptions) -> int:
    """The most that the host's memory holds while weights are loaded, or while a stage trains and is saved.

    Every process loads the model before it goes to its GPU; sharded, they share the mapped file. While a stage trains
    the 32 bits of frozen matrices wait there, of every process. The first process gathers checkpoints there, and what
    it saves: sharded the whole model, else a file of it at a time.
    """
    # (--shard takes several GPUs.)
    weights, n_copies = stage.cost.resting_bytes, 1 if options.shard else options.n_gpus
    waiting = 0 if options.shard else n_copies * 2 * (weights - stage.cost.weight_bytes)
    saving = weights if options.shard else min(weights, MAX_SHARD_BYTES)
    highest = max(n_copies * weights, waiting + max(_checkpoint_bytes(stage, options), saving))
    return options.n_gpus * options.process_bytes + highest

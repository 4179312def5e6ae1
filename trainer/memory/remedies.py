"""What would make a stage fit into a GPU that it does not fit into, computed, the least harmful first.

On one GPU, each added to those before it: smaller micro-batch, recomputed blocks, a fused loss (the same result); AdamW
in 8 bits, weights in 16 bits (nearly the same); adapters instead of whole blocks (another training). What turns out
not to be needed is left out again, the most harmful first. And more GPUs, over which weights, gradients and optimizer
state are sharded. `what_fits` does the same for a stage that has run out of memory.
"""

import os
import resource
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import torch
from transformers import PreTrainedConfig

from trainer.memory.build import outline_of
from trainer.memory.machine import DEFAULT_MARGIN, DEFAULT_PROCESS_BYTES, limit_bytes
from trainer.memory.predict import StageCost, StepSettings, predict_stage
from trainer.memory.record import Remedy
from trainer.plan import Lora, Stage
from trainer.stages.settings import Optimizer, StageSettings
from vocabopt.amounts import shown_bytes

#: The cost of a stage under settings.
Predict: TypeAlias = Callable[[Stage, StepSettings], StageCost]

_MAX_GPUS = 1_024
_SHORTEST_CONTEXT = 8
#: Options that may change when a run goes on: how it is computed.
_SAME_RESULT = ("--micro-batch 1", "--gradient-checkpointing")


@dataclass(frozen=True, kw_only=True)
class Case:
    """A way to run a stage, and on what: devices that train one model together, one process each.

    shard: weights, gradients and optimizer state are split over them (FSDP) instead of copied to each (DDP).
    process_bytes: what a process takes of its device before it holds a model.
    """

    stage: Stage
    settings: StepSettings
    optimizer: Optimizer
    n_gpus: int = 1
    shard: bool = False
    process_bytes: int = DEFAULT_PROCESS_BYTES

    def peak_bytes(self, predict: Predict) -> int:
        """Highest bytes on one device; for several devices this is arithmetic, not a followed step.

        Copied: what one process alone takes, and the gradients once more, in the buckets that DDP sends. Sharded: each
        one's part of weights, gradients and state; its own activations; whole, the weights outside the blocks and those
        of two blocks, the one that computes and the next. Whole weights must fit besides: measuring is not sharded.
        """
        if not self.shard or self.n_gpus == 1:
            cost = predict(self.stage, self.settings)
            buckets = cost.gradient_bytes if self.n_gpus > 1 else 0
            return self.process_bytes + cost.peak_bytes(self.optimizer) + buckets
        # Gradients that wait for the next pass are split: what a pass makes comes on top of them.
        cost = predict(self.stage, replace(self.settings, shard=True, accumulates=True))
        held = cost.weight_bytes + cost.gradient_bytes + cost.state_bytes[self.optimizer]
        training = -(-held // self.n_gpus) + cost.activation_bytes + cost.root_bytes + 2 * cost.block_bytes
        return self.process_bytes + max(training, cost.resting_bytes)


#: Changes in words, the least harmful first, and as they are written for a command or a plan.
_LADDER = {
    "micro-batch 1": "--micro-batch 1",
    "gradient checkpointing": "--gradient-checkpointing",
    "a fused loss": "--fused-loss",
    "8-bit AdamW": "--optimizer adamw-8bit",
    "bf16 weights": "--precision bf16",
    "LoRA of rank {rank} instead of whole blocks": "lora of rank {rank} in this stage (a plan file's [stage.lora])",
}


def _changed(case: Case, option: str, lora: Lora) -> Case:
    """The case with an option of the ladder; itself where that changes nothing, or cannot be had on a CPU."""
    settings, is_cuda = case.settings, case.settings.device == "cuda"
    if option == "--micro-batch 1" and settings.micro_batch > 1:
        return replace(case, settings=replace(settings, micro_batch=1, accumulates=True))
    if option == "--gradient-checkpointing":
        return replace(case, settings=replace(settings, gradient_checkpointing=True))
    if option == "--fused-loss" and is_cuda:
        return replace(case, settings=replace(settings, fused_loss=True))
    if option == "--optimizer adamw-8bit" and is_cuda:
        return replace(case, optimizer="adamw-8bit")
    if option == "--precision bf16":
        return replace(case, settings=replace(settings, precision="bf16"))
    if option.startswith("lora") and case.stage.lora is None and case.stage.blocks != "none":
        return replace(case, stage=replace(case.stage, lora=lora))
    return case


def first_that_fits(case: Case, predict: Predict, limit_bytes: int, lora: Lora) -> Remedy | None:
    """The first set of changes with which the stage fits one device; None where none does."""

    def peak(options: list[str]) -> int:
        changed = case
        for option in options:
            changed = _changed(changed, option, lora)
        return changed.peak_bytes(predict)

    chosen: list[str] = []
    for option in _LADDER.values():
        if _changed(case, option, lora) == case:
            continue
        chosen.append(option)
        if peak(chosen) > limit_bytes:
            continue
        for unneeded in reversed(chosen[:-1]):
            without = [kept for kept in chosen if kept != unneeded]
            if peak(without) <= limit_bytes:
                chosen = without
        return Remedy(
            changes=tuple(words.format(rank=lora.rank) for words, written in _LADDER.items() if written in chosen),
            options=tuple(written.format(rank=lora.rank) for written in chosen),
            peak_bytes=peak(chosen),
        )
    return None


def sharded(case: Case, predict: Predict, limit_bytes: int) -> Remedy | None:
    """The fewest GPUs, by doubling, that hold the stage sharded; with gradient checkpointing where that takes fewer.

    Returns:
        None where what each holds whole does not fit: its activations, or the weights while they are measured.
    """
    found: list[Remedy] = []
    recomputed = _changed(case, "--gradient-checkpointing", Lora())
    for changed, words in (
        [(case, ())] if recomputed == case else [(case, ()), (recomputed, ("gradient checkpointing",))]
    ):
        n_gpus = max(2, case.n_gpus * (2 if case.shard else 1))
        while n_gpus <= _MAX_GPUS:
            peak_bytes = replace(changed, n_gpus=n_gpus, shard=True).peak_bytes(predict)
            if peak_bytes <= limit_bytes:
                changes = (*words, f"{n_gpus} GPUs, sharded")
                found.append(Remedy(changes=changes, peak_bytes=peak_bytes, n_gpus=n_gpus))
                break
            n_gpus *= 2
    return min(found, key=lambda remedy: remedy.n_gpus, default=None)


# --- A stage that has run out of memory -------------------------------------------------------------------------------


def step_settings(settings: StageSettings, n_processes: int, device: torch.device) -> StepSettings:
    """What of a stage's settings moves the memory of one process."""
    is_cuda = device.type == "cuda"
    return StepSettings(
        context_tokens=settings.context_tokens,
        micro_batch=settings.micro_batch,
        accumulates=settings.accumulation(n_processes) > 1,
        precision=settings.precision,
        gradient_checkpointing=settings.gradient_checkpointing,
        fused_loss=settings.fused_loss and is_cuda,
        device="cuda" if is_cuda else "cpu",
    )


def memory_bytes(device: torch.device) -> int:
    """What this process may take of a device: of a GPU what others leave, of a CPU's memory the least of its limits."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device)
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    group = Path("/sys/fs/cgroup/memory.max")
    if group.is_file() and (text := group.read_text().strip()).isdigit():
        limits.append(int(text))
    allowed, _ = resource.getrlimit(resource.RLIMIT_AS)
    return min([*limits, *([] if allowed == resource.RLIM_INFINITY else [allowed])])


def what_fits(
    config: PreTrainedConfig,
    stage: Stage,
    settings: StageSettings,
    *,
    n_new: int,
    n_processes: int,
    device: torch.device,
) -> str:
    """In words: what the stage is predicted to take, what there is, and with which options it would fit.

    Raises:
        ModelError: the model cannot be predicted.
    """
    step = step_settings(settings, n_processes, device)
    case = Case(stage=stage, settings=step, optimizer=settings.optimizer, n_gpus=n_processes, shard=settings.shard)
    outline = outline_of(config)

    def predict(stage: Stage, settings: StepSettings) -> StageCost:
        return predict_stage(outline, stage, settings, n_new=n_new)

    peak_bytes = case.peak_bytes(predict)
    own_bytes, there = case.process_bytes, memory_bytes(device)
    # Where it should have fitted, others hold memory or it lies in pieces: then what takes a tenth less.
    most = min(limit_bytes(there, DEFAULT_MARGIN), own_bytes + (peak_bytes - own_bytes) * 9 // 10)
    told = (
        f"By prediction the stage takes {shown_bytes(peak_bytes)}, the process's own {shown_bytes(own_bytes)} "
        f"included, and {device} has {shown_bytes(there)}, of which {DEFAULT_MARGIN:.0%} stay free."
    )
    found = first_that_fits(case, predict, most, Lora()) or _shorter(case, predict, most)
    if found is None:
        return f"{told} No option tried here makes it fit: it takes a device with more memory, or several (--shard)."
    again = "" if set(found.options) <= set(_SAME_RESULT) else "; that needs a run from the start"
    return f"{told} It would fit with {' '.join(found.options)} ({shown_bytes(found.peak_bytes)}){again}."


def _shorter(case: Case, predict: Predict, limit_bytes: int) -> Remedy | None:
    """The longest half, quarter and so on of the context that fits, together with what leaves the result alone."""
    settings = replace(case.settings, micro_batch=1, accumulates=True, gradient_checkpointing=True)
    while (n_tokens := settings.context_tokens // 2) >= _SHORTEST_CONTEXT:
        settings = replace(settings, context_tokens=n_tokens)
        peak_bytes = replace(case, settings=settings).peak_bytes(predict)
        if peak_bytes <= limit_bytes:
            options = [f"--context {n_tokens}"]
            options += ["--micro-batch 1"] if case.settings.micro_batch > 1 else []
            options += [] if case.settings.gradient_checkpointing else ["--gradient-checkpointing"]
            return Remedy(changes=tuple(options), options=tuple(options), peak_bytes=peak_bytes)
    return None

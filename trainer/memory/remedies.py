"""What would make a stage fit into a GPU that it does not fit into, computed, the least harmful first.

On one GPU, each added to those before it: smaller micro-batch, recomputed blocks, a fused loss (the same result); AdamW
in 8 bits, weights in 16 bits (nearly the same); adapters instead of whole blocks (another training). What turns out
not to be needed is left out again, the most harmful first. And more GPUs, over which weights, gradients and optimizer
state are sharded. `what_fits` does the same for a stage that has run out of memory.
"""

import os
import resource
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias

import torch
from transformers import PreTrainedConfig

from trainer.memory.build import outline_of
from trainer.memory.machine import DEFAULT_MARGIN, Fleet, limit_bytes
from trainer.memory.predict import StageCost, StepSettings, predict_stage
from trainer.plan import Lora, Stage
from trainer.stages.settings import Optimizer, StageSettings
from vocabopt.amounts import shown_bytes

#: The cost of a stage under settings.
Predict: TypeAlias = Callable[[Stage, StepSettings], StageCost]

_MAX_GPUS = 1_024


@dataclass(frozen=True, kw_only=True)
class Case:
    """A way to run a stage, and on what."""

    stage: Stage
    settings: StepSettings
    optimizer: Optimizer
    fleet: Fleet = field(default_factory=Fleet)

    def peak_bytes(self, predict: Predict) -> int:
        """On one device."""
        settings = self.settings
        if self.fleet.is_sharded:
            # Gradients that wait for the next pass are split: what a pass makes comes on top of them.
            settings = replace(settings, shard=True, accumulates=True)
        return self.fleet.peak_bytes(predict(self.stage, settings), self.optimizer)


@dataclass(frozen=True, kw_only=True)
class Remedy:
    """What to change, in words and as it is written for a command or a plan, and the highest bytes on a device then."""

    changes: tuple[str, ...]
    peak_bytes: int
    options: tuple[str, ...] = ()
    n_gpus: int = 1

    @property
    def in_words(self) -> str:
        return f"{_listed(self.changes)}: {shown_bytes(self.peak_bytes)}"


def _listed(parts: tuple[str, ...]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def _smaller_batch(case: Case) -> Case:
    if case.settings.micro_batch == 1:
        return case
    return replace(case, settings=replace(case.settings, micro_batch=1, accumulates=True))


def _recomputed(case: Case) -> Case:
    return replace(case, settings=replace(case.settings, gradient_checkpointing=True))


def _fused(case: Case) -> Case:
    return replace(case, settings=replace(case.settings, fused_loss=True))


def _in_8_bits(case: Case) -> Case:
    return replace(case, optimizer="adamw-8bit")


def _in_16_bits(case: Case) -> Case:
    return replace(case, settings=replace(case.settings, precision="bf16"))


def _with_adapters(case: Case, lora: Lora) -> Case:
    stage = case.stage
    return case if stage.lora or stage.blocks == "none" else replace(case, stage=replace(stage, lora=lora))


#: Options that may change when a run goes on: how it is computed.
_SAME_RESULT = ("--micro-batch 1", "--gradient-checkpointing")


def same_result(options: tuple[str, ...]) -> bool:
    """Whether a run can go on with these options."""
    return all(option in _SAME_RESULT for option in options)


def _ladder(case: Case, lora: Lora) -> list[tuple[str, str, Callable[[Case], Case]]]:
    """In words, as it is written, and the change. On a CPU there is neither a fused loss nor 8-bit AdamW."""
    of_gpus: list[tuple[str, str, Callable[[Case], Case]]] = [
        ("a fused loss", "--fused-loss", _fused),
        ("8-bit AdamW", "--optimizer adamw-8bit", _in_8_bits),
    ]
    return [
        ("micro-batch 1", "--micro-batch 1", _smaller_batch),
        ("gradient checkpointing", "--gradient-checkpointing", _recomputed),
        *(of_gpus if case.settings.device == "cuda" else ()),
        ("bf16 weights", "--precision bf16", _in_16_bits),
        (
            f"LoRA of rank {lora.rank} instead of whole blocks",
            f"lora of rank {lora.rank} in this stage (a plan file's [stage.lora])",
            lambda case: _with_adapters(case, lora),
        ),
    ]


def first_that_fits(case: Case, predict: Predict, limit_bytes: int, lora: Lora) -> Remedy | None:
    """The first set of changes with which the stage fits one device; None where none does."""
    ladder = _ladder(case, lora)

    def peak(chosen: list[int]) -> int:
        changed = case
        for index in chosen:
            changed = ladder[index][2](changed)
        return changed.peak_bytes(predict)

    chosen: list[int] = []
    for index, (_, _, change) in enumerate(ladder):
        if change(case) == case:
            continue
        chosen.append(index)
        if peak(chosen) > limit_bytes:
            continue
        for unneeded in reversed(chosen[:-1]):
            without = [kept for kept in chosen if kept != unneeded]
            if peak(without) <= limit_bytes:
                chosen = without
        return Remedy(
            changes=tuple(ladder[kept][0] for kept in chosen),
            options=tuple(ladder[kept][1] for kept in chosen),
            peak_bytes=peak(chosen),
        )
    return None


def sharded(case: Case, predict: Predict, limit_bytes: int) -> Remedy | None:
    """The fewest GPUs, by doubling, that hold the stage sharded; with gradient checkpointing where that takes fewer.

    Returns:
        None where what each holds whole does not fit: its activations, or the weights while they are measured.
    """
    found = [_on_gpus(case, predict, limit_bytes, ())]
    if not case.settings.gradient_checkpointing:
        found.append(_on_gpus(_recomputed(case), predict, limit_bytes, ("gradient checkpointing",)))
    return min((remedy for remedy in found if remedy), key=lambda remedy: remedy.n_gpus, default=None)


def _on_gpus(case: Case, predict: Predict, limit_bytes: int, changes: tuple[str, ...]) -> Remedy | None:
    n_gpus = max(2, case.fleet.n_gpus * (2 if case.fleet.shard else 1))
    while n_gpus <= _MAX_GPUS:
        fleet = replace(case.fleet, n_gpus=n_gpus, shard=True)
        peak_bytes = replace(case, fleet=fleet).peak_bytes(predict)
        if peak_bytes <= limit_bytes:
            return Remedy(changes=(*changes, f"{n_gpus} GPUs, sharded"), peak_bytes=peak_bytes, n_gpus=n_gpus)
        n_gpus *= 2
    return None


_SHORTEST_CONTEXT = 8


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
    case = Case(
        stage=stage,
        settings=step_settings(settings, n_processes, device),
        optimizer=settings.optimizer,
        fleet=Fleet(n_gpus=n_processes, shard=settings.shard),
    )
    outline = outline_of(config)

    def predict(stage: Stage, settings: StepSettings) -> StageCost:
        return predict_stage(outline, stage, settings, n_new=n_new)

    peak_bytes = case.peak_bytes(predict)
    own_bytes, there = case.fleet.process_bytes, memory_bytes(device)
    # Where it should have fitted, others hold memory or it lies in pieces: then what takes a tenth less.
    most = min(limit_bytes(there, DEFAULT_MARGIN), own_bytes + (peak_bytes - own_bytes) * 9 // 10)
    told = (
        f"By prediction the stage takes {shown_bytes(peak_bytes)}, the process's own {shown_bytes(own_bytes)} "
        f"included, and {device} has {shown_bytes(there)}, of which {DEFAULT_MARGIN:.0%} stay free."
    )
    found = first_that_fits(case, predict, most, Lora()) or _shorter(case, predict, most)
    if found is None:
        return f"{told} No option tried here makes it fit: it takes a device with more memory, or several (--shard)."
    again = "" if same_result(found.options) else "; that needs a run from the start"
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

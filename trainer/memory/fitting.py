"""What would make a stage fit the device that it has run out of memory on, by the prediction of `vocabopt plan`."""

import os
import resource
from dataclasses import replace
from pathlib import Path

import torch
from transformers import PreTrainedConfig

from trainer.memory.build import outline_of
from trainer.memory.fleet import DEFAULT_MARGIN, Fleet, limit_bytes
from trainer.memory.predict import StageCost, StepSettings, predict_stage
from trainer.memory.remedies import Case, Predict, Remedy, first_that_fits, same_result
from trainer.plan import Lora, Stage
from trainer.stages.settings import StageSettings
from vocabopt.amounts import shown_bytes

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
    """The longest half, quarter and so on of the context that fits, beside what leaves the result alone."""
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

"""What stops a stage, in words that say where it stopped, what is kept and what to do."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from trainer.plan import Stage
from trainer.stages.checkpoints import newest_complete
from trainer.stages.record import PackedText
from trainer.stages.settings import StageSettings
from vocabopt.errors import TrainingError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig


def not_finite(
    stage: Stage, folder: Path, step: int, packed: PackedText, blocks: Sequence[int], what: str, seed: int
) -> TrainingError:
    """what: "loss nan" or "gradient inf". blocks: of the stage's dataset, those that are to blame."""
    checkpoint = newest_complete(folder)
    kept = f"{checkpoint} is kept." if checkpoint else "No checkpoint was written yet (--save-every)."
    text = packed.text_of(blocks, seed)
    return TrainingError(
        f"stage {stage.name!r}: {what} in step {step}, blocks {blocks[0]} to {blocks[-1]} of its text (seed {seed})"
        f"{f', which are {text}' if text else ''}. {kept} Look at this text; lower the learning rate "
        f"({stage.learning_rate:g}, --learning-rate-factor) or use --precision fp32."
    )


def memory_advice(
    config: "PreTrainedConfig",
    stage: Stage,
    settings: StageSettings,
    folder: Path,
    *,
    n_new: int,
    n_processes: int,
    device: torch.device,
) -> str:
    """For a stage that has run out of memory: which options would fit, by prediction where there is one."""
    checkpoint = newest_complete(folder)
    kept = f" {checkpoint} is kept: --resume goes on from it." if checkpoint else ""
    if settings.shard:
        # What is predicted is one process that holds all weights.
        return _fixed(stage, settings) + kept
    from trainer.memory.fitting import what_fits

    try:
        return what_fits(config, stage, settings, n_new=n_new, n_processes=n_processes, device=device) + kept
    except Exception:  # no prediction (a mixture of experts), or no memory for it either: then without figures
        return _fixed(stage, settings) + kept


def _fixed(stage: Stage, settings: StageSettings) -> str:
    """Options that are not used yet, those that leave the result alone first; without figures."""
    found = []
    if settings.micro_batch > 1:
        found.append(f"--micro-batch {settings.micro_batch // 2}")
    if not settings.gradient_checkpointing:
        found.append("--gradient-checkpointing")
    found.append("more processes with --shard")
    # From here on a new run is needed: the result is another one.
    if settings.optimizer == "adamw":
        found.append("--optimizer adamw-8bit (from the start)")
    if settings.precision == "fp32":
        found.append("--precision bf16-mixed (from the start)")
    if stage.lora is None and stage.blocks != "none":
        found.append("--plan lora (from the start)")
    found.append(f"--context {max(1, settings.context_tokens // 2)} (from the start)")
    return f"What would take less: {'; '.join(found)}. `vocabopt plan` tells what each stage needs."

"""What stops a stage, in words that say where it stopped, what is kept and what to do."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from trainer.plan import Stage
from trainer.stages.checkpoints import newest_complete
from trainer.stages.settings import StageSettings
from vocabopt.errors import TrainingError


def not_finite(stage: Stage, folder: Path, step: int, blocks: Sequence[int], what: str, seed: int) -> TrainingError:
    """what: "loss nan" or "gradient inf". blocks: first and last block of the stage's dataset that are to blame."""
    checkpoint = newest_complete(folder)
    kept = f"{checkpoint} is kept." if checkpoint else "No checkpoint was written yet (--save-every)."
    return TrainingError(
        f"stage {stage.name!r}: {what} in step {step}, blocks {blocks[0]} to {blocks[-1]} of its text (seed {seed}). "
        f"{kept} Lower the learning rate ({stage.learning_rate:g}) or use --precision fp32; look at these blocks."
    )


def is_out_of_memory(error: BaseException) -> bool:
    """torch has a class for it on GPUs, and only words on the CPU."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def out_of_memory(stage: Stage, settings: StageSettings, folder: Path, step: int) -> TrainingError:
    checkpoint = newest_complete(folder)
    kept = f"{checkpoint} is kept, and --resume takes these options." if checkpoint else ""
    return TrainingError(
        f"stage {stage.name!r}: out of memory in step {step}, with {settings.micro_batch} block"
        f"{'s' if settings.micro_batch > 1 else ''} of {settings.context_tokens} tokens at once. "
        f"What would take less: {'; '.join(_remedies(stage, settings))}. `vocabopt plan` tells what each stage needs. "
        f"{kept}".rstrip()
    )


def _remedies(stage: Stage, settings: StageSettings) -> list[str]:
    """Options that are not used yet, those that leave the result alone first."""
    found = []
    if settings.micro_batch > 1:
        found.append(f"--micro-batch {settings.micro_batch // 2}")
    if not settings.gradient_checkpointing:
        found.append("--gradient-checkpointing")
    if not settings.shard:
        found.append("several processes with --shard")
    # From here on a new run is needed: the result is another one.
    if settings.optimizer == "adamw":
        found.append("--optimizer adamw-8bit (from the start)")
    if settings.precision == "fp32":
        found.append("--precision bf16-mixed (from the start)")
    if stage.lora is None and stage.blocks != "none":
        found.append("--plan lora (from the start)")
    found.append(f"--context {max(1, settings.context_tokens // 2)} (from the start)")
    return found


def check_same(asked: dict[str, Any], checkpoint: dict[str, Any], folder: Path) -> None:
    """Whether a checkpoint is of the run that is asked for.

    Raises:
        TrainingError: something that moves the result differs; the message has both values.
    """
    for name in sorted(asked.keys() | checkpoint.keys()):
        now, before = asked.get(name), checkpoint.get(name)
        if now != before:
            raise TrainingError(
                f"--resume: {folder} was written with {name} {before}, and now it is {now}. Resume with {name} "
                f"{before}, or choose another folder with --out."
            )

"""Room on the disk, looked for before the work that needs it."""

import shutil
from collections.abc import Iterable
from pathlib import Path

import torch

from trainer.stages import checkpoints
from trainer.stages.settings import Optimizer, StageSettings
from vocabopt.amounts import shown_bytes
from vocabopt.errors import RunDirectoryError

#: bitsandbytes leaves tensors below this in 32 bits, and keeps a scale for each block of the others.
_MIN_ELEMENTS_8BIT = 4_096
_BLOCK_8BIT = 256


def state_bytes(parameter: torch.Tensor, optimizer: Optimizer) -> int:
    """AdamW keeps two values a weight, in the weight's type, and a count; bitsandbytes two bytes and their scales."""
    n = parameter.numel()
    if optimizer == "adamw":
        return 2 * parameter.nbytes + 4
    return 8 * n if n < _MIN_ELEMENTS_8BIT else 2 * n + 2 * 4 * -(-n // _BLOCK_8BIT)


def check_room(folder: Path, needed_bytes: int, what: str) -> None:
    """Refuse what would fill the disk later. what: "stage 'lora': its model (4.0 GB)", for the message.

    Raises:
        RunDirectoryError: fewer bytes are free where `folder` is or will be.
    """
    there = next(path for path in (folder, *folder.resolve().parents) if path.exists())
    free = shutil.disk_usage(there).free
    if free < needed_bytes:
        raise RunDirectoryError(
            f"{folder}: the disk has {shown_bytes(free)} free, and {what} {shown_bytes(needed_bytes)}. Free some and "
            "go on with --resume, or choose another folder with --out."
        )


def highest_of_stage(of_each: int, n_written: int, of_model: int) -> int:
    """The most that a stage's checkpoints, of `of_each` bytes, and its model take on the disk.

    While a checkpoint is written those before it are kept, and the newest are still there when the model is.
    """
    kept = checkpoints.KEPT
    return max(min(n_written, kept + 1) * of_each, min(n_written, kept) * of_each + of_model)


def check_stage_room(
    model: torch.nn.Module,
    trained: Iterable[torch.Tensor],
    stage: str,
    settings: StageSettings,
    n_steps: int,
    folder: Path,
) -> None:
    """Room for a stage's checkpoints and its model, beside the checkpoints that are there already.

    Raises:
        RunDirectoryError: as `check_room`.
    """
    of_each = sum(tensor.nbytes + state_bytes(tensor, settings.optimizer) for tensor in trained)
    every = settings.save_every_steps
    n_written = 0 if every is None else (n_steps - 1) // every
    of_model = sum(parameter.nbytes for parameter in model.parameters())
    highest = highest_of_stage(of_each, n_written, of_model)
    there = sum(path.stat().st_size for path in (folder / checkpoints.FOLDER).rglob("*") if path.is_file())
    check_room(folder, highest - there, f"stage {stage!r}, with its checkpoints and its model, takes")

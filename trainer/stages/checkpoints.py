"""Checkpoints inside a stage: only what trains, written whole or not at all; and the room they need.

STAGE/checkpoints/step-00000040/
    trainable.safetensors   the parameters that train, by name
    optimizer.safetensors   the optimizer's tensors, "NAME|KEY"
    random*.safetensors     torch's random generators, of each process
    state.json              TrainingState
    complete.json           the names and sizes of all of these, written last

Everything is on the disk before complete.json is, so a folder without it, or whose files have other sizes, is one that
was being written when the run was killed.
"""

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from trainer.processes import is_main, n_processes, rank, wait_for_all
from trainer.stages.record import CompleteMark, TrainingState
from trainer.stages.settings import Optimizer, StageSettings
from trainer.stages.sharding import gathered, like
from vocabopt.amounts import shown_bytes
from vocabopt.errors import RunDirectoryError, TrainingError
from vocabopt.folder import sync
from vocabopt.records import read_record, write_record

FOLDER = "checkpoints"
COMPLETE = "complete.json"
KEPT = 2
_TRAINABLE, _OPTIMIZER, _STATE = "trainable.safetensors", "optimizer.safetensors", "state.json"


# --- Folders ----------------------------------------------------------------------------------------------------------


def folder_of(stage_folder: Path, step: int) -> Path:
    return stage_folder / FOLDER / f"step-{step:08}"


def step_of(checkpoint: Path) -> int:
    """The last step that a checkpoint holds."""
    return int(checkpoint.name.removeprefix("step-"))


def complete_ones(stage_folder: Path) -> list[Path]:
    """The checkpoints that were written whole, the newest first: every file that the mark names has its size."""
    found = []
    for folder in sorted((stage_folder / FOLDER).glob("step-*"), reverse=True):
        try:
            files = read_record(folder / COMPLETE, CompleteMark).files
            if all((folder / name).stat().st_size == n_bytes for name, n_bytes in files.items()):
                found.append(folder)
        except (OSError, RunDirectoryError):
            continue
    return found


def newest_complete(stage_folder: Path) -> Path | None:
    return next(iter(complete_ones(stage_folder)), None)


def remove_checkpoint(folder: Path) -> None:
    # The mark first: a removal that is interrupted leaves an incomplete checkpoint.
    (folder / COMPLETE).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


# --- Writing ----------------------------------------------------------------------------------------------------------


def save_checkpoint(
    stage_folder: Path,
    trained: Mapping[str, nn.Parameter],
    optimizer: torch.optim.Optimizer,
    state: TrainingState,
    device: torch.device,
) -> None:
    """Write a checkpoint and remove all but the newest. All processes must call it; the first one writes.

    Args:
        state: without the optimizer's numbers.

    Raises:
        TrainingError: the disk is full, or cannot be written.
    """
    # What trains and the optimizer's tensors, whole and on the CPU of the process that writes them.
    weights: dict[str, torch.Tensor] = {}
    tensors: dict[str, torch.Tensor] = {}
    numbers: dict[str, int | float] = {}
    for name, parameter in trained.items():
        if (value := gathered(parameter, keep=is_main())) is not None:
            weights[name] = value
        for key, held in sorted(optimizer.state[parameter].items()):
            if not isinstance(held, torch.Tensor):
                numbers[f"{name}|{key}"] = held
            elif (value := gathered(held, keep=is_main())) is not None:
                tensors[f"{name}|{key}"] = value
    generators = {"cpu": torch.get_rng_state()}  # that dropout draws from
    if device.type == "cuda":
        generators["cuda"] = torch.cuda.get_rng_state(device)
    folder = folder_of(stage_folder, state.step)
    try:
        if is_main():
            remove_checkpoint(folder)
        wait_for_all()
        folder.mkdir(parents=True, exist_ok=True)
        save_file(generators, folder / _random_name())
        if is_main():
            save_file(weights, folder / _TRAINABLE)
            save_file(tensors, folder / _OPTIMIZER)
            write_record(folder / _STATE, msgspec.structs.replace(state, optimizer_numbers=numbers))
        wait_for_all()
        if is_main():
            files = sorted(folder.iterdir())
            for path in (*files, folder):
                sync(path)
            write_record(folder / COMPLETE, CompleteMark(files={path.name: path.stat().st_size for path in files}))
            sync(folder)
            kept = complete_ones(stage_folder)[:KEPT]
            for old in (stage_folder / FOLDER).glob("step-*"):
                if old not in kept:
                    remove_checkpoint(old)
    except (OSError, SafetensorError, RunDirectoryError) as error:
        n_bytes = sum(tensor.nbytes for tensor in [*weights.values(), *tensors.values()])
        raise disk_error(stage_folder, folder, str(error.__cause__ or error), n_bytes) from error


def _random_name() -> str:
    return f"random-{rank()}.safetensors" if n_processes() > 1 else "random.safetensors"


def disk_error(stage_folder: Path, written: Path, reason: str, needed_bytes: int) -> TrainingError:
    """What a failed write becomes: what was being written is removed, earlier checkpoints stay."""
    remove_checkpoint(written)
    free = shutil.disk_usage(stage_folder).free
    kept = newest_complete(stage_folder)
    rest = f"{kept} is kept" if kept else "there is no earlier checkpoint, so the stage starts again"
    return TrainingError(
        f"{written}: cannot be written ({reason}). It needs {shown_bytes(needed_bytes)}, and {shown_bytes(free)} are "
        f"free: free some, and go on with --resume; {rest}."
    )


# --- Reading ----------------------------------------------------------------------------------------------------------


def load_checkpoint(
    folder: Path,
    trained: Mapping[str, nn.Parameter],
    optimizer: torch.optim.Optimizer,
    asked: Mapping[str, Any],
    device: torch.device,
) -> TrainingState:
    """Give parameters, optimizer and random generators what a checkpoint holds.

    Raises:
        RunDirectoryError: its state.json cannot be read.
        TrainingError: it is of a run with other options, or holds other parameters than these.
    """
    state = read_record(folder / _STATE, TrainingState)
    for name in sorted(asked.keys() | state.asked.keys()):
        now, before = asked.get(name), state.asked.get(name)
        if now != before:
            raise TrainingError(
                f"--resume: {folder} was written with {name} {before}, and now it is {now}. Resume with {name} "
                f"{before}, or choose another folder with --out."
            )
    values = load_file(folder / _TRAINABLE)
    if unlike := sorted(values.keys() ^ trained.keys()):
        raise TrainingError(
            f"{folder / _TRAINABLE}: holds other parameters than this stage trains ({unlike[0]}), so it is of another "
            "model or plan. Choose another folder with --out."
        )
    with torch.no_grad():
        for name, parameter in trained.items():
            parameter.copy_(like(values[name].to(parameter.device), parameter))
    names = {id(parameter): name for name, parameter in trained.items()}
    order = [names[id(parameter)] for group in optimizer.param_groups for parameter in group["params"]]
    of_each: dict[str, dict[str, Any]] = {name: {} for name in order}
    for full_key, value in [*load_file(folder / _OPTIMIZER).items(), *state.optimizer_numbers.items()]:
        name, _, key = full_key.rpartition("|")
        if isinstance(value, torch.Tensor) and value.shape == trained[name].shape:
            value = like(value, trained[name])
        of_each[name][key] = value
    indexed = {index: of_each[name] for index, name in enumerate(order) if of_each[name]}
    optimizer.load_state_dict({"state": indexed, "param_groups": optimizer.state_dict()["param_groups"]})
    # As many processes as wrote it: with another number nothing is the same bit for bit anyway.
    if (folder / _random_name()).is_file():
        generators = load_file(folder / _random_name())
        torch.set_rng_state(generators["cpu"])
        if device.type == "cuda" and "cuda" in generators:
            torch.cuda.set_rng_state(generators["cuda"], device)
    return state


# --- Room -------------------------------------------------------------------------------------------------------------

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
    return max(min(n_written, KEPT + 1) * of_each, min(n_written, KEPT) * of_each + of_model)


def check_stage_room(
    model: torch.nn.Module,
    trained: Iterable[torch.Tensor],
    stage: str,
    settings: StageSettings,
    n_steps: int,
    folder: Path,
) -> None:
    """Room for a stage's checkpoints and its model, less the checkpoints that are there already.

    Raises:
        RunDirectoryError: as `check_room`.
    """
    of_each = sum(tensor.nbytes + state_bytes(tensor, settings.optimizer) for tensor in trained)
    every = settings.save_every_steps
    n_written = 0 if every is None else (n_steps - 1) // every
    of_model = sum(parameter.nbytes for parameter in model.parameters())
    highest = highest_of_stage(of_each, n_written, of_model)
    there = sum(path.stat().st_size for path in (folder / FOLDER).rglob("*") if path.is_file())
    check_room(folder, highest - there, f"stage {stage!r}, with its checkpoints and its model, takes")

"""Checkpoints inside a stage: only what trains, written whole or not at all.

STAGE/checkpoints/step-00000040/
    trainable.safetensors   the parameters that train, by name
    optimizer.safetensors   the optimizer's tensors, "NAME|KEY"
    state.json              the optimizer's numbers, learning rates, scheduler, curve, and what the run was asked for
    trainer_state.json      transformers' own
    rng_state*.pth          random generators, of each process
    complete.json           the names and sizes of all of these, written last

Everything is on the disk before complete.json is, so a folder without it, or whose files have other sizes, is one that
was being written when the run was killed.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from trainer.stages.sharding import gathered, like
from vocabopt.amounts import shown_bytes
from vocabopt.artifacts import FORMAT_VERSION, sync
from vocabopt.errors import TrainingError

FOLDER = "checkpoints"
COMPLETE = "complete.json"
KEPT = 2
_TRAINABLE, _OPTIMIZER, _STATE = "trainable.safetensors", "optimizer.safetensors", "state.json"


def folder_of(stage_folder: Path, step: int) -> Path:
    return stage_folder / FOLDER / f"step-{step:08}"


def step_of(checkpoint: Path) -> int:
    """The last step that a checkpoint holds."""
    return int(checkpoint.name.removeprefix("step-"))


def is_complete(folder: Path) -> bool:
    """Whether a checkpoint's mark is there, and every file that it names has the size that it had."""
    try:
        files = json.loads((folder / COMPLETE).read_text(encoding="utf-8"))["files"]
        return all((folder / name).stat().st_size == n_bytes for name, n_bytes in files.items())
    except (OSError, ValueError, KeyError, TypeError):
        return False


def newest_complete(stage_folder: Path) -> Path | None:
    """The checkpoint of the highest step that was written whole; None without one."""
    found = sorted((stage_folder / FOLDER).glob("step-*"), reverse=True)
    return next((folder for folder in found if is_complete(folder)), None)


def remove_checkpoint(folder: Path) -> None:
    # The mark first: a removal that is interrupted leaves an incomplete checkpoint.
    (folder / COMPLETE).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def prune(stage_folder: Path, keep: int = KEPT) -> None:
    """Remove all checkpoints but the newest complete ones."""
    found = sorted((stage_folder / FOLDER).glob("step-*"), reverse=True)
    kept = [folder for folder in found if is_complete(folder)][:keep]
    for folder in found:
        if folder not in kept:
            remove_checkpoint(folder)


def mark_complete(folder: Path) -> None:
    files = sorted(path for path in folder.iterdir() if path.name != COMPLETE)
    for path in files:
        sync(path)
    sync(folder)
    mark = {"format_version": FORMAT_VERSION, "files": {path.name: path.stat().st_size for path in files}}
    partial = folder / f".{COMPLETE}.partial"
    partial.write_text(json.dumps(mark, indent=1), encoding="utf-8")
    sync(partial)
    partial.rename(folder / COMPLETE)
    sync(folder)


def training_state(
    trained: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer, *, keep: bool
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor], dict[str, Any]]:
    """What trains, the optimizer's tensors and its numbers, whole and on the CPU. All processes must call it.

    Args:
        keep: whether this process writes them; for others the tensors are left out.
    """
    weights: dict[str, torch.Tensor] = {}
    tensors: dict[str, torch.Tensor] = {}
    numbers: dict[str, Any] = {}
    for name, parameter in trained.items():
        if (value := gathered(parameter, keep=keep)) is not None:
            weights[name] = value
        for key, state in sorted(optimizer.state[parameter].items()):
            if not isinstance(state, torch.Tensor):
                numbers[f"{name}|{key}"] = state
            elif (value := gathered(state, keep=keep)) is not None:
                tensors[f"{name}|{key}"] = value
    return weights, tensors, numbers


def write_tensors(folder: Path, weights: dict[str, torch.Tensor], optimizer: dict[str, torch.Tensor]) -> None:
    save_file(weights, folder / _TRAINABLE)
    save_file(optimizer, folder / _OPTIMIZER)


def write_state(folder: Path, state: dict[str, Any]) -> None:
    text = json.dumps({"format_version": FORMAT_VERSION, **state}, ensure_ascii=False, indent=1)
    (folder / _STATE).write_text(text, encoding="utf-8")


def read_state(folder: Path) -> dict[str, Any]:
    state: dict[str, Any] = json.loads((folder / _STATE).read_text(encoding="utf-8"))
    return state


def load_trainable(folder: Path, trained: Mapping[str, nn.Parameter]) -> None:
    """Give parameters the values of a checkpoint.

    Raises:
        TrainingError: it holds others than these.
    """
    values = load_file(folder / _TRAINABLE)
    if unlike := sorted(values.keys() ^ trained.keys()):
        raise TrainingError(
            f"{folder / _TRAINABLE}: holds other parameters than this stage trains ({unlike[0]}), so it is of another "
            "model or plan. Choose another folder with --out."
        )
    with torch.no_grad():
        for name, parameter in trained.items():
            parameter.copy_(like(values[name].to(parameter.device), parameter))


def load_optimizer(
    folder: Path, trained: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer, state: dict[str, Any]
) -> None:
    """Give the optimizer its state of a checkpoint: per parameter, and the learning rate of each group."""
    names = {id(parameter): name for name, parameter in trained.items()}
    order = [names[id(parameter)] for group in optimizer.param_groups for parameter in group["params"]]
    per_parameter: dict[str, dict[str, Any]] = {name: {} for name in order}
    for full_key, value in [*load_file(folder / _OPTIMIZER).items(), *state["optimizer_numbers"].items()]:
        name, _, key = full_key.rpartition("|")
        is_split = isinstance(value, torch.Tensor) and value.shape == trained[name].shape
        per_parameter[name][key] = like(value, trained[name]) if is_split else value
    groups = optimizer.state_dict()["param_groups"]
    for group, learning_rate in zip(groups, state["learning_rates"], strict=True):
        group["lr"] = learning_rate
    indexed = {index: per_parameter[name] for index, name in enumerate(order) if per_parameter[name]}
    optimizer.load_state_dict({"state": indexed, "param_groups": groups})


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

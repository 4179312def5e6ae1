"""The settings of a stage in transformers' words, and in torch's."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from transformers import TrainingArguments
from transformers.utils import logging as transformers_logging

from trainer.devices import pick_device
from trainer.stages.settings import StageSettings
from vocabopt.console import Console


def device_of(settings: StageSettings) -> torch.device:
    return pick_device("cpu" if settings.cpu else "auto")


def training_arguments(settings: StageSettings, folder: Path, n_steps: int, *, model_type: str) -> TrainingArguments:
    """transformers' own arguments. Making them starts torch.distributed under torchrun."""
    is_fused = settings.fused_loss and why_not_fused(settings, model_type) is None
    uses_cpu = device_of(settings).type == "cpu"
    # accelerate takes a backend as the word that there are several processes.
    is_launched = "LOCAL_RANK" in os.environ
    args = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=settings.micro_batch,
        max_steps=n_steps,
        max_grad_norm=settings.max_grad_norm,
        train_sampling_strategy="sequential",
        remove_unused_columns=False,
        activation_checkpointing=settings.gradient_checkpointing,
        # Blocks that are computed again get their gradients also where what goes into them wants none (frozen tables).
        activation_checkpointing_kwargs={"use_reentrant": False} if settings.gradient_checkpointing else None,
        torch_compile=settings.compile,
        use_liger_kernel=is_fused,
        # Only the loss: the other kernels would make a model of other numbers.
        liger_kernel_config=_LIGER if is_fused else None,
        logging_strategy="steps",
        logging_steps=settings.log_every_steps,
        logging_first_step=True,
        logging_nan_inf_filter=False,
        save_strategy="no",
        report_to=list(settings.report_to),
        seed=settings.seed,
        disable_tqdm=True,
        log_level="error",
        use_cpu=uses_cpu,
        ddp_backend="gloo" if uses_cpu and is_launched else None,
        ddp_find_unused_parameters=False,
        dataloader_pin_memory=not uses_cpu,
    )
    args.gradient_accumulation_steps = settings.accumulation(args.world_size)
    # transformers would spread the model over all GPUs it sees, by DataParallel; several processes do that better.
    args._n_gpu = min(args.n_gpu, 1)
    return args


_LIGER = {"rope": False, "rms_norm": False, "swiglu": False, "cross_entropy": False, "fused_linear_cross_entropy": True}


def why_not_fused(settings: StageSettings, model_type: str) -> str | None:
    """Why a fused loss cannot be had here; None where it can."""
    from transformers.utils.import_utils import is_liger_kernel_available

    if device_of(settings).type == "cpu":
        return "it needs a GPU"
    if not is_liger_kernel_available():
        return "liger-kernel is not installed (pip install liger-kernel)"
    from liger_kernel.transformers import monkey_patch  # type: ignore[import-not-found, unused-ignore]

    # liger itself passes over other kinds, and arguments that a kind does not take, without a word.
    known = monkey_patch.MODEL_TYPE_TO_APPLY_LIGER_FN
    if model_type not in known or "fused_linear_cross_entropy" not in signature(known[model_type]).parameters:
        return f"liger-kernel has none for models of type {model_type}"
    return None


def say_what_is_not_used(settings: StageSettings, model_type: str, console: Console) -> None:
    if settings.fused_loss and (why := why_not_fused(settings, model_type)) is not None:
        console.note(f"fused loss: not used, {why}. The result is the same; it would take less memory.")


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Its own progress bars and log lines off; ours are on."""
    level, has_bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if has_bars:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]


@contextmanager
def deterministic_on_cpu(device: torch.device) -> Iterator[None]:
    """On a CPU, operations that give the same bits every time, or an error. On GPUs they would cost speed."""
    if device.type != "cpu":
        yield
        return
    was_set = torch.are_deterministic_algorithms_enabled()
    deterministic: Any = torch.utils.deterministic
    filled = deterministic.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    # Filling memory that is about to be written serves debugging only.
    deterministic.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(was_set)
        deterministic.fill_uninitialized_memory = filled

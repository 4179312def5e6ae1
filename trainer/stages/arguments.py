"""The settings of a stage in transformers' words, and in torch's."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import TrainingArguments
from transformers.utils import logging as transformers_logging

from trainer.stages.settings import StageSettings
from vocabopt.console import Console


def training_arguments(settings: StageSettings, folder: Path, n_steps: int) -> TrainingArguments:
    """transformers' own arguments. Making them starts torch.distributed under torchrun."""
    uses_cpu = settings.cpu or not torch.cuda.is_available()
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
        activation_checkpointing_kwargs={"use_reentrant": False} if settings.gradient_checkpointing else None,
        torch_compile=settings.compile,
        use_liger_kernel=uses_fused_loss(settings),
        # Only the loss: the other kernels would make a model of other numbers.
        liger_kernel_config=_LIGER if uses_fused_loss(settings) else None,
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


def uses_fused_loss(settings: StageSettings) -> bool:
    from transformers.utils.import_utils import is_liger_kernel_available

    return settings.fused_loss and not settings.cpu and torch.cuda.is_available() and is_liger_kernel_available()


def say_what_is_not_used(settings: StageSettings, device: torch.device, console: Console) -> None:
    if settings.fused_loss and not uses_fused_loss(settings):
        why = "liger-kernel is not installed" if device.type == "cuda" else "it needs a GPU"
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

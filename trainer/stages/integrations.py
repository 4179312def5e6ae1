"""What a stage takes from other libraries: trackers, liger's fused loss, an optimizer; and how they are kept quiet."""

from collections.abc import Iterator
from contextlib import contextmanager
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate import PartialState
from transformers import TrainerControl, TrainerState, TrainingArguments
from transformers.utils import logging as transformers_logging

from trainer.init.models import no_progress
from trainer.stages.settings import StageSettings
from vocabopt.errors import OptionError
from vocabopt.training_record import CurvePoint

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_ADAM: Any = {"betas": (0.9, 0.95), "eps": 1e-8}


class Trackers:
    """Sends the curve to what --report-to names (tensorboard, wandb, ...), by transformers' own callbacks."""

    def __init__(
        self, model: "PreTrainedModel", settings: StageSettings, folder: Path, n_steps: int, device: torch.device
    ) -> None:
        from transformers.integrations.integration_utils import get_reporting_integration_callbacks

        self.model = model
        PartialState(cpu=device.type == "cpu")  # a group of processes is taken as it is, not started again
        # What trackers show of a run.
        self.arguments = TrainingArguments(
            output_dir=str(folder),
            max_steps=n_steps,
            per_device_train_batch_size=settings.micro_batch,
            max_grad_norm=settings.max_grad_norm,
            seed=settings.seed,
            logging_steps=settings.log_every_steps,
            report_to=list(settings.report_to),
            use_cpu=device.type == "cpu",
            accelerator_config={"use_configured_state": True},
            disable_tqdm=True,
            log_level="error",
        )
        self.state = TrainerState(max_steps=n_steps, is_local_process_zero=True, is_world_process_zero=True)
        kinds = get_reporting_integration_callbacks(list(settings.report_to))  # type: ignore[no-untyped-call]
        self.callbacks = [kind() for kind in kinds]
        self._call("on_init_end")
        self._call("on_train_begin")

    def log(self, point: CurvePoint) -> None:
        self.state.global_step = point.step
        self.state.epoch = point.step / self.state.max_steps
        logs = {"loss": point.loss, "grad_norm": point.grad_norm, "learning_rate": point.learning_rate}
        self._call("on_log", logs={**logs, "epoch": self.state.epoch})

    def close(self) -> None:
        self._call("on_train_end")

    def _call(self, event: str, **values: Any) -> None:
        for callback in self.callbacks:
            getattr(callback, event)(self.arguments, self.state, TrainerControl(), model=self.model, **values)


def make_optimizer(groups: list[dict[str, Any]], settings: StageSettings) -> torch.optim.Optimizer:
    """AdamW in 32 bits, or with its state in 8.

    Raises:
        OptionError: bitsandbytes is not installed.
    """
    if settings.optimizer == "adamw":
        # One kernel a parameter, which reads and writes weight, gradient and state once and holds no more than
        # them. torch's default on a CPU, an operation after another, took 2.4 times the processor time.
        return torch.optim.AdamW(groups, **_ADAM, fused=True)
    try:
        from bitsandbytes.optim import AdamW8bit  # type: ignore[import-not-found, unused-ignore]
    except ImportError as error:
        raise OptionError(
            "--optimizer adamw-8bit: needs bitsandbytes, which is not installed. "
            "Install it: pip install bitsandbytes; or leave the option out."
        ) from error
    optimizer: torch.optim.Optimizer = AdamW8bit(groups, **_ADAM)
    return optimizer


# --- The fused loss ---------------------------------------------------------------------------------------------------

#: Only the loss: the other kernels would make a model of other numbers.
_LIGER = {"rope": False, "rms_norm": False, "swiglu": False, "cross_entropy": False, "fused_linear_cross_entropy": True}


def fuse_loss(model: "PreTrainedModel") -> None:
    """Let a model compute output table and loss in one kernel, in place."""
    from transformers.integrations.liger import apply_liger_kernel

    apply_liger_kernel(model, _LIGER)  # type: ignore[no-untyped-call]


def why_not_fused(model_type: str, device: torch.device) -> str | None:
    """Why a fused loss cannot be had here; None where it can."""
    from transformers.utils.import_utils import is_liger_kernel_available

    if device.type == "cpu":
        return "it needs a GPU"
    if not is_liger_kernel_available():
        return "liger-kernel is not installed (pip install liger-kernel)"
    from liger_kernel.transformers import monkey_patch  # type: ignore[import-not-found, unused-ignore]

    # liger itself passes over other kinds, and arguments that a kind does not take, without a word.
    known = monkey_patch.MODEL_TYPE_TO_APPLY_LIGER_FN
    if model_type not in known or "fused_linear_cross_entropy" not in signature(known[model_type]).parameters:
        return f"liger-kernel has none for models of type {model_type}"
    return None


# --- Quiet and deterministic ------------------------------------------------------------------------------------------


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Its own progress bars and log lines off; ours are on."""
    level = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    try:
        with no_progress():
            yield
    finally:
        transformers_logging.set_verbosity(level)


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

"""transformers' Trainer, for one stage: ours are the optimizer's groups, the schedule, checkpoints and the stops."""

import math
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import PrinterCallback, ProgressCallback, Trainer, TrainingArguments
from transformers.trainer import TRAINER_STATE_NAME

from trainer.data.collate import Collator
from trainer.plan import Stage
from trainer.stages import checkpoints
from trainer.stages.blocks import EvenBlocks
from trainer.stages.failures import check_same, not_finite
from trainer.stages.freeze import PreparedStage
from trainer.stages.progress import StageProgress
from trainer.stages.schedule import learning_rate_factor
from trainer.stages.settings import StageSettings
from vocabopt.errors import OptionError

ADAM_BETAS = (0.9, 0.95)
ADAM_EPSILON = 1e-8


class StageTrainer(Trainer):
    """Trains what is prepared.

    asked: what must be equal in a checkpoint to go on from it, by the name of its option.
    """

    def __init__(
        self,
        prepared: PreparedStage,
        stage: Stage,
        settings: StageSettings,
        args: TrainingArguments,
        blocks: EvenBlocks,
        collate: Collator,
        progress: StageProgress,
        asked: dict[str, Any],
    ) -> None:
        self.prepared, self.stage, self.settings = prepared, stage, settings
        self.progress, self.asked = progress, asked
        self.folder = Path(str(args.output_dir))
        self._micro_losses: list[torch.Tensor] = []
        super().__init__(
            model=prepared.model, args=args, train_dataset=blocks, data_collator=collate, callbacks=[progress]
        )
        self.remove_callback(PrinterCallback)
        self.remove_callback(ProgressCallback)

    # --- What trains, and how fast ---

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """Groups: new rows apart, for their learning rate; vectors (biases, norms) apart, which are not decayed."""
        if self.optimizer is not None:
            return self.optimizer
        new_rows = self.prepared.new_rows
        groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
        for name, parameter in self.prepared.trained.items():
            groups.setdefault((name in new_rows, parameter.ndim > 1), []).append(parameter)
        self.optimizer = self._optimizer_class()(
            [
                {
                    "params": groups[is_new, is_table],
                    "lr": self.stage.learning_rate * (self.stage.new_rows_factor if is_new else 1.0),
                    "weight_decay": self.stage.weight_decay if is_table else 0.0,
                }
                for is_new, is_table in sorted(groups)
            ],
            betas=ADAM_BETAS,
            eps=ADAM_EPSILON,
        )
        return self.optimizer

    def _optimizer_class(self) -> Any:
        if self.settings.optimizer == "adamw":
            # One kernel a parameter, which reads and writes weight, gradient and state once and holds nothing beside
            # them. torch's default on a CPU, an operation after another, took 2.4 times the processor time.
            return partial(torch.optim.AdamW, fused=True)
        try:
            from bitsandbytes.optim import AdamW8bit  # type: ignore[import-not-found, unused-ignore]
        except ImportError as error:
            raise OptionError(
                "--optimizer adamw-8bit: needs bitsandbytes, which is not installed. "
                "Install it: pip install bitsandbytes; or leave the option out."
            ) from error
        return AdamW8bit

    def create_scheduler(
        self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None
    ) -> torch.optim.lr_scheduler.LRScheduler:
        if self.lr_scheduler is None:
            optimizer = optimizer or self.optimizer
            assert optimizer is not None
            # Not `self` in it: the schedule would keep the trainer, and its model, alive.
            stage = self.stage
            self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(
                optimizer,
                lambda step: learning_rate_factor(stage, min(step, num_training_steps - 1), num_training_steps),
            )
            self._created_lr_scheduler = True
        return self.lr_scheduler

    def autocast_smart_context_manager(self, cache_enabled: bool | None = True) -> Any:
        # Here rather than by accelerate, which leaves its wrapper on the model.
        if self.settings.precision != "bf16-mixed":
            return nullcontext()
        return torch.autocast(self.args.device.type, torch.bfloat16, cache_enabled=cache_enabled)

    def let_go(self) -> None:
        """Drop the optimizer and its state, wherever they are held."""
        self.accelerator.free_memory()
        self.optimizer = self.lr_scheduler = None
        self.callback_handler.optimizer = self.callback_handler.lr_scheduler = None

    # --- A loss that is not a number ---

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        loss: torch.Tensor = super().training_step(*args, **kwargs)
        self._micro_losses.append(loss)
        return loss

    def _get_grad_norm(self, model: nn.Module, grad_norm: Any = None) -> float:
        """Called before every step of the optimizer: the place to stop at a gradient that is not a number."""
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)  # type: ignore[no-untyped-call]
        if isinstance(norm, torch.Tensor):
            norm = (norm.full_tensor() if hasattr(norm, "full_tensor") else norm).item()
        losses, self._micro_losses = torch.stack(self._micro_losses).float().tolist(), []
        bad = next((n for n, loss in enumerate(losses) if not math.isfinite(loss)), None)
        if bad is not None or not math.isfinite(norm):
            what = f"gradient {norm}" if bad is None else f"loss {losses[bad]}"
            raise self._not_finite(what, bad)
        return float(norm)

    def _not_finite(self, what: str, micro_batch: int | None) -> Exception:
        first = self.state.global_step * self.settings.blocks_per_step
        last = first + self.settings.blocks_per_step
        if micro_batch is not None:
            # accelerate deals micro-batches out in turn.
            n = micro_batch * self.args.world_size + self.args.process_index
            first, last = first + n * self.settings.micro_batch, first + (n + 1) * self.settings.micro_batch
        packed, step = self.progress.packed, self.state.global_step + 1
        blocks = range(first, min(last, packed.n_blocks))
        return not_finite(self.stage, self.folder, step, packed, blocks, what, self.settings.seed)

    # --- Checkpoints ---

    def _own_optimizer(self) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
        """Without accelerate's wrapper."""
        optimizer, scheduler = getattr(self.optimizer, "optimizer", self.optimizer), self.lr_scheduler
        assert optimizer is not None
        assert scheduler is not None
        return optimizer, scheduler

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        optimizer, scheduler = self._own_optimizer()
        trained = self.prepared.trained
        weights, tensors, numbers = checkpoints.training_state(trained, optimizer, keep=self.args.should_save)
        unlogged = self.accelerator.gather(self._tr_loss).mean().item()
        folder = checkpoints.folder_of(self.folder, self.state.global_step)
        n_bytes = sum(tensor.nbytes for tensor in [*weights.values(), *tensors.values()])
        try:
            if self.args.should_save:
                checkpoints.remove_checkpoint(folder)
            self.accelerator.wait_for_everyone()
            self._save_rng_state(str(folder))
            if self.args.should_save:
                checkpoints.write_tensors(folder, weights, tensors)
                state = {
                    "asked": self.asked,
                    "optimizer_numbers": numbers,
                    "learning_rates": [group["lr"] for group in optimizer.param_groups],
                    "scheduler": scheduler.state_dict(),
                    "unlogged_loss": unlogged,
                    "last_logged_step": self._globalstep_last_logged,
                    "progress": self.progress.state_dict(),
                }
                checkpoints.write_state(folder, state)
                self.state.save_to_json(str(folder / TRAINER_STATE_NAME))
            self.accelerator.wait_for_everyone()
            if self.args.should_save:
                checkpoints.mark_complete(folder)
                checkpoints.prune(self.folder)
        except (OSError, SafetensorError) as error:
            raise checkpoints.disk_error(self.folder, folder, str(error), n_bytes) from error

    def _save_rng_state(self, output_dir: str) -> None:
        try:
            super()._save_rng_state(output_dir)
        except RuntimeError as error:  # torch.save's, for a disk that is full
            raise OSError(str(error)) from error

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        folder = Path(resume_from_checkpoint)
        check_same(self.asked, checkpoints.read_state(folder)["asked"], folder)
        checkpoints.load_trainable(folder, self.prepared.trained)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None:
            return
        state = checkpoints.read_state(Path(checkpoint))
        optimizer, scheduler = self._own_optimizer()
        checkpoints.load_optimizer(Path(checkpoint), self.prepared.trained, optimizer, state)
        scheduler.load_state_dict(state["scheduler"])
        self.progress.load_state_dict(state["progress"])

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        """The stage's only pass. The loss of steps that were not logged goes on where the checkpoint left it."""
        if checkpoint := kwargs["resume_from_checkpoint"]:
            state = checkpoints.read_state(Path(checkpoint))
            self._tr_loss.fill_(state["unlogged_loss"])
            self._globalstep_last_logged = state["last_logged_step"]
        super()._run_epoch(*args, **kwargs)  # type: ignore[no-untyped-call]

    @contextmanager
    def _defer_fsdp_gradient_reduction(self) -> Iterator[None]:
        """The processes' gradients are added up with the last micro-batch of a step only."""
        model: Any = self.model
        model.set_requires_gradient_sync(False)
        try:
            yield
        finally:
            model.set_requires_gradient_sync(True)

"""The training loop of one stage, in plain torch.

    for every step:  blocks -> micro-batches -> loss, weighted by what they predict -> gradients -> clip -> AdamW
                     -> log -> checkpoint

Several processes compute the same step together: each takes its micro-batches of it, and gradients are added up over
all (copies of the model by DDP, a split model by FSDP2).
"""

import inspect
import math
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from trainer.data.collate import Collator
from trainer.plan import Stage
from trainer.processes import is_main, n_processes, rank, total
from trainer.stages.checkpoints import load_checkpoint, newest_complete, save_checkpoint
from trainer.stages.freeze import PreparedStage
from trainer.stages.integrations import Trackers, make_optimizer
from trainer.stages.peak import PeakMeter
from trainer.stages.record import IGNORED, PackedText, TrainingState
from trainer.stages.settings import StageSettings
from vocabopt.console import Advance
from vocabopt.errors import TrainingError
from vocabopt.training_record import CurvePoint


@dataclass(kw_only=True, eq=False)
class StageLoop:
    """Trains what is prepared. asked: what must be equal in a checkpoint to go on from it, by its option's name."""

    prepared: PreparedStage
    stage: Stage
    settings: StageSettings
    packed: PackedText
    folder: Path
    n_steps: int
    device: torch.device
    collate: Collator
    asked: dict[str, Any]
    on_log: Callable[[CurvePoint], None]

    def __post_init__(self) -> None:
        settings, model = self.settings, self.prepared.model
        self.blocks = self.packed.dataset(settings.seed)
        self.weighs_tokens = _takes_n_predicted(model)
        self.meter = PeakMeter(model, self.device, is_watched=not settings.shard and not settings.compile)
        self.step = self.resumed_at = 0  # steps that are done, and those of them before this process
        self.curve: list[CurvePoint] = []
        self.unlogged_loss = torch.tensor(0.0, device=self.device)  # of this process, since the curve's last point
        self.earlier_seconds = 0.0

    def train(self, checkpoint: Path | None, advance: Advance) -> None:
        """From the start, or from a checkpoint, to the stage's last step.

        Raises:
            TrainingError: a loss or gradient is not finite, the disk is full, or the checkpoint is of another run.
        """
        settings, trained = self.settings, self.prepared.trained
        optimizer = make_optimizer(self._groups(), settings)
        rates = [group["lr"] for group in optimizer.param_groups]
        reports = is_main() and settings.report_to
        trackers = Trackers(self.prepared.model, settings, self.folder, self.n_steps, self.device) if reports else None
        model: Any = self.prepared.model.train()
        if settings.gradient_checkpointing:
            # Not reentrant: blocks get their gradients also where what goes into them wants none (frozen tables).
            self.prepared.model.activation_checkpointing_enable({"use_reentrant": False})
        if n_processes() > 1 and not settings.shard:
            model = DistributedDataParallel(model, device_ids=[self.device] if self.device.type == "cuda" else None)
        compute = torch.compile(model) if settings.compile else model
        if checkpoint is not None:
            state = load_checkpoint(checkpoint, trained, optimizer, self.asked, self.device)
            self.step = self.resumed_at = state.step
            self.curve, self.earlier_seconds = [*state.curve], state.seconds
            self.unlogged_loss.fill_(state.unlogged_loss)
        self.meter.start()
        self.start = self.last_time = time.perf_counter()
        try:
            for step in range(self.step, self.n_steps):
                batches = self._micro_batches(step)
                # Nothing predicts the first token of a block.
                predicted = [batch["labels"][..., 1:].ne(IGNORED).sum() for batch in batches]
                n_predicted = total(torch.stack(predicted).sum())
                self.meter.begin_step(optimizer)
                losses = []
                for number, batch in enumerate(batches, start=1):
                    # The processes' gradients are added up with the last micro-batch of a step only.
                    is_last = number == len(batches)
                    if settings.shard:
                        model.set_requires_gradient_sync(is_last)
                    waits = isinstance(model, DistributedDataParallel) and not is_last
                    with model.no_sync() if waits else nullcontext():
                        losses.append(self._backward(compute, batch, n_predicted, len(batches)))
                norm = self._checked(step, losses, nn.utils.clip_grad_norm_(trained.values(), settings.max_grad_norm))
                factor = learning_rate_factor(self.stage, step, self.n_steps)
                for group, rate in zip(optimizer.param_groups, rates, strict=True):
                    group["lr"] = rate * factor
                optimizer.step()
                optimizer.zero_grad()
                self.meter.end_step()
                self.step = step + 1
                advance(self.n_tokens_read(self.step))
                for loss in losses:
                    self.unlogged_loss += loss
                if self.step == 1 or self.step % settings.log_every_steps == 0 or self.step == self.n_steps:
                    self._log(norm, self.stage.learning_rate * factor, trackers, advance)
                # The stage's end writes the whole model, so a checkpoint of the last step would serve for nothing.
                every = settings.save_every_steps
                if every is not None and self.step % every == 0 and self.step < self.n_steps:
                    state = TrainingState(
                        step=self.step,
                        asked=self.asked,
                        optimizer_numbers={},
                        unlogged_loss=self._unlogged(),
                        seconds=self.seconds,
                        curve=tuple(self.curve),
                    )
                    save_checkpoint(self.folder, trained, optimizer, state, self.device)
        finally:
            self.meter.close()
        if trackers is not None:
            trackers.close()

    def _groups(self) -> list[dict[str, Any]]:
        """Groups: new rows apart, for their learning rate; vectors (biases, norms) apart, which are not decayed."""
        new_rows, stage = self.prepared.new_rows, self.stage
        groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
        for name, parameter in self.prepared.trained.items():
            groups.setdefault((name in new_rows, parameter.ndim > 1), []).append(parameter)
        return [
            {
                "params": groups[is_new, is_table],
                "lr": stage.learning_rate * (stage.new_rows_factor if is_new else 1.0),
                "weight_decay": stage.weight_decay if is_table else 0.0,
            }
            for is_new, is_table in sorted(groups)
        ]

    # --- One step ---

    def _block_numbers(self, step: int) -> list[range]:
        """Blocks of the micro-batches of a step that are this process's: they are dealt out in turn."""
        size, n = self.settings.micro_batch, n_processes()
        first = step * self.settings.blocks_per_step
        last = min(first + self.settings.blocks_per_step, -(-self.packed.n_blocks // (size * n)) * size * n)
        return [range(at, at + size) for at in range(first + rank() * size, last, size * n)]

    def _micro_batches(self, step: int) -> list[dict[str, Any]]:
        """Those of this process. Blocks behind the text's end fill the last ones: they predict and weigh nothing."""
        n_blocks, batches = self.packed.n_blocks, []
        for numbers in self._block_numbers(step):
            blocks = [dict(self.blocks[number if number < n_blocks else 0]) for number in numbers]
            for number, block in zip(numbers, blocks, strict=True):
                if number >= n_blocks:
                    block["labels"] = torch.full_like(block["labels"], IGNORED)
            batch = self.collate(blocks)
            if self.device.type != "cpu":
                for name, value in batch.items():
                    if isinstance(value, Tensor):
                        batch[name] = value.pin_memory().to(self.device, non_blocking=True)
            batches.append(batch)
        return batches

    def _backward(self, compute: Any, batch: dict[str, Any], n_predicted: Tensor, n_batches: int) -> Tensor:
        """The gradients of a micro-batch. Returns its share of the step's loss, times the processes.

        Every predicted token of a step weighs the same. DDP and FSDP2 give the mean of the processes' gradients.
        """
        is_mixed = self.settings.precision == "bf16-mixed"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=is_mixed):
            if self.weighs_tokens:
                loss = compute(**batch, num_items_in_batch=n_predicted).loss * n_processes()
            else:
                loss = compute(**batch).loss / n_batches
        loss.backward()
        detached: Tensor = loss.detach()
        return detached

    def _checked(self, step: int, losses: Sequence[Tensor], norm: Tensor) -> float:
        """The gradient's norm before it was clipped. Raises TrainingError where it or a loss is not a number."""
        norm = norm.full_tensor() if hasattr(norm, "full_tensor") else norm
        found: list[float] = torch.stack([*losses, norm]).float().tolist()
        bad = next((n for n, value in enumerate(found) if not math.isfinite(value)), None)
        if bad is None:
            return found[-1]
        if bad < len(losses):
            what, numbers = f"loss {found[bad]}", self._block_numbers(step)[bad]
        else:
            first = step * self.settings.blocks_per_step
            what, numbers = f"gradient {found[bad]}", range(first, first + self.settings.blocks_per_step)
        blocks = range(numbers.start, min(numbers.stop, self.packed.n_blocks))
        checkpoint, seed = newest_complete(self.folder), self.settings.seed
        kept = f"{checkpoint} is kept." if checkpoint else "No checkpoint was written yet (--save-every)."
        text = self.packed.text_of(blocks, seed)
        raise TrainingError(
            f"stage {self.stage.name!r}: {what} in step {step + 1}, blocks {blocks[0]} to {blocks[-1]} of its text "
            f"(seed {seed}){f', which are {text}' if text else ''}. {kept} Look at this text; lower the learning rate "
            f"({self.stage.learning_rate:g}, --learning-rate-factor) or use --precision fp32."
        )

    # --- What is known of the stage so far ---

    @property
    def seconds(self) -> float:
        return self.earlier_seconds + time.perf_counter() - self.start

    def n_tokens_read(self, step: int) -> int:
        return self._share(self.packed.n_tokens, step)

    def n_bytes_read(self, step: int) -> int:
        return self._share(self.packed.n_bytes, step)

    def _share(self, n: int, step: int) -> int:
        return n * min(step * self.settings.blocks_per_step, self.packed.n_blocks) // self.packed.n_blocks

    def _log(self, norm: float, learning_rate: float, trackers: Trackers | None, advance: Advance) -> None:
        """A point of the curve: the mean loss of the steps since the one before."""
        last = self.curve[-1].step if self.curve else 0
        last_tokens = self.n_tokens_read(max(last, self.resumed_at))
        now, n_tokens = time.perf_counter(), self.n_tokens_read(self.step)
        point = CurvePoint(
            step=self.step,
            tokens=n_tokens,
            bytes=self.n_bytes_read(self.step),
            loss=self._unlogged() / (self.step - last),
            learning_rate=learning_rate,
            grad_norm=norm,
            tokens_per_second=(n_tokens - last_tokens) / max(now - self.last_time, 1e-9),
        )
        self.unlogged_loss.zero_()
        self.last_time = now
        self.curve.append(point)
        if trackers is not None:
            trackers.log(point)
        advance(n_tokens, f"loss {point.loss:.3f}")
        self.on_log(point)

    def _unlogged(self) -> float:
        """The loss since the last point, of all processes."""
        return total(self.unlogged_loss.clone()).item() / n_processes()


def _takes_n_predicted(model: nn.Module) -> bool:
    """Whether a model divides its loss by a number that it is given, as transformers' Trainer finds out."""
    said = getattr(model, "accepts_loss_kwargs", None)
    if said is not None:
        return bool(said)
    return any(each.kind is each.VAR_KEYWORD for each in inspect.signature(model.forward).parameters.values())


def learning_rate_factor(stage: Stage, step: int, n_steps: int) -> float:
    """What the stage's highest learning rate is multiplied with in a step, the first of `n_steps` being 0.

    It rises in equal parts over the warmup, reaches 1 in the step after it, and arrives at `final_factor` in the last
    step. The rate is 0 only if final_factor is 0.
    """
    n_warmup = min(math.ceil(stage.warmup * n_steps), n_steps - 1)
    if step < n_warmup:
        return (step + 1) / (n_warmup + 1)
    n_after = n_steps - 1 - n_warmup
    done = min(1.0, (step - n_warmup) / n_after) if n_after > 0 else 0.0
    if stage.schedule == "constant":
        return 1.0
    height = 1 - done if stage.schedule == "linear" else (1 + math.cos(math.pi * done)) / 2
    return stage.final_factor + (1 - stage.final_factor) * height

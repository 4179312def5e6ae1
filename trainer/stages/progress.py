"""What a stage has done so far: its curve, its time and its highest memory, for the console and for checkpoints."""

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from trainer.plan import Stage
from trainer.stages.blocks import PackedText
from trainer.stages.peak import PeakMeter
from trainer.stages.record import CurvePoint
from trainer.stages.schedule import learning_rate_factor
from trainer.stages.settings import StageSettings
from vocabopt.console import Advance


class StageProgress(TrainerCallback):
    """Decides when to log and save, and keeps the curve."""

    def __init__(
        self,
        stage: Stage,
        packed: PackedText,
        settings: StageSettings,
        n_steps: int,
        meter: PeakMeter,
        on_log: Callable[[CurvePoint], None],
    ) -> None:
        self.stage, self.packed, self.settings = stage, packed, settings
        self.n_steps, self.meter, self.on_log_point = n_steps, meter, on_log
        self.advance: Advance = lambda done, note="": None
        self.curve: list[CurvePoint] = []
        self._earlier_seconds = 0.0
        self._start = self._last_time = time.perf_counter()
        self._last_tokens = 0

    @property
    def seconds(self) -> float:
        return self._earlier_seconds + time.perf_counter() - self._start

    def share_of_text(self, total: int, step: int) -> int:
        """Tokens or bytes read after a step, of the stage's `total`."""
        n_blocks = min(step * self.settings.blocks_per_step, self.packed.n_blocks)
        return total * n_blocks // self.packed.n_blocks

    def state_dict(self) -> dict[str, Any]:
        return {
            "seconds": self.seconds,
            "curve": [asdict(point) for point in self.curve],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._earlier_seconds = state["seconds"]
        self.curve = [CurvePoint(**point) for point in state["curve"]]

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.meter.start()
        self._start = self._last_time = time.perf_counter()
        self._last_tokens = self.share_of_text(self.packed.n_tokens, state.global_step)

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.meter.begin_step(kwargs["optimizer"])

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        step = state.global_step
        is_last = step >= self.n_steps
        self.meter.end_step()
        every = self.settings.save_every_steps
        control.should_log = control.should_log or is_last
        # The stage's end writes the whole model, so a checkpoint of the last step would serve for nothing.
        control.should_save = every is not None and step % every == 0 and not is_last
        self.advance(self.share_of_text(self.packed.n_tokens, step))

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        if not logs or "loss" not in logs:
            return
        step, now = state.global_step, time.perf_counter()
        tokens = self.share_of_text(self.packed.n_tokens, step)
        factor = learning_rate_factor(self.stage, step - 1, self.n_steps)
        point = CurvePoint(
            step=step,
            tokens=tokens,
            bytes=self.share_of_text(self.packed.n_bytes, step),
            loss=logs["loss"],
            learning_rate=self.stage.learning_rate * factor,
            grad_norm=logs["grad_norm"],
            tokens_per_second=(tokens - self._last_tokens) / max(now - self._last_time, 1e-9),
        )
        self._last_time, self._last_tokens = now, tokens
        self.curve.append(point)
        self.advance(tokens, f"loss {point.loss:.3f}")
        self.on_log_point(point)

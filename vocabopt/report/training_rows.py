"""The rows of an adaptation: its stages, its texts, and the arms that were trained.

Bits per byte throughout: the one unit that compares across tokenizers. What is not a finite number (a loss that
diverged) is None. Quotients are those of two given numbers.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vocabopt.report.rows import quotient

N_COLOURS = 6


def finite(value: Any) -> float | None:
    """A number as it is; None for anything else, and for what is not finite."""
    try:
        return value if isinstance(value, int | float) and math.isfinite(value) else None
    except OverflowError:  # a whole number of more digits than any float
        return None


def _scores(given: Mapping[str, Any] | None) -> dict[str, float | None]:
    return {name: finite(value) for name, value in (given or {}).items()}


@dataclass(frozen=True, kw_only=True)
class Point:
    """One logged point of a stage: how far it had come, and the mean loss since the point before (nats per token)."""

    step: float | None
    tokens: float | None
    bytes: float | None
    loss: float | None


@dataclass(frozen=True, kw_only=True)
class StageRow:
    """One stage. n_params: parameters of the whole model. bits: bits per byte at its end, by text."""

    number: int
    name: str | None
    trains: str | None
    n_trainable: float | None
    n_params: float | None
    n_steps: float | None
    tokens: float | None
    bytes: float | None
    seconds: float | None
    peak_bytes: float | None
    learning_rate: float | None
    bits: Mapping[str, float | None]
    curve: Sequence[Point]

    @property
    def share_trainable(self) -> float | None:
        return quotient(self.n_trainable, self.n_params)

    @property
    def tokens_per_second(self) -> float | None:
        return quotient(self.tokens, self.seconds)

    @property
    def rate_words(self) -> str | None:
        """The learning rate as people write it: 5e-4, 0.01."""
        if self.learning_rate is None:
            return None
        if not 0 < self.learning_rate < 0.01:
            return f"{self.learning_rate:g}"
        digits, _, power = f"{self.learning_rate:.2e}".partition("e")
        return f"{float(digits):g}e{int(power)}"


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One model trained: the adapted one, or the control. Each mapping is of text name to bits per byte."""

    before: Mapping[str, float | None]
    initialised: Mapping[str, float | None]
    stages: Sequence[StageRow]
    after: Mapping[str, float | None]

    @property
    def bytes(self) -> float | None:
        return _total([stage.bytes for stage in self.stages])

    @property
    def seconds(self) -> float | None:
        return _total([stage.seconds for stage in self.stages])

    @property
    def highest(self) -> StageRow | None:
        """The stage that took most memory."""
        known = [stage for stage in self.stages if stage.peak_bytes is not None]
        return max(known, key=lambda stage: stage.peak_bytes or 0, default=None)

    def latest(self, name: str) -> tuple[float | None, StageRow | None]:
        """The last bits per byte that were measured in training; and the stage, where the run's end was not."""
        if self.after.get(name) is not None:
            return self.after[name], None
        for stage in reversed(self.stages):
            if stage.bits.get(name) is not None:
                return stage.bits[name], stage
        return None, None


def _total(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known and len(known) == len(values) else None


def arm_of(given: Mapping[str, Any], n_params: float | None) -> Arm:
    return Arm(
        before=_scores(given.get("before")),
        initialised=_scores(given.get("initialised")),
        stages=[_stage(number, stage, n_params) for number, stage in enumerate(given.get("stages") or [], start=1)],
        after=_scores(given.get("after")),
    )


def _stage(number: int, given: Mapping[str, Any], n_params: float | None) -> StageRow:
    numbers = ("n_trainable", "n_steps", "tokens", "bytes", "seconds", "peak_bytes", "learning_rate")
    points = ({name: finite(point.get(name)) for name in ("step", "tokens", "bytes", "loss")} for point in
              given.get("curve") or [])  # fmt: skip
    return StageRow(
        number=number,
        name=given.get("name"),
        trains=given.get("trains"),
        n_params=n_params,
        bits=_scores(given.get("bits_per_byte")),
        curve=[Point(**point) for point in points],
        **{name: finite(given.get(name)) for name in numbers},
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Score:
    """One text that the models were measured on. number: in figures and tables, from 1; bits per byte throughout.

    now: the last that was measured, at the end of the stage `now_at` where that is not the run's end; `control_at` is
    that of the control. worst: the most after any stage, or at the end.
    """

    number: int
    name: str
    given: Mapping[str, Any]
    before: float | None
    initialised: float | None
    now: float | None
    now_at: StageRow | None
    worst: float | None
    control_before: float | None
    control: float | None
    control_at: StageRow | None

    @property
    def role(self) -> str | None:
        role = self.given.get("role")
        return None if role is None else str(role)

    @property
    def change(self) -> float | None:
        """Of bits per byte, as a share of those before: below 0 where the model got better, above where it forgot."""
        return change_of(self.before, self.now)

    @property
    def worst_change(self) -> float | None:
        return change_of(self.before, self.worst)

    @property
    def control_change(self) -> float | None:
        return change_of(self.control_before, self.control)

    @property
    def lead(self) -> float | None:
        """What the adapted model is ahead of the control, in bits per byte; below 0 where the control wins.

        None where one of them has not come to its end: they compare at equal text.
        """
        is_whole = self.now_at is None and self.control_at is None
        return self.control - self.now if is_whole and self.control is not None and self.now is not None else None

    @property
    def n_bytes(self) -> float | None:
        return finite(self.given.get("n_bytes"))

    @property
    def tokens_per_byte_before(self) -> float | None:
        return quotient(finite(self.given.get("n_tokens_before")), self.n_bytes)

    @property
    def tokens_per_byte_after(self) -> float | None:
        return quotient(finite(self.given.get("n_tokens_after")), self.n_bytes)

    @property
    def tokens_change(self) -> float | None:
        return change_of(finite(self.given.get("n_tokens_before")), finite(self.given.get("n_tokens_after")))

    @property
    def colour(self) -> str:
        """Name of its colour in figures and swatches: six, then from the first again, dotted."""
        return f"s{(self.number - 1) % N_COLOURS}"

    @property
    def dash(self) -> str:
        return "solid" if self.number <= N_COLOURS else "dotted"


def change_of(before: float | None, after: float | None) -> float | None:
    share = quotient(after, before)
    return None if share is None else share - 1

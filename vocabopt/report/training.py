"""adapt.json, what adapting a model did, as far as the page shows it: its stages, its texts, and the control beside it.

A run that was stopped, or that measured less, holds less: what is missing is None or empty, and the page leaves it out.
Bits per byte throughout: the one unit that compares across tokenizers. Quotients are those of two given numbers.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from math import isfinite, log
from typing import Any, ClassVar

import msgspec

from vocabopt.records import FileRecord, Record
from vocabopt.report.inputs import Number
from vocabopt.report.text import change_of, quotient

#: Text -> bits per byte; None where it was not measured.
Bits = dict[str, Number | None]

# --- The file ---------------------------------------------------------------------------------------------------------


class LogPoint(Record, frozen=True, kw_only=True):
    """One logged point of a stage: how far it had come, and the mean loss since the point before (nats per token)."""

    step: Number | None = None
    tokens: Number | None = None
    bytes: Number | None = None
    loss: Number | None = None


class Stage(Record, frozen=True, kw_only=True):
    """One stage of training. bits_per_byte: at its end."""

    name: str | None = None
    trains: str | None = None
    n_trainable: Number | None = None
    n_steps: Number | None = None
    tokens: Number | None = None
    bytes: Number | None = None
    seconds: Number | None = None
    peak_bytes: Number | None = None
    learning_rate: Number | None = None
    bits_per_byte: Bits
    curve: tuple[LogPoint, ...] | None = None


class Written(Record, frozen=True, kw_only=True):
    """A prompt, and how the model goes on before and after training."""

    prompt: str
    before: str | None = None
    after: str | None = None


class TextRead(Record, frozen=True, kw_only=True):
    """A text that was measured."""

    role: str | None = None
    n_documents: Number | None = None
    n_bytes: Number | None = None
    n_tokens_before: Number | None = None
    n_tokens_after: Number | None = None


class Part(Record, frozen=True, kw_only=True):
    """A part of the training text."""

    n_bytes: Number | None = None
    n_documents: Number | None = None


class TrainingText(Part, frozen=True, kw_only=True):
    """The training text. passes: how often it is to be read in all."""

    passes: Number | None = None
    sources: dict[str, Part] | None = None

    @property
    def source_bytes(self) -> float | None:
        """Bytes of all its parts together, where those of each are known."""
        return _total([part.n_bytes for part in (self.sources or {}).values()])


class Exposure(Record, frozen=True, kw_only=True):
    """How often the new tokens occur in the training text; p10: of ten the lowest."""

    n_new: Number | None = None
    n_unseen: Number | None = None
    median: Number | None = None
    p10: Number | None = None


class Gate(Record, frozen=True, kw_only=True):
    """The most that may be forgotten on base-language text, as a share of bits per byte before; and what was."""

    max_forgetting: Number | None = None
    worst: Number | None = None
    texts: tuple[str, ...] | None = None

    @property
    def held(self) -> bool | None:
        """None where there was no gate, or nothing was measured."""
        return None if self.max_forgetting is None or self.worst is None else self.worst <= self.max_forgetting


class FullTraining(Record, frozen=True, kw_only=True):
    """Peak memory of training every parameter at once; source: how it is known."""

    peak_bytes: Number | None = None
    source: str | None = None


class Control(Record, frozen=True, kw_only=True):
    """The original tokenizer with the same text and plan."""

    before: Bits | None = None
    stages: tuple[Stage, ...] | None = None
    after: Bits
    samples: tuple[Written, ...] | None = None


class AdaptRecord(FileRecord, frozen=True, kw_only=True):
    NEXT_STEP: ClassVar[str] = "Run `vocabopt adapt` again."

    #: "finished", "running", or "stopped: why".
    status: str | None = None
    plan: str | None = None
    init: str | None = None
    model: str | None = None
    device: str | None = None
    n_added: Number | None = None
    n_params: Number | None = None
    options: dict[str, Any] | None = None
    versions: dict[str, Any] | None = None
    texts: dict[str, TextRead] | None = None
    training_text: TrainingText | None = None
    exposure: Exposure | None = None
    before: Bits
    #: With the new rows made, before training.
    initialised: Bits | None = None
    stages: tuple[Stage, ...] | None = None
    after: Bits
    gate: Gate | None = None
    full_training: FullTraining | None = None
    samples: tuple[Written, ...] | None = None
    control: Control | None = None

    @property
    def stopped_by(self) -> str | None:
        """Why the run stopped; None where it did not."""
        kind, _, reason = (self.status or "").partition(":")
        return (reason.strip() or "no reason was kept") if kind.strip() == "stopped" else None


# --- Stages, arms and texts -------------------------------------------------------------------------------------------

N_COLOURS = 6


class StageRow(Stage, frozen=True, kw_only=True):
    """One stage. number: from 1. n_params: parameters of the whole model."""

    number: int
    n_params: Number | None

    @property
    def rate_words(self) -> str | None:
        """The learning rate as people write it: 5e-4, 0.01."""
        if self.learning_rate is None:
            return None
        if not 0 < self.learning_rate < 0.01:
            return f"{self.learning_rate:g}"
        digits, _, power = f"{self.learning_rate:.2e}".partition("e")
        return f"{float(digits):g}e{int(power)}"


class Arm:
    """One model trained: the adapted one, or the control. Each mapping is of text name to bits per byte."""

    def __init__(self, given: AdaptRecord | Control) -> None:
        self.before, self.after = given.before or {}, given.after
        self.initialised: Bits = {}
        n_params = None
        if isinstance(given, AdaptRecord):
            self.initialised, n_params = given.initialised or {}, given.n_params
        self.stages = [
            StageRow(number=number, n_params=n_params, **msgspec.structs.asdict(stage))
            for number, stage in enumerate(given.stages or (), start=1)
        ]

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


def _total(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known and len(known) == len(values) else None


class Course:
    """The bits per byte of one text in one arm.

    now: the last that was measured, at the end of the stage `now_at` where that is not the run's end. worst: the most
    after any stage, or at the end.
    """

    def __init__(self, arm: Arm, name: str, before: float | None = None) -> None:
        """before: of a model whose arm has no figure of its own."""
        own, end = arm.before.get(name), arm.after.get(name)
        each = [(bits, stage) for stage in arm.stages if (bits := stage.bits_per_byte.get(name)) is not None]
        self.before = before if own is None else own
        self.initialised = arm.initialised.get(name)
        self.now: float | None = end
        self.now_at: StageRow | None = None
        if end is None and each:
            self.now, self.now_at = each[-1]
        self.worst = max([*(bits for bits, _ in each), *([] if self.now is None else [self.now])], default=None)
        self.change, self.worst_change = change_of(self.before, self.now), change_of(self.before, self.worst)


class Score(Course):
    """One text that the models were measured on. number: in figures and tables, from 1. control: its course there."""

    def __init__(self, number: int, name: str, text: TextRead, adapted: Arm, control: Arm) -> None:
        super().__init__(adapted, name)
        self.number, self.name, self.text = number, name, text
        # Both arms start from the same model: a control that holds no figures of its own shares these.
        self.control = Course(control, name, self.before)

    @property
    def lead(self) -> float | None:
        """What the adapted model is ahead of the control, in bits per byte; below 0 where the control wins.

        None where one of them has not come to its end: they compare at equal text.
        """
        is_whole = self.now_at is None and self.control.now_at is None
        return (
            self.control.now - self.now if is_whole and self.control.now is not None and self.now is not None else None
        )

    @property
    def tokens_per_byte_before(self) -> float | None:
        return quotient(self.text.n_tokens_before, self.text.n_bytes)

    @property
    def tokens_per_byte_after(self) -> float | None:
        return quotient(self.text.n_tokens_after, self.text.n_bytes)

    @property
    def tokens_change(self) -> float | None:
        return change_of(self.text.n_tokens_before, self.text.n_tokens_after)

    @property
    def colour(self) -> str:
        """Name of its colour in figures and swatches: six, then from the first again, dotted."""
        return f"s{(self.number - 1) % N_COLOURS}"

    @property
    def dash(self) -> str:
        return "solid" if self.number <= N_COLOURS else "dotted"


# --- Training loss over the text read ---------------------------------------------------------------------------------
#
# A loss is the mean nats of the tokens since the point before it; times those tokens, over the bytes that they stand
# for and ln 2, it is bits per byte: what compares between stages, and between tokenizers. Where a run logged no tokens
# or bytes, those of the whole stage stand in; where it has none of these either, the loss stays in nats per token.

N_POINTS_DRAWN = 400


@dataclass(frozen=True, kw_only=True)
class Track:
    """Where the stages lie on an axis of text read. ends: of each, in bytes; or, where a stage's bytes are not known,
    in stages."""

    ends: Sequence[float]
    in_bytes: bool

    @property
    def total(self) -> float:
        return self.ends[-1] if self.ends else 0.0

    @property
    def spans(self) -> list[tuple[float, float]]:
        return list(pairwise([0.0, *self.ends]))


def track_of(arm: Arm) -> Track:
    known = [stage.bytes for stage in arm.stages if stage.bytes is not None and stage.bytes > 0]
    in_bytes = len(known) == len(arm.stages)
    widths = known if in_bytes else [1.0] * len(arm.stages)
    return Track(ends=[sum(widths[:number], 0.0) for number in range(1, len(widths) + 1)], in_bytes=in_bytes)


@dataclass(frozen=True, kw_only=True)
class _Interval:
    """From one logged point to the next. share: of the stage's text, at its end; weight: what its loss counts with,
    tokens where they are known; n_bytes: what the weight stands for, None where that is not known."""

    share: float
    loss: float
    weight: float
    n_bytes: float | None


def _intervals(stage: StageRow) -> list[_Interval]:
    pairs = list(pairwise([LogPoint(step=0, tokens=0, bytes=0, loss=None), *(stage.curve or ())]))
    steps = [(_grown(old.tokens, new.tokens), _grown(old.bytes, new.bytes)) for old, new in pairs]
    is_logged = all(tokens is not None and n_bytes is not None for tokens, n_bytes in steps)
    bytes_per_token = stage.bytes / stage.tokens if stage.tokens and stage.bytes else None
    found = []
    for index, ((_, point), (tokens, n_bytes)) in enumerate(zip(pairs, steps, strict=True), start=1):
        if point.loss is None:
            continue
        share = _share(point.bytes, stage.bytes) or _share(point.step, stage.n_steps) or index / len(pairs)
        weight, stands_for = (tokens, n_bytes) if is_logged and tokens is not None else (1.0, bytes_per_token)
        found.append(_Interval(share=share, loss=point.loss, weight=weight, n_bytes=stands_for))
    return found


def _grown(old: float | None, new: float | None) -> float | None:
    return new - old if old is not None and new is not None and new > old else None


def _share(part: float | None, whole: float | None) -> float | None:
    return min(part / whole, 1.0) if part is not None and part > 0 and whole else None


def has_bits(arm: Arm) -> bool:
    """Can every loss of this arm be told in bits per byte?"""
    return all(interval.n_bytes is not None for stage in arm.stages for interval in _intervals(stage))


def loss_lines(arm: Arm, *, in_bits: bool) -> Iterator[list[tuple[float, float]]]:
    """For each stage the points of its line: text read on the arm's track, and bits per byte or nats per token.

    Of a long run each point is the mean over several intervals, a ratio of sums.
    """
    n_points = sum(len(stage.curve or ()) for stage in arm.stages)
    n_each = max(1, -(-n_points // N_POINTS_DRAWN))
    for stage, (start, end) in zip(arm.stages, track_of(arm).spans, strict=True):
        intervals = _intervals(stage)
        line = []
        for at in range(0, len(intervals), n_each):
            together = intervals[at : at + n_each]
            nats = sum(interval.loss * interval.weight for interval in together)
            if in_bits:
                value = nats / log(2) / sum(interval.n_bytes or 0 for interval in together)
            else:
                value = nats / sum(interval.weight for interval in together)
            if isfinite(value):
                line.append((start + together[-1].share * (end - start), value))
        yield line


# --- The whole adaptation ---------------------------------------------------------------------------------------------


class Training:
    """adapt.json, asked in the words of the page."""

    def __init__(self, record: AdaptRecord) -> None:
        self.record = record
        self.adapted = Arm(record)
        self.control = None if record.control is None else Arm(record.control)

    @cached_property
    def scores(self) -> list[Score]:
        """Every text, those adapted to first, then base-language text; each in the order given."""
        texts = self.record.texts or {}
        read = {name: texts.get(name, TextRead()) for name in [*texts, *self.adapted.before, *self.adapted.after]}
        order = {"target": 0, "base": 2}
        ordered = sorted(read, key=lambda name: order.get(str(read[name].role), 1))
        control = self.control or Arm(Control(after={}))
        return [Score(number, name, read[name], self.adapted, control) for number, name in enumerate(ordered, start=1)]

    @property
    def targets(self) -> list[Score]:
        """Texts in the language adapted to; where no text has a role, every text."""
        targets = [score for score in self.scores if score.text.role == "target"]
        return targets or [score for score in self.scores if score.text.role is None]

    @property
    def base_texts(self) -> list[Score]:
        return [score for score in self.scores if score.text.role == "base"]

    @property
    def most_forgotten(self) -> Score | None:
        known = [score for score in self.base_texts if score.change is not None]
        return max(known, key=lambda score: score.change or 0, default=None)

    @property
    def control_samples(self) -> dict[str, str]:
        """How the control goes on, by prompt."""
        samples = () if self.record.control is None else self.record.control.samples or ()
        return {sample.prompt: sample.after for sample in samples if sample.after is not None}

    @property
    def full_training(self) -> FullTraining | None:
        """Peak memory of training every parameter at once, where it is known."""
        full = self.record.full_training
        return None if full is None or full.peak_bytes is None else full

    @property
    def loss_in_bits(self) -> bool:
        """Is the training loss shown in bits per byte, or per token?"""
        return has_bits(self.adapted)

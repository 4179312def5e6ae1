"""What adapting a model did (adapt.json), asked in the words of the page: its stages, texts and arms.

A run that was stopped, or that measured less, holds less: what is missing is None or empty, and the page leaves it out.
Bits per byte throughout: the one unit that compares across tokenizers. What is not a finite number (a loss that
diverged) is None. Quotients are those of two given numbers.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from math import isfinite, log

import msgspec

from vocabopt.report.inputs import (
    AdaptRecord,
    Bits,
    Exposure,
    FullTraining,
    LogPoint,
    Number,
    Stage,
    TextRead,
    TrainingText,
)
from vocabopt.report.text import quotient
from vocabopt.text.scripts import dominant_script

# --- Stages, arms and texts -------------------------------------------------------------------------------------------

N_COLOURS = 6


class StageRow(Stage, frozen=True, kw_only=True):
    """One stage. number: from 1. n_params: parameters of the whole model."""

    number: int
    n_params: Number | None

    @property
    def bits(self) -> Bits:
        """Bits per byte at its end, by text."""
        return self.bits_per_byte

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

    before: Bits
    initialised: Bits
    stages: Sequence[StageRow]
    after: Bits

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


def _rows(stages: Sequence[Stage] | None, n_params: Number | None) -> list[StageRow]:
    return [
        StageRow(number=number, n_params=n_params, **msgspec.structs.asdict(stage))
        for number, stage in enumerate(stages or (), start=1)
    ]


@dataclass(frozen=True, kw_only=True, eq=False)
class Score:
    """One text that the models were measured on. number: in figures and tables, from 1; bits per byte throughout.

    now: the last that was measured, at the end of the stage `now_at` where that is not the run's end; `control_at` is
    that of the control. worst: the most after any stage, or at the end.
    """

    number: int
    name: str
    text: TextRead
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
        return self.text.role

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
        return self.text.n_bytes

    @property
    def tokens_per_byte_before(self) -> float | None:
        return quotient(self.text.n_tokens_before, self.n_bytes)

    @property
    def tokens_per_byte_after(self) -> float | None:
        return quotient(self.text.n_tokens_after, self.n_bytes)

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


def change_of(before: float | None, after: float | None) -> float | None:
    share = quotient(after, before)
    return None if share is None else share - 1


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
    widths = [stage.bytes for stage in arm.stages]
    known = [width for width in widths if width is not None and width > 0]
    in_bytes = len(known) == len(widths)
    ends: list[float] = []
    for width in known if in_bytes else [1.0] * len(widths):
        ends.append(width + (ends[-1] if ends else 0.0))
    return Track(ends=ends, in_bytes=in_bytes)


@dataclass(frozen=True, kw_only=True)
class _Interval:
    """From one logged point to the next. share: of the stage's text, at its end; weight: what its loss counts with,
    tokens where they are known; n_bytes: what the weight stands for, None where that is not known."""

    share: float
    loss: float
    weight: float
    n_bytes: float | None


def _intervals(stage: StageRow) -> list[_Interval]:
    first = LogPoint(step=0, tokens=0, bytes=0, loss=None)
    pairs = list(pairwise([first, *(stage.curve or ())]))
    steps = [(_grown(old.tokens, new.tokens), _grown(old.bytes, new.bytes)) for old, new in pairs]
    is_logged = all(tokens is not None and n_bytes is not None for tokens, n_bytes in steps)
    tokens_per_byte = stage.tokens / stage.bytes if stage.tokens and stage.bytes else None
    found = []
    for index, ((_, point), (tokens, n_bytes)) in enumerate(zip(pairs, steps, strict=True), start=1):
        if point.loss is None:
            continue
        share = _share(point.bytes, stage.bytes) or _share(point.step, stage.n_steps) or index / len(pairs)
        if is_logged and tokens is not None:
            weight, stands_for = tokens, n_bytes
        else:
            weight, stands_for = 1.0, None if tokens_per_byte is None else 1 / tokens_per_byte
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
    track = track_of(arm)
    n_points = sum(len(stage.curve or ()) for stage in arm.stages)
    n_each = max(1, -(-n_points // N_POINTS_DRAWN))
    for stage, (start, end) in zip(arm.stages, track.spans, strict=True):
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

N_SAMPLE_LINES = 24
_FINISHED, _RUNNING, _STOPPED = "finished", "running", "stopped"
# Scripts that, on the whole, one language writes: a browser then picks its letters, a screen reader its voice.
_LANGUAGES = {
    "Armenian": "hy",
    "Georgian": "ka",
    "Greek": "el",
    "Hangul": "ko",
    "Hiragana": "ja",
    "Katakana": "ja",
    "Thai": "th",
}


@dataclass(frozen=True, kw_only=True)
class Passage:
    """Text that a model wrote, in its lines; None where there is none. language: of its script, where that tells."""

    text: str | None
    lines: Sequence[str] = field(default=())
    n_more: int = 0
    language: str | None = None


def _passage(text: str | None) -> Passage:
    if text is None:
        return Passage(text=None)
    lines = text.replace("\r\n", "\n").split("\n")
    shown = lines[:N_SAMPLE_LINES]
    language = _LANGUAGES.get(dominant_script(text[:1000]) or "")
    return Passage(text=text, lines=shown, n_more=len(lines) - len(shown), language=language)


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A prompt, and how each model goes on."""

    prompt: Passage
    before: Passage
    after: Passage
    control: Passage


@dataclass(frozen=True, kw_only=True)
class Source:
    """A part of the training text; share: of its bytes."""

    name: str
    n_documents: float | None
    n_bytes: float | None
    share: float | None


class Training:
    """adapt.json, asked in the words of the page."""

    def __init__(self, record: AdaptRecord) -> None:
        self.record = record
        self.status, self.n_added, self.gate = record.status, record.n_added, record.gate
        self.adapted = Arm(
            before=record.before,
            initialised=record.initialised or {},
            stages=_rows(record.stages, record.n_params),
            after=record.after,
        )
        control = record.control
        self.control = None if control is None else Arm(
            before=control.before or {}, initialised={}, stages=_rows(control.stages, None), after=control.after
        )  # fmt: skip

    def said(self, name: str) -> str | None:
        """A field that holds words: plan, init, model, device."""
        words: str | None = getattr(self.record, name)
        return words

    @property
    def is_finished(self) -> bool:
        return self.status == _FINISHED

    @property
    def is_running(self) -> bool:
        return self.status == _RUNNING

    @property
    def stopped_by(self) -> str | None:
        """Why the run stopped; None where it did not."""
        kind, _, reason = (self.status or "").partition(":")
        return (reason.strip() or "no reason was kept") if kind.strip() == _STOPPED else None

    @cached_property
    def scores(self) -> list[Score]:
        """Every text, those adapted to first, then base-language text; each in the order given."""
        adapted, control, texts = self.adapted, self.control, self.record.texts or {}
        names = dict.fromkeys([*texts, *adapted.before, *adapted.after])
        order = {"target": 0, "base": 2}
        read = {name: texts.get(name, TextRead()) for name in names}
        ordered = sorted(names, key=lambda name: order.get(str(read[name].role), 1))
        return [self._score(number, name, read[name], adapted, control)
                for number, name in enumerate(ordered, start=1)]  # fmt: skip

    @staticmethod
    def _score(number: int, name: str, read: TextRead, adapted: Arm, control: Arm | None) -> Score:
        now, now_at = adapted.latest(name)
        each = [bits for stage in adapted.stages if (bits := stage.bits.get(name)) is not None]
        before = adapted.before.get(name)
        own = None if control is None else control.before.get(name)
        control_now, control_at = (None, None) if control is None else control.latest(name)
        return Score(
            number=number,
            name=name,
            text=read,
            before=before,
            initialised=adapted.initialised.get(name),
            now=now,
            now_at=now_at,
            worst=max([*each, *([] if now is None else [now])], default=None),
            # Both arms start from the same model: a control that holds no figures of its own shares these.
            control_before=before if own is None else own,
            control=control_now,
            control_at=control_at,
        )

    @property
    def targets(self) -> list[Score]:
        """Texts in the language adapted to; where no text has a role, every text."""
        targets = [score for score in self.scores if score.role == "target"]
        return targets or [score for score in self.scores if score.role is None]

    @property
    def base_texts(self) -> list[Score]:
        return [score for score in self.scores if score.role == "base"]

    @property
    def most_forgotten(self) -> Score | None:
        known = [score for score in self.base_texts if score.change is not None]
        return max(known, key=lambda score: score.change or 0, default=None)

    @cached_property
    def samples(self) -> list[Sample]:
        """Prompts with their continuations; the control's where it was given the same prompt."""
        control = self.record.control
        by_control = {} if control is None else {sample.prompt: sample.after for sample in control.samples or ()}
        return [
            Sample(
                prompt=_passage(sample.prompt),
                before=_passage(sample.before),
                after=_passage(sample.after),
                control=_passage(by_control.get(sample.prompt)),
            )
            for sample in self.record.samples or ()
        ]

    @property
    def full_training(self) -> FullTraining | None:
        """Peak memory of training every parameter at once, where it is known."""
        full = self.record.full_training
        return None if full is None or full.peak_bytes is None else full

    @property
    def loss_in_bits(self) -> bool:
        """Is the training loss shown in bits per byte, or per token?"""
        return has_bits(self.adapted)

    @property
    def exposure(self) -> Exposure | None:
        return self.record.exposure

    @property
    def text(self) -> TrainingText | None:
        return self.record.training_text

    @property
    def sources(self) -> list[Source]:
        """The parts of the training text, with their shares of its bytes where those of all are known."""
        sources = ({} if self.text is None else self.text.sources) or {}
        known = [source.n_bytes for source in sources.values() if source.n_bytes is not None]
        total = sum(known) if len(known) == len(sources) else None
        return [
            Source(
                name=name,
                n_documents=source.n_documents,
                n_bytes=source.n_bytes,
                share=quotient(source.n_bytes, total),
            )
            for name, source in sources.items()
        ]

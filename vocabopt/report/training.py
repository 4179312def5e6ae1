"""adapt.json in the words of the page: the course of each text over the stages, and the control beside it.

A run that was stopped, or that measured less, has measured fewer texts: what is missing is None, and the page leaves it
out. So is a number that is not finite, of a run that diverged. Bits per byte throughout: the one unit that compares
across tokenizers. Quotients are those of two given numbers.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from math import isfinite, log

from vocabopt.report.text import change_of, quotient
from vocabopt.training_record import AdaptRecord, Bits, ControlRecord, StageRecord, TextRecord

# --- Stages, arms and texts -------------------------------------------------------------------------------------------

N_COLOURS = 6


@dataclass(frozen=True, kw_only=True)
class StageRow:
    """One stage. number: from 1. bits: of each text at its end, where that is known."""

    number: int
    run: StageRecord
    bits: Bits


class Arm:
    """One model trained: the adapted one, or the control. Mappings: of text name to bits per byte, where known."""

    def __init__(self, given: AdaptRecord | ControlRecord) -> None:
        self.before, self.after = _known(given.before), _known(given.after)
        self.initialised = _known(given.initialised) if isinstance(given, AdaptRecord) else {}
        self.stages = [
            StageRow(number=number, run=stage, bits=_known(stage.bits_per_byte))
            for number, stage in enumerate(given.stages, start=1)
        ]

    @property
    def ends(self) -> list[int]:
        """The text read at the end of each stage, in bytes."""
        return list(accumulate(stage.run.bytes for stage in self.stages))

    @property
    def spans(self) -> list[tuple[int, int]]:
        """The text read at the start and at the end of each stage, in bytes."""
        return list(pairwise([0, *self.ends]))

    @property
    def bytes(self) -> int:
        """All text read."""
        return sum(stage.run.bytes for stage in self.stages)

    @property
    def seconds(self) -> float:
        return sum(stage.run.seconds for stage in self.stages)

    @property
    def highest(self) -> StageRow | None:
        """The stage that took most memory."""
        known = [stage for stage in self.stages if stage.run.peak_bytes is not None]
        return max(known, key=lambda stage: stage.run.peak_bytes or 0, default=None)


def _known(bits: Mapping[str, float]) -> Bits:
    return {name: value for name, value in bits.items() if isfinite(value)}


class Course:
    """The bits per byte of one text in one arm.

    now: the last that was measured, at the end of the stage `now_at` where that is not the run's end. worst: the most
    after any stage, or at the end.
    """

    def __init__(self, arm: Arm, name: str) -> None:
        each = [(stage.bits[name], stage) for stage in arm.stages if name in stage.bits]
        self.before, self.initialised = arm.before.get(name), arm.initialised.get(name)
        self.now = arm.after.get(name)
        self.now_at: StageRow | None = None
        if self.now is None and each:
            self.now, self.now_at = each[-1]
        self.worst = max([*(bits for bits, _ in each), *([] if self.now is None else [self.now])], default=None)
        self.change, self.worst_change = change_of(self.before, self.now), change_of(self.before, self.worst)


class Score(Course):
    """One text that the models were measured on. number: in figures and tables, from 1. control: its course there."""

    def __init__(self, number: int, name: str, text: TextRecord, adapted: Arm, control: Arm) -> None:
        super().__init__(adapted, name)
        self.number, self.name, self.text = number, name, text
        self.control = Course(control, name)

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

N_POINTS_DRAWN = 400


def loss_lines(arm: Arm) -> Iterator[list[tuple[float, float]]]:
    """For each stage the points of its line: text read in the arm, in bytes, and training loss, in bits per byte.

    A loss is the mean nats of the tokens since the point before it; times those tokens, over the bytes that they stand
    for and ln 2, it is bits per byte: what compares between stages, and between tokenizers. Of a long run each point is
    the mean over several, a ratio of sums.
    """
    n_points = sum(len(stage.run.curve) for stage in arm.stages)
    n_each = max(1, -(-n_points // N_POINTS_DRAWN))
    for stage, (start, _) in zip(arm.stages, arm.spans, strict=True):
        steps = []  # of each point that has a loss: text read, nats since the point before, and their bytes
        tokens = n_bytes = 0
        for point in stage.run.curve:
            if isfinite(point.loss) and point.bytes > n_bytes:
                nats = point.loss * (point.tokens - tokens)
                steps.append((min(point.bytes, stage.run.bytes), nats, point.bytes - n_bytes))
            tokens, n_bytes = point.tokens, point.bytes
        line = []
        for at in range(0, len(steps), n_each):
            together = steps[at : at + n_each]
            bits = sum(nats for _, nats, _ in together) / log(2) / sum(n_bytes for _, _, n_bytes in together)
            if isfinite(bits):
                line.append((float(start + together[-1][0]), bits))
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
        control = self.control or Arm(ControlRecord(plan="", before={}, stages=(), after={}))
        ordered = sorted(self.record.texts.items(), key=lambda item: item[1].role == "base")
        return [Score(number, name, text, self.adapted, control) for number, (name, text) in enumerate(ordered, 1)]

    @property
    def targets(self) -> list[Score]:
        """Texts in the language adapted to."""
        return [score for score in self.scores if score.text.role == "target"]

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
        samples = () if self.record.control is None else self.record.control.samples
        return {sample.prompt: sample.after for sample in samples}

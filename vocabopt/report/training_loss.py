"""Training loss as bits per byte of the text read: what compares between stages, and between tokenizers.

A loss is the mean nats of the tokens since the point before it; times those tokens, over the bytes that they stand for
and ln 2, it is bits per byte. Where a run logged no tokens or bytes, those of the whole stage stand in; where it has
none of these either, the loss stays in nats per token, and is no measure between tokenizers.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import log

from vocabopt.report.training_rows import Arm, Point, StageRow, finite

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
    first = Point(step=0, tokens=0, bytes=0, loss=None)
    pairs = list(pairwise([first, *stage.curve]))
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
    n_points = sum(len(stage.curve) for stage in arm.stages)
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
            if finite(value) is not None:
                line.append((start + together[-1].share * (end - start), value))
        yield line

"""The figures of an adaptation: bits per byte of each text over its stages, training loss, peak memory."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator

from vocabopt.report.draw import (
    BELOW,
    POINT,
    WIDTH,
    Drawing,
    Key,
    Style,
    axis_title,
    dot,
    frame,
    moved,
    words,
)
from vocabopt.report.svg import COLOURS
from vocabopt.report.text import fixed, size_of
from vocabopt.report.training import Training
from vocabopt.report.training_loss import Track, has_bits, loss_lines, track_of
from vocabopt.report.training_rows import Arm, Score, StageRow
from vocabopt.report.view import View

N_NAME = 22  # characters of a name that a figure holds
LETTER = 5.9  # points of an average letter, in a phone's size
ROW_OF_NAMES = 13  # points
MEMORY_LEFT = 0.31  # of the width, for the stages' names
ROW_HEIGHT, BAR_HEIGHT = 20, 0.34  # points; of a row's height
BEFORE = 0.13  # of the axis, for what was measured before the rows were made
CONTROL: Style = {"linestyle": (0, (4, 2.4)), "linewidth": 1.2}
_UNITS = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "bytes"))


def draw_training_bits(view: View) -> Drawing | None:
    """Bits per byte of every text before, with its rows made, and after each stage; None where nothing was measured."""
    training = view.training
    scores = [] if training is None else [score for score in training.scores if _points(score, training)]
    if training is None or not scores:
        return None
    keys = [Key(label=_text_label(score), style=_style(score)) for score in scores]
    if training.control is not None:
        keys.append(Key(label="control (dashed)", style={"color": COLOURS["window"], **CONTROL}))
    figure, ax = frame(3.2, keys, right=0.115)
    track = track_of(training.adapted)
    _text_axis(ax, track, _ends(training), before=BEFORE)
    told: list[float] = []
    for score in scores:
        points = _points(score, training)
        ax.plot(*zip(*points, strict=True), clip_on=False, **_style(score))
        for x, value in points:
            dot(ax, x, value, colour=score.colour, hollow=x == points[0][0] and score.before is not None)
        control = _control_points(score, training)
        if len(control) > 1:
            ax.plot(*zip(*control, strict=True), clip_on=False, **{**_style(score), **CONTROL})
        told += [value for _, value in (*points, *control)]
    _heights(ax, told, training.adapted.stages, track)
    _end_values(ax, [(*_points(score, training)[-1], score) for score in scores])
    axis_title(ax, "bits per byte")
    return Drawing(figure=figure, label=_describe_bits(scores))


def _ends(training: Training) -> float:
    """How far the axis of text goes: as far as either arm read."""
    control = Track(ends=(), in_bytes=True) if training.control is None else track_of(training.control)
    adapted = track_of(training.adapted)
    both = (adapted, control) if adapted.in_bytes == control.in_bytes else (adapted,)
    return max(track.total for track in both) or 1.0


def _points(score: Score, training: Training) -> list[tuple[float, float]]:
    """What the adapted model scored: before, at 0 with its rows made, after each stage, at the end."""
    adapted, track = training.adapted, track_of(training.adapted)
    found = [(-BEFORE * _ends(training), score.before), (0.0, score.initialised)]
    found += [(end, stage.bits.get(score.name)) for end, stage in zip(track.ends, adapted.stages, strict=True)]
    last = adapted.stages[-1].bits.get(score.name) if adapted.stages else None
    after = adapted.after.get(score.name)
    if last is None:
        found.append((track.total or 1.0, after))
    return [(x, value) for x, value in found if value is not None]


def _control_points(score: Score, training: Training) -> list[tuple[float, float]]:
    control = training.control
    if control is None:
        return []
    adapted, track = track_of(training.adapted), track_of(control)
    # Without bytes the stages of both plans share out the same axis.
    scale = 1.0 if adapted.in_bytes == track.in_bytes else _ends(training) / (track.total or 1.0)
    found = [(-BEFORE * _ends(training), score.control_before)]
    found += [(end * scale, stage.bits.get(score.name)) for end, stage in zip(track.ends, control.stages, strict=True)]
    if not control.stages or control.stages[-1].bits.get(score.name) is None:
        found.append((track.total * scale or 1.0, control.after.get(score.name)))
    return [(x, value) for x, value in found if value is not None]


def _style(score: Score) -> Style:
    return {"color": COLOURS[score.colour], "linestyle": "solid" if score.number <= 6 else "dotted"}


def _end_values(ax: Axes, ends: Sequence[tuple[float, float, Score]]) -> None:
    """The last value of each line beside it, where two would not stand on one another."""
    low, high = ax.get_ylim()
    per_point = (high - low) / (ax.get_position().height * _height(ax) / POINT)
    taken: list[float] = []
    for x, value, score in ends:
        if all(abs(value - other) > 13 * per_point for other in taken):
            words(ax, x, value, fixed(value, 2), shift=7, color=COLOURS[score.colour])
            taken.append(value)


def _height(ax: Axes) -> float:
    figure = ax.get_figure()
    assert isinstance(figure, Figure)
    return figure.get_figheight()


def _describe_bits(scores: Sequence[Score]) -> str:
    def one(score: Score) -> str:
        control = "" if score.control is None else f", control {fixed(score.control, 4)}"
        return f"{score.name}: {fixed(score.before, 4)} before, {fixed(score.now, 4)} at the end{control}"

    told = "; ".join(map(one, scores))
    return f"Line chart of bits per byte over the stages, one line per text. {told}. A table follows."


def draw_training_loss(view: View) -> Drawing | None:
    """Training loss over text read, the control's dashed; None where none was logged."""
    training = view.training
    if training is None or not any(stage.curve for stage in training.adapted.stages):
        return None
    adapted, control = training.adapted, training.control
    in_bits = has_bits(adapted)
    lines = list(loss_lines(adapted, in_bits=in_bits))
    if not any(lines):
        return None
    track = track_of(adapted)
    # Nats per token of two tokenizers do not compare, and stages of unknown length have no common axis.
    has_control = control is not None and in_bits and has_bits(control) and track.in_bytes
    beside = list(loss_lines(control, in_bits=True)) if control is not None and has_control else []
    keys = [Key(label="adapted", style={"color": COLOURS["s0"]})]
    keys += [Key(label="control (dashed)", style={"color": COLOURS["window"], **CONTROL})] if any(beside) else []
    figure, ax = frame(2.9, keys if len(keys) > 1 else ())
    _text_axis(ax, track, _ends(training) if any(beside) else track.total)
    for line in filter(None, beside):
        ax.plot(*zip(*line, strict=True), color=COLOURS["window"], clip_on=False, **CONTROL)
    for line in filter(None, lines):
        ax.plot(*zip(*line, strict=True), color=COLOURS["s0"], linewidth=1.3, clip_on=False)
        if len(line) == 1:
            dot(ax, *line[0], colour="s0")
    _heights(ax, [value for line in (*lines, *beside) for _, value in line], adapted.stages, track)
    unit = "bits per byte" if in_bits else "nats per token"
    axis_title(ax, f"training loss, {unit}")
    told = "; ".join(
        f"stage {stage.number} from {fixed(line[0][1], 3)} to {fixed(line[-1][1], 3)}"
        for stage, line in zip(adapted.stages, lines, strict=True) if line
    )  # fmt: skip
    return Drawing(figure=figure, label=f"Line chart of training loss in {unit} over the text read: {told}.")


def draw_training_memory(view: View) -> Drawing | None:
    """Peak memory of each stage, the control's and full training's beside it; None where it was not measured."""
    training = view.training
    if training is None or training.adapted.highest is None:
        return None
    rows = _memory_rows(training)
    keys = [Key(label="adapted", style={"color": COLOURS["s0"], "linewidth": 7}),
            Key(label="control", style={"color": COLOURS["window"], "linewidth": 5})]  # fmt: skip
    has_control = any(control is not None and control.peak_bytes is not None for _, control in rows)
    figure, ax = frame(BELOW + (26 + ROW_HEIGHT * len(rows)) * POINT, keys if has_control else (), left=MEMORY_LEFT)
    full = training.full_training
    peaks = [stage.peak_bytes or 0 for row in rows for stage in row if stage is not None]
    highest = max([*peaks, *([] if full is None else [full["peak_bytes"]])]) or 1
    _bytes_axis(ax, highest * 1.16, highest, "peak memory")
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.yaxis.set_visible(False)
    for row, (stage, control) in enumerate(rows):
        words(ax, 0, row, _row_label(stage, control), shift=-9, align="right")
        _bar(ax, row - (0.14 if has_control else 0), stage, "s0", BAR_HEIGHT)
        _bar(ax, row + 0.26, control, "window", 0.2)
    if full is not None:
        over = ax.get_xaxis_transform()
        at = full["peak_bytes"]
        ax.plot([at, at], [0, 1.02], transform=over, color=COLOURS["embedding"], linewidth=0.9, clip_on=False)
        shown = f"full training {size_of(at)}"
        ax.text(at, 1, shown, transform=moved(ax, over, 0, 8), ha="right", color=COLOURS["embedding"])
    return Drawing(figure=figure, label=_describe_memory(rows, full))


_MemoryRow = tuple[StageRow | None, StageRow | None]


def _memory_rows(training: Training) -> list[_MemoryRow]:
    """The stages of both arms, by name where both have it; what only the control has comes last."""
    control = [] if training.control is None else list(training.control.stages)
    rows: list[_MemoryRow] = []
    for stage in training.adapted.stages:
        same = next((other for other in control if other.name == stage.name), None)
        rows.append((stage, same))
        control = [other for other in control if other is not same]
    return [*rows, *((None, other) for other in control)]


def _bar(ax: Axes, y: float, stage: StageRow | None, colour: str, height: float) -> None:
    if stage is None or stage.peak_bytes is None:
        return
    ax.add_artist(Rectangle((0, y - height / 2), stage.peak_bytes, height, linewidth=0, clip_on=False,
                            facecolor=COLOURS[colour]))  # fmt: skip
    if colour == "s0":
        words(ax, stage.peak_bytes, y, size_of(stage.peak_bytes), shift=6)


def _row_label(stage: StageRow | None, control: StageRow | None) -> str:
    if stage is not None:
        return stage_label(stage)
    assert control is not None
    return "control" if control.name is None else stage_label(control)


def _describe_memory(rows: Sequence[_MemoryRow], full: object) -> str:
    def one(stage: StageRow | None, control: StageRow | None) -> str:
        given = stage or control
        assert given is not None
        sides = [f"{size_of(side.peak_bytes)}{which}" for side, which in ((stage, ""), (control, " for the control"))
                 if side is not None]  # fmt: skip
        return f"{given.name or f'stage {given.number}'} {', '.join(sides)}"

    told = "; ".join(one(*row) for row in rows)
    return f"Bar chart of peak memory by stage: {told}. The table of stages holds the numbers."


# --- Axes ------------------------------------------------------------------------------------------------------------


def _bytes_axis(ax: Axes, end: float, total: float, title: str) -> None:
    factor, unit = next(((factor, unit) for factor, unit in _UNITS if total >= 2 * factor), _UNITS[-1])
    ax.set_xlim(0, end)
    ax.xaxis.set_major_locator(_Scaled(factor))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / factor:,.6g}"))
    ax.text(1, 0, f"{title}, {unit}", transform=moved(ax, ax.transAxes, 0, -34), ha="right")


class _Scaled(MaxNLocator):
    """Round numbers of a unit, not of bytes; none below 0."""

    def __init__(self, factor: float) -> None:
        super().__init__(5, steps=[1, 2, 2.5, 5, 10])
        self.factor = factor

    def tick_values(self, vmin: float, vmax: float) -> list[float]:  # type: ignore[override]
        ticks = super().tick_values(max(vmin, 0) / self.factor, vmax / self.factor)
        return [tick * self.factor for tick in ticks if 0 <= tick * self.factor <= vmax]


def _text_axis(ax: Axes, track: Track, end: float, *, before: float = 0.0) -> None:
    """The text read, from its start to the longer arm's end; the stages apart, with room for what was before."""
    if track.in_bytes and track.ends:
        _bytes_axis(ax, end, end, "text read")
    else:
        ax.set_xticks([])
        title = "stages in order" if track.ends else ""
        ax.text(1, 0, title, transform=moved(ax, ax.transAxes, 0, -34), ha="right")
    ax.set_xlim(-before * end, end)
    over = ax.get_xaxis_transform()
    if before:
        label = "before" if track.ends else "before, and after"
        ax.text(-before * end, 0, label, transform=moved(ax, over, -6, -16), ha="left")
    for at in track.ends[:-1]:
        ax.plot([at, at], [0, 1], transform=over, color=COLOURS["window"], linewidth=0.7, clip_on=False)
    if before and track.ends:
        ax.plot([0, 0], [0, 1], transform=over, color=COLOURS["window"], linewidth=0.7, clip_on=False)


def _heights(ax: Axes, values: Sequence[float], stages: Sequence[StageRow], track: Track) -> None:
    """The left axis from below the lowest value to above the highest, with room for the stages' names on top."""
    low, high = min(values), max(values)
    spread = (high - low) or abs(high) * 0.1 or 1.0
    low = max(0.0, low - 0.08 * spread) if low >= 0 else low - 0.08 * spread
    labels, n_rows = stage_labels(ax, stages, track)
    tall = ax.get_position().height * _height(ax) / POINT
    head = (ROW_OF_NAMES * n_rows + 4) / tall
    ax.set_ylim(low, low + (high + 0.04 * spread - low) / (1 - head))
    ax.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.6g}"))
    for x, row, label in labels:
        place = moved(ax, ax.get_xaxis_transform(), 4, -(ROW_OF_NAMES * (row + 1) - 3))
        ax.text(x, 1, label, transform=place)


def stage_label(stage: StageRow) -> str:
    """A stage's name where the font surely has it and there is room, else its number."""
    name = stage.name or ""
    is_shown = name.isascii() and name.isprintable() and 0 < len(name.strip()) <= N_NAME
    return name if is_shown else f"stage {stage.number}"


def _text_label(score: Score) -> str:
    name = score.name
    return f"{score.number} {name}" if name.isascii() and name.isprintable() and len(name) <= 12 else (
        f"{score.number} (see table)")  # fmt: skip


def stage_labels(ax: Axes, stages: Sequence[StageRow], track: Track) -> tuple[list[tuple[float, int, str]], int]:
    """Where each stage's label stands: x, row from the top, words; and how many rows there are.

    Names on one row, or turn about on two; where a name is too long for that, numbers, as many as there is room for.
    """
    low, high = ax.get_xlim()
    points = ax.get_position().width * WIDTH / POINT / (high - low)
    starts = [start * points for start, _ in track.spans]
    names = [stage_label(stage) for stage in stages]
    for n_rows in (1, 2):
        ends = [*starts[n_rows:], *[high * points] * n_rows][: len(starts)]
        if all(len(name) * LETTER + 7 <= end - start for name, start, end in zip(names, starts, ends, strict=True)):
            return [(start / points, i % n_rows, name)
                    for i, (start, name) in enumerate(zip(starts, names, strict=True))], n_rows  # fmt: skip
    labels: list[tuple[float, int, str]] = []
    free_from = 0.0
    for stage, start in zip(stages, starts, strict=True):
        if start >= free_from:
            labels.append((start / points, 0, str(stage.number)))
            free_from = start + len(str(stage.number)) * LETTER + 9
    return labels, 1


def arms_of(training: Training) -> list[tuple[str, Arm]]:
    """The models trained, in words."""
    control = [] if training.control is None else [("control", training.control)]
    return [("adapted", training.adapted), *control]

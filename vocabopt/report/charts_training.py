"""The figures of an adaptation: bits per byte of each text over its stages, training loss, peak memory."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from vocabopt.report.draw import (
    COLOURS,
    POINT,
    STEPS,
    WIDTH,
    Drawing,
    Key,
    Style,
    axis_title,
    bar,
    bytes_axis,
    dot,
    figure_of,
    frame,
    moved,
    row_frame,
    words,
)
from vocabopt.report.text import DASH, fixed, size_of
from vocabopt.report.training import Arm, Course, Score, StageRow, Training, loss_lines
from vocabopt.report.view import View

# --- The axes of text read --------------------------------------------------------------------------------------------

N_NAME = 22  # characters of a name that a figure holds
LETTER = 5.9  # points of an average letter, in a phone's size
NAME_HEIGHT = 13  # points


def is_plain(name: str, n_letters: int) -> bool:
    """Has the figures' font surely all its letters, and is it short enough?"""
    return name.isascii() and name.isprintable() and 0 < len(name.strip()) <= len(name) <= n_letters


def stage_label(stage: StageRow) -> str:
    """A stage's name where a figure can hold it, else its number, by which the table knows it too."""
    return stage.run.name if is_plain(stage.run.name, N_NAME) else f"stage {stage.number}"


def height_of(ax: Axes) -> float:
    """Of the axes, in points."""
    return ax.get_position().height * figure_of(ax).get_figheight() / POINT


def text_axis(ax: Axes, arm: Arm, end: float, *, before: float = 0.0) -> None:
    """The text read: from its start to `end`.

    before: the share of the axis left of the start, for what was measured of the model as it came.
    """
    if arm.stages:
        bytes_axis(ax, end, "text read")
    else:
        ax.set_xticks([])
    ax.set_xlim(-before * end, end)
    if before:
        over = ax.get_xaxis_transform()
        ax.text(-before * end, 0, "before", transform=moved(ax, over, -6, -16))
        if not arm.stages:
            ax.text(end, 0, "after", transform=moved(ax, over, 6, -16), ha="right")


def value_axis(ax: Axes, values: Sequence[float], arm: Arm, *, at_start: bool) -> None:
    """The y axis from below the lowest value to above the highest; above that, the stages' names and where they start.

    at_start: is the start of the first stage marked too? Call after the x axis is set.
    """
    low, high = min(values), max(values)
    spread = (high - low) or abs(high) * 0.1 or 1.0
    bottom = max(0.0, low - 0.08 * spread) if low >= 0 else low - 0.08 * spread
    labels, n_rows = _stage_labels(ax, arm)
    row_share = NAME_HEIGHT / height_of(ax)
    ax.set_ylim(bottom, bottom + (high + 0.05 * spread - bottom) / (1 - n_rows * row_share))
    ax.yaxis.set_major_locator(MaxNLocator(5, steps=STEPS))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.6g}"))
    over = ax.get_xaxis_transform()
    rows = {x: row for x, row, _ in labels}
    for start, _ in arm.spans[0 if at_start else 1 :]:
        # Up to its own name, and not through the one above it.
        top = 1 - rows.get(start, 0) * row_share
        ax.plot([start, start], [0, top], transform=over, color=COLOURS["window"], linewidth=0.7, clip_on=False)
    for x, row, label in labels:
        ax.text(x, 1, label, transform=moved(ax, over, 4, 3 - NAME_HEIGHT * (row + 1)))


def _stage_labels(ax: Axes, arm: Arm) -> tuple[list[tuple[float, int, str]], int]:
    """Where each stage's label stands: x, row from the top, words; and how many rows there are.

    Names on one row; or on two in turn, those below no wider than their stage; or numbers, as many as have room.
    """
    low, high = ax.get_xlim()
    points = ax.get_position().width * WIDTH / POINT / (high - low)
    starts = [float(start) for start, _ in arm.spans]
    names = [stage_label(stage) for stage in arm.stages]
    wide = [len(name) * LETTER + 7 for name in names]
    ends = [*starts[1:], high, high]
    for rows in ([0] * len(names), [i % 2 for i in range(len(names))], [1 - i % 2 for i in range(len(names))]):
        n_rows = 1 + max(rows, default=-1)
        # Above, a name may reach over the next stage's too, whose own stands below.
        room = [
            ends[i + (n_rows - 1) * (1 - row)] - start for i, (start, row) in enumerate(zip(starts, rows, strict=True))
        ]
        if all(width <= points * free for width, free in zip(wide, room, strict=True)):
            return list(zip(starts, rows, names, strict=True)), n_rows
    labels: list[tuple[float, int, str]] = []
    free_from = starts[0]
    for stage, start in zip(arm.stages, starts, strict=True):
        if start >= free_from:
            label = str(stage.number)
            labels.append((start, 0, label))
            free_from = start + (len(label) * LETTER + 9) / points
    return labels, 1


# --- The figures ------------------------------------------------------------------------------------------------------

N_TEXT_NAME = 12  # characters of a text's name that a legend holds
BEFORE = 0.13  # of the axis, for what was measured before the rows were made
VALUE_HEIGHT = 13  # points
CONTROL_BITS: Style = {"linestyle": (0, (4, 2.4)), "linewidth": 1.2}
CONTROL_COLOUR = COLOURS["window"]

_Points = list[tuple[float, float]]


def draw_training_bits(view: View) -> Drawing | None:
    """Bits per byte of every text before, with its rows made, and after each stage; None where nothing was measured."""
    training = view.training
    if training is None:
        return None
    adapted, control, end = training.adapted, training.control, _end(training)
    lines = {score: found for score in training.scores if (found := _points(score.name, score, adapted, end))}
    if not lines:
        return None
    keys = [
        Key(
            label=f"{score.number} {score.name if is_plain(score.name, N_TEXT_NAME) else '(see table)'}",
            style=_style(score),
        )
        for score in lines
    ]
    dashed = {}
    if control is not None:
        dashed = {score: _points(score.name, score.control, control, end) for score in lines}
        dashed = {score: found for score, found in dashed.items() if len(found) > 1}
    if dashed:
        keys.append(Key(label="control (dashed)", style={"color": CONTROL_COLOUR, **CONTROL_BITS}))
    figure, ax = frame(3.2, keys, right=0.115)
    text_axis(ax, adapted, end, before=BEFORE)
    values = [value for found in (*lines.values(), *dashed.values()) for _, value in found]
    value_axis(ax, values, adapted, at_start=True)
    for score, found in dashed.items():
        ax.plot(*zip(*found, strict=True), clip_on=False, **{**_style(score), **CONTROL_BITS})
    for score, found in lines.items():
        ax.plot(*zip(*found, strict=True), clip_on=False, **_style(score))
        for x, value in found:
            dot(ax, x, value, colour=score.colour, hollow=x < 0)
    _last_values(ax, lines)
    axis_title(ax, "bits per byte")
    told = "; ".join(
        f"{score.name[:40]} {fixed(score.before, 4)} before, {fixed(score.now, 4)} at the end"
        + ("" if score.control.now is None else f", control {fixed(score.control.now, 4)}")
        for score in training.scores
    )
    label = f"Line chart of bits per byte over the stages, one line per text: {told}. A table follows."
    return Drawing(figure=figure, label=label)


def _end(training: Training) -> float:
    """How far the axis of text goes: as far as the longer arm read."""
    return float(max(arm.bytes for arm in (training.adapted, training.control) if arm is not None)) or 1.0


def _points(name: str, course: Course, arm: Arm, end: float) -> _Points:
    """What a model scored: left of 0 as it came, at 0 with its rows made, at the end of each stage; last when done."""
    found: list[tuple[float, float | None]] = [(-BEFORE * end, course.before), (0.0, course.initialised)]
    found += [(at, stage.bits.get(name)) for at, stage in zip(arm.ends, arm.stages, strict=True)]
    if (after := arm.after.get(name)) is not None:
        last = arm.bytes or end
        found = [*(point for point in found if point[0] < last), (last, after)]
    return [(x, value) for x, value in found if value is not None]


def _style(score: Score) -> Style:
    return {"color": COLOURS[score.colour], "linestyle": score.dash}


def _last_values(ax: Axes, lines: Mapping[Score, _Points]) -> None:
    """The last value of each line beside it, but not where it would stand on another's."""
    low, high = ax.get_ylim()
    apart = VALUE_HEIGHT * (high - low) / height_of(ax)
    taken: list[float] = []
    for score, found in lines.items():
        x, value = found[-1]
        if all(abs(value - other) >= apart for other in taken):
            words(ax, x, value, fixed(value, 2), shift=7, color=COLOURS[score.colour])
            taken.append(value)


def draw_training_loss(view: View) -> Drawing | None:
    """Training loss over text read, the control's beside it; None where none was logged."""
    training = view.training
    if training is None:
        return None
    adapted, control = training.adapted, training.control
    lines = list(loss_lines(adapted))
    if not any(lines):
        return None
    beside = [] if control is None else list(loss_lines(control))
    keys = [Key(label="adapted", style={"color": COLOURS["s0"]}), Key(label="control", style={"color": CONTROL_COLOUR})]
    figure, ax = frame(2.9, keys if any(beside) else ())
    text_axis(ax, adapted, _end(training) if any(beside) else adapted.bytes)
    values = [value for line in (*lines, *beside) for _, value in line]
    value_axis(ax, values, adapted, at_start=False)
    for colour, drawn in ((CONTROL_COLOUR, beside), (COLOURS["s0"], lines)):
        for line in filter(None, drawn):
            ax.plot(*zip(*line, strict=True), color=colour, linewidth=1.2, clip_on=False)
    for line in lines:
        if len(line) == 1:
            dot(ax, *line[0], colour="s0")
    axis_title(ax, "training loss, bits per byte")
    told = "; ".join(
        f"stage {stage.number} from {fixed(line[0][1])} to {fixed(line[-1][1])}"
        for stage, line in zip(adapted.stages, lines, strict=True)
        if line
    )
    return Drawing(figure=figure, label=f"Line chart of training loss in bits per byte over the text read: {told}.")


def draw_training_memory(view: View) -> Drawing | None:
    """Peak memory of each stage, the control's and full training's beside it; None where it was not measured."""
    training = view.training
    if training is None or training.adapted.highest is None:
        return None
    # The stages of both arms, together where they have one name; what only the control has comes last.
    left = [] if training.control is None else list(training.control.stages)
    rows: list[tuple[StageRow, StageRow | None, StageRow | None]] = []
    for own in training.adapted.stages:
        same = next((other for other in left if other.run.name == own.run.name), None)
        rows.append((own, own, same))
        left = [other for other in left if other is not same]
    rows += [(other, None, other) for other in left]
    has_control = any(control is not None and control.run.peak_bytes is not None for _, _, control in rows)
    keys = [Key(label="adapted", style={"color": COLOURS["s0"], "linewidth": 7}),
            Key(label="control", style={"color": CONTROL_COLOUR, "linewidth": 5})]  # fmt: skip
    figure, ax = row_frame(len(rows), 20, keys if has_control else (), left=0.31)
    full = training.record.full_training
    peaks = [stage.run.peak_bytes or 0 for _, *both in rows for stage in both if stage is not None]
    highest = max([*peaks, 0 if full is None else full.peak_bytes]) or 1
    bytes_axis(ax, 1.16 * highest, "peak memory")  # with room for a number beside the longest bar
    told = []
    for row, (given, stage, control) in enumerate(rows):
        words(ax, 0, row, stage_label(given), shift=-9, align="right")
        if stage is None or stage.run.peak_bytes is None:
            words(ax, 0, row, DASH, shift=6, color=COLOURS["window"])
        else:
            bar(ax, row - (0.14 if has_control else 0), stage.run.peak_bytes, 0.34, "s0")
            words(ax, stage.run.peak_bytes, row, size_of(stage.run.peak_bytes), shift=6)
        if control is not None and control.run.peak_bytes is not None:
            bar(ax, row + 0.26, control.run.peak_bytes, 0.2, "window")
        shown = [] if stage is None else [size_of(stage.run.peak_bytes)]
        shown += [] if control is None else [f"{size_of(control.run.peak_bytes)} in the control"]
        told.append(f"{stage_label(given)} {', '.join(shown)}")
    if full is not None:
        at, over, colour = full.peak_bytes, ax.get_xaxis_transform(), COLOURS["embedding"]
        label = f"full training {size_of(at)}"
        ax.plot([at, at], [0, 1.02], transform=over, color=colour, linewidth=0.9, clip_on=False)
        ax.text(at, 1, label, transform=moved(ax, over, 0, 8), ha="right", color=colour)
        told.append(label)
    label = f"Bar chart of peak memory by stage: {'; '.join(told)}. The table of stages holds the numbers."
    return Drawing(figure=figure, label=label)

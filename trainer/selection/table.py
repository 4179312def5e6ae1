"""A comparison of selections: its record, and as a table, a figure and a sentence."""

from pathlib import Path
from statistics import mean, stdev
from typing import Any, ClassVar

import numpy as np

from trainer.selection.parts import ALL, ARMS, TextSize
from vocabopt.amounts import shown_bytes
from vocabopt.folder import write_bytes_atomic
from vocabopt.records import Count, FileRecord, Record
from vocabopt.report import draw
from vocabopt.report.page import render_tables
from vocabopt.tables import PlainTable, listed, shown

COMPARE_JSON = "compare.json"
_CAPTION = (
    "Tokens of all held-out text, of those the base takes, at every size; a line per part of the text that the tokens "
    "were learned from."
)


class Curve(Record, frozen=True, kw_only=True):
    """n_tokens: of each held-out set, at each of the sizes, of which the first is 0."""

    sizes: tuple[Count, ...]
    n_tokens: dict[str, tuple[Count, ...]]
    n_bytes: dict[str, Count]

    def ratio(self, at: int, *names: str) -> float:
        """Tokens with so many added, per token of the base: of these held-out sets, or of all."""
        counts = [self.n_tokens[name] for name in names or self.n_tokens]
        place = self.sizes.index(at)
        return sum(count[place] for count in counts) / sum(count[0] for count in counts)


class ArmRecord(TextSize, frozen=True, kw_only=True):
    """A part of the text, its curve, and what the small model reached: set -> bits per byte, after for each seed."""

    name: str
    curve: Curve
    n_steps: Count
    n_train_bytes: Count
    n_train_tokens: Count
    before: dict[str, float]
    after: tuple[dict[str, float], ...]

    @property
    def reached(self) -> float:
        """Bits per byte, the mean over held-out sets and seeds."""
        return mean(mean(after.values()) for after in self.after)

    @property
    def spread(self) -> float | None:
        """The standard deviation over seeds."""
        return stdev(mean(after.values()) for after in self.after) if len(self.after) > 1 else None


class TakenRecord(FileRecord, frozen=True, kw_only=True):
    """compare.json before the comparison is done: whose folder it is."""

    NEXT_STEP: ClassVar[str] = "Choose another folder with --out."

    identity: str


class CompareRecord(TakenRecord, frozen=True, kw_only=True):
    options: dict[str, Any]
    versions: dict[str, str]
    #: Added tokens.
    size: Count
    #: Null for a set that was given, not held out.
    sets: dict[str, TextSize | None]
    arms: tuple[ArmRecord, ...]

    @property
    def compared(self) -> list[ArmRecord]:
        """The arms that trained on the same amount of text."""
        return [arm for arm in self.arms if arm.name in ARMS]


def compare_tables(record: CompareRecord) -> list[PlainTable]:
    """Each part: its text, its curve at the compared size, what the small model reached; then the same by text set."""
    arms, names, n_seeds = record.arms, list(record.sets), len(record.arms[0].after)
    bold = frozenset({arms.index(min(record.compared, key=lambda arm: arm.reached))})
    return [
        PlainTable(
            caption=f"Parts of the text, {record.size:,} added tokens, {n_seeds} seed{'s' if n_seeds > 1 else ''}; "
            "the best in bold",
            headers=("part", "text", "documents", "ratio_input", "trained\non", "bits per\nbyte", "±"),
            rows=[
                (
                    arm.name,
                    shown_bytes(arm.n_bytes),
                    f"{arm.n_documents:,}",
                    f"{arm.curve.ratio(record.size):.4f}",
                    shown_bytes(arm.n_train_bytes),
                    f"{arm.reached:.4f}",
                    shown(arm.spread, ".4f"),
                )
                for arm in arms
            ],
            bold=bold,
        ),
        PlainTable(
            caption="Bits per byte, and ratio_input, of each held-out text",
            headers=("part", *(f"{name}\nbits" for name in names), *(f"{name}\nratio" for name in names)),
            rows=[
                (
                    arm.name,
                    *(f"{mean(after[name] for after in arm.after):.4f}" for name in names),
                    *(f"{arm.curve.ratio(record.size, name):.4f}" for name in names),
                )
                for arm in arms
            ],
            bold=bold,
        ),
    ]


def sentence(record: CompareRecord) -> str:
    """The answer that the table supports."""
    whole = next(arm for arm in record.arms if arm.name.startswith(f"{ALL},"))
    best, second = sorted(record.compared, key=lambda arm: arm.reached)[:2]
    lead, gap = second.reached - best.reached, whole.reached - best.reached
    times = whole.n_train_bytes / max(1, best.n_train_bytes)
    return (
        f"At equal training text the part {best.name} comes out best ({best.reached:.4f} bits per byte), {lead:.4f} "
        f"before {second.name}{_noise(lead, best, second)}; all the text, read {times:.1f} times as long, reaches "
        f"{whole.reached:.4f}, {abs(gap):.4f} {'fewer' if gap < 0 else 'more'}{_noise(abs(gap), whole, best)}."
    )


def _noise(gap: float, *arms: ArmRecord) -> str:
    """Two standard deviations over seeds are what a difference must be larger than to count."""
    known = [arm.spread for arm in arms if arm.spread is not None]
    if not known:
        return " (with one seed nothing says how much of it is chance)"
    return " (within two standard deviations)" if gap <= 2 * max(known) else ""


def write_page(out: Path, record: CompareRecord) -> None:
    """Write OUT/compare.html and OUT/figures/selections.svg, .png. Raises RunDirectoryError."""
    with draw.house_style():
        picture = draw.render("selections", _draw(record))
    for suffix, data in (("svg", picture.svg), ("png", picture.png)):
        write_bytes_atomic(out / "figures" / f"selections.{suffix}", data)
    options = dict(record.options)
    paths, steps = options.pop("paths"), options.pop("steps")
    cleaned = "; ".join(f"{step['step']} {listed({k: v for k, v in step.items() if k != 'step'})}" for step in steps)
    facts = [
        *((f"text {number}", path) for number, path in enumerate(paths, 1)),
        ("cleaned by", cleaned),
        ("options", listed({name: value for name, value in options.items() if name not in ("evals", "out")})),
        ("versions", listed(record.versions)),
    ]
    page = render_tables(
        "Parts of the text compared", sentence(record), [(picture, _CAPTION)], compare_tables(record), facts
    )
    write_bytes_atomic(out / "compare.html", page.encode())


def _draw(record: CompareRecord) -> draw.Drawing:
    styles: list[draw.Style] = []
    for number, arm in enumerate(record.compared, start=1):
        colour, dash = draw.series_style(number)
        own: draw.Style = {"color": draw.COLOURS["ink"], "linewidth": 1.9}
        styles.append(own if arm.name == ALL else {"color": draw.COLOURS[colour], "linestyle": dash, "linewidth": 1.4})
    arms = list(zip(record.compared, styles, strict=True))
    figure, ax = draw.frame(3.3, [draw.Key(label=arm.name, style=style) for arm, style in arms])
    draw.size_axis(ax, max(arm.curve.sizes[-1] for arm, _ in arms))
    lowest = 1.0
    for arm, style in arms:
        values = np.array([arm.curve.ratio(size) for size in arm.curve.sizes])
        lowest = min(lowest, float(values.min()))
        ax.plot(arm.curve.sizes, values, clip_on=False, **style)
    ax.set_ylim(max(0.0, lowest - 0.05), 1)
    draw.axis_title(ax, "ratio_input")
    told = "; ".join(f"{arm.name} {arm.curve.ratio(record.size):.4f}" for arm, _ in arms)
    label = f"Line chart of ratio_input over added tokens, a line per part of the text. At {record.size:,}: {told}."
    return draw.Drawing(figure=figure, label=label)

"""What was measured, and how it stands to the aims: medians, ratios, JSON, terminal and Markdown tables."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from rich.table import Table

from bench.measure import Run

FORMAT_VERSION = 1
_GB = 1e9


@dataclass(kw_only=True)
class Row:
    """All runs of one command."""

    name: str
    label: str
    runs: list[Run] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        return statistics.median(run.seconds for run in self.runs)

    @property
    def cpu_seconds(self) -> float:
        return statistics.median(run.cpu_seconds for run in self.runs)

    @property
    def peak_bytes(self) -> int:
        """The largest of all runs: a limit on memory holds each time, or not."""
        return max(run.peak_bytes for run in self.runs)

    @property
    def details(self) -> Mapping[str, Any]:
        return self.runs[-1].details

    @property
    def steps(self) -> str:
        """Where the command says its time went, in its last run."""
        seconds: Mapping[str, float] = self.details.get("seconds", {})
        return ", ".join(f"{step} {value:.1f}" for step, value in seconds.items() if step != "total")

    def value(self, name: str) -> float:
        """seconds, cpu_seconds, peak_bytes, or one of the command's own findings."""
        return float(getattr(self, name) if name in ("seconds", "cpu_seconds", "peak_bytes") else self.details[name])

    def as_record(self) -> dict[str, Any]:
        return {
            "label": self.label,
            "seconds": self.seconds,
            "cpu_seconds": self.cpu_seconds,
            "peak_bytes": self.peak_bytes,
            "runs": [asdict(run) for run in self.runs],
        }


@dataclass(frozen=True)
class Aim:
    """A number of one row, or the ratio of two, and the bound it should keep (None: shown, not judged).

    top, bottom: (row, what of it).
    """

    name: str
    label: str
    top: tuple[str, str]
    bottom: tuple[str, str] | None
    sign: Literal["<=", ">=", "<"]
    bound: float | None

    def value(self, rows: Mapping[str, Row]) -> float | None:
        """None where a row was not measured."""
        parts = (self.top, self.bottom) if self.bottom else (self.top,)
        if any(row not in rows for row, _ in parts):
            return None
        values = [rows[row].value(what) for row, what in parts]
        return values[0] / values[1] if self.bottom else values[0]

    def is_met(self, value: float) -> bool | None:
        if self.bound is None:
            return None
        return {"<=": value <= self.bound, ">=": value >= self.bound, "<": value < self.bound}[self.sign]

    @property
    def source(self) -> str:
        return " / ".join(".".join(part) for part in (self.top, self.bottom) if part)

    def shown(self, value: float) -> str:
        what = self.top[1]
        if self.bottom or what not in ("seconds", "peak_bytes"):
            return f"{value:.3f}"
        return f"{value / _GB:.2f} GB" if what == "peak_bytes" else f"{value:.1f} s"

    @property
    def shown_bound(self) -> str:
        return "-" if self.bound is None else f"{self.sign} {self.shown(self.bound)}"


AIMS = (
    Aim("sweep_time", "whole sweep / one sentencepiece training, time", ("vocabopt", "seconds"),
        ("sentencepiece", "seconds"), "<=", 0.8),
    Aim("paper_time", "the paper's procedure / whole sweep, time", ("paper", "seconds"),
        ("vocabopt", "seconds"), ">=", 12),
    Aim("sweep_memory", "whole sweep, peak memory", ("vocabopt", "peak_bytes"), None, "<=", 2 * _GB),
    Aim("tokenizers_train", "whole sweep / one tokenizers training, time", ("vocabopt", "seconds"),
        ("tokenizers-train", "seconds"), "<=", None),
    Aim("tokenizers_encode", "whole sweep / tokenizers encoding the text once, time", ("vocabopt", "seconds"),
        ("tokenizers-encode", "seconds"), "<=", None),
    Aim("packing", "training text packed with Mistral's tokenizer, MB/s", ("pack-mistral", "megabytes_per_second"),
        None, ">=", 30),
    Aim("packing_bytes", "the same with a byte-level one, MB/s", ("pack-tekken", "megabytes_per_second"),
        None, ">=", 30),
    Aim("packing_time", "the same / tokenizers, time", ("pack-tekken", "seconds"), ("encode-tekken", "seconds"),
        "<=", None),
    Aim("scaling_time", "5 times the text / once, time", ("vocabopt-5x", "seconds"), ("vocabopt", "seconds"), "<=", 5),
    Aim("scaling_memory", "5 times the text, peak memory", ("vocabopt-5x", "peak_bytes"), None, "<", 4 * _GB),
    Aim("choose_time", "deciding again on a finished run", ("choose", "seconds"), None, "<", 1),
    Aim("report_time", "report of a finished run again", ("report", "seconds"), None, "<", 5),
    Aim("sample_time", "sample corpus, command to report", ("sample", "seconds"), None, "<", 15),
    Aim("sample_cold_time", "the same, compiling first", ("sample-cold", "seconds"), None, "<", None),
    Aim("grown_ratio", "held-out ratio_input, grown", ("grown", "ratio_input"), None, "<=", None),
    Aim("union_ratio", "held-out ratio_input, union, as many rows", ("union", "ratio_input"), None, "<=", None),
    Aim("union_must", "held-out ratio_input, grown / union (must)", ("grown", "ratio_input"),
        ("union", "ratio_input"), "<=", 0.972),
    Aim("union_aim", "held-out ratio_input, grown / union (aim)", ("grown", "ratio_input"),
        ("union", "ratio_input"), "<=", 0.960),
)  # fmt: skip


@dataclass(frozen=True)
class Check:
    """A number that two ways of counting must agree on."""

    name: str
    expected: int
    found: int

    @property
    def agrees(self) -> bool:
        return self.expected == self.found


def figures(rows: Mapping[str, Row]) -> list[tuple[Aim, float]]:
    """The aims whose rows were measured, and what they came to."""
    return [(aim, value) for aim in AIMS if (value := aim.value(rows)) is not None]


def as_record(rows: Mapping[str, Row], checks: Sequence[Check]) -> dict[str, Any]:
    """Rows, figures and checks as the JSON result holds them."""
    return {
        "rows": {name: row.as_record() for name, row in rows.items()},
        "figures": {
            aim.name: {
                "label": aim.label,
                "from": aim.source,
                "value": value,
                "sign": aim.sign,
                "bound": aim.bound,
                "met": aim.is_met(value),
            }
            for aim, value in figures(rows)
        },
        "checks": [{**asdict(check), "agrees": check.agrees} for check in checks],
    }


_ROW_HEADERS = ("what", "runs", "seconds", "from .. to", "CPU seconds", "peak memory", "seconds of steps")
_FIGURE_HEADERS = ("figure", "value", "aim", "")


def _row_cells(row: Row) -> tuple[str, ...]:
    seconds = [run.seconds for run in row.runs]
    spread = f"{min(seconds):.1f} .. {max(seconds):.1f}" if len(seconds) > 1 else "-"
    cells = (row.label, str(len(seconds)), f"{row.seconds:.1f}", spread, f"{row.cpu_seconds:.1f}")
    return (*cells, f"{row.peak_bytes / _GB:.2f} GB", row.steps or "-")


def _figure_cells(aim: Aim, value: float) -> tuple[str, ...]:
    verdict = {True: "met", False: "MISSED", None: "-"}[aim.is_met(value)]
    return aim.label, aim.shown(value), aim.shown_bound, verdict


def tables(rows: Mapping[str, Row]) -> list[Table]:
    """The two tables of the terminal."""
    measured, judged = Table(header_style="bold"), Table(header_style="bold")
    for table, headers in ((measured, _ROW_HEADERS), (judged, _FIGURE_HEADERS)):
        for index, header in enumerate(headers):
            table.add_column(header, justify="right" if index else "left")
    for row in rows.values():
        measured.add_row(*_row_cells(row))
    for aim, value in figures(rows):
        judged.add_row(*_figure_cells(aim, value), style="red" if aim.is_met(value) is False else "")
    return [table for table in (measured, judged) if table.row_count]


def markdown(rows: Mapping[str, Row]) -> str:
    """The same as Markdown, for README and CHANGELOG."""
    bodies = (
        (_ROW_HEADERS, [_row_cells(row) for row in rows.values()]),
        (_FIGURE_HEADERS, [_figure_cells(aim, value) for aim, value in figures(rows)]),
    )
    return "\n\n".join(_markdown_table(headers, cells) for headers, cells in bodies if cells)


def _markdown_table(headers: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    rule = ["---", *["---:"] * (len(headers) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (headers, rule, *body))

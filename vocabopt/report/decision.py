"""What stands behind the choice, in the words of the page: every rule's answer, the windows, the interval.

Runs of earlier versions hold less of it: what is missing is None or empty, and the page leaves it out.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from vocabopt.choice.table import interval_sentence
from vocabopt.report.text import DASH, count, plain

#: How a rule is called in a figure, by its name in sweep.json; at most 18 characters, which a phone has room for.
_RULE_LABELS = {
    "knee": "knee",
    "kneedle": "knee (Kneedle)",
    "flops-train": "compute, training",
    "flops-serve": "compute, serving",
    "flops-mix": "compute, both",
    "used": "still used",
    "marginal": "marginal saving",
    "memory-train": "memory, training",
    "memory-serve": "memory, serving",
    "muv": "VOLT's utility",
    "law-1": "scaling law 1",
    "law-2": "scaling law 2",
    "law-3": "scaling law 3",
}
N_LABEL = 18

_BOUND_SIGNS = {"at": "", "at_least": "\u2265 "}


def _label(name: str, number: int) -> str:
    """The figure's words for a rule; its font has no glyphs for any text."""
    if name in _RULE_LABELS:
        return _RULE_LABELS[name]
    kind, _, times = name.partition("-")
    if kind == "exposure" and times.isascii() and times.isdigit():
        return f"seen {int(times):,}\u00d7"
    shown = plain(name)
    return shown if shown.isascii() and len(shown) <= N_LABEL else f"rule {number}"


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One rule's answer. n_added: None where it has none; bound: at, at_least or none."""

    name: str
    label: str
    n_added: int | None
    bound: str
    is_second_opinion: bool
    decided: bool
    sentence: str | None
    source: str | None

    @property
    def size(self) -> str:
        """The answer as a person writes it: 18,378, >= 40,000, or a dash."""
        if self.n_added is None or self.bound == "none":
            return DASH
        return _BOUND_SIGNS.get(self.bound, "") + count(self.n_added)


@dataclass(frozen=True, kw_only=True)
class Windows:
    """The knee over a grid of windows: `knees[i][j]` of the window from starts[i] to ends[j], None where none is."""

    starts: list[int]
    ends: list[int]
    knees: list[list[int | None]]

    @property
    def rows(self) -> list[tuple[int, list[int | None]]]:
        return list(zip(self.starts, self.knees, strict=False))

    @property
    def highest(self) -> int:
        return max((knee for row in self.knees for knee in row if knee is not None), default=0)


class Decision:
    """`choice` of sweep.json."""

    def __init__(self, choice: Mapping[str, Any]) -> None:
        self.given = choice

    @cached_property
    def rules(self) -> list[Rule]:
        return [
            Rule(
                name=str(given.get("name", "")),
                label=_label(str(given.get("name", "")), number),
                n_added=given.get("n_added"),
                bound=str(given.get("bound", "at")),
                is_second_opinion=bool(given.get("second_opinion")),
                decided=given.get("name") == self.given.get("rule"),
                sentence=given.get("sentence"),
                source=given.get("source"),
            )
            for number, given in enumerate(self.given.get("rules") or [], start=1)
        ]

    @cached_property
    def windows(self) -> Windows | None:
        given = self.given.get("windows")
        if not given or not given.get("starts") or not given.get("ends"):
            return None
        return Windows(
            starts=list(given["starts"]), ends=list(given["ends"]), knees=[list(row) for row in given["knees"]]
        )

    @property
    def interval(self) -> Mapping[str, Any] | None:
        given: Mapping[str, Any] | None = self.given.get("interval")
        return given

    @property
    def has_interval(self) -> bool:
        return self.interval is not None and None not in (self.interval.get("low"), self.interval.get("high"))

    @property
    def interval_missing(self) -> str | None:
        """Why there is no interval; None where there is one, and for runs of earlier versions, which had none."""
        return interval_sentence(self.given) if "interval" in self.given and self.interval is None else None

    @property
    def n_with_knee(self) -> int | None:
        """Resamples that have a knee: what the interval's share is of."""
        given = self.interval or {}
        return given["n_resamples"] - int(given.get("n_without_knee") or 0) if "n_resamples" in given else None

    @property
    def interval_is_of_knee_alone(self) -> bool:
        """Is the size another than the knee, of which the interval is: clipped, rounded, or by another rule?"""
        return bool(self.given.get("clipped_by")) or self.given.get("knee") != self.given.get("n_added")

    @property
    def sets(self) -> list[Mapping[str, Any]]:
        return list(self.given.get("sets") or [])

    @property
    def window_sentence(self) -> str | None:
        sentence: str | None = self.given.get("window_sentence")
        return sentence

    @property
    def agreement_sentence(self) -> str | None:
        sentence: str | None = self.given.get("agreement_sentence")
        return sentence

    @property
    def paper_axis(self) -> Mapping[str, Any] | None:
        given: Mapping[str, Any] | None = self.given.get("paper_axis")
        return given

    @property
    def model_cost(self) -> Mapping[str, Any] | None:
        given: Mapping[str, Any] | None = self.given.get("model_cost")
        return given

    @property
    def options(self) -> Mapping[str, Any]:
        return self.given.get("options") or {}

    @property
    def is_told(self) -> bool:
        """Is there anything beside the choice itself?"""
        return bool(self.rules or self.windows or self.interval or self.sets or self.window_sentence)

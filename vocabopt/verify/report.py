"""What a verification asks for and what it finds: options, checks with their examples, and verify.json."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from vocabopt.artifacts import FORMAT_VERSION, write_json_atomic

Status = Literal["pass", "fail", "warn", "not_checked"]

Verdict = Literal["pass", "fail", "warn"]

#: Examples of a check that are kept: of each kind of fault one before a second of any.
N_EXAMPLES = 5
#: Of a long value an example shows this many values, or characters, some of them before the first that differs.
_N_VALUES, _N_CHARS, _N_BEFORE = 5, 300, 60


@dataclass(frozen=True, kw_only=True)
class Example:
    """A line, piece or setting, and what each of the two makes of it, in words ready to be shown."""

    what: str
    base: str
    new: str


@dataclass(frozen=True, kw_only=True)
class Check:
    """One check. name: the sentence that holds where it passes. summary: what was found. examples: of what is wrong."""

    name: str
    status: Status
    summary: str
    counts: Mapping[str, int] = field(default_factory=dict)
    examples: tuple[Example, ...] = ()


def contrast(base: Any, new: Any) -> tuple[str, str]:
    """Two different values as an example shows them: of lists what only one has, of long texts what differs."""
    if isinstance(base, list) and isinstance(new, list):
        left, right = ([value for value in one if value not in other] for one, other in ((base, new), (new, base)))
        if left or right:
            return _only(left, len(base)), _only(right, len(new))
    old, now = (value if isinstance(value, str) else str(value) for value in (base, new))
    n_same = next((i for i, (a, b) in enumerate(zip(old, now, strict=False)) if a != b), min(len(old), len(now)))
    first = max(0, n_same - _N_BEFORE)
    return _cut(old, first), _cut(now, first)


def _only(values: list[Any], n: int) -> str:
    """What one list has and the other lacks; n: length of the list."""
    shown = ", ".join(map(repr, values[:_N_VALUES])) + (", ..." if len(values) > _N_VALUES else "")
    return f"{n:,}, of which the other has all" if not values else f"{n:,}, {len(values):,} of them only here: {shown}"


def _cut(text: str, first: int) -> str:
    if len(text) <= _N_CHARS:
        return text
    part = text[first : first + _N_CHARS]
    return f"{'...' if first else ''}{part}{'...' if first + _N_CHARS < len(text) else ''} ({len(text):,} characters)"


@dataclass(frozen=True, kw_only=True)
class Report:
    """The outcome. base, new: names, sources and hashes. n_new: tokens that BASE lacks.

    scripts: the target of the new tokens; scripts_from: what told them. proof: what `vocabopt merge` proved of the
    counts of NEW, as extension.json holds it; None where nothing was counted.
    """

    base: Mapping[str, Any]
    new: Mapping[str, Any]
    scripts: tuple[str, ...]
    scripts_from: str
    n_new: int
    checks: tuple[Check, ...]
    options: Mapping[str, Any]
    versions: Mapping[str, str]
    seconds: Mapping[str, float]
    proof: Mapping[str, Any] | None = None

    @property
    def passed(self) -> bool:
        """Did nothing fail? Warnings and checks that could not be made do not count."""
        return self.verdict != "fail"

    @property
    def verdict(self) -> Verdict:
        """The worst of the checks; those that could not be made do not count."""
        statuses = {check.status for check in self.checks}
        return "fail" if "fail" in statuses else "warn" if "warn" in statuses else "pass"

    def check(self, name: str) -> Check:
        """The check of that name."""
        return next(check for check in self.checks if check.name == name)

    def as_record(self) -> dict[str, Any]:
        """What verify.json holds."""
        return {
            "format_version": FORMAT_VERSION,
            "passed": self.passed,
            "verdict": self.verdict,
            "base": dict(self.base),
            "new": dict(self.new),
            "n_new": self.n_new,
            "scripts": list(self.scripts),
            "scripts_from": self.scripts_from,
            "options": dict(self.options),
            "checks": [
                {**asdict(check), "examples": [asdict(example) for example in check.examples]} for check in self.checks
            ],
            "versions": dict(self.versions),
            "seconds": dict(self.seconds),
            "proof": None if self.proof is None else dict(self.proof),
        }


def write_report(report: Report, path: Path) -> None:
    """Write verify.json, whole or not at all. Raises RunDirectoryError where it cannot be written."""
    write_json_atomic(path, report.as_record())

"""The outcome of a verification: verify.json, and what a person reads: a row a check, and examples of what failed."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec
from rich import box
from rich.table import Table
from rich.text import Text

from vocabopt.amounts import counted
from vocabopt.folder import FORMAT_VERSION, write_json_atomic
from vocabopt.tokenizer import Tokenizer
from vocabopt.verification.checks import Check, Status
from vocabopt.verification.summary import summary

Verdict = Literal["pass", "fail", "warn"]

_SHOWN: dict[Status, tuple[str, str]] = {
    "pass": ("PASS", "green"),
    "fail": ("FAIL", "bold red"),
    "warn": ("WARN", "yellow"),
    "not_checked": ("-", "dim"),
}


@dataclass(frozen=True, kw_only=True)
class Report:
    """The outcome.

    base, new: what was compared. n_new: tokens that BASE lacks.
    scripts: the target of the new tokens; scripts_from: what they come from.
    proof: what `vocabopt merge` proved of the counts of NEW, as extension.json holds it; None where no text was
        counted.
    """

    base: Tokenizer
    new: Tokenizer
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
        checks = [
            {
                "name": check.name,
                "status": check.status,
                "summary": summary(check),
                "counts": check.counts,
                "examples": msgspec.to_builtins(check.examples),
            }
            for check in self.checks
        ]
        return {
            "format_version": FORMAT_VERSION,
            "passed": self.passed,
            "verdict": self.verdict,
            "base": _compared(self.base),
            "new": _compared(self.new),
            "n_new": self.n_new,
            "scripts": list(self.scripts),
            "scripts_from": self.scripts_from,
            "options": dict(self.options),
            "checks": checks,
            "versions": dict(self.versions),
            "seconds": dict(self.seconds),
            "proof": None if self.proof is None else dict(self.proof),
        }


def _compared(tokenizer: Tokenizer) -> dict[str, Any]:
    files = {kind: hashlib.sha256(data).hexdigest() for kind, data in tokenizer.forms.items()}
    record = {name: getattr(tokenizer, name) for name in ("name", "source", "sha256", "written")}
    return {**record, "forms": files, "n_tokens": tokenizer.n_tokens, "refusal": tokenizer.refusal}


def write_report(report: Report, path: Path) -> None:
    """Write verify.json, whole or not at all. Raises RunDirectoryError where it cannot be written."""
    write_json_atomic(path, report.as_record())


# --- The table --------------------------------------------------------------------------------------------------------


def report_table(report: Report) -> Table:
    """A row per check: what should hold, whether it does, what was found."""
    guard = f"target script{'s' if len(report.scripts) > 1 else ''}: {', '.join(report.scripts) or 'none'}"
    title = f"{report.new.name} against {report.base.name}; {guard} ({report.scripts_from})"
    # As text, since names of files can look like rich's markup.
    table = Table(title=Text(title), title_justify="left", header_style="bold", box=box.SIMPLE_HEAD, show_edge=False)
    table.add_column("")
    table.add_column("check", overflow="fold")
    table.add_column("found", overflow="fold")
    for check in report.checks:
        word, style = _SHOWN[check.status]
        table.add_row(Text(word, style=style), Text(check.name), Text(summary(check)))
    return table


def failures(report: Report) -> list[str]:
    """Plain lines: what failed, then what was only warned of, each with its examples; last the outcome."""
    lines: list[str] = []
    for status in ("fail", "warn"):
        for check in report.checks:
            if check.status == status and check.examples:
                lines += _lines_of(check)
    n_left = sum(check.status == "not_checked" for check in report.checks)
    notable = {status: [check for check in report.checks if check.status == status] for status in ("fail", "warn")}
    added = f"plus {counted(report.n_new, 'new token')}" if report.n_new else "with no token added"
    outcome = f"{report.new.name} is {report.base.name} {added}"
    if report.verdict == "fail":
        outcome = f"FAIL: {len(notable['fail'])} of {len(report.checks)} checks."
    elif report.verdict == "warn":
        # The rest of a summary stands in the table.
        warnings = "; ".join(f"{check.name}: {summary(check).partition('; ')[0]}" for check in notable["warn"])
        outcome = f"WARN: {outcome}, but {len(notable['warn'])} of {len(report.checks)} checks warn. {warnings}."
    else:
        outcome = f"PASS: {outcome}."
    return [*lines, outcome + (f" Not checked: {n_left}." if n_left else "")]


def _lines_of(check: Check) -> list[str]:
    lines = [f"{_SHOWN[check.status][0]}  {check.name}"]
    for example in check.examples:
        lines += [f"  {example.what}", f"    base: {example.base}", f"    new:  {example.new}"]
    return lines

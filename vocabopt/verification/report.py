"""What a person reads of a verification: a row a check, examples of what failed, the outcome."""

from rich import box
from rich.table import Table
from rich.text import Text

from vocabopt.amounts import counted
from vocabopt.verification.record import Report, Status

_SHOWN: dict[Status, tuple[str, str]] = {
    "pass": ("PASS", "green"),
    "fail": ("FAIL", "bold red"),
    "warn": ("WARN", "yellow"),
    "not_checked": ("-", "dim"),
}


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
        table.add_row(Text(word, style=style), Text(check.name), Text(check.summary))
    return table


def failures(report: Report) -> list[str]:
    """Plain lines: what failed, then what was only warned of, each with its examples; last the outcome."""
    lines: list[str] = []
    failed, warned = report.of_status("fail"), report.of_status("warn")
    for check in (check for check in (*failed, *warned) if check.examples):
        lines.append(f"{_SHOWN[check.status][0]}  {check.name}")
        for example in check.examples:
            lines += [f"  {example.what}", f"    base: {example.base}", f"    new:  {example.new}"]
    added = f"plus {counted(report.n_new, 'new token')}" if report.n_new else "with no token added"
    if report.n_reused:
        added = f"with {counted(report.n_reused, 'row')} swapped"
    outcome = f"{report.new.name} is {report.base.name} {added}"
    if failed:
        outcome = f"FAIL: {len(failed)} of {len(report.checks)} checks."
    elif warned:
        # The rest of a summary stands in the table.
        warnings = "; ".join(f"{check.name}: {check.summary.partition('; ')[0]}" for check in warned)
        outcome = f"WARN: {outcome}, but {len(warned)} of {len(report.checks)} checks warn. {warnings}."
    else:
        outcome = f"PASS: {outcome}."
    n_left = len(report.of_status("not_checked"))
    return [*lines, outcome + (f" Not checked: {n_left}." if n_left else "")]

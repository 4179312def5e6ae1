"""A preparation as it is shown: the table of its steps, sentences below it, and report.html with its figure."""

from pathlib import Path

from markupsafe import Markup
from rich.table import Table

from vocabopt.amounts import shown_bytes
from vocabopt.folder import write_bytes_atomic
from vocabopt.preparation.options import registry
from vocabopt.preparation.record import PrepareRecord
from vocabopt.tables import PlainTable, listed, shown
from vocabopt.text.utf8 import encoded_for_display

_HEADERS = (
    "step", "documents\nin", "documents\nout", "removed", "changed", "text out", "tokens out", "bytes\nkept", "seconds"
)  # fmt: skip


def funnel_table(record: PrepareRecord, *, width: int = 100) -> Table:
    """A row per step, in order. Seconds are those of all workers together."""
    rows = []
    for step in record.steps:
        kept = step.n_bytes_out / step.n_bytes_in if step.n_bytes_in else None
        row = (
            step.step,
            f"{step.n_documents_in:,}",
            f"{step.n_documents_out:,}",
            f"{step.n_documents_in - step.n_documents_out:,}",
            f"{step.n_changed:,}",
            shown_bytes(step.n_bytes_out),
            shown(step.n_tokens_out, ","),
            shown(kept, ".2%"),
            f"{step.seconds:.1f}",
        )
        rows.append(row)
    caption = f"{record.steps[0].n_documents_in:,} documents, {shown_bytes(record.steps[0].n_bytes_in)}"
    return PlainTable(caption=caption, headers=_HEADERS, rows=rows).for_terminal(width)


def funnel_notes(record: PrepareRecord) -> list[str]:
    """Sentences that the table needs: what was left out on reading, and what was kept in all."""
    files, known = record.files, registry()
    notes = [
        f"Not read to its end: {file.error} ({file.n_documents:,} documents of it are used)."
        for file in files
        if file.error is not None
    ]
    n_blank, n_unreadable = sum(file.n_blank for file in files), sum(file.n_unreadable for file in files)
    if n_blank or n_unreadable:
        notes.append(f"{n_blank:,} blank lines or records left out; {n_unreadable:,} that are no text are in removed/.")
    for step in record.steps:
        if step.step in known and (note := known[step.step].note(step.facts)):
            notes.append(f"{step.step}: {note}")
    first, last = record.steps[0], record.steps[-1]
    notes.append(
        f"Kept {last.n_documents_out:,} of {first.n_documents_in:,} documents, "
        f"{shown_bytes(last.n_bytes_out)} of {shown_bytes(first.n_bytes_in)}."
    )
    return notes


# --- The page ---------------------------------------------------------------------------------------------------------


def write_page(out: Path, record: PrepareRecord) -> Path:
    """Write OUT/report.html and OUT/figures/funnel.svg, .png. Raises RunDirectoryError: a file cannot be written."""
    from vocabopt.report.charts import draw_funnel
    from vocabopt.report.draw import house_style, render, write_figures
    from vocabopt.report.page import N_INPUTS_SHOWN, filled

    with house_style():
        drawing = draw_funnel(record)
        pictures = [] if drawing is None else [render("funnel", drawing)]
    write_figures(out, pictures)
    rest = {name: value for name, value in record.options.items() if name not in ("steps", "paths", "out")}
    steps = [
        (f"step {step['step']}", listed({name: value for name, value in step.items() if name != "step"}))
        for step in record.options["steps"]
    ]
    files = [
        (file.url, f"{file.encoding}, {file.n_documents:,} documents, {file.n_blank:,} blank")
        for file in record.files[:N_INPUTS_SHOWN]
    ]
    if n_more := len(record.files) - len(files):
        files.append(("more files", f"{n_more:,}, listed in prepare.json"))
    facts = [("command", record.command), *steps, ("options", listed(rest)), *files]
    facts += [("versions", listed(record.versions)), ("seconds", listed(record.seconds))]
    page = filled(
        "prepare_page.html",
        title=f"{record.steps[-1].n_documents_out:,} of {record.steps[0].n_documents_in:,} documents kept",
        notes=list(reversed(funnel_notes(record))),
        prepare=record,
        # Trusted markup: a figure whose every text is escaped.
        figure=Markup(pictures[0].inline) if pictures else None,
        facts=facts,
    )
    path = out / "report.html"
    write_bytes_atomic(path, encoded_for_display(page))
    return path

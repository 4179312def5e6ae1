"""The page of a preparation: the funnel, examples, and where it all came from; and its figure for papers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from markupsafe import Markup

from vocabopt import __version__
from vocabopt.folder import write_bytes_atomic
from vocabopt.preparation.funnel import funnel_notes
from vocabopt.report.charts import draw_funnel
from vocabopt.report.draw import house_style, render
from vocabopt.report.inputs import PrepareRecord
from vocabopt.report.page import EARLY_SCRIPT, N_INPUTS_SHOWN, asset, environment, policy, style_sheet
from vocabopt.tables import listed
from vocabopt.text.utf8 import encoded_for_display


def write_page(out: Path, record: Mapping[str, Any]) -> Path:
    """Write OUT/report.html and OUT/figures/funnel.svg, .png. Raises RunDirectoryError: a file cannot be written."""
    with house_style():
        drawing = draw_funnel(msgspec.convert(record, PrepareRecord))
        picture = None if drawing is None else render("funnel", drawing)
    if picture is not None:
        write_bytes_atomic(out / "figures" / "funnel.svg", picture.svg)
        write_bytes_atomic(out / "figures" / "funnel.png", picture.png)
    early, steps = asset(EARLY_SCRIPT), record["steps"]
    page = (
        environment()
        .get_template("prepare_page.html")
        .render(
            title=f"{steps[-1]['n_documents_out']:,} of {steps[0]['n_documents_in']:,} documents kept",
            notes=list(reversed(funnel_notes(record))),
            prepare=record,
            # Trusted markup: a figure whose every text is escaped, and the project's own style sheet and script.
            figure=None if picture is None else Markup(picture.inline),
            facts=_facts(record),
            policy=policy([style_sheet()], [early]),
            style=Markup(style_sheet()),
            early_script=Markup(early),
            version=__version__,
        )
    )
    path = out / "report.html"
    write_bytes_atomic(path, encoded_for_display(page))
    return path


def _facts(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    options = record["options"]
    steps = [
        (f"step {step['step']}", listed({k: v for k, v in step.items() if k != "step"})) for step in options["steps"]
    ]
    rest = {name: value for name, value in options.items() if name not in ("steps", "paths", "out")}
    files = [
        (file["url"], f"{file['encoding']}, {file['n_documents']:,} documents, {file['n_blank']:,} blank")
        for file in record["files"][:N_INPUTS_SHOWN]
    ]
    more = len(record["files"]) - len(files)
    return [
        ("command", record["command"]),
        *steps,
        ("options", listed(rest)),
        *files,
        *([("more files", f"{more:,}, listed in prepare.json")] if more else []),
        ("versions", listed(record["versions"])),
        ("seconds", listed(record["seconds"])),
    ]

"""The report of a sweep: one self-contained page, and its figures as files for papers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from vocabopt.artifacts import write_bytes_atomic

__all__ = ["load_renderer", "write_report"]


def load_renderer() -> None:
    """Import what draws and renders, which takes half a second: for a thread that has time while others count."""
    import vocabopt.report.charts
    import vocabopt.report.page  # noqa: F401


def write_report(
    out: Path,
    sweep: Mapping[str, Any],
    curve: pl.DataFrame,
    run: Mapping[str, Any],
    union: Mapping[str, Any] | None = None,
) -> Path:
    """Write DIR/report.html and DIR/figures/*.svg, *.png; equal input gives equal bytes.

    Parameters:
        out: the run directory.
        sweep: what sweep.json holds. `points` holds size 0 and the size of `choice`: the page's first numbers are
            those of these two points, and what is not given is shown as a dash.
        curve: one row per added token, as curve.parquet. A column `count` (occurrences in training text when the
            token was added) is shown where there is one.
        run: what run.json holds.
        union: what union.json holds, where the union method was measured.

    Returns:
        The path of the page.
    """
    # Drawing takes half a second to import; no other command should wait for it.
    from vocabopt.report.charts import draw_all
    from vocabopt.report.page import render
    from vocabopt.report.view import View

    view = View(sweep, curve, run, union)
    pictures = draw_all(view)
    for picture in pictures:
        write_bytes_atomic(out / "figures" / f"{picture.name}.svg", picture.svg)
        write_bytes_atomic(out / "figures" / f"{picture.name}.png", picture.png)
    page = out / "report.html"
    write_bytes_atomic(page, render(view, pictures).encode())
    return page

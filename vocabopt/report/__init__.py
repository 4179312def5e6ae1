"""The report of a sweep: one self-contained page, and its figures as files for papers."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from vocabopt.artifacts import write_bytes_atomic
from vocabopt.text.utf8 import encoded_for_display

if TYPE_CHECKING:
    from vocabopt.tokenizer import Base

__all__ = ["load_renderer", "write_report"]


def load_renderer() -> None:
    """Import what draws and renders, which takes half a second: for a thread that has time while others count."""
    import vocabopt.report.build
    import vocabopt.report.charts  # noqa: F401


def write_report(
    out: Path,
    sweep: Mapping[str, Any],
    curve: pl.DataFrame,
    run: Mapping[str, Any],
    union: Mapping[str, Any] | None = None,
    *,
    samples: Mapping[str, Sequence[str]] | None = None,
    verify: Mapping[str, Any] | None = None,
    base: "Base | None" = None,
    adapt: Mapping[str, Any] | None = None,
    analysis: Mapping[str, Any] | None = None,
    prepare: Mapping[str, Any] | None = None,
    base_problem: str | None = None,
) -> Path:
    """Write DIR/report.html and DIR/figures/*.svg, *.png; equal input gives equal bytes.

    Parameters:
        out: the run directory.
        sweep: what sweep.json holds. `points` holds size 0 and the size of `choice`: the page's first numbers are
            those of these two points, and what is not given is shown as a dash.
        curve: one row per added token, as curve.parquet.
        run: what run.json holds.
        union: what union.json holds, where the union method was measured.
        samples: per text set a few short documents, which the page cuts into tokens at the slider's size.
        verify: what verify.json of the merged tokenizer holds.
        base: the base tokenizer; without it the page has no playground and no sample sentences.
        adapt: what adapt.json holds, where a model was adapted.
        analysis: what analyze.json holds, where tokenizers were compared into the run's folder.
        prepare: what prepare.json holds, where the text that is learned from was prepared.
        base_problem: why there is no base, for the reader.

    Returns:
        The path of the page.
    """
    # Drawing takes half a second to import; no other command should wait for it.
    from vocabopt.report.build import build_page
    from vocabopt.report.charts import draw_all
    from vocabopt.report.view import View

    view = View(sweep, curve, run, union, verify=verify, adapt=adapt, analysis=analysis, prepare=prepare)
    pictures = draw_all(view)
    for picture in pictures:
        write_bytes_atomic(out / "figures" / f"{picture.name}.svg", picture.svg)
        write_bytes_atomic(out / "figures" / f"{picture.name}.png", picture.png)
    page = out / "report.html"
    write_bytes_atomic(
        page, encoded_for_display(build_page(view, pictures, samples=samples, base=base, base_problem=base_problem))
    )
    return page

"""report.html: templates filled from the view, with style, scripts and data inside, under a policy that names them.

Everything foreign goes through the filters of `text`. The page's Content-Security-Policy allows the style sheet and the
scripts by their hashes and nothing else: no style attribute, no inline handler, no request. What does not fit into the
page's size is left out, and the page says so.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path

import polars as pl
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from vocabopt import __version__, wording
from vocabopt.errors import PlaygroundError, RunDirectoryError, VocaboptError
from vocabopt.folder import write_bytes_atomic
from vocabopt.records import BaseRecord, RunRecord, SweepRecord, UnionRecord
from vocabopt.report import text
from vocabopt.report.charts import draw_all
from vocabopt.report.draw import COLOURS, DARK, Picture, colour_rules, colour_variables, series_style
from vocabopt.report.inputs import AdaptRecord, AnalysisRecord, PrepareRecord, VerifyRecord, read_optional
from vocabopt.report.packs import MAX_PAGE_BYTES, Pack, curve_pack, samples_pack, tokens_pack
from vocabopt.report.playground import engine_script, pack_tokenizer
from vocabopt.report.view import View
from vocabopt.run_directory import read_curve, read_run, read_sweep, read_union
from vocabopt.tables import PlainTable
from vocabopt.text.documents import read_samples
from vocabopt.text.utf8 import encoded_for_display
from vocabopt.tokenizer import Tokenizer, load_base

FOLDER = Path(__file__).parent
N_INPUTS_SHOWN = 500

#: Runs before the first paint: the reader's choice of light or dark.
EARLY_SCRIPT = "theme.js"
#: Run as one script, in one scope, after the page's content.
_PAGE_SCRIPTS = (
    "unpack.js", "format.js", "sizes.js", "numbers.js", "charts.js", "controls.js", "segments.js", "playground.js",
    "tokens.js", "start.js",
)  # fmt: skip
#: What a page too large does without, in this order.
_SPARED = (("playground", "samples"), ("tokens",), ("curve",))

# --- Writing the report -----------------------------------------------------------------------------------------------


def write_report(
    out: Path,
    sweep: SweepRecord,
    curve: pl.DataFrame,
    run: RunRecord,
    union: UnionRecord | None = None,
    *,
    samples: Mapping[str, Sequence[str]] | None = None,
    verify: VerifyRecord | None = None,
    base: Tokenizer | None = None,
    adapt: AdaptRecord | None = None,
    analysis: AnalysisRecord | None = None,
    prepare: PrepareRecord | None = None,
    base_problem: str | None = None,
) -> Path:
    """Write DIR/report.html and DIR/figures/*.svg, *.png; equal input gives equal bytes.

    Args:
        out: the run directory.
        curve: one row per added token, as curve.parquet.
        union: where the union method was measured.
        samples: per text set a few short documents, which the page cuts into tokens at the slider's size.
        base: the base tokenizer; without it the page has no playground and no sample sentences.
        verify, adapt, analysis, prepare: what these commands left of the run, where they were run.
        base_problem: why there is no base, for the reader.

    Returns:
        The path of the page.
    """
    view = View(sweep, curve, run, union, verify=verify, adapt=adapt, analysis=analysis, prepare=prepare)
    pictures = draw_all(view)
    for picture in pictures:
        write_bytes_atomic(out / "figures" / f"{picture.name}.svg", picture.svg)
        write_bytes_atomic(out / "figures" / f"{picture.name}.png", picture.png)
    page = build_page(view, pictures, samples=samples, base=base, base_problem=base_problem)
    write_bytes_atomic(out / "report.html", encoded_for_display(page))
    return out / "report.html"


def rebuild_report(run_dir: Path) -> Path:
    """`vocabopt report`: write report.html and figures/ anew from the files of a finished run, without its text.

    The base tokenizer is loaded from where it was. Where it is not there any more, or is another by now, the page has
    no playground and says why.

    Raises:
        RunDirectoryError: no finished run, or one of its files is missing, broken, or of another version or run.
    """
    if not run_dir.is_dir():
        raise RunDirectoryError(f"{run_dir}: no such folder. Name the run directory of a sweep.")
    sweep = read_sweep(run_dir)
    curve = read_curve(run_dir, sweep)
    run = read_run(run_dir, next_step="Sweep the text into a new folder with --out.")
    base, base_problem = _base_of(sweep.base)
    return write_report(
        run_dir,
        sweep,
        curve,
        run,
        read_union(run_dir, sweep.scripts, sweep.base.n_rows),
        samples=read_samples(run_dir),
        verify=read_optional(run_dir / "tokenizer" / "verify.json", VerifyRecord),
        base=base,
        analysis=read_optional(run_dir / "analysis" / "analyze.json", AnalysisRecord),
        adapt=read_optional(run_dir / "adapt.json", AdaptRecord),
        prepare=read_optional(run_dir / "prepare.json", PrepareRecord),
        base_problem=base_problem,
    )


def _base_of(record: BaseRecord) -> tuple[Tokenizer | None, str | None]:
    """The base of the sweep, loaded again; or None, and for the reader of the page why."""
    try:
        base = load_base(record.source, pattern=record.pattern, specials=record.specials)
    except VocaboptError as error:
        return None, f"the base tokenizer cannot be loaded any more ({error})"
    if base.sha256 != record.sha256:
        return None, (
            f"{record.source} changed since the sweep (sha256 {base.sha256[:12]}..., then {record.sha256[:12]}...), "
            "and its tokens would not be those of this curve."
        )
    return base, None


# --- The page and its data --------------------------------------------------------------------------------------------


def build_page(
    view: View,
    pictures: Sequence[Picture],
    *,
    samples: Mapping[str, Sequence[str]] | None,
    base: Tokenizer | None,
    base_problem: str | None,
) -> str:
    """The page as one string: of at most 4 MB, or without any of the data that its scripts read."""
    packs, left_out = _packs(view, samples, base, base_problem)
    page = render(view, pictures, packs, left_out)
    for names in _SPARED:
        spared = [packs.pop(name) for name in names if name in packs and not _fits(page)]
        if spared:
            n_bytes = sum(len(pack.base64) for pack in spared)
            why = f"its {text.size_of(n_bytes)} would make this page larger than {text.size_of(MAX_PAGE_BYTES)}."
            left_out |= {pack.name: why for pack in spared}
            page = render(view, pictures, packs, left_out)
    return page


def _packs(
    view: View, samples: Mapping[str, Sequence[str]] | None, base: Tokenizer | None, base_problem: str | None
) -> tuple[dict[str, Pack], dict[str, str]]:
    """The page's data by name; and by name what there is no data of, with the reason."""
    packs = {"curve": curve_pack(view)}
    if view.curve.height:
        packs["tokens"] = tokens_pack(view, base)
    sentences, why = samples_pack(view, samples), base_problem or "the base tokenizer was not at hand."
    if base is not None:
        try:
            playground = Pack(name="playground", data=pack_tokenizer(base, view.curve))
        except PlaygroundError as error:
            why = str(error)
        else:
            return packs | ({} if sentences is None else {"samples": sentences}) | {"playground": playground}, {}
    return packs, {"playground": why} | ({} if sentences is None else {"samples": why})


def _fits(page: str) -> bool:
    return len(encoded_for_display(page)) <= MAX_PAGE_BYTES


def render(view: View, pictures: Sequence[Picture], packs: Mapping[str, Pack], left_out: Mapping[str, str]) -> str:
    """The whole page as one string; it refers to nothing outside itself.

    packs: by name; the one named "playground" makes the page's tokenizer work. left_out: by name of a pack that is not
    there the reason, for the reader.
    """
    early, later = asset(EARLY_SCRIPT), [_page_script()]
    if "playground" in packs:
        later.insert(0, engine_script())
    scripts = [early, *later]
    # Inside a script nothing is escaped: its end must not stand in it.
    assert not any(mark in script.lower() for script in scripts for mark in ("</script", "<script", "<!--"))
    # Trusted markup: the project's own style sheet and scripts, base64, and figures whose every text is escaped.
    return (
        environment()
        .get_template("page.html")
        .render(
            view=view,
            sweep=view.sweep,
            run=view.run,
            choice=view.choice,
            options=asdict(view.sweep.options),
            choice_options=asdict(view.choice.options),
            wording=wording,
            figures={picture.name: Markup(picture.inline) for picture in pictures},
            early_script=Markup(early),
            scripts=[Markup(script) for script in later],
            packs=packs,
            left_out=left_out,
            n_inputs_shown=N_INPUTS_SHOWN,
        )
    )


def render_tables(
    title: str,
    lead: str,
    pictures: Sequence[tuple[Picture, str]],
    tables: Sequence[PlainTable],
    facts: Sequence[tuple[str, str]],
) -> str:
    """A page of tables and figures for what is measured besides a sweep: the same look, under the same policy.

    Args:
        lead: the answer, a sentence or two. pictures: each with what stands below it. facts: inputs, options, versions:
            name and value.
    """
    return (
        environment()
        .get_template("tables_page.html")
        .render(
            title=title,
            lead=lead,
            figures=[(Markup(picture.inline), caption) for picture, caption in pictures],
            tables=tables,
            facts=facts,
            early_script=Markup(asset(EARLY_SCRIPT)),
        )
    )


# --- Templates, style, scripts, policy --------------------------------------------------------------------------------


@cache
def environment(folder: Path = FOLDER) -> Environment:
    """The templates of `folder` and of the report, with the filters through which everything foreign goes.

    base.html has the head of every page: a template gives it `early_script` and `scripts`, where it has some.
    """
    environment = Environment(
        loader=FileSystemLoader([folder, FOLDER]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters = (
        text.count, text.fixed, text.percent, text.change, text.short_count, text.size_of, text.seconds, text.duration,
        text.visible, text.plain, text.option, text.times,
    )  # fmt: skip
    environment.filters.update({given.__name__: given for given in filters})
    environment.globals.update(piece=text.piece, series_style=series_style, DASH=text.DASH, zip=zip)
    environment.globals.update(
        page_style=Markup(style_sheet()),
        page_policy=lambda scripts: policy([style_sheet()], scripts),
        page_version=__version__,
    )
    return environment


@cache
def style_sheet() -> str:
    dark = colour_variables(DARK)
    rules = (FOLDER / "page.css").read_text(encoding="utf-8")
    return (
        f":root {{ {colour_variables(COLOURS)} }}\n"
        f"@media screen {{ :root[data-theme=dark] {{ {dark} }} }}\n"
        f"@media screen and (prefers-color-scheme: dark) {{ :root:not([data-theme=light]) {{ {dark} }} }}\n"
        f"{colour_rules()}\n{rules}"
    )


@cache
def asset(name: str) -> str:
    return (FOLDER / "assets" / name).read_text(encoding="utf-8")


@cache
def _page_script() -> str:
    return '(() => {\n"use strict";\n' + "\n".join(asset(name) for name in _PAGE_SCRIPTS) + "})();\n"


def policy(styles: Sequence[str], scripts: Sequence[str]) -> str:
    """The Content-Security-Policy that allows these and nothing else; each is the exact text of one element."""

    def hashes(texts: Sequence[str]) -> str:
        digests = (base64.b64encode(hashlib.sha256(given.encode()).digest()).decode() for given in texts)
        return " ".join(f"'sha256-{digest}'" for digest in digests)

    allowed = f"script-src {hashes(scripts)}; " if scripts else ""
    return f"default-src 'none'; {allowed}style-src {hashes(styles)}"

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
from typing import Any, TypeVar

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from vocabopt import __version__, wording
from vocabopt.analysis.record import AnalyzeRecord
from vocabopt.choice import measured_table
from vocabopt.choice.measured import read_sizes
from vocabopt.errors import PlaygroundError, RunDirectoryError, VocaboptError
from vocabopt.folder import write_bytes_atomic
from vocabopt.growth.terms import terms_of
from vocabopt.preparation.record import PrepareRecord
from vocabopt.records import BaseRecord, FileRecord, read_optional
from vocabopt.report import text
from vocabopt.report.charts import draw_all
from vocabopt.report.draw import COLOURS, DARK, Picture, colour_rules, colour_variables, series_style, write_figures
from vocabopt.report.packs import MAX_PAGE_BYTES, curve_pack, samples_pack, tokens_pack
from vocabopt.report.playground import engine_script, pack_tokenizer
from vocabopt.report.view import View
from vocabopt.run_directory import read_curve, read_run, read_sweep, read_union
from vocabopt.swap.record import read_swap
from vocabopt.tables import PlainTable, shown_size
from vocabopt.text.documents import read_samples
from vocabopt.text.utf8 import encoded_for_display
from vocabopt.tokenizer import Tokenizer, load_base
from vocabopt.training_record import ADAPT_JSON, AdaptRecord
from vocabopt.verification.record import Report

R = TypeVar("R", bound=FileRecord)

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


def write_report(out: Path, view: View) -> Path:
    """Write report.html and figures/*.svg, *.png into a run directory, and return the path of the page.

    Equal input gives equal bytes.
    """
    pictures = draw_all(view)
    write_figures(out, pictures)
    write_bytes_atomic(out / "report.html", encoded_for_display(build_page(view, pictures)))
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
    base, problem = _base_of(sweep.base)
    view = View(
        sweep,
        curve,
        run,
        read_union(run_dir, sweep.scripts, sweep.base.n_rows),
        swap=read_swap(run_dir, sweep.curve_sha256),
        samples=read_samples(run_dir),
        base=base,
        base_problem=problem,
        verify=_left_by("Run `vocabopt merge`", run_dir / "tokenizer" / "verify.json", Report),
        analysis=_left_by("Run `vocabopt analyze`", run_dir / "analysis" / "analyze.json", AnalyzeRecord),
        adapt=_left_by("Run `vocabopt adapt`", run_dir / ADAPT_JSON, AdaptRecord),
        terms=terms_of(run_dir, sweep),
        measured=read_sizes(run_dir, sweep),
        prepare=_left_by("Sweep the prepared text", run_dir / "prepare.json", PrepareRecord),
    )
    return write_report(run_dir, view)


def _left_by(command: str, path: Path, kind: type[R]) -> R | None:
    """A file that another command left in the run directory; None where there is none. The page does without it."""
    return read_optional(path, kind, next_step=f"{command} again. Or remove the file.")


def _base_of(record: BaseRecord) -> tuple[Tokenizer | None, str]:
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
    return base, ""


# --- The page and its data --------------------------------------------------------------------------------------------


def build_page(view: View, pictures: Sequence[Picture]) -> str:
    """The page as one string: of at most 4 MB, or without any of the data that its scripts read."""
    packs, left_out = _packs(view)
    page = render(view, pictures, packs, left_out)
    for names in _SPARED:
        spared = {name: len(packs[name]) for name in names if name in packs}
        if spared and len(encoded_for_display(page)) > MAX_PAGE_BYTES:
            n_bytes = text.size_of(sum(spared.values()))
            why = f"its {n_bytes} would make this page larger than {text.size_of(MAX_PAGE_BYTES)}."
            packs = {name: data for name, data in packs.items() if name not in spared}
            left_out |= dict.fromkeys(spared, why)
            page = render(view, pictures, packs, left_out)
    return page


def _packs(view: View) -> tuple[dict[str, str], dict[str, str]]:
    """The page's data in base64 by name; and by name what there is no data of, with the reason."""
    packs = {"curve": curve_pack(view)}
    if view.curve.height:
        packs["tokens"] = tokens_pack(view, view.base)
    why, sentences = view.base_problem, samples_pack(view, view.samples)
    # Sentences are cut by the playground's tokenizer: where it is left out, so are they.
    cut = {} if sentences is None else {"samples": sentences}
    if view.base is not None:
        try:
            widened = view.sweep.widened
            pattern = None if widened is None else widened.pattern
            packs |= cut | {"playground": pack_tokenizer(view.base, view.curve, pattern)}
        except PlaygroundError as error:
            why = str(error)
    left_out = {name: why for name in ("playground", *cut) if name not in packs}
    return {name: base64.b64encode(data).decode("ascii") for name, data in packs.items()}, left_out


def render(view: View, pictures: Sequence[Picture], packs: Mapping[str, str], left_out: Mapping[str, str]) -> str:
    """The whole page as one string; it refers to nothing outside itself.

    packs: by name, in base64; the one named "playground" makes the page's tokenizer work. left_out: by name of a pack
    that is not there the reason, for the reader.
    """
    return filled(
        "page.html",
        scripts=[*([engine_script()] if "playground" in packs else []), _page_script()],
        view=view,
        sweep=view.sweep,
        run=view.run,
        choice=view.choice,
        options=asdict(view.sweep.options),
        choice_options=asdict(view.choice.options),
        wording=wording,
        measured_words=measured_table,
        figures={picture.name: Markup(picture.inline) for picture in pictures},
        packs=packs,
        left_out=left_out,
        n_inputs_shown=N_INPUTS_SHOWN,
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
    figures = [(Markup(picture.inline), caption) for picture, caption in pictures]
    return filled("tables_page.html", title=title, lead=lead, figures=figures, tables=tables, facts=facts)


# --- Templates, style, scripts, policy --------------------------------------------------------------------------------


def filled(template: str, *, scripts: Sequence[str] = (), **values: Any) -> str:
    """A page that extends base.html, from a template of the report.

    Args:
        scripts: run after the page's content.
        values: what the template names; markup in them (figures) must be trusted: its every text is escaped.
    """
    early = asset(EARLY_SCRIPT)
    # Inside a script nothing is escaped: its end must not stand in it.
    assert not any(mark in script.lower() for script in (early, *scripts) for mark in ("</script", "<script", "<!--"))
    trusted = [Markup(script) for script in scripts]
    return environment().get_template(template).render(early_script=Markup(early), scripts=trusted, **values)


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
        text.visible, text.plain, text.learning_rate, text.option, text.times, text.language,
    )  # fmt: skip
    environment.filters.update({given.__name__: given for given in filters})
    environment.globals.update(
        change_of=text.change_of,
        piece=text.piece,
        quotient=text.quotient,
        series_style=series_style,
        shown_size=shown_size,
        DASH=text.DASH,
        zip=zip,
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

"""The page: templates filled from the view, with its style, scripts and data inside, under a policy that names them.

Everything foreign goes through the filters of `text`. The page's Content-Security-Policy allows the style sheet and the
scripts by their hashes and nothing else: no style attribute, no inline handler, no request.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from vocabopt import __version__
from vocabopt.report import text
from vocabopt.report.draw import Picture
from vocabopt.report.packs import Pack
from vocabopt.report.playground import engine_script
from vocabopt.report.svg import COLOURS, DARK, colour_rules, colour_variables, series_style
from vocabopt.report.view import View

FOLDER = Path(__file__).parent
N_INPUTS_SHOWN = 500

#: Runs before the first paint: the reader's choice of light or dark.
EARLY_SCRIPT = "theme.js"
#: Run as one script, in one scope, after the page's content.
_PAGE_SCRIPTS = (
    "unpack.js",
    "format.js",
    "sizes.js",
    "numbers.js",
    "charts.js",
    "controls.js",
    "segments.js",
    "playground.js",
    "tokens.js",
    "start.js",
)


@cache
def environment(folder: Path = FOLDER) -> Environment:
    """The templates of `folder`, with the filters through which everything foreign goes."""
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        count=text.count,
        fixed=text.fixed,
        percent=text.percent,
        change=text.change,
        short_count=text.short_count,
        size_of=text.size_of,
        seconds=text.seconds,
        duration=text.duration,
        visible=text.visible,
        plain=text.plain,
        option=text.option,
        times=text.times,
    )
    environment.globals.update(piece=text.piece, series_style=series_style, DASH=text.DASH)
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
            decision=view.decision,
            figures={picture.name: Markup(picture.inline) for picture in pictures},
            policy=policy([style_sheet()], scripts),
            style=Markup(style_sheet()),
            early_script=Markup(early),
            scripts=[Markup(script) for script in later],
            packs=packs,
            left_out=left_out,
            n_inputs_shown=N_INPUTS_SHOWN,
            version=__version__,
        )
    )

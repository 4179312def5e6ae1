"""The page: a template filled from the view. Everything foreign goes through the filters of `text`."""

from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from vocabopt import __version__
from vocabopt.report import text
from vocabopt.report.draw import Picture
from vocabopt.report.svg import COLOURS, DARK, colour_variables, series_style
from vocabopt.report.view import View

N_INPUTS_SHOWN = 500


def _environment(folder: Path) -> Environment:
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
        short_count=text.short_count,
        size_of=text.size_of,
        seconds=text.seconds,
        visible=text.visible,
        plain=text.plain,
        option=text.option,
    )
    environment.globals.update(piece=text.piece, series_style=series_style, DASH=text.DASH)
    return environment


def render(view: View, pictures: Sequence[Picture]) -> str:
    """The whole page as one string; it refers to nothing outside itself."""
    folder = Path(__file__).parent
    # Trusted markup: the project's own style sheet, and figures whose every text matplotlib has escaped.
    style = Markup((folder / "page.css").read_text(encoding="utf-8"))
    figures = {picture.name: Markup(picture.inline) for picture in pictures}
    return (
        _environment(folder)
        .get_template("page.html")
        .render(
            view=view,
            sweep=view.sweep,
            run=view.run,
            choice=view.choice,
            figures=figures,
            style=style,
            light=Markup(colour_variables(COLOURS)),
            dark=Markup(colour_variables(DARK)),
            n_inputs_shown=N_INPUTS_SHOWN,
            version=__version__,
        )
    )

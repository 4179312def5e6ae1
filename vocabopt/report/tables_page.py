"""A page of tables and figures for what is measured beside a sweep: in the report's dress, under the same policy."""

from collections.abc import Sequence

from markupsafe import Markup

from vocabopt import __version__
from vocabopt.report.draw import Picture
from vocabopt.report.page import EARLY_SCRIPT, asset, environment, policy, style_sheet
from vocabopt.tabular import PlainTable


def render_tables(
    title: str,
    lead: str,
    pictures: Sequence[tuple[Picture, str]],
    tables: Sequence[PlainTable],
    facts: Sequence[tuple[str, str]],
) -> str:
    """The page as one string.

    Args:
        lead: the answer, a sentence or two. pictures: each with what stands below it. facts: inputs, options, versions:
            name and value.
    """
    early = asset(EARLY_SCRIPT)
    return (
        environment()
        .get_template("tables_page.html")
        .render(
            title=title,
            lead=lead,
            figures=[(Markup(picture.inline), caption) for picture, caption in pictures],
            tables=tables,
            facts=facts,
            policy=policy([style_sheet()], [early]),
            style=Markup(style_sheet()),
            early_script=Markup(early),
            version=__version__,
        )
    )

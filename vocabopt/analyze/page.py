"""The files of an analysis: analyze.json, one self-contained page, and its figures for papers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from vocabopt import __version__
from vocabopt.analyze.charts import colour_of, draw_all, shape_of
from vocabopt.analyze.metrics import best
from vocabopt.artifacts import write_bytes_atomic, write_json_atomic
from vocabopt.report.page import environment, policy
from vocabopt.report.svg import COLOURS, DARK, colour_rules, colour_variables
from vocabopt.text.utf8 import encoded_for_display


def write_analysis(out: Path, record: Mapping[str, Any]) -> Path:
    """Write DIR/analyze.json, DIR/analyze.html and DIR/figures/*.svg, *.png; equal input gives equal bytes.

    Returns:
        The path of the page.

    Raises:
        RunDirectoryError: a file cannot be written.
    """
    pictures = draw_all(record)
    write_json_atomic(out / "analyze.json", record)
    for picture in pictures:
        write_bytes_atomic(out / "figures" / f"{picture.name}.svg", picture.svg)
        write_bytes_atomic(out / "figures" / f"{picture.name}.png", picture.png)
    page = out / "analyze.html"
    # Trusted markup: figures whose every text matplotlib has escaped.
    write_bytes_atomic(
        page, encoded_for_display(_render(record, {picture.name: Markup(picture.inline) for picture in pictures}))
    )
    return page


def _render(record: Mapping[str, Any], figures: Mapping[str, Markup]) -> str:
    folder = Path(__file__).parent
    style = (
        f":root {{ {colour_variables(COLOURS)} }}\n"
        f"@media screen and (prefers-color-scheme: dark) {{ :root {{ {colour_variables(DARK)} }} }}\n"
        f"{colour_rules()}\n{(folder / 'analyze.css').read_text(encoding='utf-8')}"
    )
    return (
        environment(folder)
        .get_template("analyze.html")
        .render(
            best=best,
            record=record,
            sets=record["sets"],
            tokenizers=record["tokenizers"],
            marks=[(colour_of(number), shape_of(number)) for number in range(len(record["tokenizers"]))],
            totals=[_total(tokenizer) for tokenizer in record["tokenizers"]],
            is_korean=any(given["is_korean"] for given in record["sets"].values()),
            has_numbers=any(not (name.isascii() and name.isprintable()) for name in _names(record)),
            figures=figures,
            style=Markup(style),
            policy=policy([style], []),
            version=__version__,
        )
    )


def _total(tokenizer: Mapping[str, Any]) -> int:
    """Tokens of all sets together."""
    return sum(counts["n_tokens"] for counts in tokenizer["sets"].values())


def _names(record: Mapping[str, Any]) -> list[str]:
    return [*record["sets"], *(tokenizer["name"] for tokenizer in record["tokenizers"])]

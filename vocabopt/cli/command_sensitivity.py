"""`vocabopt sensitivity`."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vocabopt.cli.shared import hold, plain_console, rank_file_options, reading_options
from vocabopt.errors import BASES, OptionError
from vocabopt.text.utf8 import json_bytes

if TYPE_CHECKING:
    from vocabopt.records import SensitivityRecord


@click.command()
@click.argument("corpora", nargs=-1, metavar="CORPUS CORPUS...")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of the result.")
@click.option("--base", default="mistral-7b-v1", show_default=True, help=f"Base tokenizer: {BASES}.")
@rank_file_options
@click.option(
    "--script",
    "scripts",
    default="auto",
    show_default=True,
    metavar="auto|none|NAME[,NAME]",
    help="Script every new token must show.",
)
@click.option("--max-added", default=40_000, show_default=True, help="Tokens to add at most.")
@click.option(
    "--size",
    "n_added",
    type=int,
    metavar="N",
    help="Size at which vocabularies are compared.  [default: that recommended for all together]",
)
@click.option("--window", metavar="START:STOP", help="Added tokens between which knees are sought, as in `choose`.")
@click.option("--heldout", default=0.05, show_default=True, help="Share of documents held out, picked by content.")
@click.option(
    "--model",
    metavar="MODEL",
    help="Model whose embedding is counted.  [default: as in `sweep`]",
)
@click.option("--min-saving", default=2, show_default=True, help="Stop when the best token saves fewer tokens.")
@click.option("--seed", default=0, show_default=True, help="Picks other held-out documents, folds and resamples.")
@reading_options
@click.option("--json", "as_json", is_flag=True, help="Print sensitivity.json instead of the tables.")
@click.option("--quiet", is_flag=True, help="No progress and no tables.")
def sensitivity(
    corpora: tuple[str, ...],
    out: Path,
    window: str | None,
    unit: Any,
    column: str | None,
    encoding: str,
    on_error: Any,
    format: Any,
    as_json: bool,
    quiet: bool,
    **values: Any,
) -> None:
    """Measure several corpora side by side: does the choice of text move the size, or the tokens?

    CORPUS: PATH or NAME=PATH, as `sweep` reads them. Each gets a curve, a knee and a recommendation, and all together
    too; then how much of one vocabulary another shares, and how many more tokens a text takes with tokens learned from
    another than with its own, on held-out text. Writes sensitivity.json, sensitivity.html and curves/.

    \b
    Examples:
      vocabopt sensitivity wiki=wiki.jsonl reviews=reviews.txt law/ --out reports/sources
      vocabopt sensitivity wiki.txt news.txt --size 10000 --out reports/two
    """
    from vocabopt.choice.options import ChoiceOptions, parse_window
    from vocabopt.console import Console
    from vocabopt.records import json_of
    from vocabopt.sensitivity import SensitivityOptions, run_sensitivity
    from vocabopt.text.readers import ReadOptions

    options = SensitivityOptions(
        corpora=_named(corpora),
        out=out,
        read=ReadOptions(unit=unit, column=column, encoding=encoding, on_error=on_error, format=format),
        choice=ChoiceOptions(window=None if window is None else parse_window(window), seed=values["seed"]),
        **values,
    )
    hold(out)
    record = run_sensitivity(options, Console(quiet=quiet or as_json))
    if as_json:
        click.echo(json_bytes(json_of(record)))
    elif not quiet:
        _print(record, out)


def _named(corpora: tuple[str, ...]) -> dict[str, str]:
    """NAME=PATH as given; a PATH is named by its last part."""
    named: dict[str, str] = {}
    for corpus in corpora:
        name, separator, path = corpus.partition("=")
        if not separator or "/" in name:
            path = corpus
            last = Path(re.sub(r"[*?]", "", path).rstrip("/")).name.partition(".")[0]
            name = re.sub(r"[^A-Za-z0-9_-]+", "_", last).strip("_-")
        if not name or not path:
            raise OptionError(f"{corpus}: write NAME=PATH, for example news=news.txt")
        if name in named:
            raise OptionError(f"{corpus}: there is a corpus {name!r} already. Name it: NAME={path}")
        named[name] = path
    return named


def _print(record: "SensitivityRecord", out: Path) -> None:
    from vocabopt.report.sensitivity import sentence, tables
    from vocabopt.wording import proof_note

    console = plain_console()
    for table in tables(record):
        console.print(table.for_terminal(console.width))
        console.print()
    for note in (sentence(record), proof_note(record.proof), f"Report: {out / 'sensitivity.html'}"):
        console.print(note, markup=False, highlight=False, soft_wrap=True)

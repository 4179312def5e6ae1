"""`vocabopt analyze`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from vocabopt.cli.shared import named_paths, plain_console, rank_file_options, reading_options
from vocabopt.errors import OptionError


@click.command()
@click.argument("tokenizers", nargs=-1, metavar="TOKENIZER...")
@click.option(
    "--text",
    "texts",
    multiple=True,
    metavar="NAME=PATH",
    callback=named_paths("text"),
    help="Text to measure on; may be repeated.",
)
@click.option(
    "--parity",
    "aligned",
    metavar="NAME",
    help="The text that all others translate, line by line: tokens are compared with its, and Gini over all is given.",
)
@click.option("--rare", "n_rare", default=10, show_default=True, help="A token seen fewer times is rare.")
@click.option(
    "--morphemes",
    "n_morpheme_documents",
    default=1_000,
    show_default=True,
    help="Documents of Korean text to compare with its morphemes (extra `ko`); 0 for none.",
)
@rank_file_options
@reading_options
@click.option("--out", type=click.Path(path_type=Path), help="Folder for analyze.json, analyze.html and figures/.")
@click.option("--json", "as_json", is_flag=True, help="Print analyze.json instead of the tables.")
@click.option("--quiet", is_flag=True, help="No progress and no tables.")
def analyze(
    tokenizers: tuple[str, ...],
    out: Path | None,
    unit: Any,
    column: str | None,
    encoding: str,
    on_error: Any,
    as_json: bool,
    quiet: bool,
    **values: Any,
) -> None:
    """Compare tokenizers of any kind on any text: tokens per word, what they keep whole, what they never use.

    TOKENIZER: as --base of `sweep` takes them, and others that can only encode; NAME=TOKENIZER names it. With --out it
    writes analyze.json, analyze.html and a chart. What is not defined is a dash.

    \b
    Examples:
      vocabopt analyze mistral-7b-v1 my-tokenizer --text ko=korean.txt --text en=english.txt
      vocabopt analyze old=./Llama-2-7b new=./Llama-3-8b --text de=de.txt --text ko=ko.txt --parity de --out compared
    """
    from vocabopt.analyze.run import AnalyzeOptions
    from vocabopt.analyze.run import analyze as run
    from vocabopt.artifacts import check_writable
    from vocabopt.console import Console
    from vocabopt.readers import ReadOptions

    read = ReadOptions(unit=unit, column=column, encoding=encoding, on_error=on_error)
    options = AnalyzeOptions(tokenizers=_named(tokenizers), read=read, **values)
    if out is not None:
        check_writable(out)
    record = run(options, Console(quiet=quiet or as_json))
    if out is not None:
        from vocabopt.analyze.page import write_analysis

        write_analysis(out, record)
    if as_json:
        click.echo(json.dumps(record, ensure_ascii=False, indent=1).encode())
    elif not quiet:
        _print(record, out)


def _named(tokenizers: tuple[str, ...]) -> dict[str, str]:
    """NAME=TOKENIZER as given; others are named by their last part, a file by its folder."""
    named: dict[str, str] = {}
    for given in tokenizers:
        name, separator, value = given.partition("=")
        if not separator or "/" in name:
            value, path = given, Path(given)
            name = path.resolve().parent.name if path.is_file() else path.name or path.resolve().name
        if not name or not value:
            raise OptionError(f"{given}: write NAME=TOKENIZER, for example old=./Llama-2-7b")
        if name in named:
            raise OptionError(f"{given}: there is a tokenizer {name!r} already. Name it: NAME={value}")
        named[name] = value
    return named


def _print(record: Mapping[str, Any], out: Path | None) -> None:
    from vocabopt.analyze.table import sentence, tables

    console = plain_console()
    for table in tables(record):
        console.print(table.for_terminal(console.width))
        console.print()
    notes = [record["morpheme_note"], sentence(record), None if out is None else f"Report: {out / 'analyze.html'}"]
    for note in filter(None, notes):
        console.print(note, markup=False, highlight=False, soft_wrap=True)

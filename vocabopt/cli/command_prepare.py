"""`vocabopt prepare`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from vocabopt.cli.shared import BASES, plain_console, rank_file_options


@click.command()
@click.argument("paths", nargs=-1, metavar="PATH...")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder for the result; new, or of a run to go on with.",
)
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    metavar="FILE.toml",
    help="The steps, in order, and their options; see docs/prepare.md.",
)
@click.option(
    "--steps",
    metavar="NAME,NAME...",
    help="The steps, in order, with default options.  [default: repair,nfc,personal,exact,near]",
)
@click.option(
    "--base",
    default="mistral-7b-v1",
    show_default=True,
    help=f"Tokenizer whose tokens the funnel counts, or none: {BASES}.",
)
@rank_file_options
@click.option(
    "--format",
    "output",
    type=click.Choice(["jsonl.zst", "parquet"]),
    default="jsonl.zst",
    show_default=True,
    help="Files of clean/ and removed/.",
)
@click.option(
    "--unit",
    type=click.Choice(["line", "file"]),
    default="line",
    show_default=True,
    help="What a document is in a text file.",
)
@click.option("--column", metavar="NAME", help="Text column of .jsonl and .parquet files.  [default: text]")
@click.option(
    "--encoding",
    default="auto",
    show_default=True,
    help="Encoding of the text; auto: UTF-8, UTF-16 by its first bytes, and cp949 for lines that are not UTF-8.",
)
@click.option("--strict", is_flag=True, help="End at a file that cannot be read, instead of naming it and going on.")
@click.option("--shard", default="16MB", show_default=True, help="Text in one file of the output.")
@click.option("--workers", default=2, show_default=True, help="Processes; they change no output.")
@click.option("--json", "as_json", is_flag=True, help="Print prepare.json instead of the table.")
@click.option("--quiet", is_flag=True, help="No progress and no table.")
def prepare(as_json: bool, quiet: bool, config: Path | None, steps: str | None, base: str, **values: Any) -> None:
    """Clean text, step by step, and count what each step takes.

    PATH: .txt, .jsonl or .parquet files (also .gz, .zst), folders, globs, URLs, or - for standard input. Writes
    OUT/clean/ (what is kept: id, text, source, line), OUT/removed/ (the rest, with the step that took it and why),
    prepare.json and report.html. A run that was stopped goes on when the same command is given again. `vocabopt sweep
    OUT` reads the result and shows the funnel in its report.

    \b
    Examples:
      vocabopt prepare corpus/ko --out clean-ko
      vocabopt prepare web/*.jsonl.gz --config prepare.toml --out clean-web
      vocabopt prepare old.txt --steps repair,nfc,exact --encoding cp949 --out clean-old
    """
    from vocabopt.console import Console
    from vocabopt.errors import OptionError
    from vocabopt.prepare.config import DEFAULT_STEPS, chain, read_config
    from vocabopt.prepare.options import PrepareOptions
    from vocabopt.prepare.run import run_prepare

    if config is not None and steps is not None:
        raise OptionError(f"--config {config}, --steps {steps}: both name the steps. Give one of them.")
    if config is not None:
        chosen = read_config(config)
    else:
        names = DEFAULT_STEPS if steps is None else tuple(filter(None, (name.strip() for name in steps.split(","))))
        chosen = chain(names, place="--steps")
    options = PrepareOptions(steps=chosen, base=None if base == "none" else base, **values)
    record = run_prepare(options, Console(quiet=quiet or as_json))
    if as_json:
        click.echo(json.dumps(record, ensure_ascii=False, indent=1).encode())
    elif not quiet:
        _print(record, options.out)


def _print(record: Mapping[str, Any], out: Path) -> None:
    from vocabopt.prepare.table import funnel_notes, funnel_table

    console = plain_console()
    console.print(funnel_table(record, width=console.width))
    for note in (*funnel_notes(record), f"Report: {out / 'report.html'}", f"Next: vocabopt sweep {out}"):
        console.print(note, markup=False, highlight=False, soft_wrap=True)

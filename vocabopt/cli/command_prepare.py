"""`vocabopt prepare`."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vocabopt.cli.shared import (
    Command,
    column_option,
    format_option,
    going_on_by,
    hold,
    named_paths,
    plain_console,
    rank_file_options,
    require_trainer,
)
from vocabopt.errors import BASES, OptionError
from vocabopt.prepare import DEFAULT_STEPS, STEP_NAMES
from vocabopt.text.utf8 import json_bytes

if TYPE_CHECKING:
    from vocabopt.console import Console
    from vocabopt.prepare.step import Step


_COMPARE = "With --compare: "


def compare_options(command: Command) -> Command:
    """--compare and what belongs to it."""
    options = (
        click.option(
            "--compare",
            is_flag=True,
            help="Compare parts of the text instead: chosen at random, by length, perplexity and diversity, not chosen "
            "at all, cleaned by the chain, all of the same bytes, and all the text.",
        ),
        click.option("--model", metavar="MODEL", help=_COMPARE + "folder of the small model that learns each part."),
        click.option("--budget", metavar="SIZE", help=_COMPARE + "bytes of each part, such as 20MB."),
        click.option(
            "--reference",
            metavar="PATH",
            help=_COMPARE + "text that perplexity is measured by.  [default: a tenth of the text itself]",
        ),
        click.option(
            "--eval",
            "evals",
            multiple=True,
            metavar="NAME=PATH",
            callback=named_paths("eval"),
            help=_COMPARE + "text to measure on, beside documents held out of each PATH; may be repeated.",
        ),
        click.option(
            "--size", type=int, metavar="N", help=_COMPARE + "added tokens.  [default: the choice on all the text]"
        ),
        click.option(
            "--probe-text", default="400kB", show_default=True, help=_COMPARE + "text that each run trains on."
        ),
        click.option("--batch", default="8kB", show_default=True, help=_COMPARE + "text of a step."),
        click.option(
            "--learning-rate-factor", default=1.0, show_default=True, help=_COMPARE + "of every stage's learning rate."
        ),
        click.option(
            "--eval-bytes", default="200kB", show_default=True, help=_COMPARE + "of each held-out text at most."
        ),
        click.option("--seeds", "n_seeds", default=3, show_default=True, help=_COMPARE + "runs of each part."),
        click.option("--threads", type=int, help=_COMPARE + "of torch on the CPU."),
    )
    for option in reversed(options):
        command = option(command)
    return command


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
    help=f"The steps, in order, with default options; of {', '.join(STEP_NAMES)}.  "
    f"[default: {','.join(DEFAULT_STEPS)}]",
)
@click.option(
    "--base",
    default="mistral-7b-v1",
    show_default=True,
    help=f"Tokenizer whose tokens the funnel counts, or none: {BASES}.",
)
@rank_file_options
@click.option(
    "--output-format",
    "output",
    type=click.Choice(["jsonl.zst", "parquet"]),
    default="jsonl.zst",
    show_default=True,
    help="Files of clean/ and removed/.",
)
@format_option
@click.option(
    "--unit",
    type=click.Choice(["line", "file"]),
    default="line",
    show_default=True,
    help="What a document is in a text file.",
)
@column_option
@click.option(
    "--encoding",
    default="auto",
    show_default=True,
    help="Encoding of the text; auto: UTF-8, UTF-16 by its first bytes, and cp949 for lines that are not UTF-8.",
)
@click.option("--strict", is_flag=True, help="End at a file that cannot be read, instead of naming it and going on.")
@click.option("--shard", default="16MB", show_default=True, help="Text in one file of the output.")
@click.option("--workers", default=2, show_default=True, help="Processes; they change no output.")
@compare_options
@click.option("--json", "as_json", is_flag=True, help="Print prepare.json, or compare.json, instead of the table.")
@click.option("--quiet", is_flag=True, help="No progress and no table.")
def prepare(
    as_json: bool, quiet: bool, config: Path | None, steps: str | None, base: str, compare: bool, **values: Any
) -> None:
    """Clean text, step by step, and count what each step takes.

    PATH: .txt, .jsonl, .json, .csv, .tsv or .parquet files (also .gz, .zst), folders, globs, URLs, or - for standard
    input. Writes OUT/clean/ (what is kept: id, text, source, line), OUT/removed/ (the rest, with the step that took it
    and why), prepare.json and report.html. A run that was stopped goes on when the same command is given again.
    `vocabopt sweep OUT` reads the result and shows the funnel in its report.

    \b
    Examples:
      vocabopt prepare corpus/ko --out clean-ko
      vocabopt prepare web/*.jsonl.gz --config prepare.toml --out clean-web
      vocabopt prepare old.txt --steps repair,nfc,exact --encoding cp949 --out clean-old
      vocabopt prepare wiki.jsonl.gz reviews.txt --compare --model ./small --budget 20MB --out compared
    """
    from vocabopt.console import Console
    from vocabopt.prepare.options import PrepareOptions
    from vocabopt.prepare.run import run_prepare

    chosen, console = _chain(config, steps), Console(quiet=quiet or as_json)
    going_on_by()
    hold(values["out"])
    comparing = {name: values.pop(name) for name in _COMPARE_NAMES}
    if compare:
        record = _compare(chosen, {**values, **comparing}, console)
    else:
        if stray := next((name for name in ("model", "budget", "reference", "size", "evals") if comparing[name]), None):
            option = "eval" if stray == "evals" else stray
            raise OptionError(f"--{option}: is about comparing parts of the text. Add --compare, or leave it out.")
        record = run_prepare(PrepareOptions(steps=chosen, base=None if base == "none" else base, **values), console)
    if as_json:
        click.echo(json_bytes(record))
    elif not quiet and compare:
        _print_comparison(record, values["out"])
    elif not quiet:
        _print(record, values["out"])


_COMPARE_NAMES = (
    *("model", "budget", "reference", "evals", "size", "probe_text", "batch", "learning_rate_factor", "n_seeds"),
    *("eval_bytes", "threads"),
)


def _chain(config: Path | None, steps: str | None) -> "tuple[Step, ...]":
    from vocabopt.prepare.config import chain, read_config

    if config is not None and steps is not None:
        raise OptionError(f"--config {config}, --steps {steps}: both name the steps. Give one of them.")
    if config is not None:
        return read_config(config)
    names = DEFAULT_STEPS if steps is None else tuple(filter(None, (name.strip() for name in steps.split(","))))
    return chain(names, place="--steps")


def _compare(steps: "tuple[Step, ...]", values: dict[str, Any], console: "Console") -> dict[str, Any]:
    require_trainer("vocabopt prepare --compare")
    from trainer.selection import CompareOptions, compare

    for name, example in (("model", "./small-model"), ("budget", "20MB")):
        if values[name] is None:
            raise OptionError(f"--compare needs --{name}, for example --{name} {example}.")
    for name in ("pattern", "specials", "output", "strict"):
        del values[name]  # of the base that the funnel counts with, and of files that stay
    return compare(CompareOptions(steps=steps, **values), console)


def _print_comparison(record: Mapping[str, Any], out: Path) -> None:
    from trainer.selection.table import compare_tables, sentence

    console = plain_console()
    for table in compare_tables(record):
        console.print(table.for_terminal(console.width))
    for note in (sentence(record), f"Report: {out / 'compare.html'}"):
        console.print(note, markup=False, highlight=False, soft_wrap=True)


def _print(record: Mapping[str, Any], out: Path) -> None:
    from vocabopt.prepare.table import funnel_notes, funnel_table

    console = plain_console()
    console.print(funnel_table(record, width=console.width))
    for note in (*funnel_notes(record), f"Report: {out / 'report.html'}", f"Next: vocabopt sweep {out}"):
        console.print(note, markup=False, highlight=False, soft_wrap=True)

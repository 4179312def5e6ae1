"""`vocabopt sweep`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vocabopt.cli.shared import hold, named_paths, plain_console, rank_file_options, reading_options
from vocabopt.errors import BASES
from vocabopt.text.utf8 import json_bytes

if TYPE_CHECKING:
    from vocabopt.sweep import SweepResult


@click.command()
@click.argument("paths", nargs=-1, metavar="PATH...")
@click.option(
    "--base",
    default="mistral-7b-v1",
    show_default=True,
    help=f"Base tokenizer: {BASES}.",
)
@rank_file_options
@click.option("--out", type=click.Path(path_type=Path), help="Run directory.  [default: reports/<corpus>-<base>]")
@click.option("--target", metavar="SET", help="Text set to learn from, where folders are named by language.")
@click.option(
    "--eval",
    "evals",
    multiple=True,
    metavar="NAME=PATH",
    callback=named_paths("eval"),
    help="Text to measure only; may be repeated.",
)
@click.option(
    "--protect",
    "protects",
    multiple=True,
    metavar="NAME=PATH",
    callback=named_paths("protect"),
    help="Text that must tokenise as before. With a target script, words that hold a character of it are not "
    "protected; --script none protects all. May be repeated.",
)
@click.option(
    "--script",
    "scripts",
    default="auto",
    show_default=True,
    metavar="auto|none|NAME[,NAME]",
    help="Script every new token must show, e.g. Hangul; several with commas. auto: those of the training text, none "
    "where Latin prevails; then only --protect guards other text.",
)
@click.option(
    "--min-script-share",
    default=0.1,
    show_default=True,
    help="With --script auto: a writing system other than Latin is learned from this share of the letters on.",
)
@click.option(
    "--sizes",
    metavar="START:STOP:STEP|LIST",
    help="Added tokens to tabulate.  [default: 8000:40000:4000, or nine steps to where the text runs dry]",
)
@click.option("--max-added", default=40_000, show_default=True, help="Tokens to add at most.")
@click.option("--heldout", default=0.05, show_default=True, help="Share of documents held out, picked by content.")
@click.option(
    "--model",
    metavar="MODEL",
    help="Model whose embedding is counted: config.json, folder, or preset.  "
    "[default: the config.json in the base's folder, else its preset]",
)
@click.option(
    "--min-saving",
    default=2,
    show_default=True,
    help="Stop when the best token saves fewer tokens of the training text.",
)
@click.option(
    "--cross-spaces",
    is_flag=True,
    help="New tokens may hold a space after another character (two words, or one and its full stop and space), where "
    "the base's own pattern does not cut there. Counts whole documents, which is slow.",
)
@click.option("--seed", default=0, show_default=True, help="Picks other held-out documents and folds.")
@reading_options
@click.option(
    "--method",
    type=click.Choice(["grow", "union"]),
    default="grow",
    show_default=True,
    help="How tokens are found: grow adds to the base's own merges; union also measures RedWhale's way beside it, a "
    "SentencePiece vocabulary trained apart and joined to the base, --sizes being those of that vocabulary.",
)
@click.option(
    "--vocab", metavar="FILE.model", help="Vocabulary for the union, trained elsewhere.  [default: trained on the text]"
)
@click.option(
    "--scores",
    type=click.Choice(["unique", "zero"]),
    default="unique",
    show_default=True,
    help="Scores of the union's new pieces: each its own below the base's, or all zero as Chinese-LLaMA has them.",
)
@click.option("--quiet", is_flag=True, help="No progress and no table.")
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print sweep.json (with --method union also union.json) instead of the table.",
)
def sweep(quiet: bool, as_json: bool, out: Path | None, **values: Any) -> None:
    """Measure every vocabulary size on your text, choose one, and write a report.

    PATH: .txt, .jsonl, .json, .csv, .tsv or .parquet files (also .gz, .zst; --format where the name does not tell),
    folders, globs, URLs, or - for standard input. In a folder whose sub-folders are named by language (ko/, en/) each
    is a text set: one is learned from, the others protected. Writes curve.parquet (every size), sweep.json, report.html
    and more to the run directory; with --method union also union.model and union.json.

    \b
    Examples:
      vocabopt sweep corpus/
      vocabopt sweep news.jsonl.gz --base ./Llama-2-7b --out reports/news
      vocabopt sweep ko.txt --protect en=english.txt --eval kobest=kobest.txt --sizes 0,5000,20000
      vocabopt sweep corpus/ --method union
    """
    from vocabopt.console import Console
    from vocabopt.options import SweepOptions, default_out
    from vocabopt.records import json_of
    from vocabopt.sweep import run_sweep

    options = SweepOptions(out=out or default_out(values["paths"], values["base"]), **values)
    hold(options.out)
    result = run_sweep(options, Console(quiet=quiet or as_json))
    if as_json:
        union = {"union": json_of(result.union)} if result.union is not None else {}
        # Bytes: JSON is UTF-8 whatever the terminal's encoding.
        click.echo(json_bytes(json_of(result.record) | union))
    elif not quiet:
        _print_sweep(result, options.out)


def _print_sweep(result: "SweepResult", out: Path) -> None:
    from vocabopt.tables import sweep_table, union_table
    from vocabopt.wording import reason, sweep_notes, union_notes

    console, sweep, union = plain_console(), result.record, result.union
    console.print(sweep_table(sweep, width=console.width))
    notes = [*sweep_notes(sweep), reason(sweep)]
    if union is not None:
        for note in notes:
            console.print(note, markup=False, highlight=False, soft_wrap=True)
        console.print(union_table(sweep, union, result.curve, width=console.width))
        notes = [*union_notes(union), union.choice.reason]
    for note in (*notes, f"Report: {out / 'report.html'}"):
        console.print(note, markup=False, highlight=False, soft_wrap=True)

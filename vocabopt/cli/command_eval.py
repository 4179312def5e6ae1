"""`vocabopt eval`."""

from pathlib import Path
from typing import Any

import click

from vocabopt.cli.shared import (
    hold_file,
    named_paths,
    plain_console,
    reading_options,
    refuse_foreign_file,
    require_trainer,
)
from vocabopt.cli.training import document_start_option
from vocabopt.errors import OptionError
from vocabopt.text.utf8 import json_bytes


@click.command("eval")
@click.argument("model", metavar="MODEL")
@click.option(
    "--text",
    "texts",
    multiple=True,
    metavar="NAME=PATH",
    callback=named_paths("text"),
    help="Text to score, best held out of training; may be repeated.",
)
@click.option(
    "--limit",
    metavar="SIZE",
    help="Score only the first so many bytes of each text, as 1MB; its last document is taken whole.",
)
@click.option(
    "--context",
    "context_tokens",
    type=int,
    metavar="N",
    help="Tokens of a window, its start token included.  [default: 2048, or the model's positions where fewer]",
)
@click.option(
    "--stride",
    type=int,
    metavar="N",
    help="Tokens that each further window of a long document adds, after repeated ones.  [default: no overlap]",
)
@document_start_option
@click.option("--batch", "batch_size", default=8, show_default=True, metavar="N", help="Windows, or choices, at once.")
@click.option("--tokenizer", metavar="TOK", help="Another folder's tokenizer.  [default: the model's]")
@click.option("--device", default="auto", show_default=True, metavar="DEVICE", help="cpu, cuda, cuda:1, mps.")
@click.option(
    "--precision",
    type=click.Choice(["auto", "fp32", "bf16"]),
    default="auto",
    show_default=True,
    help="Of the model; auto: bf16 on a GPU that computes in it, else fp32.",
)
@click.option(
    "--tasks",
    metavar="NAME[,NAME]",
    help="Benchmarks through lm-eval: kobest (or one of it: kobest_copa), piqa, blimp.",
)
@click.option(
    "--tasks-data",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder with their files; may be repeated. Nothing is downloaded.",
)
@click.option("--tasks-limit", type=int, metavar="N", help="Only the first N items of each.")
@reading_options
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON instead of the tables.")
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="Write that JSON to a file as well.")
@click.option("--quiet", is_flag=True, help="No progress and no tables.")
def eval_command(
    model: str,
    limit: str | None,
    tasks: str | None,
    as_json: bool,
    out: Path | None,
    quiet: bool,
    **values: Any,
) -> None:
    """Measure a model: bits per byte of text, which do not depend on its tokenizer, and benchmarks.

    MODEL: a Hugging Face folder. Bits per byte compare a model with its base although their tokenizers differ; tokens
    per byte say what the tokenizer costs. Benchmarks are read from local files.

    \b
    Examples:
      vocabopt eval ./adapted/model --text ko=korean.txt --text en=english.txt
      vocabopt eval ./adapted/model --tasks kobest --tasks-data ./kobest --out after.json
    """
    require_trainer("vocabopt eval")
    from trainer.evaluate.options import EvalOptions
    from trainer.evaluate.run import all_tables, evaluate, notes
    from vocabopt.artifacts import check_writable, write_json_atomic
    from vocabopt.choice.options import parse_bytes
    from vocabopt.console import Console

    if out is not None and out.is_dir():
        raise OptionError(f"--out {out}: is a folder. Name the file to write, for example {out / 'eval.json'}.")
    if out is not None:
        refuse_foreign_file(out)
        check_writable(out.parent)
        hold_file(out)
    options = EvalOptions(
        model=model,
        limit_bytes=None if limit is None else parse_bytes(limit, "--limit", "1MB, 200kB or 500000"),
        tasks=() if tasks is None else tuple(name.strip() for name in tasks.split(",")),
        **values,
    )
    record = evaluate(options, Console(quiet=quiet or as_json))
    if out is not None:
        write_json_atomic(out, record)
    if as_json:
        click.echo(json_bytes(record))
    elif not quiet:
        console = plain_console()
        for table in all_tables(record):
            console.print(table.for_terminal(console.width))
            console.print()
        for note in notes(record):
            console.print(note, markup=False, highlight=False, soft_wrap=True)
        if out is not None:
            click.echo(f"Written: {out}")

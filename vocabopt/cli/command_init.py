"""`vocabopt init`."""

from pathlib import Path
from typing import Any

import click

from vocabopt.cli.shared import hold, how_to_load, plain_console, require_trainer
from vocabopt.cli.training import METHODS, TIED, norm_option, output_options
from vocabopt.text.utf8 import json_bytes


@click.command()
@click.argument("model", metavar="MODEL")
@click.option(
    "--tokenizer",
    required=True,
    type=click.Path(path_type=Path),
    metavar="TOK",
    help="The merged tokenizer's folder; any that keeps the ids of the model's own tokens.",
)
@click.option(
    "--method",
    type=click.Choice(METHODS),
    default="decompose",
    show_default=True,
    help=f"What makes the new rows. {TIED}",
)
@norm_option
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, metavar="N", help="Of rows drawn at random."
)
@click.option(
    "--dtype",
    type=click.Choice(["auto", "float32", "bfloat16", "float16"]),
    default="auto",
    show_default=True,
    help="Type of the weights written; auto keeps theirs.",
)
@click.option(
    "--max-shard-size", default="5GB", show_default=True, metavar="SIZE", help="Bytes of a file of weights at most."
)
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="DIR", help="Folder of the new model.")
@output_options("init.json")
def init(model: str, max_shard_size: str, as_json: bool, quiet: bool, **values: Any) -> None:
    """Give the new tokens of a merged tokenizer their rows in a model's tables, and write the model.

    MODEL: a Hugging Face folder or hub id. Writes the model in safetensors, config.json with the new number of rows,
    the tokenizer's files, and init.json: which rule made each row of each table, and the norms of all rows. Rows of the
    base's tokens stay bit for bit. Nothing is trained: `vocabopt adapt` does this and trains.

    \b
    Examples:
      vocabopt init ./SOLAR-10.7B --tokenizer reports/news/tokenizer --out initialised
      vocabopt init ./gpt2 --tokenizer my-tokenizer --method weighted --match-norm --out initialised
    """
    require_trainer("vocabopt init")
    from trainer.init.run import InitOptions, run_init
    from trainer.init.tables import log_table
    from vocabopt.choice.options import parse_bytes
    from vocabopt.console import Console

    options = InitOptions(
        model=model, max_shard_bytes=parse_bytes(max_shard_size, "--max-shard-size", "5GB or 500MB"), **values
    )
    hold(options.out)
    done = run_init(options, Console(quiet=quiet or as_json))
    if as_json:
        click.echo(json_bytes(done.record))
    elif not quiet:
        console = plain_console()
        console.print(log_table(done.log).for_terminal(console.width))
        for note in (*done.record["model_notes"], *done.log.notes):
            console.print(note, markup=False, highlight=False, soft_wrap=True)
        click.echo(f"{options.out}: {done.record['n_params']:,} parameters, {done.record['n_rows']:,} rows.")
        click.echo(how_to_load(options.out, "AutoModelForCausalLM"))

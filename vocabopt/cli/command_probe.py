"""`vocabopt probe`."""

from pathlib import Path
from typing import Any

import click

from vocabopt.cli.shared import going_on_by, hold, plain_console, reading_options, require_trainer
from vocabopt.cli.training import (
    INITS,
    PLANS,
    TIED,
    document_options,
    eval_option,
    lora_option,
    norm_option,
    output_options,
    replay_options,
    run_options,
    running_options,
)
from vocabopt.text.utf8 import json_bytes


@click.command()
@click.argument("model", metavar="MODEL")
@run_options
@replay_options
@document_options
@eval_option
@click.option(
    "--init", "inits", multiple=True, metavar="METHOD", help=f"May be repeated: {INITS}. {TIED}  [default: all]"
)
@click.option(
    "--plan", "plans", multiple=True, metavar="PLAN", default=("redwhale",), show_default=True, help=f"Or: {PLANS}."
)
@click.option("--steps", "n_steps", default=50, show_default=True, help="Optimizer steps of each run.")
@click.option("--seeds", "n_seeds", default=3, show_default=True, help="Runs of each, with other orders of the text.")
@norm_option
@lora_option
@running_options
@click.option("--eval-bytes", default="200kB", show_default=True, metavar="SIZE", help="Of each text at most.")
@reading_options
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for probe.json and its cells.")
@output_options("probe.json")
def probe(
    model: str,
    inits: tuple[Any, ...],
    plans: tuple[str, ...],
    n_steps: int,
    n_seeds: int,
    as_json: bool,
    quiet: bool,
    **values: Any,
) -> None:
    """Rank init methods and plans by short runs on the same text.

    The loss before training does not tell which init method wins; fifty steps do (arXiv 2608.03494). Every run starts
    from the base model; what is ranked is bits per byte on held-out target text, with the spread over seeds. A probe
    that was stopped goes on with the same command.

    \b
    Examples:
      vocabopt probe ./base --run reports/news --text ko=news.txt --out probe
      vocabopt probe ./base --run reports/news --text ko=news.txt --init decompose --plan redwhale --plan full --out p
    """
    require_trainer("vocabopt probe")
    going_on_by()
    from trainer.adapt import AdaptOptions
    from trainer.init import INIT_METHODS
    from trainer.probe import ProbeOptions, conclusion, probe_table
    from trainer.probe import probe as run_probe
    from vocabopt.console import Console

    options = ProbeOptions(
        adapt=AdaptOptions(model=model, report_to=(), **values),
        inits=inits or INIT_METHODS,
        plans=plans,
        n_steps=n_steps,
        n_seeds=n_seeds,
    )
    hold(options.adapt.out)
    record = run_probe(options, Console(quiet=quiet or as_json))
    if as_json:
        click.echo(json_bytes(record))
    elif not quiet:
        console = plain_console()
        console.print(probe_table(record, width=console.width))
        console.print(conclusion(record), markup=False, highlight=False, soft_wrap=True)

"""`vocabopt adapt`."""

from pathlib import Path
from typing import Any

import click

from vocabopt.cli.shared import going_on_by, hold, plain_console, reading_options, require_trainer
from vocabopt.cli.training import (
    INITS,
    TIED,
    budget_option,
    document_options,
    eval_every_option,
    eval_option,
    keep_stages_option,
    lora_option,
    norm_option,
    output_options,
    plan_option,
    replay_options,
    run_options,
    running_options,
)
from vocabopt.errors import OptionError
from vocabopt.text.utf8 import json_bytes


@click.command()
@click.argument("model", metavar="MODEL")
@run_options
@click.option(
    "--size", type=click.IntRange(min=1), metavar="N", help="Tokens that the merged tokenizer must have added."
)
@replay_options
@budget_option
@document_options
@eval_option
@click.option(
    "--base-eval",
    "base_evals",
    multiple=True,
    metavar="NAME",
    help="An evaluation text of the base's language, where its script does not tell.",
)
@plan_option
@lora_option
@click.option("--init", default="decompose", show_default=True, metavar="METHOD", help=f"New rows: {INITS}. {TIED}")
@norm_option
@running_options
@click.option(
    "--max-forgetting",
    type=float,
    metavar="SHARE",
    help="Rise in bits per byte on base-language text at which the run stops: 0.1 is 10 %.  [default: only report it]",
)
@click.option("--eval-bytes", default="1MB", show_default=True, metavar="SIZE", help="Of each evaluation text at most.")
@eval_every_option
@keep_stages_option
@click.option("--samples", "n_samples", default=5, show_default=True, help="Sample continuations before and after.")
@click.option("--sample-tokens", default=40, show_default=True, help="Length of each.")
@click.option("--control", is_flag=True, help="Adapt the original tokenizer too: same text, same plan, for comparison.")
@click.option(
    "--report-to",
    multiple=True,
    default=("tensorboard",),
    show_default=True,
    metavar="NAME",
    help="Where transformers reports to: tensorboard, wandb, mlflow ..., none; may be repeated.",
)
@click.option("--save-every", "save_every_steps", default=200, show_default=True, metavar="STEPS", help="Checkpoints.")
@click.option("--log-every", "log_every_steps", default=10, show_default=True, metavar="STEPS", help="Logged losses.")
@reading_options
@click.option("--resume", is_flag=True, help="Go on with the run in --out, from its newest whole checkpoint.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder of the result.  [default: the folder given with --run]"
)
@output_options("adapt.json")
def adapt(
    model: str, run: Path | None, out: Path | None, resume: bool, as_json: bool, quiet: bool, **values: Any
) -> None:
    """Adapt a model to its merged tokenizer: new rows, staged training on your text, and what it gained and forgot.

    MODEL is the base model's Hugging Face folder. Writes OUT/model, which transformers loads as any other (no adapter,
    no code), with tokenizer and model card; OUT/adapt.json with every stage's parameters, tokens, seconds, memory and
    bits per byte on every evaluation text; OUT/stages with the model after each stage. Killed at any moment, the same
    command with --resume ends with the same weights. On several devices: torchrun --nproc_per_node 8 --no-python --
    vocabopt adapt ... --shard.

    \b
    Examples:
      vocabopt adapt ./SOLAR-10.7B --run reports/news --text ko=news.jsonl.gz --replay en=english.txt:0.2 --budget 2Btok
      vocabopt adapt ./base --run reports/news --text ko=news.txt --plan full --control --out adapted
    """
    require_trainer("vocabopt adapt")
    going_on_by("--resume")
    from trainer.adapt import AdaptOptions
    from trainer.adapt import adapt as run_adaptation
    from trainer.adapt.table import notes, stages_table
    from trainer.processes import is_main
    from vocabopt.console import Console

    out = out or run
    if out is None:
        raise OptionError("No folder to write to. Name one with --out.")
    values["report_to"] = tuple(name for name in values["report_to"] if name != "none")
    options = AdaptOptions(model=model, run=run, out=out, **values)
    hold(out)
    record = run_adaptation(options, Console(quiet=quiet or as_json or not is_main()), resume=resume)
    page = _report_again(out) if is_main() else None
    if as_json and is_main():
        click.echo(json_bytes(record))
    elif not quiet and is_main():
        console = plain_console()
        console.print(stages_table(record, width=console.width))
        for note in notes(record):
            console.print(note, markup=False, highlight=False, soft_wrap=True)
        if page is not None:
            console.print(f"Report: {page}", markup=False, highlight=False, soft_wrap=True)


def _report_again(out: Path) -> Path | None:
    """The page of a sweep's folder with what was adapted in it; None for a folder without a sweep."""
    from vocabopt.report.rebuild import rebuild_report

    return rebuild_report(out) if (out / "sweep.json").is_file() else None

"""`vocabopt plan`."""

from pathlib import Path
from typing import Any

import click

from vocabopt.cli.shared import plain_console, require_trainer
from vocabopt.cli.training import eval_every_option, keep_stages_option, lora_option, plan_option, step_options
from vocabopt.text.utf8 import json_bytes


@click.command()
@click.argument("model", metavar="MODEL")
@click.option("--run", type=click.Path(path_type=Path), metavar="DIR", help="A sweep's folder: what it chose to add.")
@click.option("--tokenizer", type=click.Path(path_type=Path), metavar="TOK", help="Or: a merged tokenizer's folder.")
@click.option("--added", "n_added", type=int, metavar="N", help="Or: so many added tokens.")
@plan_option
@lora_option
@click.option("--budget", required=True, metavar="AMOUNT", help="Text to train on, in tokens: 2Btok, 300Mtok.")
@click.option("--tflops", default=400.0, show_default=True, help="10^12 operations a second that a GPU reaches.")
@click.option("--gpus", "n_gpus", default=1, show_default=True, metavar="N", help="GPUs that train together.")
@click.option("--shard", is_flag=True, help="Weights, gradients and optimizer state split over them (FSDP).")
@click.option("--gpu", default="80GB", show_default=True, metavar="SIZE", help="Memory of a GPU: 80GB, 24GiB.")
@click.option(
    "--batch",
    default="32768tok",
    show_default=True,
    metavar="AMOUNT",
    help="Text of one optimizer step, over all GPUs, in tokens.",
)
@step_options
@click.option(
    "--margin", default=0.05, show_default=True, metavar="SHARE", help="Of --gpu, what a stage must leave free."
)
@click.option(
    "--process-memory",
    default="1GB",
    show_default=True,
    metavar="SIZE",
    help="What a process takes before it holds a model: Python, the CUDA context, libraries.",
)
@click.option(
    "--eval-tokens",
    default="1Mtok",
    show_default=True,
    metavar="AMOUNT",
    help="Tokens of all evaluation texts together; 1 MB of English has some 250,000.",
)
@eval_every_option
@click.option(
    "--eval-tflops",
    type=float,
    metavar="X",
    help="10^12 operations a second while measuring.  [default: --tflops with bf16 weights, else a tenth of it]",
)
@keep_stages_option
@click.option(
    "--device", type=click.Choice(["cuda", "cpu"]), default="cuda", show_default=True, help="Whose kernels run."
)
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON instead of the table.")
def plan(model: str, as_json: bool, **values: Any) -> None:
    """Predict what adapting a model costs: parameters, compute, hours, peak memory and disk, before it runs.

    MODEL is a config.json, a folder that holds one, or a preset (solar-10.7b, llama-3-8b ...); no weights are read and
    no GPU is needed. Says which stage does not fit --gpu, and what would make it fit.

    \b
    Examples:
      vocabopt plan solar-10.7b --added 17072 --budget 2Btok
      vocabopt plan ./my-model --run reports/news --plan full --budget 500Mtok --gpu 24GB --gradient-checkpointing
    """
    require_trainer("vocabopt plan")
    from trainer.memory.plan_report import PlanOptions, plan_report
    from trainer.memory.table import plan_notes, plan_table

    report = plan_report(PlanOptions(model=model, **values))
    if as_json:
        click.echo(json_bytes(report.as_record()))
        return
    console = plain_console()
    console.print(plan_table(report, width=console.width))
    for note in plan_notes(report):
        console.print(note, markup=False, highlight=False, soft_wrap=True)

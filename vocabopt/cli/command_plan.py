"""`vocabopt plan`."""

import json
from pathlib import Path
from typing import Any

import click

from vocabopt.cli.shared import plain_console, require_trainer


@click.command()
@click.argument("model", metavar="MODEL")
@click.option("--run", type=click.Path(path_type=Path), metavar="DIR", help="A sweep's folder: what it chose to add.")
@click.option("--tokenizer", type=click.Path(path_type=Path), metavar="TOK", help="Or: a merged tokenizer's folder.")
@click.option("--added", "n_added", type=int, metavar="N", help="Or: so many added tokens.")
@click.option(
    "--plan",
    default="redwhale",
    show_default=True,
    metavar="PLAN",
    help="redwhale, full, lora, sequential, top2-bottom2, eeve, inplace, or a .toml file.",
)
@click.option("--lora-rank", default=128, show_default=True, help="Rank of the adapters, where there are any.")
@click.option("--budget", required=True, metavar="AMOUNT", help="Text to train on, in tokens: 2Btok, 300Mtok.")
@click.option("--tflops", default=400.0, show_default=True, help="10^12 operations a second that a GPU reaches.")
@click.option("--gpu", default="80GB", show_default=True, metavar="SIZE", help="Memory of a GPU: 80GB, 24GiB.")
@click.option("--context-tokens", "--context", default=1024, show_default=True, help="Length of a sequence.")
@click.option("--batch-tokens", default=32_768, show_default=True, help="Tokens of one optimizer step.")
@click.option("--micro-batch", default=4, show_default=True, help="Sequences at once on a GPU.")
@click.option(
    "--precision",
    type=click.Choice(["auto", "fp32", "bf16-mixed", "bf16"]),
    default="auto",
    show_default=True,
    help="bf16-mixed: weights in 32 bits, products in 16; bf16: all in 16. auto: bf16-mixed on cuda, fp32 on cpu.",
)
@click.option(
    "--optimizer",
    type=click.Choice(["adamw", "adamw-8bit"]),
    default="adamw",
    show_default=True,
    help="With which a stage is to fit; both are shown.",
)
@click.option("--gradient-checkpointing", is_flag=True, help="Less memory, about a third more compute.")
@click.option("--fused-loss", is_flag=True, help="Never hold all logits (liger-kernel).")
@click.option(
    "--device", type=click.Choice(["cuda", "cpu"]), default="cuda", show_default=True, help="Whose kernels run."
)
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON instead of the table.")
def plan(model: str, as_json: bool, **values: Any) -> None:
    """Predict what adapting a model costs: parameters, compute, hours and peak memory of every stage, before it runs.

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
        click.echo(json.dumps(report.as_record(), ensure_ascii=False, indent=1).encode())
        return
    console = plain_console()
    console.print(plan_table(report, width=console.width))
    for note in plan_notes(report):
        console.print(note, markup=False, highlight=False, soft_wrap=True)

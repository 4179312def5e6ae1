"""Options that the commands of the trainer share."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import click

from vocabopt.cli.shared import named_paths
from vocabopt.errors import OptionError

Command = TypeVar("Command", bound=Callable[..., Any])

PLANS = "redwhale, full, lora, sequential, top2-bottom2, eeve, inplace, or a .toml file"
METHODS = ("random", "mean", "decompose-embedding", "decompose-head", "decompose", "eeve", "weighted")
INITS = ", ".join(METHODS)
#: Of help: what a method is worth to a model of one table.
TIED = "On a tied model decompose-head is random."


def _add(command: Command, options: Iterable[Callable[[Command], Command]]) -> Command:
    for option in reversed(list(options)):
        command = option(command)
    return command


def run_options(command: Command) -> Command:
    """--run, --tokenizer, --text: the merged tokenizer, and the target text."""
    return _add(
        command,
        (
            click.option(
                "--run",
                type=click.Path(path_type=Path),
                metavar="DIR",
                help="A sweep's folder, after `vocabopt merge`.",
            ),
            click.option(
                "--tokenizer", type=click.Path(path_type=Path), metavar="TOK", help="Or: the merged tokenizer's folder."
            ),
            click.option(
                "--text",
                "texts",
                multiple=True,
                metavar="NAME=PATH",
                callback=named_paths("text"),
                help="The text of the target language to train on; PATH may be a folder or a pattern.",
            ),
        ),
    )


def _replays(ctx: click.Context, parameter: click.Parameter, values: Iterable[str]) -> dict[str, tuple[str, float]]:
    """Name -> path and share."""
    example = "write NAME=PATH:SHARE, for example --replay en=english.txt:0.2"
    replays: dict[str, tuple[str, float]] = {}
    for value in values:
        name, _, rest = value.partition("=")
        path, _, written = rest.rpartition(":")
        if not name or not path:
            raise OptionError(f"--replay {value}: {example}.")
        try:
            share = float(written)
        except ValueError as error:
            raise OptionError(f"--replay {value}: {written!r} is no share; {example}.") from error
        if name in replays:
            raise OptionError(f"--replay {value}: the name {name!r} is given twice. Names must differ.")
        replays[name] = path, share
    return replays


def replay_options(command: Command) -> Command:
    """--replay, --heldout, --seed: which text is trained on."""
    return _add(
        command,
        (
            click.option(
                "--replay",
                "replays",
                multiple=True,
                metavar="NAME=PATH:SHARE",
                callback=_replays,
                help="Base-language text against forgetting, and its share of all training bytes; may be repeated.",
            ),
            click.option(
                "--heldout",
                type=float,
                metavar="SHARE",
                help="Share of the documents to measure on instead.  [default: as in the sweep, else 0.05]",
            ),
            click.option(
                "--seed",
                default=0,
                show_default=True,
                type=click.IntRange(0, 2**31 - 1),
                metavar="N",
                help="Order of the text, random rows.",
            ),
        ),
    )


def document_options(command: Command) -> Command:
    """--document-start, --document-end: what stands around plain text."""
    return _add(command, (document_start_option, _document_option("end", "closes")))


def document_start_option(command: Command) -> Command:
    """--document-start, for a command that closes no document."""
    return _document_option("start", "opens")(command)


def _document_option(end: str, does: str) -> Callable[[Command], Command]:
    return click.option(
        f"--document-{end}",
        default="auto",
        show_default=True,
        metavar="TOKEN|none",
        help=f"Token that {does} a document. auto: the tokenizer's own, but never one that marks turns of a chat.",
    )


def budget_option(command: Command) -> Command:
    """--budget: how much text is trained on."""
    return click.option(
        "--budget",
        metavar="AMOUNT",
        help="Text to train on: 10MB, or 2Btok of the merged tokenizer's tokens.  [default: --text once]",
    )(command)


def eval_option(command: Command) -> Command:
    """--eval: what is measured on."""
    return click.option(
        "--eval",
        "evals",
        multiple=True,
        metavar="NAME=PATH",
        callback=named_paths("eval"),
        help="Text to measure on, beside the held-out documents of every training text; may be repeated.",
    )(command)


def eval_every_option(command: Command) -> Command:
    """--eval-every: how often is measured."""
    return click.option(
        "--eval-every",
        type=click.Choice(["stage", "end"]),
        default="stage",
        show_default=True,
        help="stage: measure the base, the new rows and every stage. end: the base and the last stage only.",
    )(command)


def keep_stages_option(command: Command) -> Command:
    """--keep-stages: which models stay on the disk."""
    return click.option(
        "--keep-stages",
        type=click.Choice(["last", "all"]),
        default="last",
        show_default=True,
        help="Models of stages that stay in OUT. last: a stage's model is deleted once the next stage is finished.",
    )(command)


def plan_option(command: Command) -> Command:
    """--plan: one."""
    return click.option("--plan", default="redwhale", show_default=True, metavar="PLAN", help=f"{PLANS}.")(command)


def lora_option(command: Command) -> Command:
    """--lora-rank."""
    return click.option(
        "--lora-rank", default=128, show_default=True, metavar="N", help="Rank of the adapters, where there are any."
    )(command)


def norm_option(command: Command) -> Command:
    """--match-norm."""
    return click.option(
        "--match-norm",
        is_flag=True,
        help="Rescale new rows to the norm of the rows they are made of; on a tied model compare first, by probe.",
    )(command)


def step_options(command: Command) -> Command:
    """--context, --micro-batch, --precision, --optimizer and what saves memory: what a step takes."""
    return _add(
        command,
        (
            click.option(
                "--context",
                "context_tokens",
                type=int,
                metavar="TOKENS",
                help="Length of a sequence.  [default: 1024, or the model's positions where fewer]",
            ),
            click.option(
                "--micro-batch", default=4, show_default=True, metavar="N", help="Sequences at once on a device."
            ),
            click.option(
                "--precision",
                type=click.Choice(["auto", "fp32", "bf16-mixed", "bf16"]),
                default="auto",
                show_default=True,
                help="bf16-mixed: weights in 32 bits, products in 16; bf16: all in 16. auto: bf16-mixed where the "
                "device computes in bf16, else fp32.",
            ),
            click.option(
                "--optimizer",
                type=click.Choice(["adamw", "adamw-8bit"]),
                default="adamw",
                show_default=True,
                help="8-bit states need bitsandbytes.",
            ),
            click.option("--gradient-checkpointing", is_flag=True, help="Less memory, about a third more compute."),
            click.option("--fused-loss", is_flag=True, help="Never hold all logits: liger-kernel, on a GPU."),
        ),
    )


def running_options(command: Command) -> Command:
    """How training runs: batch, learning rates, steps, devices."""
    return _add(
        command,
        (
            click.option(
                "--batch",
                default="32768tok",
                show_default=True,
                metavar="AMOUNT",
                help="Text of one optimizer step: 32768tok, or 100kB, with which every tokenizer takes as many steps.",
            ),
            click.option(
                "--learning-rate-factor",
                default=1.0,
                show_default=True,
                metavar="X",
                help="Of every stage's learning rate.",
            ),
            click.option(
                "--max-grad-norm",
                default=1.0,
                show_default=True,
                metavar="X",
                help="Longer gradients are cut to it; inf cuts none.",
            ),
            step_options,
            click.option("--compile", is_flag=True, help="torch.compile the model."),
            click.option("--shard", is_flag=True, help="Shard the model over the processes of torchrun (FSDP)."),
            click.option(
                "--threads",
                type=click.IntRange(min=1),
                metavar="N",
                help="On a CPU; the same weights need as many threads.  [default: torch's own]",
            ),
            click.option("--device", type=click.Choice(["auto", "cpu"]), default="auto", show_default=True),
        ),
    )


def output_options(written: str) -> Callable[[Command], Command]:
    """--json and --quiet. written: what --json prints."""

    def add(command: Command) -> Command:
        return _add(
            command,
            (
                click.option("--json", "as_json", is_flag=True, help=f"Print {written} instead of the table."),
                click.option("--quiet", is_flag=True, help="Print nothing."),
            ),
        )

    return add

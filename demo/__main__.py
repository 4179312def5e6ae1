"""`python -m demo`: a base model from text, for the demo and for experiments."""

from pathlib import Path
from typing import Any

import click

from vocabopt.cli.shared import column_option, format_option, plain_console
from vocabopt.errors import VocaboptError


def _options(command: Any) -> Any:
    from demo.options import FAMILIES, PRECISIONS, DemoOptions

    default = DemoOptions()
    options = (
        click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the base."),
        click.option(
            "--text",
            "paths",
            multiple=True,
            metavar="PATH",
            default=default.paths,
            show_default=True,
            help="Text to learn from: files or folders; may be repeated.",
        ),
        click.option("--heldout", default=default.heldout, show_default=True, help="Share of documents held out."),
        click.option("--vocab-size", default=default.vocab_size, show_default=True, help="Tokens of the tokenizer."),
        click.option("--family", type=click.Choice(FAMILIES), default=default.family, show_default=True),
        click.option("--width", default=default.width, show_default=True, help="Of the model's residual stream."),
        click.option("--blocks", "n_blocks", default=default.n_blocks, show_default=True),
        click.option("--heads", "n_heads", default=default.n_heads, show_default=True),
        click.option("--tied/--untied", default=default.tied, show_default=True, help="One table, or two."),
        click.option(
            "--context", "context_tokens", default=default.context_tokens, show_default=True, help="Tokens of a block."
        ),
        click.option("--batch", default=default.batch, show_default=True, help="Blocks of a step."),
        click.option("--steps", default=default.steps, show_default=True, help="Steps, whatever time they take."),
        click.option("--learning-rate", default=default.learning_rate, show_default=True, help="The highest."),
        click.option("--weight-decay", default=default.weight_decay, show_default=True),
        click.option("--dropout", default=default.dropout, show_default=True, help="In training only."),
        click.option("--eval-every", default=default.eval_every, show_default=True, metavar="STEPS"),
        click.option(
            "--eval-bytes", default=default.eval_bytes, show_default=True, help="Of the held-out text, to measure on."
        ),
        click.option("--precision", type=click.Choice(PRECISIONS), default=default.precision, show_default=True),
        click.option("--device", default=default.device, show_default=True, help="auto, cpu, cuda, cuda:1 ..."),
        click.option("--threads", default=default.threads, show_default=True, help="Of torch, on the CPU."),
        click.option("--seed", default=default.seed, show_default=True, help="Weights, order, held-out documents."),
        click.option("--unit", type=click.Choice(["line", "file"]), default=default.unit, show_default=True),
        column_option,
        format_option,
        click.option("--encoding", default=default.encoding, show_default=True, help="Encoding of the text."),
        click.option("--quiet", is_flag=True, help="No progress and no table."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@_options
def main(out: Path, quiet: bool, **values: Any) -> None:
    """Train a small base model with its own tokenizer, from text alone.

    Writes a Hugging Face folder that AutoModelForCausalLM and AutoTokenizer load, heldout.jsonl (what was not learned
    from) and demo.json (options, curve, samples). A base that is there already, of the same text and options, is kept.

    \b
    Examples:
      python -m demo --out reports/demo-base
      python -m demo --out base --text wiki.jsonl.gz --text books.jsonl.gz --vocab-size 16000 --width 768 \\
          --blocks 12 --heads 12 --context 512 --batch 64 --steps 4000 --dropout 0 --precision bf16-mixed
    """
    from demo.base import make_base, notes
    from demo.options import DemoOptions
    from demo.text import read_text
    from vocabopt.console import Console

    try:
        options = DemoOptions(**values)
        made = make_base(read_text(options), options, out, Console(quiet=quiet))
    except VocaboptError as error:
        click.echo(f"Error: {error}", err=True)
        raise click.exceptions.Exit(error.exit_code) from error
    if not quiet:
        for note in notes(made):
            plain_console().print(note, markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main(prog_name="python -m demo")

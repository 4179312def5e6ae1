"""`python -m demo`: a base model from text, for the demo and for experiments."""

from pathlib import Path
from typing import NoReturn

import click

from vocabopt.cli.fields import Values, command
from vocabopt.cli.output import Output, print_tables
from vocabopt.errors import VocaboptError


@command("demo.options:DemoOptions")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the base.")
def main(values: Values, output: Output, *, out: Path) -> None:
    """Train a small base model with its own tokenizer, from text alone.

    Writes a Hugging Face folder that AutoModelForCausalLM and AutoTokenizer load, heldout.jsonl (what was not learned
    from) and demo.json (options, curve, samples). A base that is there already, of the same text and options, is kept.

    \b
    Examples:
      python -m demo --out reports/demo-base
      python -m demo --out base --text wiki.jsonl.gz --text books.jsonl.gz --vocab-size 16000 --width 768 \\
          --blocks 12 --heads 12 --context 512 --batch 64 --steps 4000 --dropout 0 --precision bf16-mixed
      python -m demo --out bilingual --text enwiki.jsonl.gz --mix ko=kowiki.jsonl.gz:0.1 --vocab-size 8000 \\
          --character-coverage 0.98
    """
    from demo.base import make_base, notes
    from demo.options import DemoOptions
    from demo.text import read_text

    try:
        options = DemoOptions(**values)
        made = make_base(read_text(options), options, out, output.console())
    except VocaboptError as error:
        _refuse(error)
    if not output.quiet:
        print_tables(lambda width: notes(made))


def _refuse(error: VocaboptError) -> NoReturn:
    click.echo(f"Error: {error}", err=True)
    raise SystemExit(error.exit_code) from error


def run() -> None:
    """The command; an option that cannot be read is refused as what it says is."""
    try:
        main(prog_name="python -m demo")
    except VocaboptError as error:
        _refuse(error)


if __name__ == "__main__":
    run()

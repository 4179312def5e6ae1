"""`vocabopt choose`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vocabopt.amounts import counted
from vocabopt.cli.shared import hold, plain_console
from vocabopt.text.utf8 import json_bytes

if TYPE_CHECKING:
    from vocabopt.choice.options import ChoiceOptions
    from vocabopt.records import SweepRecord

_HALF = "  [default: not stated]"


@click.command()
@click.argument("run_dir", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--window",
    metavar="START:STOP",
    help="Added tokens between which the knee is sought.  [default: 8000:40000, or the last four fifths of a shorter "
    "curve]",
)
@click.option("--set", "text_set", metavar="SET", help="Text set to decide on.  [default: heldout]")
@click.option(
    "--model",
    metavar="MODEL",
    help="Model to count from now on: config.json, folder, or preset.  [default: that of the run]",
)
@click.option("--train-tokens", metavar="N", help=f"Planned training text, in tokens of the base: 10B, 500M.{_HALF}")
@click.option("--serve-tokens", metavar="N", help=f"Text to be read and written in use, in tokens of the base.{_HALF}")
@click.option("--train-memory", metavar="SIZE", help=f"Memory to train in: 80GB, 640GiB.{_HALF}")
@click.option("--serve-memory", metavar="SIZE", help=f"Memory to serve in.{_HALF}")
@click.option("--context-tokens", default=4_096, show_default=True, help="Length of a training or served text.")
@click.option("--batch-tokens", default=8_192, show_default=True, help="Tokens whose logits a training step holds.")
@click.option("--serve-batch", default=1, show_default=True, help="Texts served at once.")
@click.option(
    "--bytes-per-param-train", default=16, show_default=True, help="Weight, gradient and optimizer: AdamW, 16 bits."
)
@click.option("--bytes-per-param-serve", default=2, show_default=True, help="Of a weight in use.")
@click.option("--min-exposure", default=1_000, show_default=True, help="Times that each token is to be seen.")
@click.option("--careful-exposure", default=100_000, show_default=True, help="The same, for the careful.")
@click.option("--used-share", default=0.95, show_default=True, help="Of added tokens that held-out text is to use.")
@click.option("--marginal-step", default=1_024, show_default=True, help="The next so many tokens ...")
@click.option("--marginal-share", default=0.01, show_default=True, help="... are to save this share of the base's.")
@click.option("--row-multiple", default=128, show_default=True, help="Total rows are rounded to it.")
@click.option("--kneedle-sensitivity", default=1.0, show_default=True, help="S of Kneedle.")
@click.option("--kneedle-points", default=33, show_default=True, help="Even sizes of the window it looks at.")
@click.option(
    "--interval", "interval_share", default=0.9, show_default=True, help="Share of resamples in the interval."
)
@click.option("--resamples", "n_resamples", default=1_000, show_default=True, help="Times the documents are resampled.")
@click.option("--seed", default=0, show_default=True, help="Draws other resamples.")
@click.option("--json", "as_json", is_flag=True, help="Print the choice of sweep.json instead of the table.")
@click.option("--quiet", is_flag=True, help="Print nothing.")
def choose(run_dir: Path, model: str | None, as_json: bool, quiet: bool, **values: Any) -> None:
    """Decide again which size to take, on a finished sweep, without its text.

    DIR is the run directory of a sweep. The choice in its sweep.json is written anew, with every option that moved it;
    `vocabopt report DIR` shows it. The recommendation is the knee over the window, held back to what the stated
    training text and memory allow, and rounded; the other rules stand beside it.

    \b
    Examples:
      vocabopt choose reports/corpus-mistral-7b-v1
      vocabopt choose reports/news --window 4000:24000 --train-tokens 10B --serve-tokens 1T
      vocabopt choose reports/news --model ./my-model --train-memory 640GB --serve-memory 24GB
    """
    from vocabopt.choice.choose import rechoose
    from vocabopt.records import json_of

    options = _options(**values)
    if run_dir.is_dir():
        hold(run_dir)
    sweep = rechoose(run_dir, options, model)
    if as_json:
        click.echo(json_bytes(json_of(sweep.choice)))
    elif not quiet:
        _print_choice(sweep, run_dir)


def _options(
    window: str | None,
    train_tokens: str | None,
    serve_tokens: str | None,
    train_memory: str | None,
    serve_memory: str | None,
    **values: Any,
) -> "ChoiceOptions":
    from vocabopt.choice.options import ChoiceOptions, parse_bytes, parse_tokens, parse_window

    return ChoiceOptions(
        window=None if window is None else parse_window(window),
        train_tokens=None if train_tokens is None else parse_tokens(train_tokens, "--train-tokens"),
        serve_tokens=None if serve_tokens is None else parse_tokens(serve_tokens, "--serve-tokens"),
        train_memory_bytes=None if train_memory is None else parse_bytes(train_memory, "--train-memory"),
        serve_memory_bytes=None if serve_memory is None else parse_bytes(serve_memory, "--serve-memory"),
        **values,
    )


def _print_choice(sweep: "SweepRecord", run_dir: Path) -> None:
    from vocabopt.tables import rules_table
    from vocabopt.wording import choice_notes, small_heldout_sentence

    console, base = plain_console(), sweep.base
    console.print(rules_table(sweep, width=console.width))
    stale = f"The page still shows the choice before: `vocabopt report {run_dir}` makes it anew."
    *notes, reason = choice_notes(sweep)
    if (few := small_heldout_sentence(sweep)) is not None:
        notes.insert(0, few)
    rows, tokens = counted(base.n_rows, "row"), counted(base.n_tokens, "token")
    of_model = "none known" if sweep.model is None else sweep.model.name
    notes.append(f"Model: {of_model}; {rows} for the {tokens} of {base.name}.")
    for note in (*notes, *([stale] if (run_dir / "report.html").is_file() else []), reason):
        console.print(note, markup=False, highlight=False, soft_wrap=True)

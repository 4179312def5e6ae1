"""The command line: options in, one call per command, tables and messages out. Only this module catches errors."""

import gc
import json
import signal
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import click

from vocabopt import __version__
from vocabopt.errors import OptionError, VocaboptError


class _Group(click.Group):
    """Turns the project's errors into one message and their exit code, and Ctrl-C into a plain sentence."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of use, not of the alphabet."""
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except VocaboptError as error:
            click.echo(f"Error: {error}", err=True)
            ctx.exit(error.exit_code)
        except KeyboardInterrupt:
            click.echo("Interrupted. Finished files are kept; nothing half-written is left.", err=True)
            ctx.exit(130)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="vocabopt")
def main() -> None:
    """Add tokens of another language to an LLM's tokenizer: how many, which ones, at what cost.

    \b
    Examples:
      vocabopt sweep corpus/
      vocabopt merge reports/corpus-mistral-7b-v1 --out my-tokenizer
    """


def _named_paths(option: str) -> Callable[[click.Context, click.Parameter, Iterable[str]], dict[str, str]]:
    """A parser of repeated NAME=PATH options."""

    def parse(ctx: click.Context, parameter: click.Parameter, values: Iterable[str]) -> dict[str, str]:
        named: dict[str, str] = {}
        for value in values:
            name, separator, path = value.partition("=")
            if not separator or not name or not path:
                raise OptionError(f"--{option} {value}: write NAME=PATH, for example --{option} news=news.txt")
            if name in named:
                raise OptionError(f"--{option} {value}: the name {name!r} is given twice.")
            named[name] = path
        return named

    return parse


@main.command()
@click.argument("paths", nargs=-1, metavar="PATH...")
@click.option(
    "--base",
    default="mistral-7b-v1",
    show_default=True,
    help="Base tokenizer: mistral-7b-v1 (built in), a Hugging Face folder or hub id, tokenizer.json, or a "
    "SentencePiece .model.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Run directory.  [default: reports/<corpus>-<base>]")
@click.option("--target", metavar="SET", help="Text set to learn from, where folders are named by language.")
@click.option(
    "--eval",
    "evals",
    multiple=True,
    metavar="NAME=PATH",
    callback=_named_paths("eval"),
    help="Text to measure only; may be repeated.",
)
@click.option(
    "--protect",
    "protects",
    multiple=True,
    metavar="NAME=PATH",
    callback=_named_paths("protect"),
    help="Text that must tokenise as before; with a script guard, all of it that lacks the script. May be repeated.",
)
@click.option(
    "--script",
    "scripts",
    default="auto",
    show_default=True,
    metavar="auto|none|NAME[,NAME]",
    help="Script every new token must show, e.g. Hangul.",
)
@click.option(
    "--sizes",
    metavar="START:STOP:STEP|LIST",
    help="Added tokens to tabulate.  [default: 8000:40000:4000, or nine steps to where the text runs dry]",
)
@click.option("--max-added", default=40_000, show_default=True, help="Tokens to add at most.")
@click.option("--heldout", default=0.05, show_default=True, help="Share of documents held out, picked by content.")
@click.option(
    "--model",
    metavar="MODEL",
    help="Model whose embedding is counted: config.json, folder, or preset.  [default: the base's preset]",
)
@click.option(
    "--min-saving",
    default=2,
    show_default=True,
    help="Stop when the best token saves fewer tokens of the training text.",
)
@click.option("--seed", default=0, show_default=True, help="Picks other held-out documents and folds.")
@click.option(
    "--unit",
    type=click.Choice(["line", "file"]),
    default="line",
    show_default=True,
    help="What a document is in a text file.",
)
@click.option("--column", metavar="NAME", help="Text column of .jsonl and .parquet files.  [default: text]")
@click.option("--encoding", default="utf-8", show_default=True, help="Encoding of the text, e.g. cp949.")
@click.option(
    "--on-error",
    type=click.Choice(["fail", "skip"]),
    default="fail",
    show_default=True,
    help="What to do with a record that cannot be read.",
)
@click.option("--quiet", is_flag=True, help="No progress and no table.")
@click.option("--json", "as_json", is_flag=True, help="Print sweep.json instead of the table.")
def sweep(quiet: bool, as_json: bool, out: Path | None, **values: Any) -> None:
    """Measure every vocabulary size on your text, choose one, and write a report.

    PATH: .txt, .jsonl or .parquet files (also .gz, .zst), folders, globs, URLs, or - for standard input. In a folder
    whose sub-folders are named by language (ko/, en/) each is a text set: one is learned from, the others protected.
    Writes curve.parquet (every size), sweep.json, report.html and more to the run directory.

    \b
    Examples:
      vocabopt sweep corpus/
      vocabopt sweep news.jsonl.gz --base ./Llama-2-7b --out reports/news
      vocabopt sweep ko.txt --protect en=english.txt --eval kobest=kobest.txt --sizes 0,5000,20000
    """
    from vocabopt.console import Console
    from vocabopt.options import SweepOptions, default_out
    from vocabopt.sweep import run_sweep

    _interrupt_reads()
    options = SweepOptions(out=out or default_out(values["paths"], values["base"]), **values)
    record = run_sweep(options, Console(quiet=quiet or as_json))
    if as_json:
        # Bytes: JSON is UTF-8 whatever the terminal's encoding.
        click.echo(json.dumps(record, ensure_ascii=False, indent=1).encode())
    elif not quiet:
        _print_sweep(record, options.out)


@main.command()
@click.argument("run_dir", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--size", "n_added", type=int, help="Tokens to add.  [default: the size the sweep chose]")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of the merged tokenizer.")
@click.option("--quiet", is_flag=True, help="Print nothing.")
def merge(run_dir: Path, n_added: int | None, out: Path, quiet: bool) -> None:
    """Write the base tokenizer with the first tokens of a sweep merged in.

    DIR is the run directory of a sweep. Writes tokenizer.json and tokenizer_config.json, which AutoTokenizer loads.
    Ids, merges and special tokens of the base stay as they are; the new ids follow its last.

    \b
    Examples:
      vocabopt merge reports/corpus-mistral-7b-v1 --out my-tokenizer
      vocabopt merge reports/corpus-mistral-7b-v1 --size 2000 --out my-tokenizer
    """
    from vocabopt.merge import merge_run

    n_merged = merge_run(run_dir, n_added, out)
    if not quiet:
        click.echo(f"{out}: the base tokenizer with {n_merged:,} added tokens.")
        click.echo(f"Load it with: AutoTokenizer.from_pretrained({str(out)!r})")


def _interrupt_reads() -> None:
    """Let Ctrl-C end a read that waits for a pipe: polars, when imported, has such reads started again instead."""
    if hasattr(signal, "siginterrupt"):
        signal.siginterrupt(signal.SIGINT, True)


def _print_sweep(record: Mapping[str, Any], out: Path) -> None:
    from rich.console import Console

    from vocabopt.table import sweep_notes, sweep_table

    console = Console()
    if not console.is_terminal:
        console = Console(width=max(console.width, 120))
    console.print(sweep_table(record, width=console.width))
    for note in (*sweep_notes(record), record["choice"]["reason"], f"Report: {out / 'report.html'}"):
        console.print(note, markup=False, highlight=False, soft_wrap=True)


def run() -> None:
    """What `vocabopt` on the command line starts."""
    # A tokenizer is half a million objects that live as long as the command: the collector of cycles walks through
    # them again and again and finds nothing (7.4 s with it, 6.8 s without, for 117 MB), and once more at the end.
    gc.disable()
    try:
        main()
    finally:
        gc.freeze()


if __name__ == "__main__":
    run()

"""`vocabopt verify`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vocabopt.cli.shared import (
    hold_file,
    named_paths,
    plain_console,
    rank_file_options,
    reading_options,
    refuse_foreign_file,
)
from vocabopt.errors import OptionError
from vocabopt.text.utf8 import json_bytes

if TYPE_CHECKING:
    from vocabopt.verify import Report


@click.command()
@click.argument("base")
@click.argument("new")
@click.option(
    "--text",
    "texts",
    multiple=True,
    metavar="NAME=PATH",
    callback=named_paths("text"),
    help="Text to check with: its lines without the target script must not change, the others show which tokens are "
    "used. May be repeated.",
)
@click.option(
    "--protect",
    "protects",
    multiple=True,
    metavar="NAME=PATH",
    callback=named_paths("protect"),
    help="Text of which no line may change (with a script guard: none without the target script). May be repeated.",
)
@click.option(
    "--script",
    "scripts",
    default="auto",
    show_default=True,
    metavar="auto|none|NAME[,NAME]",
    help="Target script of the new tokens; auto asks extension.json, else the tokens.",
)
@rank_file_options
@reading_options
@click.option("--json", "as_json", is_flag=True, help="Print verify.json instead of the table.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Where to write verify.json.  [default: into NEW's folder]"
)
@click.option("--quiet", is_flag=True, help="Print nothing; the exit code tells.")
def verify(base: str, new: str, as_json: bool, out: Path | None, quiet: bool, **values: Any) -> None:
    """Prove that NEW is BASE with new tokens and nothing else changed: a table of what passes and what fails.

    BASE and NEW: Hugging Face folders, files, hub ids as --base takes them; NEW need not be made here. The last line
    says PASS, WARN or FAIL. Exit code 1 if anything fails; a warning, such as text that nothing guards, leaves it at 0.
    What fails or warns shows up to five examples, of each kind one first. Writes verify.json.

    \b
    Examples:
      vocabopt verify mistral-7b-v1 my-tokenizer
      vocabopt verify ./Llama-2-7b ./my-tokenizer --text ko=korean.txt --text en=english.txt
    """
    from vocabopt.console import Console
    from vocabopt.verify import VerifyOptions, write_report
    from vocabopt.verify import verify as compare

    target = out or (Path(new) / "verify.json" if Path(new).is_dir() else None)
    if target is not None and target.is_dir():
        raise OptionError(f"--out {target}: is a folder. Name the file to write, for example {target / 'verify.json'}.")
    if out is not None:
        refuse_foreign_file(out)
    if target is not None:
        hold_file(target)
    report = compare(base, new, VerifyOptions(**values), Console(quiet=quiet or as_json))
    if as_json:
        click.echo(json_bytes(report.as_record()))
    elif not quiet:
        print_report(report)
    if target is not None:
        # After the table, so that what was found is not lost where nothing can be written.
        write_report(report, target)
        if not (as_json or quiet):
            click.echo(f"Written: {target}")
    if not report.passed:
        raise click.exceptions.Exit(1)


def print_report(report: "Report") -> None:
    """The table, and the examples of what failed."""
    from vocabopt.verify.report import failures, report_table

    console = plain_console()
    console.print(report_table(report))
    for line in failures(report):
        console.print(line, markup=False, highlight=False, soft_wrap=True)

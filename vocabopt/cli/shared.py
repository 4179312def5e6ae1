"""What more than one command has: options given once, repeated NAME=PATH options, those that complete a rank file."""

import gc
import os
import shlex
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from vocabopt.errors import OptionError, RunDirectoryError, how_to_install
from vocabopt.text.utf8 import printable

if TYPE_CHECKING:
    from rich.console import Console as RichConsole

Command = TypeVar("Command", bound=Callable[..., Any])


def how_to_load(folder: Path, loader: str) -> str:
    """The line of Python that loads a folder. transformers opens no name that is not UTF-8."""
    if (shown := printable(folder)) != str(folder):
        return f"transformers cannot load it from here: the folder's name is not UTF-8. Rename it first: {shown}"
    return f"Load it with: {loader}.from_pretrained({shown!r})"


def refuse_repeated(context: click.Context, args: Iterable[str]) -> None:
    """Refuse an option given twice where it holds one value: click would keep the last in silence.

    Args:
        context: of the command that `args` are for.

    Raises:
        OptionError: there is one.
    """
    values, _, parameters = context.command.make_parser(context).parse_args(args=list(args))
    for option in dict.fromkeys(parameters):
        n_times = parameters.count(option)
        if n_times > 1 and isinstance(option, click.Option) and not (option.multiple or option.is_flag):
            listed = ", with commas between several" if "," in (option.metavar or "") else ""
            raise OptionError(
                f"{option.opts[0]} {values[str(option.name)]}: {option.opts[0]} is given {n_times} times and takes one "
                f"value{listed}. Give it once."
            )


def named_paths(option: str) -> Callable[[click.Context, click.Parameter, Iterable[str]], dict[str, str]]:
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


def rank_file_options(command: Command) -> Command:
    """--pattern and --specials."""
    command = click.option(
        "--specials",
        metavar="NAME|FILE|none",
        help="For a tiktoken rank file whose name does not tell: its special tokens, by name (llama3, qwen ...), or in "
        "a file: JSON {content: id}, or a line each.",
    )(command)
    return click.option(
        "--pattern",
        metavar="NAME|REGEX",
        help="Split pattern of a tiktoken rank file whose name does not tell it: by name (llama3, qwen ...), or as a "
        "regular expression.",
    )(command)


def format_option(command: Command) -> Command:
    """--format: what the text is stored in."""
    return click.option(
        "--format",
        type=click.Choice(["auto", "text", "jsonl", "json", "csv", "tsv", "parquet"]),
        default="auto",
        show_default=True,
        help="Format of all text. auto goes by each file's suffix, and refuses a text file (or standard input) that "
        "holds something else.",
    )(command)


def column_option(command: Command) -> Command:
    """--column."""
    return click.option(
        "--column", metavar="NAME", help="Text column of records: .jsonl, .json, .csv, .tsv, .parquet.  [default: text]"
    )(command)


def reading_options(command: Command) -> Command:
    """--format, --unit, --column, --encoding, --on-error: how text is read."""
    options = (
        format_option,
        click.option(
            "--unit",
            type=click.Choice(["line", "file"]),
            default="line",
            show_default=True,
            help="What a document is in a text file.",
        ),
        column_option,
        click.option("--encoding", default="utf-8", show_default=True, help="Encoding of the text, e.g. cp949."),
        click.option(
            "--on-error",
            type=click.Choice(["fail", "skip"]),
            default="fail",
            show_default=True,
            help="What to do with a record that cannot be read.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def require_trainer(command: str) -> None:
    """Say what to install where the trainer's libraries are missing.

    Raises:
        OptionError: torch, transformers or another of them is not installed.
    """
    from importlib.util import find_spec

    missing = [
        name for name in ("torch", "transformers", "accelerate", "peft", "safetensors") if find_spec(name) is None
    ]
    if missing:
        raise OptionError(f"{command} needs {', '.join(missing)}. {how_to_install('train')}")
    # Training makes cycles, for hours: unlike in the other commands (see `run`), they must be collected.
    gc.enable()


#: Where the group keeps the arguments it was given, and a command how to go on with it after Ctrl-C.
ARGUMENTS, GOES_ON_BY = "vocabopt.arguments", "vocabopt.goes_on_by"


#: Of a command that holds a folder, as others are told of it.
_N_COMMAND = 200


def going_on_by(*options: str) -> None:
    """Say that this command, stopped at any moment, goes on when it is given again with these options added."""
    meta = click.get_current_context().meta
    given = meta.get(ARGUMENTS, [])
    meta[GOES_ON_BY] = shlex.join(["vocabopt", *given, *(option for option in options if option not in given)])


def hold(folder: Path) -> None:
    """Let this command alone write into a folder, from now until it ends.

    Raises:
        RunDirectoryError: another run holds the folder, or it cannot be made or written to.
    """
    from vocabopt.locks import folder_lock

    _hold(folder_lock, folder)


def hold_file(path: Path) -> None:
    """The same for one file that the command writes."""
    from vocabopt.locks import file_lock

    _hold(file_lock, path)


def refuse_foreign_file(path: Path) -> None:
    """Raises OptionError: `--out` names a file that no command of ours has written, so that it would be lost."""
    from vocabopt.artifacts import read_json

    if path.is_file() and path.stat().st_size:
        try:
            read_json(path, next_step="")
        except RunDirectoryError as error:
            raise OptionError(
                f"--out {printable(path)}: a file is there that vocabopt has not written, and it would be lost. Name "
                "another file."
            ) from error


def _hold(lock: Callable[[Path, str], AbstractContextManager[None]], path: Path) -> None:
    context = click.get_current_context()
    # Of the processes of torchrun the first one writes. RANK alone may be anybody's.
    is_one_of_many = os.environ.get("WORLD_SIZE", "1") not in ("", "0", "1")
    if not is_one_of_many or os.environ.get("RANK", "0") == "0":
        context.with_resource(lock(path, shlex.join(["vocabopt", *context.meta.get(ARGUMENTS, [])])[:_N_COMMAND]))


def plain_console(width: int = 120) -> "RichConsole":
    """Standard output for tables: wide enough where it is not a terminal."""
    from rich.console import Console as RichConsole

    console = RichConsole()
    return console if console.is_terminal else RichConsole(width=max(console.width, width))

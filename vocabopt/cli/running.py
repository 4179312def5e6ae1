"""What commands do while they run: refuse what click lets pass, hold their folder, say how to go on after Ctrl-C."""

import gc
import os
import shlex
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from pathlib import Path

import click

from vocabopt.errors import OptionError, RunDirectoryError, how_to_install
from vocabopt.text.utf8 import printable

#: Where the group keeps the arguments it was given, and a command how to go on with it after Ctrl-C.
ARGUMENTS, GOES_ON_BY = "vocabopt.arguments", "vocabopt.goes_on_by"
#: Of a command that holds a folder, as others are told of it.
_N_COMMAND = 200
_TRAINER = ("torch", "transformers", "accelerate", "peft", "safetensors")


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


def require_trainer(command: str) -> None:
    """Say what to install where the trainer's libraries are missing.

    Raises:
        OptionError: torch, transformers or another of them is not installed.
    """
    from importlib.util import find_spec

    if missing := [name for name in _TRAINER if find_spec(name) is None]:
        raise OptionError(f"{command} needs {', '.join(missing)}. {how_to_install('train')}")
    # Training makes cycles, for hours: unlike in the other commands (see `run`), they must be collected.
    gc.enable()


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
    from vocabopt.folder import folder_lock

    _hold(folder_lock, folder)


def hold_file(path: Path, *, is_named: bool = True) -> None:
    """The same for one file that the command writes. is_named: with --out; then it must not be somebody else's.

    Raises:
        OptionError: it is a folder, or a file that no command of ours has written and that would be lost.
    """
    from vocabopt.folder import file_lock, read_json

    if path.is_dir():
        example = path / ("verify.json" if click.get_current_context().info_name == "verify" else "eval.json")
        raise OptionError(f"--out {path}: is a folder. Name the file to write, for example {example}.")
    if is_named and path.is_file() and path.stat().st_size:
        try:
            read_json(path, next_step="")
        except RunDirectoryError as error:
            raise OptionError(
                f"--out {printable(path)}: a file is there that vocabopt has not written, and it would be lost. Name "
                "another file."
            ) from error
    _hold(file_lock, path)


def _hold(lock: Callable[[Path, str], AbstractContextManager[None]], path: Path) -> None:
    context = click.get_current_context()
    # Of the processes of torchrun the first one writes. RANK alone may be anybody's.
    is_one_of_many = os.environ.get("WORLD_SIZE", "1") not in ("", "0", "1")
    if not is_one_of_many or os.environ.get("RANK", "0") == "0":
        context.with_resource(lock(path, shlex.join(["vocabopt", *context.meta.get(ARGUMENTS, [])])[:_N_COMMAND]))

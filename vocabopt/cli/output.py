"""What a command shows: its tables and sentences on standard output, its progress and errors on standard error.

The two streams never end a command, whatever their encoding, full, or read by nobody any more: what a command writes to
its folder is whole whether or not its table could be printed; that it could not is said at the end.
"""

import codecs
import errno
import io
import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vocabopt.text.utf8 import SHOWN, json_bytes, printable

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

    from vocabopt.console import Console


@dataclass(frozen=True, kw_only=True)
class Output:
    """What --json and --quiet ask for."""

    as_json: bool
    quiet: bool

    def console(self) -> "Console":
        """Progress on standard error, silent with --json and --quiet."""
        from vocabopt.console import Console

        return Console(quiet=self.quiet or self.as_json)

    def show(self, record: Any, tables: Callable[[int], Iterable[Any]]) -> None:
        """Print the record as JSON, or its tables and sentences, or nothing.

        Args:
            tables: of the terminal's width: tables of rich, and sentences, in the order in which they are printed.
        """
        if self.as_json:
            click.echo(json_bytes(record))  # bytes: JSON is UTF-8 whatever the terminal's encoding
        elif not self.quiet:
            print_tables(tables)


def print_tables(tables: Callable[[int], Iterable[Any]], width: int = 120) -> None:
    """Print tables of rich and sentences; `width` columns where standard output is not a terminal."""
    from rich.console import Console as RichConsole

    console = RichConsole()
    console = console if console.is_terminal else RichConsole(width=max(console.width, width))
    for part in tables(console.width):
        if isinstance(part, str):
            console.print(part, markup=False, highlight=False, soft_wrap=True)
        else:
            console.print(part)


def how_to_load(folder: Path, loader: str) -> str:
    """The line of Python that loads a folder. transformers opens no name that is not UTF-8."""
    if (shown := printable(folder)) != str(folder):
        return f"transformers cannot load it from here: the folder's name is not UTF-8. Rename it first: {shown}"
    return f"Load it with: {loader}.from_pretrained({shown!r})"


# --- Streams ---------------------------------------------------------------------------------------------------------


class _Descriptor(io.FileIO):
    """A descriptor whose failure is kept instead of raised. failure: the first one; a reader who left is none."""

    failure: OSError | None = None
    _is_closed = False

    def write(self, data: "ReadableBuffer") -> int:
        n_bytes = memoryview(data).nbytes
        if self._is_closed:
            return n_bytes
        try:
            return super().write(data) or 0
        except OSError as error:
            self._is_closed = True
            if error.errno != errno.EPIPE:
                self.failure = error
            return n_bytes


def open_streams() -> list[_Descriptor]:
    """Put such streams in the place of `sys.stdout` and `sys.stderr`; returns what they write to."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # closed by the caller: the next file that is opened would be written to as standard output
            os.open(os.devnull, os.O_RDWR)
    opened = []
    for name, number in (("stdout", 1), ("stderr", 2)):
        before = getattr(sys, name)
        raw = _Descriptor(number, "wb", closefd=False)
        encoding = getattr(before, "encoding", None) or "utf-8"
        if codecs.lookup(encoding).name == "ascii":
            encoding = "utf-8"  # click would write UTF-8 through a stream of its own, with "?" for what is none
        stream = io.TextIOWrapper(
            io.BufferedWriter(raw),
            encoding=encoding,
            errors=SHOWN,
            line_buffering=number == 2 or raw.isatty(),
        )
        setattr(sys, name, stream)
        opened.append(raw)
    return opened


def flush(stdout: _Descriptor) -> str | None:
    """Write what waits; returns why standard output is not whole, None where it is."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    if stdout.failure is None:
        return None
    return f"standard output: cannot be written ({stdout.failure.strerror}). What was written to files is whole."

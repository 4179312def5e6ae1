"""Write docs/cli.md from the commands' own help: python docs/generate.py [--check]."""

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from vocabopt.cli import main

PAGE = Path(__file__).parent / "cli.md"
_WIDTH = 100
_HEAD = """# Commands

The help of every command, as `vocabopt COMMAND --help` prints it. This page is generated: `make docs` writes it,
`make check` fails when it is stale.

Exit codes: 0 done; 1 a promise of the tool did not hold; 2 bad input, with a message that names the value, the place
and what to do next; 130 stopped with Ctrl-C. Results go to standard output, progress and errors to standard error.
"""


def commands(
    command: click.Command = main, path: tuple[str, ...] = ("vocabopt",), parent: click.Context | None = None
) -> Iterator[tuple[str, click.Context]]:
    """Every command with its full name, groups before what they hold."""
    context = command.make_context(path[-1], [], parent, resilient_parsing=True, terminal_width=_WIDTH)
    yield " ".join(path), context
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None, name
            yield from commands(inner, (*path, name), context)


def page() -> str:
    """The whole of docs/cli.md."""
    parts = [f"## {name}\n\n```text\n{context.get_help().rstrip()}\n```\n" for name, context in commands()]
    return "\n".join([_HEAD, *parts])


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        if not PAGE.is_file() or PAGE.read_text(encoding="utf-8") != page():
            sys.exit(f"{PAGE}: stale. Write it anew with: make docs")
    elif not sys.argv[1:]:
        PAGE.write_text(page(), encoding="utf-8")
    else:
        sys.exit("usage: python docs/generate.py [--check]")

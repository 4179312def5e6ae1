"""Write docs/cli.md from the commands' own help, and the table of steps in docs/prepare.md from the steps themselves:
python docs/generate.py [--check]."""

import dataclasses
import inspect
import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from vocabopt.cli import main
from vocabopt.preparation.options import registry

PAGE, PREPARE = Path(__file__).parent / "cli.md", Path(__file__).parent / "prepare.md"
_START, _END = "<!-- steps:start -->", "<!-- steps:end -->"
_WIDTH = 100
_HEAD = """# Commands

The help of every command, as `vocabopt COMMAND --help` prints it. This page is generated: `make docs` writes it,
`make check` fails when it is stale.

Exit codes: 0 done; 1 a promise of the tool did not hold, or a fault of the tool, whose traceback is kept in a file
that the message names; 2 bad input, or refused by the system, with a message that names the value, the place and what
to do next; 130 stopped with Ctrl-C (143 by SIGTERM, 129 with its terminal). Results go to standard output, progress
and errors to standard error.

One run at a time writes into a folder: a second one is told who holds it. The lock of a run that was killed is taken
over. Compiled code, fonts and downloads are kept under `XDG_CACHE_HOME`, by default `~/.cache` (compiled code beside
the program where that can be written, or in `NUMBA_CACHE_DIR`). Where nothing can be written, a folder among the
temporary files (`TMPDIR`) stands in, and a sentence says so. `VOCABOPT_TRACEBACK=1` shows the traceback of a fault.
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


def steps() -> str:
    """The steps of `vocabopt prepare`: what each does, and its options with their defaults, as TOML writes them."""
    parts = []
    for name, kind in registry().items():
        told = re.split(r"\n\nRaises", inspect.cleandoc(kind.__doc__))[0]
        options = "\n".join(_option(field) for field in dataclasses.fields(kind) if field.init)
        parts.append(f"### {name}\n\n{told}\n" + (f"\n```toml\n[{name}]\n{options}\n```\n" if options else ""))
    return "\n".join(parts)


def _option(field: "dataclasses.Field[Any]") -> str:
    value = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
    if value is None or value is dataclasses.MISSING:
        return f"# {field.name} = ({'must be given' if value is dataclasses.MISSING else 'off unless given'})"
    if isinstance(value, Mapping):
        pairs = ", ".join(f"{key} = {json.dumps(of, ensure_ascii=False)}" for key, of in value.items())
        return f"{field.name} = {{ {pairs} }}"
    return f"{field.name} = {json.dumps(value, ensure_ascii=False)}"


def prepare_page() -> str:
    """docs/prepare.md with its part on the steps made anew."""
    before, rest = PREPARE.read_text(encoding="utf-8").split(_START)
    return f"{before}{_START}\n{steps()}{_END}{rest.split(_END)[1]}"


PAGES = {PAGE: page, PREPARE: prepare_page}

if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        for path, make in PAGES.items():
            if not path.is_file() or path.read_text(encoding="utf-8") != make():
                sys.exit(f"{path}: stale. Write it anew with: make docs")
    elif not sys.argv[1:]:
        for path, make in PAGES.items():
            path.write_text(make(), encoding="utf-8")
    else:
        sys.exit("usage: python docs/generate.py [--check]")

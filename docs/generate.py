"""Write docs/cli.md from the commands' own help, and the table of steps in docs/prepare.md from the steps themselves:
python docs/generate.py [--check]. With --tutorial it runs docs/tutorial.ipynb and stores its outputs."""

import dataclasses
import inspect
import json
import re
import sys
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import click

import vocabopt
from vocabopt.cli import main
from vocabopt.preparation.options import registry

TUTORIAL, API = Path(__file__).parent / "tutorial.ipynb", Path(__file__).parent / "api.md"
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

_API_HEAD = """# Python API

`import vocabopt` gives what the commands do, for a notebook or another program. Options have the names of the commands'
options, with underscores. This page is generated from the docstrings: `make docs` writes it, `make check` fails when it
is stale. [The tutorial](tutorial.ipynb) uses all of it.

```python
import vocabopt

sweep = vocabopt.sweep("corpus/", base="mistral-7b-v1", out="run")
choice = vocabopt.choose(sweep, train_tokens="10B")
merged = vocabopt.merge(sweep, size=choice.n_added, out="tokenizer")
print(merged.verification.verdict, merged.load().tokenize("안녕하세요"))
```
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


def api_page() -> str:
    """The whole of docs/api.md: every public name with its signature and docstring."""
    parts = [_API_HEAD]
    for name in vocabopt.__all__:
        value = getattr(vocabopt, name)
        if inspect.isclass(value) and issubclass(value, Exception):
            parts.append(f"## {name}\n\n```text\n{inspect.getdoc(sys.modules[value.__module__])}\n```\n")
            continue
        parts.append(f"## {name}\n\n{_described(value, f'vocabopt.{name}')}")
        if inspect.isclass(value):
            members = [(key, member) for key, member in vars(value).items() if key[0] != "_" and _is_member(member)]
            parts += [f"### {name}.{key}\n\n{_described(member, key)}" for key, member in members]
    return "\n".join(parts)


def _is_member(member: object) -> bool:
    return inspect.isfunction(member) or isinstance(member, property | cached_property)


def _described(value: Any, name: str) -> str:
    """The signature, where it is called, and the docstring as it stands in the code."""
    call = f"```python\n{name}{_signature(value)}\n```\n\n" if inspect.isfunction(value) else ""
    return f"{call}```text\n{inspect.getdoc(value)}\n```\n"


def _signature(function: Any) -> str:
    """One parameter a line, as the code has it."""
    signature = inspect.signature(function)
    parameters = [str(parameter) for parameter in signature.parameters.values() if parameter.name != "self"]
    star = next((n for n, p in enumerate(signature.parameters.values()) if p.kind is p.KEYWORD_ONLY), None)
    has_star = any(parameter.startswith("*") and not parameter.startswith("**") for parameter in parameters)
    if star is not None and not has_star:
        parameters.insert(star - ("self" in signature.parameters), "*")
    listed = "".join(f"    {parameter},\n" for parameter in parameters)
    text = f"(\n{listed}) -> {signature.return_annotation}" if parameters else f"() -> {signature.return_annotation}"
    return re.sub(r"'([^']*)'(?=[,\n ]|$)", r"\1", text.replace("collections.abc.", "").replace("typing.", ""))


def run_tutorial() -> None:
    """Execute the notebook in its place and store what its cells gave."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(TUTORIAL, as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": TUTORIAL.parent}}).execute()
    for cell in notebook.cells:
        cell.metadata.clear()
    nbformat.write(notebook, TUTORIAL)


PAGES = {API: api_page, PAGE: page, PREPARE: prepare_page}

if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        for path, make in PAGES.items():
            if not path.is_file() or path.read_text(encoding="utf-8") != make():
                sys.exit(f"{path}: stale. Write it anew with: make docs")
    elif sys.argv[1:] == ["--tutorial"]:
        run_tutorial()
    elif not sys.argv[1:]:
        for path, make in PAGES.items():
            path.write_text(make(), encoding="utf-8")
    else:
        sys.exit("usage: python docs/generate.py [--check | --tutorial]")

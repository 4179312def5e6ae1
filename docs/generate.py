"""Write the generated pages of docs/reference: cli.md from the commands' help, api.md from the docstrings, and the list
of steps in prepare-steps.md from the steps: python docs/generate.py [--check]. With --tutorial: run docs/tutorial.ipynb
and store its outputs."""

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

TUTORIAL = Path(__file__).parent / "tutorial.ipynb"
REFERENCE = Path(__file__).parent / "reference"
CLI, API, STEPS = REFERENCE / "cli.md", REFERENCE / "api.md", REFERENCE / "prepare-steps.md"
_START, _END = "<!-- steps:start -->", "<!-- steps:end -->"
_WIDTH = 100
_HEAD = """# Commands

This page shows the help of every command, as `vocabopt COMMAND --help` prints it. `make docs` writes this page, and
`make check` fails when the page is out of date.

Results go to standard output. Progress and errors go to standard error.

| exit code | meaning |
|---|---|
| 0 | the command is done |
| 1 | a promise did not hold, or the program has a fault; for a fault, the message names a file with the traceback |
| 2 | the input is bad, or the system refused something; the message names the value, the place and what to do next |
| 129, 130, 143 | the command was stopped because its terminal closed, by Ctrl-C, or by SIGTERM |

Only one run writes into a folder at a time. A second run stops with a message that names the first one. The lock of a
killed run does not block the next run.

| environment variable | what it sets |
|---|---|
| `XDG_CACHE_HOME` | the folder for compiled code, fonts and downloads; the default is `~/.cache` |
| `NUMBA_CACHE_DIR` | the folder for compiled code; the default is next to the program if that can be written |
| `TMPDIR` | the folder for temporary files; caches go there, with a message, where no other folder can be written |
| `VOCABOPT_TRACEBACK=1` | shows the traceback of a fault |
| `VOCABOPT_CHROMIUM` | the Chromium program for browser tests and `make sample` |
"""

_API_HEAD = """# Python API

`import vocabopt` offers the commands as functions, for notebooks and other programs. The options have the names of the
command-line options, with underscores. `make docs` writes this page from the docstrings, and `make check` fails when
the page is out of date. [The tutorial](../tutorial.ipynb) shows the functions in use.

```python
import vocabopt

sweep = vocabopt.sweep("corpus/", base="mistral-7b-v1", out="run")
choice = vocabopt.choose(sweep, train_tokens="10B")
merged = vocabopt.merge(sweep, size=choice.n_added, out="tokenizer")
print(merged.verification.verdict, merged.load().tokenize("통영항에서 배를 탔습니다."))
```
"""


def commands(
    command: click.Command = main, path: tuple[str, ...] = ("vocabopt",), parent: click.Context | None = None
) -> Iterator[tuple[str, click.Context]]:
    """Every command with its full name; a group comes before its commands."""
    context = command.make_context(path[-1], [], parent, resilient_parsing=True, terminal_width=_WIDTH)
    yield " ".join(path), context
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None, name
            yield from commands(inner, (*path, name), context)


def cli_page() -> str:
    """The whole of docs/reference/cli.md."""
    parts = [f"## {name}\n\n```text\n{context.get_help().rstrip()}\n```\n" for name, context in commands()]
    return "\n".join([_HEAD, *parts])


def steps() -> str:
    """Each step of `vocabopt prepare`: what it does, and its options with their defaults, as TOML."""
    parts = []
    for name, kind in registry().items():
        text = re.split(r"\n\nRaises", inspect.cleandoc(kind.__doc__))[0]
        options = "\n".join(_option(field) for field in dataclasses.fields(kind) if field.init)
        parts.append(f"### {name}\n\n{text}\n" + (f"\n```toml\n[{name}]\n{options}\n```\n" if options else ""))
    return "\n".join(parts)


def _option(field: "dataclasses.Field[Any]") -> str:
    value = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
    if value is None or value is dataclasses.MISSING:
        return f"# {field.name} = ({'must be given' if value is dataclasses.MISSING else 'off unless given'})"
    if isinstance(value, Mapping):
        pairs = ", ".join(f"{key} = {json.dumps(of, ensure_ascii=False)}" for key, of in value.items())
        return f"{field.name} = {{ {pairs} }}"
    return f"{field.name} = {json.dumps(value, ensure_ascii=False)}"


def steps_page() -> str:
    """docs/reference/prepare-steps.md with its generated part renewed."""
    before, rest = STEPS.read_text(encoding="utf-8").split(_START)
    return f"{before}{_START}\n{steps()}{_END}{rest.split(_END)[1]}"


def api_page() -> str:
    """The whole of docs/reference/api.md: every public name with its signature and docstring."""
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
    """The signature of a function, and the docstring as it is in the code."""
    call = f"```python\n{name}{_signature(value)}\n```\n\n" if inspect.isfunction(value) else ""
    return f"{call}```text\n{inspect.getdoc(value)}\n```\n"


def _signature(function: Any) -> str:
    """One parameter per line, as the code has it."""
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
    """Execute the notebook and store the outputs of its cells."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(TUTORIAL, as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": TUTORIAL.parent}}).execute()
    for cell in notebook.cells:
        cell.metadata.clear()
    nbformat.write(notebook, TUTORIAL)


PAGES = {API: api_page, CLI: cli_page, STEPS: steps_page}

if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        for path, make in PAGES.items():
            if not path.is_file() or path.read_text(encoding="utf-8") != make():
                sys.exit(f"{path}: out of date. Write it again with: make docs")
    elif sys.argv[1:] == ["--tutorial"]:
        run_tutorial()
    elif not sys.argv[1:]:
        for path, make in PAGES.items():
            path.write_text(make(), encoding="utf-8")
    else:
        sys.exit("usage: python docs/generate.py [--check | --tutorial]")

"""python tests/clients: do real programs load what `vocabopt merge` writes, and encode alike?

__main__          options, the order of work, the table
lines             the lines that are encoded
tokenizers_made   bases at hand, swept and merged by the vocabopt command
installs          programs that are installed for this check alone
programs/         the programs, one class each
compare           ids compared, differences explained
llama_checks      llama.cpp's 47 cases; its names of split patterns
loaded_checks     published folders and the same with tokens merged in, as several versions of transformers load them
"""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from itertools import chain
from pathlib import Path

import click
from compare import Row, compare
from installs import NotRunError, llama_source
from lines import ROOT, data_folder, mixed_lines
from llama_checks import check_cases, check_name
from loaded_checks import check_loaded
from programs import Program
from programs.in_javascript import JavaScript
from programs.in_llama import Llama
from programs.in_python import SentencePiece, Tekkenizer, Tiktoken
from programs.llama_names import names
from rich.console import Console
from rich.table import Table
from rich.text import Text
from tokenizers_made import BaseFile, Made, MakingError, base_files, korean_text, make

FORMAT_VERSION = 1
PROGRAMS: dict[str, Callable[[], Program]] = {
    program.name: program for program in (SentencePiece, Tiktoken, Tekkenizer, JavaScript, Llama)
}
CASES, NAMES, LOADED = "cases", "names", "transformers"


# fmt: off
@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--only", multiple=True, type=click.Choice([*PROGRAMS, CASES, NAMES, LOADED]),
              help="Client or check to run; may be repeated.  [default: all]")
@click.option("--base", "wanted", multiple=True, metavar="NAME", help="Base to take; may be repeated.  [default: all]")
@click.option("--folder", "folders", multiple=True, type=click.Path(path_type=Path, exists=True, file_okay=False),
              help="Published folder for the check transformers; may be repeated.  [default: those of the data]")
@click.option("--lines", "n_lines", default=20_000, show_default=True, help="Lines to encode.")
@click.option("--size", default=10_000, show_default=True, help="Tokens to add; fewer where the text runs dry.")
@click.option("--cache", type=click.Path(path_type=Path), default=ROOT / "reports" / "clients",
              show_default="reports/clients", help="Folder of installed programs and made tokenizers.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="File to write the result to.")
def main(
    only: tuple[str, ...], wanted: tuple[str, ...], folders: tuple[Path, ...], n_lines: int, size: int, cache: Path,
    json_path: Path | None,
) -> None:
    # fmt: on
    """Merge tokens into every base at hand, load the result in real programs, and compare ids line by line.

    Clients: sentencepiece, tiktoken, mistral_common, Hugging Face's tokenizers in JavaScript under node, llama.cpp.
    What they give is compared with tokenizer.json as the tokenizers library encodes it. JavaScript's and llama.cpp's
    packages are installed into the cache; the first time llama.cpp is compiled, for six minutes or more.

    \b
    Examples:
      python tests/clients --only sentencepiece --only tiktoken
      python tests/clients --base mistral-7b-v1 --json clients.json
    """
    progress = Console(stderr=True)

    def say(message: str) -> None:
        progress.print(message, markup=False, highlight=False, soft_wrap=True)

    bases = [base for base in base_files() if not wanted or base.name in wanted]
    if missing := set(wanted) - {base.name for base in bases}:
        raise click.BadParameter(f"{', '.join(sorted(missing))}: not at hand", param_hint="--base")
    cache = cache.resolve()
    cache.mkdir(parents=True, exist_ok=True)
    rows = []
    chosen = only or (*PROGRAMS, CASES, NAMES, LOADED)
    found = [_rows(chosen, bases, mixed_lines(n_lines), size, cache, say)] if {*chosen} != {LOADED} else []
    if LOADED in chosen:
        found.append(check_loaded(folders, korean_text(cache), size, cache, say))
    for row in chain.from_iterable(found):
        rows.append(row)
        say(f"{row.client}, {row.base}: {_result(row)}")
    _print(rows, n_lines)
    if json_path is not None:
        record = {"format_version": FORMAT_VERSION, "rows": [row.as_record() for row in rows]}
        json_path.write_text(json.dumps(record, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    # What was named and could not run is no success; nor is a difference that nothing explains.
    if any(row.n_unexplained for row in rows) or (only and not all(row.is_run for row in rows)):
        sys.exit(1)


def _rows(
    chosen: Sequence[str], bases: Sequence[BaseFile], texts: Sequence[str], size: int, cache: Path,
    say: Callable[[str], None],
) -> Iterator[Row]:  # fmt: skip
    """All rows, those of one base together, so that one base at a time is in memory."""
    programs: list[Program] = []
    for name in (name for name in chosen if name in PROGRAMS):
        program = PROGRAMS[name]()
        try:
            program.prepare(cache, say)
            programs.append(program)
        except NotRunError as error:
            yield Row(client=name, version=program.version, base="-", why=f"not run: {error}")
    text = korean_text(cache)
    for base in bases:
        if CASES in chosen and (row := check_cases(base)) is not None:
            yield row
        if not (programs or NAMES in chosen):
            continue
        try:
            made = make(base, text, size, cache, say)
        except MakingError as error:
            yield Row(client="vocabopt", version=version("vocabopt"), base=base.name, n_unexplained=1, why=str(error))
            continue
        yield from (compare(program, made, texts) for program in programs if program.reads(made.merged))
        if NAMES in chosen:
            yield from _name_rows(made, cache, say)
    if CASES in chosen and data_folder() is None:
        yield Row(client="llama.cpp's 47 cases", version="-", base="-", why="not run: no development data")


def _name_rows(made: Made, cache: Path, say: Callable[[str], None]) -> Iterator[Row]:
    try:
        row = check_name(made, names(llama_source(cache, say)))
    except NotRunError as error:
        row = Row(client="llama.cpp's name", version="-", base=made.name, why=f"not run: {error}")
    if row is not None:
        yield row


def _result(row: Row) -> str:
    """The last column: what was found, in words."""
    parts = [f"{n:,}: {explanation}" for explanation, n in row.kinds.items()]
    parts += [row.why] if row.why else []
    if row.is_run and row.n_unexplained and not row.why:
        parts.append(f"{row.n_unexplained:,}: NOT EXPLAINED, e.g. {row.examples[0]['text']!r:.60}")
    return "; ".join(parts) or "the same ids"


def _print(rows: Sequence[Row], n_lines: int) -> None:
    console = Console()
    if not console.is_terminal:
        console = Console(width=max(console.width, 180))
    console.print(
        f"{n_lines:,} lines; expected: the ids of tokenizer.json by tokenizers {version('tokenizers')}. Apart: lines "
        "with the name of a special token or NUL, compared as the client reads such names. Base too: of the differing, "
        "those where the base's ids differ as well.",
        highlight=False,
        soft_wrap=True,
    )
    table = Table(show_edge=False)
    for name in ("client", "version", "base"):
        table.add_column(name, no_wrap=True)
    for name in ("added", "lines", "apart", "differing", "base too"):
        table.add_column(name, justify="right")
    table.add_column("result")
    for row in rows:
        numbers = (row.n_added, row.n_lines, row.n_apart, row.n_differing, row.n_base_differing)
        shown = ("-" if number is None else f"{number:,}" for number in numbers)
        table.add_row(row.client, row.version, row.base, *shown, Text(_result(row)))
    console.print(table)
    n_failed = sum(bool(row.n_unexplained) for row in rows)
    n_not_run = sum(not row.is_run and not row.n_unexplained for row in rows)
    n_passed = len(rows) - n_failed - n_not_run
    console.print(f"{n_passed} passed, {n_failed} failed, {n_not_run} not run", highlight=False)


if __name__ == "__main__":
    main()

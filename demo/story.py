"""`make adapt`: a base, a sweep, a merge, an adaptation, the report, each step the command that a user would type."""

import os
import shlex
import sys
import webbrowser
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from vocabopt.errors import OptionError, VocaboptError
from vocabopt.text.readers import ReadOptions

#: Fewer new tokens tell no story.
MIN_ADDED = 256
DEMO_CORPUS = "corpus/ko"
DEMO_REPLAY = "en=corpus/en:0.2"
DEMO_BASES = Path("reports/demo-base")
DEMO_OUT = Path("reports/demo-adapt")
#: A model of 2M parameters takes higher rates and smaller steps than one of 10B, and has 150 kB to learn from.
DEMO_ADAPT = (
    *("--budget", "1MB", "--batch", "4kB", "--context", "256", "--micro-batch", "8"),
    *("--learning-rate-factor", "10", "--lora-rank", "16", "--precision", "fp32", "--threads", "1", "--control"),
)


@dataclass(frozen=True, kw_only=True)
class Story:
    """What is adapted to what. model: a folder. adapt: further options of `vocabopt adapt`."""

    model: str
    corpus: str
    out: Path
    size: int | None
    adapt: tuple[str, ...]


def demo_story(corpus: str | None, size: int | None, out: Path | None, adapt: Sequence[str]) -> Story:
    """The story on this repository's own text, with a base made for it."""
    import torch

    from demo.base import identity, make_base, notes
    from demo.options import DemoOptions
    from demo.text import read_text
    from vocabopt.console import Console

    options = DemoOptions()
    text = read_text(options)
    # Another text, option or version makes another base, and a run directory is of one base.
    key = identity(text, options)[:8]
    folder = DEMO_BASES / f"en-{key}"
    _tell(("python", "-m", "demo", "--out", str(folder)))
    base = make_base(text, options, folder, Console())
    # For the adaptation too. Measured beside other work on two cores: 7,100 tokens/s with one thread, 1,500 with two,
    # which wait for each other at every layer.
    torch.set_num_threads(options.threads)
    for note in notes(base):
        click.echo(note)
    return Story(
        model=str(folder),
        corpus=corpus or DEMO_CORPUS,
        # A run directory holds one merged tokenizer: another size takes another.
        out=out or DEMO_OUT / f"{Path(corpus or DEMO_CORPUS).name}-{key}{'' if size is None else f'-{size}'}",
        size=size,
        adapt=("--replay", DEMO_REPLAY, *DEMO_ADAPT, *adapt),
    )


def tell(story: Story) -> int:
    """Sweep, merge, adapt, which writes the report: the exit code of the first command that fails, else 0."""
    name = _name_of_text(story.corpus)
    out = str(story.out)
    # A hub id's shape is known by its preset, or not at all.
    counted = ["--model", story.model] if (Path(story.model) / "config.json").is_file() else []
    if code := _command("sweep", story.corpus, "--base", story.model, *counted, "--out", out):
        return code
    size = str(_size(story))
    if code := _command("merge", out, "--size", size):
        return code
    resume = ["--resume"] if (story.out / "stages" / "options.json").is_file() else []
    text = ["--text", f"{name}={story.corpus}"]
    if code := _command("adapt", story.model, "--run", out, "--size", size, *text, *story.adapt, *resume):
        return code
    page = (story.out / "report.html").resolve()
    click.echo(f"\nThe story: {page}")
    # Opened where there is a screen to open it on.
    has_screen = sys.platform in ("darwin", "win32") or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))
    if has_screen and sys.stdout.isatty():
        webbrowser.open(page.as_uri())
    return 0


def _size(story: Story) -> int:
    """How many tokens to add: what was asked for, or what the sweep recommends, but at least 256."""
    from vocabopt.run_directory import read_sweep

    if story.size is not None:
        return story.size
    sweep = read_sweep(story.out)
    recommended = sweep.choice.n_added
    if recommended >= MIN_ADDED:
        return recommended
    click.echo(
        f"The sweep recommends {recommended:,} added tokens. {MIN_ADDED} are taken: fewer tell no story. (SIZE=N takes "
        "another number.)"
    )
    return MIN_ADDED


def _name_of_text(corpus: str) -> str:
    """A name for the text, from its path.

    Raises:
        OptionError: the path holds text of several languages.
    """
    from vocabopt.options import default_out
    from vocabopt.text.corpus import find_text_sets

    sets = find_text_sets((corpus,), target=None, evals={}, protects={}, options=ReadOptions())
    if len(sets) > 1:
        names = ", ".join(sorted(text_set.name for text_set in sets))
        raise OptionError(
            f"--corpus {corpus}: holds the text sets {names}. Name the one to adapt to, for example "
            f"{Path(corpus) / sets[0].name}; --replay NAME=PATH:SHARE trains on others beside it."
        )
    name = default_out((corpus,), "").name.rstrip("-").partition(".")[0]
    return "text" if name in ("train", "heldout", "") else name


def _command(*arguments: str) -> int:
    """One command of vocabopt, shown as it would be typed."""
    from vocabopt.cli import main

    _tell(("vocabopt", *arguments))
    code = main.main(list(arguments), prog_name="vocabopt", standalone_mode=False)
    return code if isinstance(code, int) else 0


def _tell(command: Sequence[str]) -> None:
    click.echo(f"\n$ {shlex.join(command)}")


@click.command(context_settings={"help_option_names": ["-h", "--help"], "ignore_unknown_options": True})
@click.option("--model", metavar="MODEL", help="Model to adapt.  [default: a small English one, trained here first]")
@click.option("--corpus", metavar="PATH", help=f"Text to adapt it to.  [default without --model: {DEMO_CORPUS}]")
@click.option("--size", type=click.IntRange(min=1), metavar="N", help="Tokens to add.  [default: the sweep's choice]")
@click.option("--out", type=click.Path(path_type=Path), help="Run directory.")
@click.argument("adapt", nargs=-1, type=click.UNPROCESSED, metavar="[OPTIONS OF vocabopt adapt]...")
def main(model: str | None, corpus: str | None, size: int | None, out: Path | None, adapt: tuple[str, ...]) -> None:
    """Adapt a model to a language: sweep the text, merge the chosen tokens, train in stages, report.

    Without --model a small English base is trained on corpus/en first; nothing is downloaded. Each step is a command,
    printed before it runs; what is done already is not done again.
    """
    from vocabopt.options import default_out

    try:
        if model is None:
            story = demo_story(corpus, size, out, adapt)
        elif corpus is None:
            raise OptionError(
                f"--model {model}: no text to adapt it to. Name it: make adapt MODEL={model} CORPUS=PATH."
            )
        else:
            out = out or default_out((corpus,), model)
            story = Story(model=model, corpus=corpus, out=out, size=size, adapt=adapt)
        code = tell(story)
    except VocaboptError as error:
        click.echo(f"Error: {error}", err=True)
        code = error.exit_code
    if code:
        raise click.exceptions.Exit(code)


if __name__ == "__main__":
    main(prog_name="python -m demo.story")

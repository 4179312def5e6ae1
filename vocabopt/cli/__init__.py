"""The command line: options in, one call per command, tables and messages out. Only this module catches errors."""

import gc
from typing import Any

import click

from vocabopt import __version__
from vocabopt.cli.command_adapt import adapt
from vocabopt.cli.command_analyze import analyze
from vocabopt.cli.command_choose import choose
from vocabopt.cli.command_eval import eval_command
from vocabopt.cli.command_init import init
from vocabopt.cli.command_merge import merge
from vocabopt.cli.command_plan import plan
from vocabopt.cli.command_prepare import prepare
from vocabopt.cli.command_probe import probe
from vocabopt.cli.command_report import report
from vocabopt.cli.command_sensitivity import sensitivity
from vocabopt.cli.command_sweep import sweep
from vocabopt.cli.command_verify import verify
from vocabopt.cli.shared import ARGUMENTS, GOES_ON_BY, refuse_repeated
from vocabopt.errors import VocaboptError


class _Group(click.Group):
    """Turns the project's errors into one message and their exit code, and Ctrl-C into a plain sentence."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of use, not of the alphabet."""
        return list(self.commands)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[ARGUMENTS] = list(args)
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        if command is not None:
            refuse_repeated(click.Context(command, info_name=name, parent=ctx), rest)
        return name, command, rest

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except VocaboptError as error:
            click.echo(f"Error: {error}", err=True)
            ctx.exit(error.exit_code)
        except KeyboardInterrupt:
            kept = "Interrupted. Finished files are kept; nothing half-written is left."
            command = ctx.meta.get(GOES_ON_BY)
            click.echo(kept if command is None else f"Interrupted. Go on with: {command}", err=True)
            ctx.exit(130)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="vocabopt")
def main() -> None:
    """Add tokens of another language to an LLM's tokenizer: how many, which ones, at what cost.

    \b
    Examples:
      vocabopt sweep corpus/
      vocabopt choose reports/corpus-mistral-7b-v1 --train-tokens 10B
      vocabopt merge reports/corpus-mistral-7b-v1 --out my-tokenizer
      vocabopt verify mistral-7b-v1 my-tokenizer --text ko=korean.txt
    """


for command in (
    prepare,
    sweep,
    choose,
    report,
    merge,
    verify,
    sensitivity,
    analyze,
    init,
    plan,
    probe,
    adapt,
    eval_command,
):
    main.add_command(command)


def run() -> None:
    """What `vocabopt` on the command line starts."""
    # A tokenizer is half a million objects that live as long as the command: the collector of cycles walks through
    # them again and again and finds nothing (7.4 s with it, 6.8 s without, for 117 MB), and once more at the end.
    gc.disable()
    try:
        main()
    finally:
        gc.freeze()

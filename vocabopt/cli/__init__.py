"""The command line: options in, one call per command, tables and messages out. Only this module catches errors."""

import gc
import sys
from typing import Any

import click

from vocabopt import __version__
from vocabopt.caches import use_caches
from vocabopt.cli.commands import analyze, choose, merge, prepare, report, sensitivity, sweep, verify
from vocabopt.cli.output import flush, open_streams
from vocabopt.cli.running import ARGUMENTS, GOES_ON_BY, refuse_repeated
from vocabopt.cli.training import adapt, chat_vector, eval_command, init, plan, probe
from vocabopt.errors import VocaboptError
from vocabopt.failures import end_if_stopped, hear_signals, heard, is_failure, refusal, unexpected, waiting_hears

_INTERRUPTED = "Interrupted. Finished files are kept; nothing half-written is left."


class _Group(click.Group):
    """Turns every error into one message and its exit code, and Ctrl-C into a plain sentence."""

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
            if (note := use_caches()) is not None and "--quiet" not in ctx.meta.get(ARGUMENTS, ()):
                click.echo(note, err=True)
            result = super().invoke(ctx)
            end_if_stopped()  # a library may have swallowed what the signal raised
            return result
        except BaseException as error:
            if isinstance(stop := heard() or error, KeyboardInterrupt):
                command = ctx.meta.get(GOES_ON_BY)
                click.echo(_INTERRUPTED if command is None else f"Interrupted. Go on with: {command}", err=True)
                ctx.exit(getattr(stop, "exit_code", 130))
            if isinstance(error, VocaboptError):
                click.echo(f"Error: {error}", err=True)
                ctx.exit(error.exit_code)
            if isinstance(error, click.ClickException | click.exceptions.Exit | click.Abort) or not is_failure(error):
                raise
            refused = refusal(error)
            click.echo(f"Error: {unexpected(error) if refused is None else refused}", err=True)
            ctx.exit(1 if refused is None else 2)


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
    *(prepare, sweep, choose, report, merge, verify, sensitivity, analyze),
    *(init, plan, probe, adapt, chat_vector, eval_command),
):
    assert command.callback is not None
    command.callback = waiting_hears(command.callback)
    main.add_command(command)


def run() -> None:
    """What `vocabopt` on the command line starts."""
    # A tokenizer is half a million objects that live as long as the command: the collector of cycles walks through
    # them again and again and finds nothing (7.4 s with it, 6.8 s without, for 117 MB), and once more at the end.
    gc.disable()
    stdout, _ = open_streams()
    hear_signals()
    try:
        code = main(standalone_mode=False) or 0
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt) as stop:
        click.echo(_INTERRUPTED, err=True)
        code = getattr(heard() or stop, "exit_code", 130)
    finally:
        gc.freeze()
    if (lost := flush(stdout)) is not None:
        click.echo(f"Error: {lost}", err=True)
        code = code or 2
    sys.exit(code)

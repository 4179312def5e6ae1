"""Options of a command made from the fields of its records, and a help page that shows the daily ones first.

    @command("vocabopt.options:SweepOptions", prints="sweep.json")
    def sweep(values: Values, output: Output) -> None:

`values` holds a value for each field that is on the command line: `SweepOptions(**values)` checks them. Records are
named, not imported, so that `vocabopt --help` imports none, and no command imports torch before it is called.
"""

import pkgutil
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, Field
from itertools import chain
from pathlib import Path
from typing import Any, TypeAlias

import click

from vocabopt.cli.output import Output
from vocabopt.errors import OptionError
from vocabopt.option_fields import Spec, specs

Values: TypeAlias = dict[str, Any]
_ADVANCED = "Advanced"


def command(
    *records: str, name: str | None = None, prints: str | None = None, quiet: bool = True
) -> Callable[[Callable[..., None]], "RecordCommand"]:
    """Make a command of a function of (values, output) and of what further click decorators below this one add.

    Args:
        records: "module:Class" of the options records; of two options of one name the first is taken.
        name: where it is not the function's.
        prints: what --json prints; None leaves --json out.
        quiet: whether there is a --quiet.
    """

    def decorate(function: Callable[..., None]) -> RecordCommand:
        own: list[click.Parameter] = getattr(function, "__click_params__", [])[::-1]
        names = [str(parameter.name) for parameter in own]

        def callback(as_json: bool = False, quiet: bool = False, **values: Any) -> None:
            further = {name: values.pop(name) for name in names}
            function(values, Output(as_json=as_json, quiet=quiet), **further)

        outputs = []
        if prints is not None:
            outputs.append(click.Option(["--json", "as_json"], is_flag=True, help=f"Print {prints} instead of tables."))
        if quiet:
            outputs.append(click.Option(["--quiet"], is_flag=True, help="Print nothing but errors."))
        return RecordCommand(
            name or function.__name__, records=records, callback=callback, help=function.__doc__, own=own, last=outputs
        )

    return decorate


class RecordCommand(click.Command):
    """A command with the options of its records, made when they are first needed."""

    def __init__(
        self, name: str, *, records: Sequence[str], own: list[click.Parameter], last: list[click.Option], **given: Any
    ) -> None:
        super().__init__(name, **given)
        self._records, self._own, self._last = records, own, last
        self._sections: dict[str, list[click.Parameter]] = {}

    def parameters(self) -> list[click.Parameter]:
        """Arguments and options of the command, without --help."""
        if not self._sections:
            self._sections = {"": [one for one in self._own if isinstance(one, click.Argument)]}
            made = {parameter.name for parameter in self._own}
            for given, spec in chain.from_iterable(map(specs, map(pkgutil.resolve_name, self._records))):
                if given.name not in made:
                    made.add(given.name)
                    section = "" if spec.daily else f"{_ADVANCED}: {spec.section}" if spec.section else _ADVANCED
                    self._sections.setdefault(section, []).append(parameter_of(given, spec))
            self._sections[""] += [*(one for one in self._own if isinstance(one, click.Option)), *self._last]
            self.params = [parameter for parameters in self._sections.values() for parameter in parameters]
        return self.params

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Those, and --help."""
        self.parameters()
        return super().get_params(ctx)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The daily options, then the others under headings: of the command's own record before shared ones."""
        helps = [parameter for parameter in self.get_params(ctx) if parameter not in self.params]
        sections = {**self._sections, "": [*self._sections[""], *helps]}

        def rank(section: str) -> tuple[bool, int]:
            return section.endswith(("reading text", "rank files")), [*self._sections].index(section)

        for section in ("", *sorted(sections.keys() - {""}, key=rank)):
            options = (parameter for parameter in sections[section] if isinstance(parameter, click.Option))
            rows = [row for option in options if (row := option.get_help_record(ctx)) is not None]
            if rows:
                with formatter.section(section or "Options"):
                    formatter.write_dl(rows)


def parameter_of(given: "Field[Any]", spec: Spec) -> click.Parameter:
    """The click option or argument of a field."""
    name, hint, default = given.name, _without_none(given.type), given.default
    flag = spec.flag or f"--{name.replace('_', '-')}"
    # An option may be repeated; else one typed value makes a whole tuple (a window, a list with commas).
    is_parsed_alone = spec.parse is not None and (default is None or default == ())
    is_several = _is_kind(hint, Mapping) or (_is_kind(hint, Sequence) and not is_parsed_alone)
    can_lack = is_several or default is not MISSING or given.default_factory is not MISSING
    attributes: dict[str, Any] = {"metavar": spec.metavar, "type": _click_type(hint, spec, is_several)}
    if spec.parse is not None or _is_kind(hint, Mapping):
        parse = spec.parse or named_paths

        def convert(ctx: click.Context, parameter: click.Parameter, value: Any) -> Any:
            if value is None and not is_several:
                return None if default is MISSING else default
            return parse(value, flag)

        attributes["callback"] = convert
    elif default is not MISSING and default is not None:
        attributes["default"] = default
    if spec.flag is None:
        return click.Argument([name], nargs=-1 if is_several else 1, required=not can_lack, **attributes)
    if hint is bool:
        return click.Option([flag, name], is_flag=True, help=spec.help, default=default)
    attributes["help"] = f"{spec.help}  [default: {spec.default_text}]" if spec.default_text else spec.help
    attributes["show_default"] = spec.default_text is None and attributes.get("default") not in (None, ())
    required = not can_lack and spec.default_text is None
    return click.Option([flag, name], multiple=is_several, required=required, **attributes)


def _is_kind(hint: Any, kind: type[Any]) -> bool:
    origin = typing.get_origin(hint)
    return isinstance(origin, type) and issubclass(origin, kind)


def _without_none(hint: Any) -> Any:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return next(part for part in typing.get_args(hint) if part is not type(None))
    return hint


def _click_type(hint: Any, spec: Spec, is_several: bool) -> Any:
    if spec.parse is not None:
        return str
    if is_several and typing.get_origin(hint) is tuple:
        hint = typing.get_args(hint)[0]
    if typing.get_origin(hint) is typing.Literal and spec.metavar is None:
        return click.Choice(typing.get_args(hint))
    return click.Path(path_type=Path) if hint is Path else {int: int, float: float}.get(hint, str)


def named_paths(values: Iterable[str], flag: str) -> dict[str, str]:
    """Repeated NAME=PATH options: name -> path.

    Raises:
        OptionError: one is not written so, or a name stands twice.
    """
    named: dict[str, str] = {}
    for value in values:
        name, separator, path = value.partition("=")
        if not separator or not name or not path:
            raise OptionError(f"{flag} {value}: write NAME=PATH, for example {flag} news=news.txt")
        if name in named:
            raise OptionError(f"{flag} {value}: the name {name!r} is given twice.")
        named[name] = path
    return named


def of_record(record: type[Any], values: Mapping[str, Any]) -> Values:
    """The values that belong to one of a command's records."""
    return {given.name: values[given.name] for given, _ in specs(record) if given.name in values}

"""The chain of steps: the default one, and that of a prepare.toml.

steps = ["repair", "nfc", "personal", "exact", "near"]    # in order; each once

[near]                                                      # options of a step, each with its default
min_chars = 100
"""

import dataclasses
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from vocabopt.errors import OptionError
from vocabopt.prepare import DEFAULT_STEPS
from vocabopt.prepare.step import Step
from vocabopt.text.byte_order_mark import read_utf8


def registry() -> dict[str, type[Any]]:
    """Every step by its name, in the order in which a chain usually has them."""
    from vocabopt.prepare.steps.decontaminate import Decontaminate
    from vocabopt.prepare.steps.exact import Exact, ExactParagraphs
    from vocabopt.prepare.steps.length import Length
    from vocabopt.prepare.steps.lines import Lines
    from vocabopt.prepare.steps.near import Near, NearParagraphs
    from vocabopt.prepare.steps.nfc import Normalize
    from vocabopt.prepare.steps.perplexity import Perplexity
    from vocabopt.prepare.steps.personal import Personal
    from vocabopt.prepare.steps.repair import Repair
    from vocabopt.prepare.steps.repetition import Repetition
    from vocabopt.prepare.steps.script import Script
    from vocabopt.prepare.steps.select import Select

    document = (Repair, Normalize, Lines, Script, Length, Repetition, Perplexity, Decontaminate, Personal)
    kinds = (*document, Exact, ExactParagraphs, Near, NearParagraphs, Select)
    return {kind.name: kind for kind in kinds}


def chain(
    names: Sequence[str], options: Mapping[str, Mapping[str, Any]] | None = None, *, place: str
) -> tuple[Step, ...]:
    """The named steps, with their options by name of the step.

    Raises:
        OptionError: there is no such step or option, a value is not of its kind, or options are of a step not named.
    """
    options = options or {}
    known = registry()
    for name in names:
        if name not in known:
            raise OptionError(f"{place}: no step {name!r}. {_meant(name, known)}There are {', '.join(known)}.")
    for name in options:
        if name not in names:
            listed = ", ".join(f'"{step}"' for step in names)
            what = (
                f"is not among the steps ({listed}); name it in steps = [...]"
                if name in known
                else "no step of that name"
            )
            raise OptionError(f"{place}: [{name}]: {what}. {_meant(name, known) if name not in known else ''}".rstrip())
    return tuple(_step(known[name], options.get(name, {}), place) for name in names)


def read_config(path: Path) -> tuple[Step, ...]:
    """The chain of a prepare.toml.

    Raises:
        OptionError: it is missing, is no TOML, or as `chain`.
    """
    try:
        values = tomllib.loads(read_utf8(path))
    except FileNotFoundError as error:
        raise OptionError(f"--config {path}: no such file. Check the path.") from error
    except (OSError, ValueError) as error:
        raise OptionError(f"--config {path}: cannot be read as TOML ({error}).") from error
    names = values.pop("steps", list(DEFAULT_STEPS))
    if names == []:
        raise OptionError(f'{path}: steps: is empty. Name some, such as steps = ["repair", "exact", "near"].')
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise OptionError(f'{path}: steps: write a list of names, such as steps = ["repair", "exact", "near"].')
    if stray := next((key for key, value in values.items() if not isinstance(value, dict)), None):
        meant = _meant(stray, {"steps": None})
        raise OptionError(
            f"{path}: {stray}: {meant}It is no option of the chain; options stand below their step: [near]."
        )
    return chain(names, values, place=str(path))


def _step(kind: type[Any], options: Mapping[str, Any], place: str) -> Step:
    fields = {field.name: field for field in dataclasses.fields(kind) if field.init}
    hints = typing.get_type_hints(kind)
    for name, value in options.items():
        if name not in fields:
            raise OptionError(
                f"{place}: [{kind.name}] {name}: no such option. {_meant(name, fields)}There are {', '.join(fields)}."
                if fields
                else f"{place}: [{kind.name}] {name}: no such option; the step has none."
            )
        if not _fits(value, hints[name]):
            raise OptionError(f"{place}: [{kind.name}] {name} = {value!r}: must be {_said(hints[name])}.")
    missing = [
        name
        for name, field in fields.items()
        if name not in options and field.default is field.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise OptionError(f"{place}: [{kind.name}]: needs {', '.join(missing)}.")
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}
    try:
        step: Step = kind(**values)
    except OptionError as error:
        raise OptionError(f"{place}: {error}") from error
    return step


def _fits(value: Any, hint: Any) -> bool:
    """Is a TOML value of the kind that a field declares? What is inside tuples and tables the step checks itself."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, argument) for argument in arguments)
    if origin is typing.Literal:
        return value in arguments
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return isinstance(value, list | tuple)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return isinstance(value, Mapping)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(hint, type) and isinstance(value, hint)


def _said(hint: Any) -> str:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_said(argument) for argument in arguments if argument is not type(None))
    if origin is typing.Literal:
        return " or ".join(repr(argument) for argument in arguments)
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return "a list"
    if isinstance(origin, type):
        return "a table of NAME = value"
    return {int: "a whole number", float: "a number", str: "text in quotes", bool: "true or false"}[hint]


def _meant(name: str, known: Mapping[str, Any]) -> str:
    close = get_close_matches(name, known, n=1)
    return f"Did you mean {close[0]}? " if close else ""

"""The fields that a stored record must have: what a reader checks before anything is taken from it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vocabopt.errors import RunDirectoryError


@dataclass(frozen=True)
class Kind:
    """Values of these types that pass a test; `words` say what they are."""

    types: tuple[type, ...]
    words: str
    test: Callable[[Any], bool] = lambda value: True


#: A number of things; a number that may be any; true and false are no numbers.
COUNT = Kind((int,), "a whole number from 0", lambda value: not isinstance(value, bool) and value >= 0)
NUMBER = Kind((int, float), "a number", lambda value: not isinstance(value, bool))


def or_null(kind: Kind) -> Kind:
    """What is not known is null; the field is there all the same."""
    return Kind((*kind.types, type(None)), f"{kind.words} or null", lambda value: value is None or kind.test(value))


#: What a value is to be: a mapping of field to shape (one that ends in "?" may be missing or null, "*" is any field),
#: a list of one shape, a kind, or types.
Shape = Mapping[str, Any] | list[Any] | Kind | type | tuple[type, ...]
_WORDS = {str: "a text", bool: "true or false", int: "a whole number"}


def check_fields(value: Any, shape: Shape, path: Path, next_step: str, field: str = "") -> None:
    """Refuse a file without the fields of a shape.

    Raises:
        RunDirectoryError: names file and field (checks.0.name is the name of the first of checks), and what to do.
    """
    if not _is_of(value, shape):
        raise RunDirectoryError(f"{path}: field {field} is not {_words(shape)}. {next_step}")
    if isinstance(shape, list):
        for index, item in enumerate(value):
            check_fields(item, shape[0], path, next_step, f"{field}.{index}")
    if not isinstance(shape, Mapping):
        return
    for name, inner in shape.items():
        for key in value if name == "*" else [name.removesuffix("?")]:
            inside = f"{field}.{key}" if field else key
            if key in value and not (name.endswith("?") and value[key] is None):
                check_fields(value[key], inner, path, next_step, inside)
            elif not name.endswith("?"):
                raise RunDirectoryError(f"{path}: field {inside} is missing. {next_step}")


def _is_of(value: Any, shape: Shape) -> bool:
    if isinstance(shape, Kind):
        return isinstance(value, shape.types) and shape.test(value)
    return isinstance(value, dict if isinstance(shape, Mapping) else list if isinstance(shape, list) else shape)


def _words(shape: Shape) -> str:
    if isinstance(shape, Kind):
        return shape.words
    if isinstance(shape, Mapping):
        return "a mapping"
    if isinstance(shape, list):
        return "a list"
    return _WORDS.get(shape, "a number") if isinstance(shape, type) else "a number"

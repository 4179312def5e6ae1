"""Options as fields of a dataclass: name, default, help and check of an option stand once, on its field.

    heldout: float = option(0.05, help="Share of documents held out.", check=between(0, 1))

The command line (cli/fields.py) makes its options from such fields; a notebook makes the same record. The metadata of
dataclass fields holds what an option needs, not msgspec.Meta: Meta checks a record only where it is decoded, so one
made in Python would pass unchecked, and its messages name a JSON path, where ours name the option and the next step.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, Field, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from vocabopt.errors import OptionError

_KEY = "option"


@dataclass(frozen=True)
class Check:
    """What a value must satisfy. holds: the test. words: the end of the message, "must be at least 1"."""

    holds: Callable[[Any], bool]
    words: str


@dataclass(frozen=True, kw_only=True)
class Spec:
    """An option of the command line.

    flag: "--context"; of an argument None. help: a sentence. metavar: what stands for the value. check: of the value;
    None (not stated) always passes. daily: shown first by --help; the others under "Advanced" and their `section`.
    default_text: the default in words, where the value does not show it; the option may then be left out. parse: makes
    the field's value of what was typed (of all of it, where the option may be repeated), and of the flag for messages.
    """

    flag: str | None
    help: str = ""
    metavar: str | None = None
    check: Check | None = None
    daily: bool = False
    section: str = ""
    default_text: str | None = None
    parse: Callable[[Any, str], Any] | None = None


def option(
    default: Any = MISSING,
    flag: str = "",
    *,
    help: str = "",
    metavar: str | None = None,
    check: Check | None = None,
    daily: bool = False,
    section: str = "",
    default_text: str | None = None,
    parse: Callable[[Any, str], Any] | None = None,
) -> Any:
    """A field that is an option, as `Spec` describes it.

    Args:
        default: `dict` makes an empty mapping; without a default the option must be stated.
        flag: where it is not the field's name with hyphens.
    """
    spec = Spec(
        flag=flag, help=help, metavar=metavar, check=check, daily=daily, section=section,
        default_text=default_text, parse=parse,
    )  # fmt: skip
    return _field(default, spec)


def argument(default: Any = MISSING, *, metavar: str, parse: Callable[[Any, str], Any] | None = None) -> Any:
    """A field that is an argument of the command; a tuple takes any number of them."""
    return _field(default, Spec(flag=None, metavar=metavar, daily=True, parse=parse))


def _field(default: Any, spec: Spec) -> Any:
    given = {"default_factory": dict} if default is dict else {} if default is MISSING else {"default": default}
    return field(**given, metadata={_KEY: spec})


def specs(record: type[Any]) -> Iterator[tuple["Field[Any]", Spec]]:
    """The fields of a record that are on the command line, in order."""
    for given in fields(record):
        if _KEY in given.metadata:
            yield given, given.metadata[_KEY]


def flag_of(record: type[Any], name: str) -> str:
    """A field as the user writes it: "--context" for context_tokens."""
    spec = next((spec for given, spec in specs(record) if given.name == name), None)
    return (spec.flag if spec is not None else None) or "--" + name.replace("_", "-")


#: A remote path of fsspec, as a path of this machine spells it.
_REMOTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")


class Options:
    """Base of the options records: checks every field when made, and says what is stored with a result."""

    def __post_init__(self) -> None:
        """Raises OptionError: a value does not pass the check of its field."""
        for given, spec in specs(type(self)):
            value = getattr(self, given.name)
            if given.name == "out" and _REMOTE.match(str(value)):
                shown = str(value).replace(":/", "://", 1)  # a path has lost one of them
                raise OptionError(
                    f"{flag_of(type(self), given.name)} {shown}: is not on this machine, and results are written to a "
                    "folder of it, also where a cluster works. Name such a folder, and copy it when it is done."
                )
            if spec.check is not None and value is not None and not spec.check.holds(value):
                raise OptionError(f"{flag_of(type(self), given.name)} {value}: {spec.check.words}.")

    def as_record(self) -> dict[str, Any]:
        """The fields as JSON has them: the record's own before those that it shares with other records."""
        values: dict[str, Any] = asdict(self)  # type: ignore[call-overload]
        own_first = [name for kind in type(self).__mro__ for name in vars(kind).get("__annotations__", {})]
        return {name: _stored(values[name]) for name in dict.fromkeys(own_first) if name in values}


def _stored(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple):
        return [_stored(item) for item in value]
    return dict(value) if isinstance(value, Mapping) else value


# --- Checks ----------------------------------------------------------------------------------------------------------


def at_least(least: float, more: str = "") -> Check:
    return Check(lambda value: bool(value >= least), f"must be at least {least:,}{more}")


def above_0(more: str = "") -> Check:
    return Check(lambda value: bool(value > 0), f"must be above 0{more}")


def from_to(least: float, most: float, words: str = "") -> Check:
    """least <= value <= most."""
    return Check(lambda value: bool(least <= value <= most), f"must be between {words or f'{least:,} and {most:,}'}")


def share(more: str = "") -> Check:
    """0 < value < 1."""
    return Check(lambda value: bool(0 < value < 1), f"must be above 0 and below 1{more}")


def share_from_0(more: str = "") -> Check:
    """0 <= value < 1."""
    return Check(lambda value: bool(0 <= value < 1), f"must be at least 0 and below 1{more}")


def one_of(values: Any, what: str) -> Check:
    """A name out of several. what: "no such method. Choose"."""
    return Check(lambda value: value in values, f"{what} {', '.join(values)}")

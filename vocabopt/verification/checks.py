"""What each check found: a record with its numbers and examples. The sentences on it are made in `summary.py`."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, islice, zip_longest
from typing import Any, Literal

import msgspec

Status = Literal["pass", "fail", "warn", "not_checked"]

#: Examples of a check that are kept: of each kind of fault one before a second of any.
N_EXAMPLES = 5
#: How much of --text and of --protect transformers is given; of the built-in lines all.
N_RELOADED_BYTES = 500_000
#: A kind of difference: what a class of transformers fills in and the new folder states.
STATED = "settings stated"
#: Of a long value an example shows this many values, or characters, some of them before the first that differs.
_N_VALUES, _N_CHARS, _N_BEFORE = 5, 300, 60

#: Names of the built-in lines: those of `hard_strings`, and those of `text.plain_lines`.
BUILT_IN, PLAIN = "built-in edge cases", "built-in English and code"


class Example(msgspec.Struct, frozen=True, kw_only=True):
    """A line, piece or setting, and what each of the two tokenizers makes of it."""

    what: str
    base: str
    new: str


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One check. name: the sentence that holds where it passes. examples: of what is wrong."""

    name: str
    status: Status
    examples: tuple[Example, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        """The numbers found, as verify.json holds them."""
        return {name: getattr(self, name) for name in self.__struct_fields__ if name.startswith("n_")}


class Differences(Check, frozen=True, kw_only=True):
    """wrong, doubtful: kind of difference -> how many; doubtful ones are perhaps no fault of NEW."""

    wrong: Mapping[str, int]
    doubtful: Mapping[str, int]


class NotChecked(Check, frozen=True, kw_only=True):
    """A check that could not be made, and the reason."""

    status: Status = "not_checked"
    reason: str


# --- Examples ---------------------------------------------------------------------------------------------------------


class Findings:
    """What differs, by kind, with examples. wrong: certainly; doubtful: perhaps only written in another way."""

    def __init__(self) -> None:
        self.wrong: dict[str, list[Example]] = {}
        self.doubtful: dict[str, list[Example]] = {}

    def add(self, kind: str, what: str, base: Any, new: Any, *, certain: bool) -> None:
        """Note two different values of BASE and NEW."""
        examples = self.wrong if certain else self.doubtful
        old, now = contrast(base, new)
        examples.setdefault(kind, []).append(Example(what=what, base=old, new=now))

    @property
    def status(self) -> Status:
        return "fail" if self.wrong else "warn" if self.doubtful else "pass"

    @property
    def examples(self) -> tuple[Example, ...]:
        """The first of each kind, those that are certain before the others."""
        return one_of_each([*self.wrong.values(), *self.doubtful.values()])


def n_of_each(kinds: Mapping[str, Sequence[Example]]) -> dict[str, int]:
    """How many differences there are of each kind."""
    return {kind: len(found) for kind, found in kinds.items()}


def first_examples(examples: Iterable[Example]) -> tuple[Example, ...]:
    """As many of them as a check keeps."""
    return tuple(islice(examples, N_EXAMPLES))


def one_of_each(kinds: Iterable[Iterable[Example]]) -> tuple[Example, ...]:
    """As many examples as a check keeps, the first of each kind before the second of any."""
    rows = chain.from_iterable(zip_longest(*kinds))
    return first_examples(example for example in rows if example is not None)


def contrast(base: Any, new: Any) -> tuple[str, str]:
    """Two different values as an example shows them: of lists what only one has, of long texts what differs."""
    if isinstance(base, list) and isinstance(new, list):
        left, right = ([value for value in one if value not in other] for one, other in ((base, new), (new, base)))
        if left or right:
            return _only(left, len(base)), _only(right, len(new))
    old, now = (value if isinstance(value, str) else str(value) for value in (base, new))
    n_same = next((i for i, (a, b) in enumerate(zip(old, now, strict=False)) if a != b), min(len(old), len(now)))
    first = max(0, n_same - _N_BEFORE)
    return _cut(old, first), _cut(now, first)


def _only(values: list[Any], n: int) -> str:
    """What one list has and the other lacks; n: length of the list."""
    shown = ", ".join(map(repr, values[:_N_VALUES])) + (", ..." if len(values) > _N_VALUES else "")
    return f"{n:,}, of which the other has all" if not values else f"{n:,}, {len(values):,} of them only here: {shown}"


def _cut(text: str, first: int) -> str:
    if len(text) <= _N_CHARS:
        return text
    part = text[first : first + _N_CHARS]
    return f"{'...' if first else ''}{part}{'...' if first + _N_CHARS < len(text) else ''} ({len(text):,} characters)"

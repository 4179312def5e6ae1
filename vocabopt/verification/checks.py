"""The shape of a check: it notes what differs in `Findings`, which decide its status and keep examples.

A check is a function of the two tokenizers, or a class that sees all text batch by batch (`text.Observer`); it gives
one `record.Check`. `run.py` lists them.
"""

from collections.abc import Iterable, Mapping
from itertools import chain, islice, zip_longest
from typing import Any

from vocabopt.verification.record import Check, Example, Status

#: Examples kept of a check: one of each kind of fault first, then second ones.
N_EXAMPLES = 5
#: Of a long value an example shows this many values, or characters, some of them before the first that differs.
_N_VALUES, _N_CHARS, _N_BEFORE = 5, 300, 60

#: Names of the built-in lines: those of `hard_strings`, and those of `text.plain_lines`.
BUILT_IN, PLAIN = "built-in edge cases", "built-in English and code"

#: What it is about, and the values of BASE and NEW.
Row = tuple[str, Any, Any]


def not_checked(name: str, reason: str) -> Check:
    """A check that could not be made."""
    return Check(name=name, status="not_checked", summary=reason)


class Findings:
    """What differs, by kind, with examples. wrong: certainly; doubtful: perhaps only written in another way.

    counts: what was compared, by the names that verify.json has for it.
    """

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.wrong: dict[str, int] = {}
        self.doubtful: dict[str, int] = {}
        self._examples: dict[tuple[bool, str], list[Example]] = {}

    def add(self, kind: str, rows: Iterable[Row], n: int | None = None, *, certain: bool = True) -> None:
        """Note what differs.

        Args:
            rows: of them only as many are taken as are kept, where `n` says how many there are.
        """
        rows = rows if n is not None else list(rows)
        if not (n := len(rows) if isinstance(rows, list) else n):
            return
        found = self.wrong if certain else self.doubtful
        found[kind] = found.get(kind, 0) + n
        kept = self._examples.setdefault((not certain, kind), [])
        for what, base, new in islice(rows, N_EXAMPLES - len(kept)):
            old, now = contrast(base, new)
            kept.append(Example(what=what, base=old, new=now))

    @property
    def n_wrong(self) -> int:
        return sum(self.wrong.values())

    @property
    def n_doubtful(self) -> int:
        return sum(self.doubtful.values())

    def check(
        self,
        name: str,
        summary: str,
        counts: Mapping[str, int],
        *,
        status: Status | None = None,
        last_first: bool = False,
    ) -> Check:
        """What was found.

        Args:
            counts: more of them.
            status: None for what the differences say.
            last_first: examples of the kinds that were found last come first; certain ones before others in any case.
        """
        found = reversed(self._examples) if last_first else iter(self._examples)
        kinds = [self._examples[key] for key in sorted(found, key=lambda key: key[0])]
        rows = chain.from_iterable(zip_longest(*kinds))
        return Check(
            name=name,
            status=status or ("fail" if self.wrong else "warn" if self.doubtful else "pass"),
            summary=summary,
            counts={**self.counts, **counts},
            examples=tuple(islice((example for example in rows if example is not None), N_EXAMPLES)),
        )


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

"""Tables that a terminal and a page show alike: cells are finished text, the first column names the row."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

#: What is not known or not defined.
DASH = "-"
_WIDE = 100  # characters from which on there is room for wider gaps


def terminal_table(title: str, width: int) -> Table:
    """An empty table in the look of all of them."""
    return Table(
        title=Text(title),
        title_justify="left",
        header_style="bold",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 1 if width >= _WIDE else 0),
    )


@dataclass(frozen=True, kw_only=True)
class PlainTable:
    """headers: a line break where they may break; the first is that of the rows' names. bold: rows to stand out."""

    caption: str
    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    bold: frozenset[int] = frozenset()

    def for_terminal(self, width: int) -> Table:
        table = terminal_table(self.caption, width)
        table.min_width = min(width, len(self.caption))
        for number, header in enumerate(self.headers):
            table.add_column(Text(header), justify="right" if number else "left", vertical="bottom", overflow="fold")
        for number, row in enumerate(self.rows):
            table.add_row(*(Text(cell) for cell in row), style="bold" if number in self.bold else "")
        return table


def shown(value: float | None, form: str) -> str:
    """A number in a format, a dash for none."""
    return DASH if value is None else format(value, form)


def listed(values: Mapping[str, Any]) -> str:
    """Options or versions on one line: "seed 0, model -"."""

    def value(given: Any) -> str:
        if isinstance(given, list | tuple):
            return ":".join(str(part) for part in given)
        return DASH if given is None else str(given)

    return ", ".join(f"{name} {value(given)}" for name, given in values.items())

"""What initialisation did: which rule made which rows of each table, and their norms."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from trainer.init.methods import InitMethod
from trainer.init.rows import median, norms_of
from vocabopt.tabular import PlainTable, shown

if TYPE_CHECKING:
    from torch import Tensor

#: Whose rows: of the base's tokens, of the new ones, or of no token.
Kind = Literal["base", "new", "padding"]


@dataclass(frozen=True, kw_only=True)
class RowGroup:
    """Rows of a table that came about in the same way; norms are None where there is no row.

    made_by: the rule in words, "kept" for rows that stay as they were. norm_mean, norm_median: of the rows as they are
    stored now, Euclidean; of a bias its absolute values.
    """

    kind: Kind
    made_by: str
    n_rows: int
    norm_mean: float | None
    norm_median: float | None


def row_group(table: "Tensor", ids: Sequence[int], kind: Kind, made_by: str) -> RowGroup:
    norms = norms_of(table, ids)
    return RowGroup(
        kind=kind,
        made_by=made_by,
        n_rows=len(ids),
        norm_mean=float(norms.double().mean()) if ids else None,
        norm_median=median(norms) if ids else None,
    )


@dataclass(frozen=True, kw_only=True)
class NormLog:
    """What new rows were rescaled to: the median norm of n_rows base rows, of the target script or of base ids."""

    rows: Literal["target script", "base ids"]
    n_rows: int
    norm: float


@dataclass(frozen=True, kw_only=True)
class TableLog:
    """name: input, output, both (a tied model's one table) or bias (the output's). parameter: as the model names it.
    standard_deviation: of the base tokens' rows. norm: None where the rule sets none."""

    name: Literal["input", "output", "both", "bias"]
    parameter: str
    width: int
    n_rows_before: int
    n_rows: int
    standard_deviation: float
    norm: NormLog | None
    groups: tuple[RowGroup, ...]


@dataclass(frozen=True, kw_only=True)
class InitLog:
    """notes: sentences on what the method did otherwise than its name says."""

    method: InitMethod
    match_norm: bool
    seed: int
    n_new: int
    tables: tuple[TableLog, ...]
    notes: tuple[str, ...]

    def as_record(self) -> dict[str, Any]:
        return asdict(self)


_TOLD = {"both": "input and output"}


def log_table(log: InitLog) -> PlainTable:
    """A row per group of rows, by table."""
    first = log.tables[0]
    grown = (
        f"{first.n_rows_before:,} -> {first.n_rows:,}" if first.n_rows > first.n_rows_before else f"{first.n_rows:,}"
    )
    caption = f"{log.n_new:,} new rows by {log.method}{', norms matched' if log.match_norm else ''}; {grown} rows"
    rows = [
        [
            f"{_TOLD.get(table.name, table.name)}, {group.kind}: {group.made_by}",
            f"{group.n_rows:,}",
            *(shown(value, ".4f") for value in (group.norm_mean, group.norm_median)),
        ]
        for table in log.tables
        for group in table.groups
        if group.n_rows
    ]
    return PlainTable(
        caption=caption, headers=("table, whose rows: made by", "rows", "mean\nnorm", "median\nnorm"), rows=rows
    )

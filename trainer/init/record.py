"""init.json: which rule made each row of each table, and the norms of all rows."""

from typing import Any, ClassVar, Literal

from trainer.options import InitMethod
from vocabopt.records import FileRecord, Record
from vocabopt.tables import PlainTable, shown

INIT_JSON = "init.json"


class RowGroup(Record, frozen=True, kw_only=True):
    """Rows of a table that came about in the same way; norms are None where there is no row."""

    #: Whose rows: of the base's tokens, of the new ones, or of no token.
    kind: Literal["base", "new", "padding"]
    #: The rule in words, "kept" for rows that stay as they were.
    made_by: str
    n_rows: int
    #: Of the rows as they are stored now, Euclidean; of a bias its absolute values.
    norm_mean: float | None
    norm_median: float | None


class NormLog(Record, frozen=True, kw_only=True):
    """What new rows were rescaled to: the median norm of n_rows base rows, of the target script or of base ids."""

    rows: Literal["target script", "base ids"]
    n_rows: int
    norm: float


class TableLog(Record, frozen=True, kw_only=True):
    #: both: a tied model's one table; bias: the output's.
    name: Literal["input", "output", "both", "bias"]
    #: As the model names it.
    parameter: str
    width: int
    n_rows_before: int
    n_rows: int
    #: Of the base tokens' rows.
    standard_deviation: float
    #: None where the rule sets none.
    norm: NormLog | None
    groups: tuple[RowGroup, ...]


class InitLog(Record, frozen=True, kw_only=True):
    method: InitMethod
    match_norm: bool
    seed: int
    n_new: int
    tables: tuple[TableLog, ...]
    #: Sentences on what the method did otherwise than its name says.
    notes: tuple[str, ...]


class InitRecord(FileRecord, frozen=True, kw_only=True):
    NEXT_STEP: ClassVar[str] = "Choose another folder with --out."

    #: What must be the same for a run to write into the folder again.
    command: dict[str, Any]
    n_added: int
    n_tokens: int
    n_rows: int
    n_params: int
    extension_from: str
    scripts: tuple[str, ...]
    model_notes: tuple[str, ...]
    log: InitLog
    versions: dict[str, str]


def log_table(log: InitLog) -> PlainTable:
    """A row per group of rows, by table."""
    first = log.tables[0]
    grown = f"{first.n_rows_before:,} -> " if first.n_rows > first.n_rows_before else ""
    matched = ", norms matched" if log.match_norm else ""
    return PlainTable(
        caption=f"{log.n_new:,} new rows by {log.method}{matched}; {grown}{first.n_rows:,} rows",
        headers=("table, whose rows: made by", "rows", "mean\nnorm", "median\nnorm"),
        rows=[
            (
                f"{'input and output' if table.name == 'both' else table.name}, {group.kind}: {group.made_by}",
                f"{group.n_rows:,}",
                *(shown(value, ".4f") for value in (group.norm_mean, group.norm_median)),
            )
            for table in log.tables
            for group in table.groups
            if group.n_rows
        ],
    )

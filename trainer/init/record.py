"""init.json: which rule made each row of each table, and the norms of all rows."""

from typing import Any, ClassVar

from vocabopt.records import FileRecord
from vocabopt.tables import PlainTable, shown
from vocabopt.training_record import InitLog

INIT_JSON = "init.json"


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

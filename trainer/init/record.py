"""init.json: which rule made each row of each table, and the norms of all rows."""

from collections.abc import Iterator
from typing import Any, ClassVar

from vocabopt.amounts import shown_bytes
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


def rows_told(log: InitLog) -> Iterator[str]:
    """How norms were calibrated, and what learning rows read, cost and reached; nothing where neither was done."""
    for table in log.tables:
        if (found := table.calibration) is not None:
            where = "tables" if table.name == "both" else f"{table.name} table"
            pool = "the target's script" if found.rows == "target script" else "any script"
            yield (
                f"Norms of the new rows of the {where}: {min(found.norms.values()):.4f} to "
                f"{max(found.norms.values()):.4f}, by bytes of text, from {found.n_rows:,} base rows of {pool}."
            )
    if (learned := log.distill) is None:
        return
    n_learned = learned.n_full + learned.n_fewer
    yield (
        f"Learned from {learned.text}: {n_learned:,} of {log.n_new:,} rows in {learned.n_steps:,} steps on "
        f"{learned.n_snippets:,} snippets ({shown_bytes(learned.text_bytes)} looked through; {learned.tokens_new:,} "
        f"tokens read, {learned.tokens_old:,} with the old spelling): {learned.seconds:.1f} s, "
        f"{learned.flops / 1e12:.3g} TFLOPs. Squared distance of hidden states {learned.loss_first:.4g} -> "
        f"{learned.loss_last:.4g}."
    )
    if learned.n_without_text or learned.n_fewer:
        yield (
            f"{learned.n_without_text:,} new tokens do not occur in that text and keep the rows of {learned.start}; "
            f"{learned.n_fewer:,} have fewer than {learned.snippets_wanted} snippets. --distill-text reads more."
        )


def log_table(log: InitLog) -> PlainTable:
    """A row per group of rows, by table."""
    first = log.tables[0]
    grown = f"{first.n_rows_before:,} -> " if first.n_rows > first.n_rows_before else ""
    matched = ", norms matched" if log.match_norm else ""
    if calibrated := [table.name for table in log.tables if table.calibration is not None]:
        matched = f", norms calibrated in {' and '.join(calibrated)}".replace("in both", "in both tables")
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

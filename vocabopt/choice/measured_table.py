"""What runs at several sizes measured, in words and tables: the same in the terminal and on the page."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from vocabopt.amounts import counted, shown_bytes
from vocabopt.choice.measured import SizesRecord, bits_at
from vocabopt.records import Choice, Equal, SizeFit
from vocabopt.tables import DASH, PlainTable, shown

if TYPE_CHECKING:
    from rich.table import Table

#: What is equal, in words.
EQUAL: dict[Equal, str] = {"flops": "equal training FLOPs", "text": "equal text"}
_HEADERS = (
    "added", "rows", "text", "training\nTFLOPs", "bits/byte\ntarget", "spread\nover seeds", "bits/byte\nbase",
    "tokens\nper byte", "serving\nMFLOPs\nper byte", "seeds", "seconds",
)  # fmt: skip


def size_tables(record: SizesRecord, choice: Choice, width: int) -> "Iterator[Table | str]":
    """For the terminal: a table and its sentences for each comparison."""
    for fit in record.fits:
        yield size_table(record, fit).for_terminal(width)
        yield best_sentence(fit)
        yield standing_sentence(record, fit, choice)


def size_table(record: SizesRecord, fit: SizeFit) -> PlainTable:
    """A row for every size of a comparison; in bold the one of fewest bits."""
    rows = record.rows_of(fit.equal)
    least = min(range(len(rows)), key=lambda index: rows[index].reached)
    return PlainTable(
        caption=f"Sizes at {EQUAL[fit.equal]}: means over seeds, {record.options['n_steps']} steps of size 0",
        headers=_HEADERS,
        rows=[
            [
                f"{row.n_added:,}",
                f"{row.n_rows:,}",
                shown_bytes(row.bytes),
                shown(None if row.flops is None else row.flops / 1e12, ",.3f"),
                f"{row.reached:.4f}",
                shown(row.spread, ".4f"),
                shown(row.base, ".4f"),
                f"{row.tokens_per_byte:.4f}",
                shown(None if row.serve_flops_per_byte is None else row.serve_flops_per_byte / 1e6, ",.2f"),
                str(row.n_seeds),
                f"{row.seconds:.1f}",
            ]
            for row in rows
        ],
        bold=frozenset((least,)),
    )


def best_words(fit: SizeFit) -> str:
    """The best size and what it reached: "at equal text the best size is 4,096: 1.2345 bits per byte ..." """
    what = f"at {EQUAL[fit.equal]}"
    if fit.best == 0:
        return f"{what} the original tokenizer is best: {fit.best_bits:.4f} bits per byte"
    told = f"{what} the best size is {fit.best:,}{_at_an_end(fit)}: {fit.best_bits:.4f} bits per byte"
    return told if fit.control_bits is None else f"{told}, and {fit.control_bits:.4f} with the original tokenizer"


def best_sentence(fit: SizeFit) -> str:
    """The best size, the range within noise of it, and how sure the curve is."""
    told = best_words(fit)
    told = told[0].upper() + told[1:]
    if fit.noise is None:
        return f"{told}; one seed says nothing of chance (--seeds 3)."
    within = "no size above 0" if fit.within is None else f"{fit.within[0]:,} to {fit.within[1]:,}"
    told += f". Within noise of it ({fit.noise:.4f}; 95 % of differences by chance are smaller): {within}"
    if fit.interval is not None:
        low, high = fit.interval
        told += f". The curve's minimum lies in {low:,}..{high:,} in 90 % of resamples"
    return f"{told}."


def _at_an_end(fit: SizeFit) -> str:
    if fit.best == fit.measured[1]:
        return ", the largest that was tried"
    return ", the smallest that was tried" if fit.best == fit.measured[0] else ""


def standing_sentence(record: SizesRecord, fit: SizeFit, choice: Choice) -> str:
    """How many more bits the sizes of the other rules take than the best, by the curve."""
    parts = []
    for answer in choice.rules:
        if answer.n_added is None or answer.kind == "measured":
            continue
        bits = bits_at(fit, record.rows, answer.n_added)
        more = "not tried" if bits is None else f"{bits - fit.best_bits:+.4f}"
        if fit.within is not None and fit.within[0] <= answer.n_added <= fit.within[1]:
            more += ", within noise"
        size = f"{'at least ' if answer.bound == 'at_least' else ''}{answer.n_added:,}"
        parts.append(f"{answer.name} {size} ({more})")
    return f"The other rules, with their bits per byte more than the best: {'; '.join(parts) or DASH}."


def measured_sentence(fit: SizeFit) -> str:
    """The rule's answer in words."""
    n_runs = f"{counted(fit.n_sizes, 'size')} above 0, {counted(fit.n_seeds, 'seed')} each or more"
    return f"{best_sentence(fit)} Measured by short runs of {n_runs}."

"""The swap in words and as a table, the same in the terminal and on the page."""

from typing import TYPE_CHECKING

from vocabopt.amounts import counted
from vocabopt.records import SweepRecord
from vocabopt.swap.record import SwapPoint, SwapRecord
from vocabopt.tables import PlainTable, shown
from vocabopt.wording import text_of

if TYPE_CHECKING:
    import polars as pl

#: Losses are small beside savings: they are shown to a hundredth of a percent.
_LOST = "+z.2%"
#: Tokens of a kept text below which rows are said to be free because it is short.
MIN_KEPT_TOKENS = 1_000_000


def swap_table(sweep: SweepRecord, swap: SwapRecord, curve: "pl.DataFrame") -> PlainTable:
    """A row per size: what the target saves, as many grown rows beside it, and what every kept text loses.

    Unseen are the documents of a kept text that had no say in which rows go.
    """
    name, base_tokens = swap.choice.set, sweep.base_tokens
    text = text_of(name, None)
    headers = ["rows\nswapped", f"{text}\nsaved", "grown, as\nmany rows"]
    headers += [f"{kept}{part}" for kept in swap.kept_sets for part in ("\ntokens", ",\nunseen")]
    headers += ["saved\nper row", "lost\nper row"]
    rows = []
    for point in swap.points:
        n = point.n_swapped
        more = {kept: point.sets[kept].n_tokens - base_tokens[kept] for kept in swap.kept_sets}
        row = [
            f"{n:,}",
            shown(saved_share(swap, point, sweep), ".2%"),
            shown(grown_share(sweep, curve, name, n), ".2%"),
        ]
        for kept in swap.kept_sets:
            row += [shown(more[kept] / base_tokens[kept], _LOST), shown(point.unseen[kept].ratio_lost, _LOST)]
        row.append(shown((base_tokens[name] - point.sets[name].n_tokens) / n if n else None, ",.1f"))
        row.append(shown(sum(more.values()) / n if n else None, "z,.2f"))
        rows.append(row)
    chosen = {i for i, point in enumerate(swap.points) if point.n_swapped == swap.choice.n_swapped}
    caption = f"{sweep.base.name}: rows swapped, {sweep.base.n_rows:,} rows as before; tokens against the base's"
    return PlainTable(caption=caption, headers=headers, rows=rows, bold=frozenset(chosen))


def saved_share(swap: SwapRecord, point: SwapPoint, sweep: SweepRecord) -> float | None:
    """What the set decided on saves, as a share of its tokens with the base; None where it has none."""
    has_tokens = sweep.sets[swap.choice.set].n_tokens_base > 0
    return swap.ratio_saved(point, sweep.base_tokens) if has_tokens else None


def grown_share(sweep: SweepRecord, curve: "pl.DataFrame", name: str, n_added: int) -> float | None:
    """What as many new rows save; None beyond the curve."""
    if n_added > len(curve) or not (n_base := sweep.sets[name].n_tokens_base):
        return None
    n_tokens = int(curve[f"n_tokens_{name}"][n_added - 1]) if n_added else n_base
    return 1 - n_tokens / n_base


def swap_reason(sweep: SweepRecord, swap: SwapRecord) -> str:
    """The choice in one sentence: how many rows, what was weighed against what, and what it does."""
    weighed = (
        f"share of {text_of(swap.choice.set, None)} tokens saved, less {swap.keep_weight:g} times the share of tokens "
        f"that each kept text loses where it had no say ({', '.join(swap.kept_sets)}; --keep-weight)"
    )
    if not swap.choice.n_swapped:
        return f"Swap no rows: at none of the {len(swap.points)} sizes measured is the {weighed}, above 0."
    point = next(point for point in swap.points if point.n_swapped == swap.choice.n_swapped)
    base_tokens = sweep.base_tokens
    lost = ", ".join(f"{swap.ratio_lost(point, base_tokens, name):{_LOST}} of {name}" for name in swap.kept_sets)
    return (
        f"Swap {counted(point.n_swapped, 'row')}: of the sizes measured this has the largest {weighed}: "
        f"{swap.ratio_saved(point, base_tokens):.1%} saved, for {lost}."
    )


def swap_notes(sweep: SweepRecord, swap: SwapRecord) -> list[str]:
    """What belongs under the table."""
    few = [name for name in swap.kept_sets if sweep.sets[name].n_tokens_base < MIN_KEPT_TOKENS]
    n_free = sum(cost <= 0 for cost in swap.costs)
    order = (
        f"Of the {counted(swap.max_swap, 'row')} that are freed first, {n_free:,} cost no text that had a say a token "
        "as they go."
    )
    unseen = "Unseen is the eighth of each kept text that had no say: other text of its kind loses about as much."
    notes = [f"{order} {unseen} Every size is counted with the tokenizer that would be written."]
    if few:
        listed = ", ".join(f"{sweep.sets[name].n_tokens_base:,} of {name}" for name in few)
        notes.append(
            f"Rows that the kept text never uses are free, and it is short ({listed} tokens): more of its kind would "
            "need some of them."
        )
    if swap.n_odd_units:
        notes.append(
            f"{counted(swap.n_odd_units, 'different piece')} of text, encoded otherwise than by merges alone, had no "
            "part in the order; no row of their tokens is freed."
        )
    return notes

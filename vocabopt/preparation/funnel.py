"""What each step was given and left: counts that add up over shards, a few documents to look at, and the table."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, TypeAlias

import msgspec
import polars as pl
import xxhash
from msgspec.structs import replace
from rich.table import Table

from vocabopt.amounts import shown_bytes
from vocabopt.tables import DASH, PlainTable, shown

Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]
#: Documents shown per step, of those taken and of those kept.
N_EXAMPLES = 10
#: How many documents of a shard examples are drawn from: hashing all would cost more than it shows.
_N_DRAWN = 1000
_MAX_CHARS = 400


class Example(msgspec.Struct, frozen=True, kw_only=True):
    """A document before a step, and after it where the step changed it. rank: a hash of the text, what is drawn by."""

    id: str
    text: str
    after: str | None
    why: str | None
    rank: Count


class StepNumbers(msgspec.Struct, frozen=True, kw_only=True):
    """What one step was given and left. facts: what else it found, by name."""

    step: str
    n_documents_in: Count
    n_documents_out: Count
    n_bytes_in: Count
    n_bytes_out: Count
    n_tokens_in: Count | None
    n_tokens_out: Count | None
    n_changed: Count
    n_units_removed: Count
    seconds: float
    facts: dict[str, Any]


class StepCount(StepNumbers, frozen=True, kw_only=True):
    """One step over some shards. taken: examples removed or changed. kept: examples that came through as they were."""

    taken: tuple[Example, ...]
    kept: tuple[Example, ...]

    def as_record(self) -> dict[str, Any]:
        """What prepare.json holds of it."""
        record: dict[str, Any] = msgspec.to_builtins(self)
        for example in (*record["taken"], *record["kept"]):
            del example["rank"]
        return {**record, "seconds": round(self.seconds, 3)}


def add_up(counts: Iterable[StepCount]) -> StepCount:
    """One step's counts over several shards; examples are those of lowest rank."""
    total: StepCount | None = None
    for count in counts:
        total = count if total is None else _sum(total, count)
    assert total is not None, "of at least one shard"
    return replace(total, taken=_lowest(total.taken), kept=_lowest(total.kept))


def _sum(a: StepCount, b: StepCount) -> StepCount:
    assert a.step == b.step
    numbers = (
        "n_documents_in",
        "n_documents_out",
        "n_bytes_in",
        "n_bytes_out",
        "n_changed",
        "n_units_removed",
        "seconds",
    )
    summed: dict[str, Any] = {name: getattr(a, name) + getattr(b, name) for name in numbers}
    for name in ("n_tokens_in", "n_tokens_out"):
        x, y = getattr(a, name), getattr(b, name)
        summed[name] = None if x is None or y is None else x + y
    facts = {key: _sum_of(a.facts.get(key), b.facts.get(key)) for key in {**a.facts, **b.facts}}
    return replace(a, **summed, taken=_lowest(a.taken + b.taken), kept=_lowest(a.kept + b.kept), facts=facts)


def _sum_of(x: Any, y: Any) -> Any:
    if x is None or y is None:
        return y if x is None else x
    return x + y if isinstance(x, int | float) and isinstance(y, int | float) else x


def _lowest(examples: tuple[Example, ...]) -> tuple[Example, ...]:
    return tuple(sorted(examples, key=lambda example: (example.rank, example.id))[:N_EXAMPLES])


def draw(
    ids: pl.Series, texts: pl.Series, after: pl.Series | None = None, why: pl.Series | None = None
) -> tuple[Example, ...]:
    """A few documents by the hash of their text, of the first of a shard."""
    n = min(len(texts), _N_DRAWN)
    ranks = [xxhash.xxh3_64_intdigest(text[:4096].encode()) >> 1 for text in texts.head(n).to_list()]
    chosen = sorted(range(n), key=lambda i: (ranks[i], i))[:N_EXAMPLES]
    return tuple(
        Example(
            id=ids[i],
            text=_shown(texts[i], None if after is None else after[i]),
            after=None if after is None or after[i] is None else _shown(after[i], texts[i]),
            why=None if why is None else why[i],
            rank=ranks[i],
        )
        for i in chosen
    )


def _shown(text: str, other: str | None) -> str:
    """A part of the text: its beginning, or, where it differs from `other`, what is around the first difference."""
    start = 0
    if other is not None:
        differs = next(
            (i for i, (a, b) in enumerate(zip(text, other, strict=False)) if a != b), min(len(text), len(other))
        )
        start = max(0, differs - _MAX_CHARS // 4)
    shown = text[start : start + _MAX_CHARS]
    return ("… " if start else "") + shown + (" …" if start + _MAX_CHARS < len(text) else "")


_HEADERS = (
    "step",
    "documents\nin",
    "documents\nout",
    "removed",
    "changed",
    "text out",
    "tokens out",
    "bytes\nkept",
    "seconds",
)


def funnel_table(record: Mapping[str, Any], *, width: int = 100) -> Table:
    """A row per step, in order."""
    return plain_table(record).for_terminal(width)


def plain_table(record: Mapping[str, Any]) -> PlainTable:
    """The same for a terminal or a page. Seconds are those of all workers together."""
    steps = record["steps"]
    first = steps[0]
    caption = f"{first['n_documents_in']:,} documents, {shown_bytes(first['n_bytes_in'])}"
    return PlainTable(caption=caption, headers=_HEADERS, rows=[_row(step) for step in steps])


def _row(step: Mapping[str, Any]) -> tuple[str, ...]:
    kept = step["n_bytes_out"] / step["n_bytes_in"] if step["n_bytes_in"] else None
    return (
        step["step"],
        f"{step['n_documents_in']:,}",
        f"{step['n_documents_out']:,}",
        f"{step['n_documents_in'] - step['n_documents_out']:,}",
        f"{step['n_changed']:,}",
        shown_bytes(step["n_bytes_out"]),
        shown(step["n_tokens_out"], ","),
        DASH if kept is None else f"{kept:.2%}",
        f"{step['seconds']:.1f}",
    )


def funnel_notes(record: Mapping[str, Any]) -> list[str]:
    """Sentences that the table needs: what was left out on reading, and what was kept in all."""
    steps = record["steps"]
    notes = []
    for file in record["files"]:
        if file["error"] is not None:
            notes.append(f"Not read to its end: {file['error']} ({file['n_documents']:,} documents of it are used).")
    n_blank = sum(file["n_blank"] for file in record["files"])
    n_unreadable = sum(file["n_unreadable"] for file in record["files"])
    if n_blank or n_unreadable:
        notes.append(f"{n_blank:,} blank lines or records left out; {n_unreadable:,} that are no text are in removed/.")
    for step in steps:
        if limited := step["facts"].get("n_limited"):
            notes.append(
                f"{step['step']}: {limited:,} documents shared bands with more kept ones than max_compared allows to "
                "compare; copies of others among them may be left."
            )
        if (coverage := step["facts"].get("coverage")) and (at_random := step["facts"].get("coverage_random")):
            notes.append(
                f"{step['step']}: {coverage / at_random:.2f} times the coverage of a random choice of as many bytes."
            )
    first, last = steps[0], steps[-1]
    notes.append(
        f"Kept {last['n_documents_out']:,} of {first['n_documents_in']:,} documents, "
        f"{shown_bytes(last['n_bytes_out'])} of {shown_bytes(first['n_bytes_in'])}."
    )
    return notes

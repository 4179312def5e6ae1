"""Passes over shards: what a worker does with one.

Nothing here depends on which worker takes a shard, or in which order.
"""

import platform
import resource
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import xxhash

from vocabopt.errors import RunDirectoryError
from vocabopt.preparation.options import PrepareOptions
from vocabopt.preparation.reading import DECODE, Shard
from vocabopt.preparation.record import Drawn, ShardCounts, StepCount
from vocabopt.preparation.step import CorpusStep, DocumentStep, Outcome, Step, no_text
from vocabopt.preparation.tokens import TokenCounter
from vocabopt.preparation.work import Work
from vocabopt.records import write_record
from vocabopt.text.finding import CLEAN, REMOVED

_REMOVED = {"source": pl.Int32, "line": pl.Int64, "text": pl.String, "step": pl.String, "why": pl.String}


@dataclass(frozen=True, kw_only=True)
class Pass:
    """A pass over all shards: document steps, then a corpus step's sketch, or, in the last pass, the output.

    decided: the corpus step of the pass before, whose decision is carried out first. sources: names of the files.
    """

    number: int
    steps: tuple[Step, ...]
    corpus_step: CorpusStep | None
    decided: CorpusStep | None
    sources: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Job:
    """A shard to take through a pass. shard: with the first pass, as read."""

    plan: Pass
    number: int
    shard: Shard | None


class Worker:
    """Carries out passes; what the steps load is loaded once. counts, removed: of the shard that it is at."""

    def __init__(self, options: PrepareOptions, work: Work) -> None:
        if not options.out.is_dir():
            node = platform.node()
            raise RunDirectoryError(f"{options.out}: {node} does not see it. On a cluster name folders that all see.")
        self.options, self.work = options, work
        self._loaded: dict[str, Callable[[pl.Series], Any]] = {}
        self._counter: TokenCounter | None = None

    def __call__(self, job: Job) -> int:
        """Take one shard through a pass, and leave its files.

        Returns:
            The shard's number.
        """
        plan, number, shard = job.plan, job.number, job.shard
        work, self.sources = self.work, plan.sources
        self.counts: list[StepCount] = []
        self.removed = [pl.DataFrame(schema=_REMOVED)]
        documents = self._read(shard) if shard is not None else work.frame(plan.number - 1, number, ".parquet")
        if plan.decided is not None:
            documents = self._carry_out(plan.decided, plan.number - 1, number, documents)
        for step in plan.steps:
            assert isinstance(step, DocumentStep)
            documents = self._apply(step.name, self._load(step), documents)
        if plan.corpus_step is not None:
            units = documents.select("source", "line", "text")
            if plan.corpus_step.unit == "paragraph":
                units = split_paragraphs(units).filter("is_unit")
            sketch = dict(self._load(plan.corpus_step)(units["text"]))
            sketch |= {name: units[name].to_numpy() for name in ("source", "line")}
            work.save_arrays(plan.number, number, ".npz", sketch)
            work.save_frame(plan.number, number, ".parquet", documents)
            work.save_frame(plan.number, number, ".removed.parquet", pl.concat(self.removed))
        else:
            before = [work.frame(segment, number, ".removed.parquet") for segment in range(plan.number)]
            for folder, frame in ((CLEAN, documents), (REMOVED, pl.concat([*before, *self.removed]))):
                extra = [name for name in ("step", "why") if name in frame.columns]
                written = with_ids(frame, plan.sources).select("id", "text", "source", "line", *extra)
                work.write_output(folder, number, written)
        write_record(work.path(plan.number, number, ".json"), ShardCounts(counts=tuple(self.counts)))
        return number

    def _load(self, step: Step) -> Callable[[pl.Series], Any]:
        if step.name not in self._loaded:
            self._loaded[step.name] = step.load()
        return self._loaded[step.name]

    def _count_tokens(self, texts: pl.Series) -> pl.Series:
        if self.options.base is None:
            return pl.Series([None], dtype=pl.Int64).new_from_index(0, len(texts))
        if self._counter is None:
            self._counter = TokenCounter.load(self.options.base, self.options.pattern, self.options.specials)
        return pl.Series(self._counter.count(texts))

    def _read(self, shard: Shard) -> pl.DataFrame:
        """The documents as read, with their tokens; what could not be read counts as removed."""
        start = time.perf_counter()
        documents = shard.documents.with_columns(n_tokens=self._count_tokens(shard.documents["text"]))
        unreadable = shard.unreadable.with_columns(step=pl.lit(DECODE)).select(*_REMOVED)
        self._count(
            DECODE, start, documents, documents, taken=unreadable, kept=documents, removed=unreadable,
            n_documents_in=len(documents) + len(unreadable), n_changed=shard.n_recoded,
            facts={"n_blank": shard.n_blank},
        )  # fmt: skip
        return documents

    def _carry_out(self, step: CorpusStep, segment: int, number: int, documents: pl.DataFrame) -> pl.DataFrame:
        """The documents after the decision of a corpus step."""
        with self.work.arrays(segment, number, ".decision.npz") as stored:
            decision = {name: stored[name] for name in stored.files}
        keep, why = pl.Series(decision["keep"]), no_text(len(decision["keep"]))
        if "of_source" in decision:
            of = pl.DataFrame({"source": np.maximum(decision["of_source"], 0), "line": decision["of_line"]})
            copies = pl.Series(decision["of_source"] >= 0)
            why = ("copy of " + with_ids(of, self.sources)["id"]).zip_with(copies, why)
        if "score" in decision:
            why = pl.Series([f"score {score:.4g}" for score in decision["score"].tolist()], dtype=pl.String)
        if step.unit == "document":
            return self._apply(step.name, lambda texts: Outcome.removing(texts, why, ~keep), documents)
        start = time.perf_counter()
        texts, gone = without(documents, keep, why)
        return self._left(step.name, start, documents, Outcome.changing(texts), gone)

    def _apply(self, name: str, step: Callable[[pl.Series], Outcome], documents: pl.DataFrame) -> pl.DataFrame:
        """The documents after a step."""
        start = time.perf_counter()
        outcome = step(documents["text"])
        assert len(outcome.texts) == len(documents) == len(outcome.why), name
        return self._left(name, start, documents, outcome, None)

    def _left(
        self, name: str, start: float, before: pl.DataFrame, outcome: Outcome, gone: pl.DataFrame | None
    ) -> pl.DataFrame:
        """The documents that an outcome leaves, counted. gone: what was removed, where that is parts of documents."""
        # A step may leave only blanks: such a document is removed as one.
        is_removed = outcome.texts.str.strip_chars().fill_null("") == ""
        is_changed = ~is_removed & (before["text"] != outcome.texts).fill_null(False)
        after = before.with_columns(text=outcome.texts)
        if is_changed.any():
            recounted = self._count_tokens(after["text"].filter(is_changed))
            after = after.with_columns(n_tokens=after["n_tokens"].scatter(is_changed.arg_true(), recounted))
        shown = before.with_columns(after=outcome.texts.zip_with(~is_removed, no_text(1)), why=outcome.why)
        if gone is None:
            gone = shown.filter(is_removed)
        removed = gone.with_columns(step=pl.lit(name)).select(*_REMOVED)
        taken, untouched = is_removed | is_changed, before.filter(~is_removed & ~is_changed)
        left = after.filter(~is_removed)
        self._count(
            name, start, before, left, taken=shown.filter(taken), kept=untouched, removed=removed,
            n_documents_in=len(before), n_changed=int(is_changed.sum()), facts={},
        )  # fmt: skip
        return left

    def _count(
        self, name: str, start: float, before: pl.DataFrame, after: pl.DataFrame, *,
        taken: pl.DataFrame, kept: pl.DataFrame, removed: pl.DataFrame, **more: Any,
    ) -> None:  # fmt: skip
        """Add to `counts` and `removed`. taken, kept: what examples are drawn from. more: fields of the count."""
        self.removed.append(removed)
        (n_bytes_in, n_tokens_in), (n_bytes_out, n_tokens_out) = _sizes(before), _sizes(after)
        count = StepCount(
            step=name,
            n_documents_out=len(after),
            n_bytes_in=n_bytes_in,
            n_bytes_out=n_bytes_out,
            n_tokens_in=n_tokens_in,
            n_tokens_out=n_tokens_out,
            n_units_removed=len(removed),
            seconds=time.perf_counter() - start,
            taken=_draw(taken, self.sources),
            kept=_draw(kept, self.sources),
            **more,
        )
        self.counts.append(count)


def _sizes(documents: pl.DataFrame) -> tuple[int, int | None]:
    n_tokens = documents["n_tokens"]
    return int(documents["text"].str.len_bytes().sum()), None if n_tokens.null_count() else int(n_tokens.sum())


def with_ids(documents: pl.DataFrame, sources: Sequence[str]) -> pl.DataFrame:
    """source: as a name; id: the name and the line."""
    names = pl.Series("source", sources, dtype=pl.String).gather(documents["source"])
    return documents.with_columns(source=names, id=names + ":" + documents["line"].cast(pl.String))


# --- Paragraphs -------------------------------------------------------------------------------------------------------


def split_paragraphs(documents: pl.DataFrame) -> pl.DataFrame:
    """A row per line of each document, in order. Adds document (its row) and is_unit (is the line a paragraph)."""
    lines = documents.with_row_index("document").with_columns(pl.col("text").str.split("\n")).explode("text")
    return lines.with_columns(is_unit=pl.col("text").str.strip_chars() != "")


def without(documents: pl.DataFrame, keep: pl.Series, why: pl.Series) -> tuple[pl.Series, pl.DataFrame]:
    """Take paragraphs out. keep, why: Boolean and String, a row per paragraph of all documents, in order.

    Returns:
        The texts, String [n_documents], of blanks alone where nothing is left and as they were where nothing went; and
        the paragraphs taken: source, line, text, why.
    """
    lines = split_paragraphs(documents)
    at = lines["is_unit"].arg_true()
    assert len(at) == len(keep), "a decision of other paragraphs"
    kept = pl.Series([True], dtype=pl.Boolean).new_from_index(0, len(lines)).scatter(at, keep)
    lines = lines.with_columns(kept=kept, why=no_text(len(lines)).scatter(at, why))
    gone = lines.filter(~pl.col("kept"))
    left = pl.col("text").filter(pl.col("kept")).str.join("\n").str.strip_chars("\n")
    touched = lines.filter(pl.col("document").is_in(gone["document"].unique().implode()))
    touched = touched.group_by("document", maintain_order=True).agg(left)
    return documents["text"].scatter(touched["document"], touched["text"]), gone


# --- Examples ---------------------------------------------------------------------------------------------------------

#: Documents shown per step, of those taken and of those kept.
N_EXAMPLES = 10
#: How many documents of a shard examples are drawn from: hashing all would cost more than it shows.
_N_DRAWN = 1000
_MAX_CHARS = 400


def lowest(examples: Iterable[Drawn]) -> tuple[Drawn, ...]:
    return tuple(sorted(examples, key=lambda example: (example.rank, example.id))[:N_EXAMPLES])


def _draw(documents: pl.DataFrame, sources: Sequence[str]) -> tuple[Drawn, ...]:
    """A few documents by the hash of their text, of the first of a shard."""
    documents = with_ids(documents.head(_N_DRAWN), sources)
    ranks = [xxhash.xxh3_64_intdigest(text[:4096].encode()) >> 1 for text in documents["text"]]
    chosen = sorted(range(len(ranks)), key=lambda i: (ranks[i], i))[:N_EXAMPLES]
    drawn = []
    for i in chosen:
        row = documents.row(i, named=True)
        text, after = row["text"], row.get("after")
        shown = (_shown(text, after), None if after is None else _shown(after, text))
        drawn.append(Drawn(id=row["id"], text=shown[0], after=shown[1], why=row.get("why"), rank=ranks[i]))
    return tuple(drawn)


def _shown(text: str, other: str | None) -> str:
    """A part of the text: its beginning, or, where it differs from `other`, what is around the first difference."""
    start = 0
    if other is not None:
        pairs = enumerate(zip(text, other, strict=False))
        differs = next((i for i, (a, b) in pairs if a != b), min(len(text), len(other)))
        start = max(0, differs - _MAX_CHARS // 4)
    shown = text[start : start + _MAX_CHARS]
    return ("… " if start else "") + shown + (" …" if start + _MAX_CHARS < len(text) else "")


# --- Memory -----------------------------------------------------------------------------------------------------------


def peak_memory_bytes(n_workers: int) -> int:
    """At most what all held together: the peak of this process, and for each worker that of the largest."""
    unit = 1 if sys.platform == "darwin" else 1024
    own, largest = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return unit * (own + (n_workers * largest if n_workers > 1 else 0))

"""Passes over shards: what a worker does with one, and the processes that share them.

Nothing here depends on which worker takes a shard, or in which order.
"""

import os
import resource
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, TypeAlias

import msgspec
import numpy as np
import polars as pl

from vocabopt.errors import RunDirectoryError
from vocabopt.folder import remove_unfinished, write_json_atomic
from vocabopt.preparation.funnel import StepCount, draw
from vocabopt.preparation.options import PrepareOptions
from vocabopt.preparation.reading import DECODE, Shard
from vocabopt.preparation.step import CorpusStep, DocumentStep, Outcome, Step
from vocabopt.preparation.tokens import TokenCounter
from vocabopt.preparation.work import ShardCounts, Work
from vocabopt.processes import WorkerContext, signals_blocked
from vocabopt.text.finding import CLEAN, REMOVED


def split_paragraphs(documents: pl.DataFrame) -> pl.DataFrame:
    """A row per line of each document, in order. Adds document (its row) and is_unit (is the line a paragraph)."""
    lines = documents.with_row_index("document").with_columns(pl.col("text").str.split("\n")).explode("text")
    return lines.with_columns(is_unit=pl.col("text").str.strip_chars() != "")


def without(documents: pl.DataFrame, keep: pl.Series, why: pl.Series) -> tuple[pl.Series, pl.DataFrame]:
    """Take paragraphs out. keep, why: Boolean and String, a row per paragraph of all documents, in order.

    Returns:
        The texts, String [n_documents], "" where nothing is left and as they were where nothing went; and the
        paragraphs taken: source, line, text, why.
    """
    lines = split_paragraphs(documents)
    at = lines["is_unit"].arg_true()
    assert len(at) == len(keep), "a decision of other paragraphs"
    kept_line = pl.Series([True], dtype=pl.Boolean).new_from_index(0, len(lines)).scatter(at, keep)
    reason = pl.Series([None], dtype=pl.String).new_from_index(0, len(lines)).scatter(at, why)
    lines = lines.with_columns(kept=kept_line, why=reason)
    gone = lines.filter(~pl.col("kept")).select("source", "line", "text", "why")
    touched = gone_documents = lines.filter(~pl.col("kept"))["document"].unique()
    joined = (
        lines.filter(pl.col("kept") & pl.col("document").is_in(gone_documents.implode()))
        .group_by("document", maintain_order=True)
        .agg(pl.col("text").str.join("\n"))
    )
    left = dict(zip(joined["document"].to_list(), joined["text"].to_list(), strict=True))
    new = [left.get(document, "").strip("\n") for document in touched.to_list()]
    new = [text if text.strip() else "" for text in new]
    return documents["text"].scatter(touched, new), gone


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


class Worker:
    """Carries out passes; what the steps load is loaded once."""

    def __init__(self, options: PrepareOptions, work: Work) -> None:
        self.options, self.work = options, work
        self._loaded: dict[str, Callable[[pl.Series], Any]] = {}
        self._counter: TokenCounter | None = None

    def run(self, plan: Pass, number: int, shard: Shard | None) -> int:
        """Take one shard through a pass, and leave its files. shard: with the first pass, as read.

        Returns:
            The shard's number.
        """
        state = _State(plan, self._count_tokens)
        documents = state.read(shard) if shard is not None else self.work.frame(plan.number - 1, number, ".parquet")
        if plan.decided is not None:
            documents = self._carry_out(plan.decided, plan.number, number, documents, state)
        for step in plan.steps:
            assert isinstance(step, DocumentStep)
            documents = state.apply(step.name, self._load(step), documents)
        removed = pl.concat([pl.DataFrame(schema=_REMOVED), *state.removed])
        if plan.corpus_step is not None:
            self._sketch(plan.corpus_step, plan, number, documents)
            self.work.save_frame(plan.number, number, ".parquet", documents)
            self.work.save_frame(plan.number, number, ".removed.parquet", removed)
        else:
            removed = pl.concat([self.work.removed(plan.number, number), removed]) if plan.number else removed
            self.work.write_output(CLEAN, number, _output(documents, plan.sources))
            self.work.write_output(REMOVED, number, _output(removed, plan.sources))
        counts = ShardCounts(counts=state.counts, n_documents=len(documents))
        write_json_atomic(self.work.path(plan.number, number, ".json"), msgspec.to_builtins(counts))
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

    def _sketch(self, step: CorpusStep, plan: Pass, number: int, documents: pl.DataFrame) -> None:
        units = documents.select("source", "line", "text")
        if step.unit == "paragraph":
            units = split_paragraphs(units).filter("is_unit")
        sketch = dict(self._load(step)(units["text"]))
        places = {"source": units["source"].to_numpy(), "line": units["line"].to_numpy()}
        self.work.save_arrays(plan.number, number, ".npz", {**sketch, **places})

    def _carry_out(
        self, step: CorpusStep, segment: int, number: int, documents: pl.DataFrame, state: "_State"
    ) -> pl.DataFrame:
        decision = self.work.arrays(segment - 1, number, ".decision.npz")
        why = _reasons(decision, state.plan.sources)
        if step.unit == "paragraph":
            return state.take_paragraphs(step.name, documents, pl.Series(decision["keep"]), why)
        return state.apply(
            step.name, lambda texts: Outcome.removing(texts, ~pl.Series(decision["keep"]), why), documents
        )


class _State:
    """What the steps of a pass have counted and removed so far."""

    def __init__(self, plan: Pass, count_tokens: Callable[[pl.Series], pl.Series]) -> None:
        self.plan, self.count_tokens = plan, count_tokens
        self.counts: list[StepCount] = []
        self.removed: list[pl.DataFrame] = []

    def read(self, shard: Shard) -> pl.DataFrame:
        """The documents as read, with their tokens; what could not be read counts as removed."""
        start = time.perf_counter()
        documents = shard.documents.with_columns(n_tokens=self.count_tokens(shard.documents["text"]))
        n_bytes, n_tokens = _sizes(documents)
        unreadable = shard.unreadable.with_columns(step=pl.lit(DECODE)).select(*_REMOVED)
        self.removed.append(unreadable)
        self.counts.append(
            StepCount(
                step=DECODE,
                n_documents_in=len(documents) + len(unreadable),
                n_documents_out=len(documents),
                n_bytes_in=n_bytes,
                n_bytes_out=n_bytes,
                n_tokens_in=n_tokens,
                n_tokens_out=n_tokens,
                n_changed=shard.n_recoded,
                n_units_removed=len(unreadable),
                seconds=time.perf_counter() - start,
                taken=draw(self._ids(unreadable), unreadable["text"], why=unreadable["why"]),
                kept=draw(self._ids(documents), documents["text"]),
                facts={"n_blank": shard.n_blank},
            )
        )
        return documents

    def apply(self, name: str, step: Callable[[pl.Series], Outcome], documents: pl.DataFrame) -> pl.DataFrame:
        """The documents after a step; `removed` and `counts` grow."""
        start = time.perf_counter()
        outcome = step(documents["text"])
        assert len(outcome.texts) == len(documents) == len(outcome.why), name
        # A step may leave only blanks: such a document is removed as one.
        is_removed = outcome.texts.str.strip_chars().fill_null("") == ""
        after = documents.with_columns(text=outcome.texts)
        gone = documents.filter(is_removed).with_columns(step=pl.lit(name), why=outcome.why.filter(is_removed))
        self.removed.append(gone.select(*_REMOVED))
        return self._counted(name, documents, after, is_removed, outcome.why, len(gone), start)

    def take_paragraphs(self, name: str, documents: pl.DataFrame, keep: pl.Series, why: pl.Series) -> pl.DataFrame:
        """The documents without the paragraphs that are not kept; those without any left are removed."""
        start = time.perf_counter()
        texts, gone = without(documents, keep, why)
        is_removed = texts.str.len_bytes() == 0
        self.removed.append(gone.with_columns(step=pl.lit(name)).select(*_REMOVED))
        of_document = pl.Series([None], dtype=pl.String).new_from_index(0, len(texts))
        after = documents.with_columns(text=texts)
        return self._counted(name, documents, after, is_removed, of_document, len(gone), start)

    def _counted(
        self,
        name: str,
        before: pl.DataFrame,
        after: pl.DataFrame,
        is_removed: pl.Series,
        why: pl.Series,
        n_units_removed: int,
        start: float,
    ) -> pl.DataFrame:
        is_changed = ~is_removed & (before["text"] != after["text"]).fill_null(False)
        if is_changed.any():
            recounted = self.count_tokens(after["text"].filter(is_changed))
            n_tokens = after["n_tokens"].scatter(is_changed.arg_true(), recounted)
            after = after.with_columns(n_tokens=n_tokens)
        taken, untouched = is_removed | is_changed, before.filter(~is_removed & ~is_changed)
        changed_text = after["text"].zip_with(~is_removed, pl.Series([None], dtype=pl.String)).filter(taken)
        left = after.filter(~is_removed)
        sizes_in, sizes_out = _sizes(before), _sizes(left)
        self.counts.append(
            StepCount(
                step=name,
                n_documents_in=len(before),
                n_documents_out=len(left),
                n_bytes_in=sizes_in[0],
                n_bytes_out=sizes_out[0],
                n_tokens_in=sizes_in[1],
                n_tokens_out=sizes_out[1],
                n_changed=int(is_changed.sum()),
                n_units_removed=n_units_removed,
                seconds=time.perf_counter() - start,
                taken=draw(
                    self._ids(before.filter(taken)), before["text"].filter(taken), changed_text, why.filter(taken)
                ),
                kept=draw(self._ids(untouched), untouched["text"]),
                facts={},
            )
        )
        return left

    def _ids(self, documents: pl.DataFrame) -> pl.Series:
        return _with_ids(documents.head(1000), self.plan.sources)["id"]


def _sizes(documents: pl.DataFrame) -> tuple[int, int | None]:
    n_tokens = documents["n_tokens"]
    return int(documents["text"].str.len_bytes().sum()), None if n_tokens.null_count() else int(n_tokens.sum())


def _with_ids(documents: pl.DataFrame, sources: Sequence[str]) -> pl.DataFrame:
    names = pl.Series("source", sources, dtype=pl.String).gather(documents["source"])
    return documents.with_columns(source=names, id=names + ":" + documents["line"].cast(pl.String))


def _output(documents: pl.DataFrame, sources: Sequence[str]) -> pl.DataFrame:
    """As written: id, text, source, line, and of what was removed by which step and why."""
    extra = [name for name in ("step", "why") if name in documents.columns]
    return _with_ids(documents, sources).select("id", "text", "source", "line", *extra)


def _reasons(decision: dict[str, Any], sources: Sequence[str]) -> pl.Series:
    """Why each unit went, String [n]: the kept one that it copies, or the score that was not enough."""
    n = len(decision["keep"])
    why = pl.Series([None], dtype=pl.String).new_from_index(0, n)
    if "of_source" in decision:
        copies = decision["of_source"] >= 0
        of = pl.DataFrame({"source": np.maximum(decision["of_source"], 0), "line": decision["of_line"]})
        why = ("copy of " + _with_ids(of, sources)["id"]).zip_with(pl.Series(copies), why)
    if "score" in decision:
        why = pl.Series([f"score {score:.4g}" for score in decision["score"].tolist()], dtype=pl.String)
    return why


#: Takes shards through a pass and gives their numbers as they are done, in any order.
Submit: TypeAlias = Callable[[Pass, Iterable[tuple[int, Shard | None]]], Iterator[int]]

#: Shards that wait beside those at work: enough to keep workers busy, few enough to bound memory.
_N_WAITING = 1
#: Libraries that would start a thread per core in each worker.
_THREADS = ("POLARS_MAX_THREADS", "RAYON_NUM_THREADS", "OMP_NUM_THREADS")


@contextmanager
def pool(options: PrepareOptions, work: Work) -> Iterator[Submit]:
    """Workers for the time of the context; those at work when an error ends it finish their shard first, when the user
    ends it they stop."""
    here: list[Worker] = []
    executor: list[ProcessPoolExecutor] = []
    context = WorkerContext()

    def submit(plan: Pass, jobs: Iterable[tuple[int, Shard | None]]) -> Iterator[int]:
        first = list(islice(iterator := iter(jobs), 2))
        if options.workers == 1 or (len(first) < 2 and not executor):
            if not here:
                here.append(Worker(options, work))
            return (here[0].run(plan, number, shard) for number, shard in chain(first, iterator))
        if not executor:
            with signals_blocked():
                executor.append(ProcessPoolExecutor(options.workers, context, _start, (options, work)))
        return _spread(executor[0], plan, chain(first, iterator), options.workers + _N_WAITING)

    before = {name: os.environ.get(name) for name in _THREADS}
    if options.workers > 1:
        os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield submit
    except KeyboardInterrupt:
        context.kill()
        raise
    finally:
        for started in executor:
            started.shutdown(cancel_futures=True)
        if executor:
            remove_unfinished(work.out)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _spread(
    executor: ProcessPoolExecutor, plan: Pass, jobs: Iterator[tuple[int, Shard | None]], n_at_once: int
) -> Iterator[int]:
    waiting: set[Future[int]] = set()
    try:
        for number, shard in jobs:
            waiting.add(executor.submit(_run, plan, number, shard))
            if len(waiting) >= n_at_once:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        while waiting:
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)
    except BrokenProcessPool as error:
        raise RunDirectoryError(
            f"pass {plan.number + 1}: a worker process was killed, probably for lack of memory. Finished shards are "
            "kept: run the same command again, with fewer --workers or a smaller --shard."
        ) from error


_worker: Worker | None = None  # of this process


def _start(options: PrepareOptions, work: Work) -> None:
    global _worker
    _worker = Worker(options, work)


def _run(plan: Pass, number: int, shard: Shard | None) -> int:
    assert _worker is not None, "_start ran"
    return _worker.run(plan, number, shard)


def peak_memory_bytes(workers: int) -> int:
    """At most what all held together: the peak of this process, and for each worker that of the largest."""
    unit = 1 if sys.platform == "darwin" else 1024
    own, largest = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return unit * (own + (workers * largest if workers > 1 else 0))

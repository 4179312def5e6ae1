"""`vocabopt prepare`: the text through the chain of steps, pass by pass, and what each step took."""

import shlex
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from dataclasses import replace as replace_options
from functools import partial
from typing import Any

import msgspec
import numpy as np
from msgspec.structs import replace

from vocabopt.amounts import shown_bytes
from vocabopt.console import Console
from vocabopt.engine import Engine, engine
from vocabopt.errors import CorpusError, RunDirectoryError
from vocabopt.folder import check_own_folder, digest, remove_unfinished
from vocabopt.preparation.funnel import write_page
from vocabopt.preparation.mapped import MappedArrays
from vocabopt.preparation.options import PrepareOptions
from vocabopt.preparation.reading import Reader, find_text
from vocabopt.preparation.record import (
    Done,
    FileReport,
    FilesRead,
    OptionsRecord,
    PrepareRecord,
    ShardCounts,
    StepCount,
    StepNumbers,
    StepRecord,
    TextInput,
)
from vocabopt.preparation.step import CorpusStep, Step, segments
from vocabopt.preparation.work import StoredSketches, Work
from vocabopt.preparation.workers import Job, Pass, Worker, lowest, peak_memory_bytes
from vocabopt.records import json_of, read_record, write_record
from vocabopt.text.corpus import TextSet, fingerprint, n_stored_bytes, named_set
from vocabopt.text.finding import OPTIONS_JSON, PREPARE_JSON
from vocabopt.text.utf8 import printable
from vocabopt.versions import versions

#: Memory of a process with its libraries; and for each byte of a shard, with the sketch of `near` (measured: LOG.md).
_WORKER_BYTES, _BYTES_OF_TEXT = 250_000_000, 12


def run_prepare(options: PrepareOptions, console: Console) -> PrepareRecord:
    """Prepare the text, or go on where an earlier run with the same options stopped.

    Raises:
        VocaboptError: bad input, or a step takes everything; what is done stays for the next run.
    """
    start = time.perf_counter()
    text_set = find_text(options)
    work = Work(options.out, options.output)
    inputs = _take_folder(options, text_set, work)
    path = options.out / PREPARE_JSON
    if path.exists():
        console.note(f"{options.out}: is prepared already, from this text and with these options.")
        return read_record(path, PrepareRecord)
    run = _Run(options, work, text_set, console)
    counts = run.all_passes()
    steps = [replace(count, seconds=round(count.seconds, 3)) for count in counts]
    record = PrepareRecord(
        command=shlex.join(["vocabopt", *sys.argv[1:]]),
        versions=versions(),
        options=options.as_record(),
        inputs=inputs,
        files=run.files,
        steps=tuple(msgspec.convert(json_of(step), StepRecord) for step in steps),
        seconds={**console.seconds, "total": round(time.perf_counter() - start, 3)},
        peak_memory_bytes=peak_memory_bytes(run.n_workers or 1),
    )
    write_page(options.out, record)
    write_record(path, record)
    work.clear()
    return record


def _take_folder(options: PrepareOptions, text_set: TextSet, work: Work) -> tuple[TextInput, ...]:
    """Check that the folder is new, or of a run on the same text with the same options; what is not finished may be
    taken over."""
    files = list(text_set.files)
    for step in options.steps:
        try:
            files += [file for path in step.inputs for file in named_set("step", path, "eval").files]
        except CorpusError as error:
            raise CorpusError(f"[{step.name}] {error}") from error
    has_run = check_own_folder(options.out, OPTIONS_JSON)
    inputs = tuple(
        TextInput(**{**asdict(file), "url": printable(file.url)}, fingerprint=fingerprint(file)) for file in files
    )
    identity = digest([options.identity(), [[entry.url, entry.fingerprint] for entry in inputs]])
    path = options.out / OPTIONS_JSON
    if has_run and read_record(path, OptionsRecord).identity != identity:
        if (options.out / PREPARE_JSON).exists():
            raise RunDirectoryError(
                f"{options.out}: holds text prepared from other files or with other options. Choose another folder "
                "with --out, or remove this one."
            )
        work.discard()
    write_record(path, OptionsRecord(identity=identity, options=options.as_record(), inputs=inputs))
    return inputs


def workers_that_fit(options: PrepareOptions) -> int | None:
    """How many processes of this machine --memory holds; None on Ray, where other machines' memory counts."""
    if options.engine != "local":
        return None
    of_each = _WORKER_BYTES + _BYTES_OF_TEXT * options.shard_bytes
    return min(options.n_workers, max(1, (options.memory_bytes - _WORKER_BYTES) // of_each))


class _Run:
    """The passes of one run. files: a report per file, once the first pass is whole."""

    def __init__(self, options: PrepareOptions, work: Work, text_set: TextSet, console: Console) -> None:
        self.options, self.work, self.text_set, self.console = options, work, text_set, console
        self.sources = tuple(printable(file.url) for file in text_set.files)
        self.n_workers = workers_that_fit(options)
        if self.n_workers is not None and self.n_workers < options.n_workers:
            console.note(
                f"Works with {self.n_workers} of {options.n_workers} processes: more would not fit into the memory "
                f"({shown_bytes(options.memory_bytes)}) with --shard {options.shard}."
            )
        self.files: tuple[FileReport, ...] = ()

    def all_passes(self) -> list[StepCount]:
        """Run every pass that is not whole yet; returns the counts of all steps, in order."""
        counts: list[StepCount] = []
        decided: CorpusStep | None = None
        facts: dict[str, Any] = {}
        n_shards = 0
        chosen = tuple(self._prepared(step) for step in self.options.steps)
        with self._workers() as workers:
            for number, (steps, corpus_step) in enumerate(segments(chosen)):
                plan = Pass(number=number, steps=steps, corpus_step=corpus_step, decided=decided, sources=self.sources)
                n_shards = self._pass(plan, n_shards, workers)
                own = self._counts(number, n_shards)
                own[0].facts.update(facts)
                _check_left(own)
                counts += own
                if corpus_step is not None:
                    done = self.work.done(number)
                    if done is None:
                        with self.console.step(corpus_step.name):
                            done = Done(n_shards=n_shards, facts=self._decide(corpus_step, number, n_shards))
                        self.work.mark_done(number, done)
                    facts, n_shards = done.facts, done.n_shards
                decided = corpus_step
        return counts

    @contextmanager
    def _workers(self) -> Iterator[Engine[Job, int]]:
        options = replace_options(self.options, workers=self.n_workers) if self.n_workers else self.options
        try:
            with engine(options, partial(Worker, self.options, self.work)) as workers:
                yield workers
        finally:
            # What a worker was at that was ended.
            remove_unfinished(self.options.out)

    def _prepared(self, step: Step) -> Step:
        if not step.inputs:
            return step
        with self.console.step(f"prepare {step.name}"):
            return step.prepare(self.work.folder)

    def _pass(self, plan: Pass, n_shards: int, workers: Engine[Job, int]) -> int:
        """Every shard that is not done yet; returns how many there are."""
        names = [step.name for step in (plan.decided, *plan.steps) if step is not None]
        title = "read" if plan.number == 0 else "write" if plan.corpus_step is None else "pass"
        title = f"{title} {plan.number + 1} ({', '.join(names)})" if names else title
        if plan.number == 0:
            return self._first_pass(plan, workers, title)
        missing = [shard for shard in range(n_shards) if not self.work.is_done(plan.number, shard)]
        with self.console.step(title, len(missing), "shards") as advance:
            jobs = (Job(plan=plan, number=shard, shard=None) for shard in missing)
            for n_done, _ in enumerate(workers.run(jobs, step=title), 1):
                advance(n_done)
        return n_shards

    def _first_pass(self, plan: Pass, workers: Engine[Job, int], title: str) -> int:
        files_json = self.work.folder / "files.json"
        if self.work.done(0) is not None or files_json.exists():
            stored = self.work.record(files_json, FilesRead)
            self.files = stored.files
            if all(self.work.is_done(0, shard) for shard in range(stored.n_shards)):
                return stored.n_shards
        reader = Reader(self.text_set, self.options)
        n_shards = 0

        def jobs() -> Iterator[Job]:
            nonlocal n_shards
            for shard in reader.shards(advance):
                n_shards = shard.number + 1
                if not self.work.is_done(0, shard.number):
                    yield Job(plan=plan, number=shard.number, shard=shard)

        with self.console.step(title, n_stored_bytes([self.text_set]), "bytes") as advance:
            for _ in workers.run(jobs(), step=title):
                pass
        self.files = tuple(reader.reports)
        for report in self.files:
            if report.error is not None:
                used = f"({report.n_documents:,} documents of it are used)"
                self.console.note(f"Left out from there on: {report.error} {used}.")
        if not any(report.n_documents for report in self.files):
            raise CorpusError(
                f"{', '.join(self.options.paths)}: no document could be read from it. Name files that hold text."
            )
        write_record(files_json, FilesRead(n_shards=n_shards, files=self.files))
        return n_shards

    def _counts(self, number: int, n_shards: int) -> list[StepCount]:
        """The counts of a pass's steps, over all shards."""
        summed: list[StepCount] = []
        for shard in range(n_shards):
            counts = self.work.record(self.work.path(number, shard, ".json"), ShardCounts).counts
            # One shard after another: each brings examples of its own.
            summed = [_sum(of_step) for of_step in zip(*filter(None, (summed, counts)), strict=True)]
        return summed

    def _decide(self, step: CorpusStep, number: int, n_shards: int) -> dict[str, Any]:
        """Decide from the sketches of pass `number`. Returns the decision's facts."""
        sketches = StoredSketches(self.work, number, n_shards, self.options.memory_bytes // 2)
        n_units = [len(sketch["source"]) for sketch in sketches]
        decision = step.decide(sketches, n_units)
        assert len(decision.keep) == sum(n_units), step.name
        arrays = MappedArrays(sketches)
        sources, lines = arrays.gathered("source", np.int32), arrays.gathered("line", np.int64)
        end = 0
        for shard, n in enumerate(n_units):
            own, end = slice(end, end + n), end + n
            stored: dict[str, Any] = {"keep": decision.keep[own]}
            if decision.of is not None:
                of = decision.of[own]
                stored["of_source"] = np.where(of >= 0, sources[of], -1).astype(np.int32)
                stored["of_line"] = np.where(of >= 0, lines[of], -1)
            if decision.score is not None:
                stored["score"] = decision.score[own]
            self.work.save_arrays(number, shard, ".decision.npz", stored)
            arrays.release()
        return decision.facts


def _sum(counts: Sequence[StepCount]) -> StepCount:
    """One step's counts over several shards; examples are those of lowest rank."""
    facts: Counter[str] = Counter()
    for count in counts:
        facts.update(count.facts)
    summed: dict[str, Any] = {}
    for name in StepNumbers.__struct_fields__:
        values = [getattr(count, name) for count in counts]
        if name not in ("step", "facts"):
            summed[name] = None if None in values else sum(values)
    summed["taken"] = lowest(example for count in counts for example in count.taken)
    summed["kept"] = lowest(example for count in counts for example in count.kept)
    return replace(counts[0], **summed, facts=dict(facts))


def _check_left(counts: list[StepCount]) -> None:
    for count in counts:
        if count.n_documents_in and not count.n_documents_out:
            example = next((f" ({e.why})" for e in count.taken if e.why), "")
            raise CorpusError(
                f"{count.step}: took all {count.n_documents_in:,} documents{example}, and nothing is left. Change "
                "its limits in the configuration, or leave the step out."
            )

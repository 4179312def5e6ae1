"""`vocabopt prepare`: the text through the chain of steps, pass by pass, and what each step took."""

import shlex
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import msgspec
import numpy as np

from vocabopt.console import Console
from vocabopt.errors import CorpusError, RunDirectoryError
from vocabopt.folder import FORMAT_VERSION, check_own_folder, digest, read_json, write_json_atomic
from vocabopt.preparation.funnel import StepCount, add_up
from vocabopt.preparation.options import PrepareOptions
from vocabopt.preparation.page import write_page
from vocabopt.preparation.reading import FileReport, Reader, Shard, find_text
from vocabopt.preparation.step import CorpusStep, NeedsPreparing, Step, segments
from vocabopt.preparation.work import FilesRead, Prepared, ShardCounts, StoredSketches, Work, record_of
from vocabopt.preparation.workers import Pass, Submit, peak_memory_bytes, pool
from vocabopt.text.corpus import TextFile, TextSet, fingerprint, n_stored_bytes, named_set
from vocabopt.text.finding import OPTIONS_JSON, PREPARE_JSON, WORK
from vocabopt.text.utf8 import printable
from vocabopt.versions import versions


def decide(step: CorpusStep, work: Work, number: int, n_shards: int) -> dict[str, Any]:
    """Decide from the sketches of pass `number`. Returns the decision's facts."""
    sketches = StoredSketches(work, number, n_shards)
    sources, lines = (
        np.concatenate([np.zeros(0, dtype), *(sketch[name] for sketch in sketches)])
        for name, dtype in (("source", np.int32), ("line", np.int64))
    )
    n_units = [len(sketch["source"]) for sketch in sketches]
    decision = step.decide(sketches, n_units)
    assert len(decision.keep) == sum(n_units), step.name
    begin = 0
    for shard, n in enumerate(n_units):
        own = slice(begin, begin + n)
        arrays: dict[str, Any] = {"keep": decision.keep[own]}
        if decision.of is not None:
            of = decision.of[own]
            copies = of >= 0
            arrays["of_source"] = np.where(copies, sources[of], -1).astype(np.int32)
            arrays["of_line"] = np.where(copies, lines[of], -1)
        if decision.score is not None:
            arrays["score"] = decision.score[own]
        work.save_arrays(number, shard, ".decision.npz", arrays)
        begin += n
    return decision.facts


_ANEW = "Remove it to prepare the text again."


def run_prepare(options: PrepareOptions, console: Console) -> dict[str, Any]:
    """Prepare the text, or go on where an earlier run with the same options stopped.

    Returns:
        What prepare.json holds.

    Raises:
        VocaboptError: bad input, or a step takes everything; what is done stays for the next run.
    """
    start = time.perf_counter()
    text_set = find_text(options)
    work = Work(options.out, options.output)
    inputs = _take_folder(options, text_set)
    if (options.out / PREPARE_JSON).exists():
        console.note(f"{options.out}: is prepared already, from this text and with these options.")
        record = read_json(options.out / PREPARE_JSON, next_step=_ANEW)
        record_of(record, Prepared, options.out / PREPARE_JSON, _ANEW)
        return record
    run = _Run(options, work, text_set, console)
    counts = run.all_passes()
    record = {
        "format_version": FORMAT_VERSION,
        "command": shlex.join(["vocabopt", *sys.argv[1:]]),
        "versions": versions(),
        "options": options.as_record(),
        "inputs": inputs,
        "files": msgspec.to_builtins(run.files),
        "steps": [count.as_record() for count in counts],
        "seconds": {**console.seconds, "total": round(time.perf_counter() - start, 3)},
        "peak_memory_bytes": peak_memory_bytes(options.workers),
    }
    write_page(options.out, record)
    write_json_atomic(options.out / PREPARE_JSON, record)
    work.clear()
    return record


def _take_folder(options: PrepareOptions, text_set: TextSet) -> list[dict[str, Any]]:
    """Check that the folder is new, or of a run on the same text with the same options; what is not finished may be
    taken over."""
    files = [*text_set.files, *(file for step in options.steps for file in _files_of(step))]
    has_run = check_own_folder(options.out, OPTIONS_JSON)
    inputs = [{**asdict(file), "url": printable(file.url), "fingerprint": fingerprint(file)} for file in files]
    identity = digest([options.identity(), [[entry["url"], entry["fingerprint"]] for entry in inputs]])
    record = {"format_version": FORMAT_VERSION, "identity": identity, "options": options.as_record(), "inputs": inputs}
    path = options.out / OPTIONS_JSON
    if has_run:
        earlier = read_json(path, next_step="Choose another folder with --out.")
        if earlier.get("identity") != identity:
            if (options.out / PREPARE_JSON).exists():
                raise RunDirectoryError(
                    f"{options.out}: holds text prepared from other files or with other options. Choose another folder "
                    "with --out, or remove this one."
                )
            Work(options.out, options.output).discard()
    write_json_atomic(path, record)
    return inputs


def _files_of(step: Step) -> list[TextFile]:
    """What a step is made of: its reference, model or benchmarks."""
    try:
        paths = step.inputs if isinstance(step, NeedsPreparing) else ()
        return [file for path in paths for file in named_set("step", path, "eval").files]
    except CorpusError as error:
        raise CorpusError(f"[{step.name}] {error}") from error


class _Run:
    """The passes of one run. files: a report per file, once the first pass is whole."""

    def __init__(self, options: PrepareOptions, work: Work, text_set: TextSet, console: Console) -> None:
        self.options, self.work, self.text_set, self.console = options, work, text_set, console
        self.sources = tuple(printable(file.url) for file in text_set.files)
        self.files: list[FileReport] = []

    def all_passes(self) -> list[StepCount]:
        """Run every pass that is not whole yet; returns the counts of all steps, in order."""
        counts: list[StepCount] = []
        decided = None
        facts: dict[str, Any] = {}
        chosen = tuple(self._prepared(step) for step in self.options.steps)
        with pool(self.options, self.work) as submit:
            for number, (steps, corpus_step) in enumerate(segments(chosen)):
                plan = Pass(number=number, steps=steps, corpus_step=corpus_step, decided=decided, sources=self.sources)
                n_shards = self._pass(plan, submit)
                own = self._counts(number, n_shards)
                if decided is not None:
                    own[0].facts.update(facts)
                self._check_left(own)
                counts += own
                if corpus_step is not None:
                    if self.work.n_shards_done(number) is None:
                        with self.console.step(corpus_step.name):
                            found = decide(corpus_step, self.work, number, n_shards)
                        self.work.mark_done(number, n_shards, found)
                    facts = self.work.facts(number)
                decided = corpus_step
        return counts

    def _prepared(self, step: Step) -> Step:
        if not isinstance(step, NeedsPreparing):
            return step
        with self.console.step(f"prepare {step.name}"):
            return step.prepare(self.options.out / WORK)

    def _pass(self, plan: Pass, submit: Submit) -> int:
        """Every shard that is not done yet; returns how many there are."""
        names = [*([plan.decided.name] if plan.decided else []), *(step.name for step in plan.steps)]
        title = "read" if plan.number == 0 else "write" if plan.corpus_step is None else "pass"
        title = f"{title} {plan.number + 1} ({', '.join(names)})" if names else title
        if plan.number == 0:
            return self._first_pass(plan, submit, title)
        n_shards = self.work.n_shards_done(plan.number - 1)
        assert n_shards is not None, "the pass before is whole"
        missing = [shard for shard in range(n_shards) if not self.work.is_done(plan.number, shard)]
        with self.console.step(title, len(missing), "shards") as advance:
            for n_done, _ in enumerate(submit(plan, ((shard, None) for shard in missing)), 1):
                advance(n_done)
        return n_shards

    def _first_pass(self, plan: Pass, submit: Submit, title: str) -> int:
        done_before = self.work.n_shards_done(0)
        files_json = self.options.out / WORK / "files.json"
        if done_before is not None or files_json.exists():
            stored = self.work.record(files_json, FilesRead)
            self.files = stored.files
            if all(self.work.is_done(0, shard) for shard in range(stored.n_shards)):
                return stored.n_shards
        reader = Reader(self.text_set, self.options)
        n_shards = 0

        def shards() -> Iterator[tuple[int, Shard | None]]:
            nonlocal n_shards
            for shard in reader.shards(advance):
                n_shards = shard.number + 1
                if not self.work.is_done(0, shard.number):
                    yield shard.number, shard

        with self.console.step(title, n_stored_bytes([self.text_set]), "bytes") as advance:
            for _ in submit(plan, shards()):
                pass
        for report in reader.reports:
            if report.error is not None:
                self.console.note(
                    f"Left out from there on: {report.error} ({report.n_documents:,} documents of it are used)."
                )
        if not any(report.n_documents for report in reader.reports):
            raise CorpusError(f"{', '.join(self.options.paths)}: no document could be read from it.")
        self.files = reader.reports
        write_json_atomic(files_json, msgspec.to_builtins(FilesRead(n_shards=n_shards, files=reader.reports)))
        return n_shards

    def _counts(self, number: int, n_shards: int) -> list[StepCount]:
        """The counts of a pass's steps, over all shards."""
        shards = (self.work.record(self.work.path(number, shard, ".json"), ShardCounts) for shard in range(n_shards))
        return [add_up(counts) for counts in zip(*(shard.counts for shard in shards), strict=True)]

    def _check_left(self, counts: list[StepCount]) -> None:
        for count in counts:
            if count.n_documents_in and not count.n_documents_out:
                example = next((f" ({e.why})" for e in count.taken if e.why), "")
                raise CorpusError(
                    f"{count.step}: took all {count.n_documents_in:,} documents{example}, and nothing is left. Change "
                    f"its limits in the configuration, or leave the step out."
                )

"""The sweep: corpus -> counts -> growth curve -> complexity -> choice -> report, each step leaving its file."""

import hashlib
import resource
import shlex
import sys
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from vocabopt.choice.choose import decided
from vocabopt.choice.complexity import grid, parse_sizes, points, size_curve, table_of_base
from vocabopt.choice.options import ChoiceOptions
from vocabopt.console import Console
from vocabopt.errors import CorpusError, first_of
from vocabopt.folder import write_parquet_atomic
from vocabopt.growth.counts import ChunkCounts, SetStats, char_counts, count_chunks, guard_of
from vocabopt.growth.grow import Growth, GrowthOptions, grow, protected_chunks, warm_up
from vocabopt.growth.proof import prove_base
from vocabopt.growth.proof_sample import ProofSample, Sample, read_proof_sample, save_proof_sample
from vocabopt.growth.symbols import Segmentation, segment
from vocabopt.options import SweepOptions
from vocabopt.preparation.record import PrepareRecord
from vocabopt.records import (
    BaseRecord,
    RunRecord,
    SweepRecord,
    Swept,
    TextSet,
    UnionRecord,
    read_optional,
    write_record,
)
from vocabopt.run_directory import RUN_JSON, SWEEP_JSON, read_counts, read_union, save_counts, take_run_directory
from vocabopt.text.corpus import TextSet as Files
from vocabopt.text.corpus import find_text_sets, n_stored_bytes
from vocabopt.text.documents import Samples, documents_of_sets, read_samples, texts_of
from vocabopt.text.finding import CLEAN, PREPARE_JSON
from vocabopt.text.scripts import parse_scripts
from vocabopt.text.sets import HELDOUT, TRAIN
from vocabopt.tokenizer import Tokenizer, load_base
from vocabopt.tokenizer.chunks import refine
from vocabopt.union.run import Measure, check_vocabulary, run_union
from vocabopt.versions import versions
from vocabopt.wording import guard_sentences, limit_sentence


@dataclass(frozen=True, kw_only=True)
class SweepResult:
    """What a sweep gave: sweep.json, the curve (curve.parquet), and union.json where the union was measured."""

    record: SweepRecord
    curve: pl.DataFrame
    union: UnionRecord | None


def run_sweep(options: SweepOptions, console: Console) -> SweepResult:
    """Run a sweep and write its run directory.

    Raises:
        VocaboptError: any of its kinds; the message names the value, the place and the next step.
    """
    started_at, start = datetime.now(UTC), time.perf_counter()
    sizes, scripts = parse_sizes(options.sizes), parse_scripts(options.scripts)
    # A size that is asked for is grown, also beyond --max-added; with the union it is that of the other vocabulary.
    given, options = options, replace(options, max_added=max((options.max_added, *(sizes or ()))))
    out, read = options.out, options.read_options()
    base = load_base(options.base, pattern=options.pattern, specials=options.specials)
    if options.vocab is not None:
        check_vocabulary(base, Path(options.vocab), options.scores)
    table = table_of_base(base, options.model)
    text_sets = find_text_sets(
        options.paths, target=options.target, evals=options.evals, protects=options.protects, options=read
    )
    run = take_run_directory(options, base, text_sets)
    protected = {text_set.name: text_set for text_set in text_sets if text_set.role == "protected"}
    with ThreadPoolExecutor(1, thread_name_prefix="background") as background:
        warming = background.submit(_prepare_growth, base)
        counts, sample, reused = _count(run, base, text_sets, options, console)
        weights = counts.weights()
        with console.step("prove"):
            # Before the long work: a base whose documents are not what their chunks say is refused at once.
            proof = prove_base(base, sample, cross_spaces=options.cross_spaces, tell=console.note)
        guard = guard_of(scripts, char_counts(counts, weights[:, 0]), [*protected], options.min_script_share)
        for sentence in guard_sentences(guard):
            console.note(sentence)
        warming.result()
        growing = _encode(base, counts, weights, [*protected], guard.scripts, console)
        segmentation = growing[1]
        growth_options = GrowthOptions(
            scripts=guard.scripts,
            max_added=options.max_added,
            min_saving=options.min_saving,
            cross_spaces=options.cross_spaces,
        )
        with console.step("grow", options.max_added, "tokens") as advance:
            # Growing takes one core; another has time for what is needed later.
            later: list[Future[Any]] = []
            if not reused:
                later.append(background.submit(save_counts, out, counts, weights, run.inputs_sha256))
            later.append(background.submit(import_module, "vocabopt.report.page"))
            growth = grow(base, *growing, growth_options, advance)
            for job in later:
                job.result()
    with console.step("write"):
        write_parquet_atomic(out / "curve.parquet", growth.curve)
        write_parquet_atomic(out / "folds.parquet", growth.folds)
    sets = {name: TextSet(**stats) for name, stats in growth.set_records(counts.sets).items()}
    n_tokens = size_curve(growth.curve, sets, growth.exhausted_at).n_tokens
    swept = Swept(
        method=options.method,
        base=BaseRecord(**base.as_record(), n_rows=table.base_n_rows),
        model=table.model,
        scripts=guard.scripts,
        guard=guard,
        sets=sets,
        points=points(grid(sizes, growth.exhausted_at, options.max_added), n_tokens, table),
        max_added=options.max_added,
        exhausted_at=growth.exhausted_at,
        n_blocked=growth.n_blocked,
        options=given,
        curve_sha256=hashlib.sha256((out / "curve.parquet").read_bytes()).hexdigest(),
        proof=proof,
    )
    sweep, union = _choose(swept, growth, out)
    if options.method == "union":
        measure = Measure(
            base=base,
            counts=counts,
            weights=weights,
            base_tokens=segmentation.base_tokens(counts.sets),
            scripts=guard.scripts,
            table=table,
            protected={name: partial(texts_of, text_set, read) for name, text_set in protected.items()},
        )
        run_union(measure, out, sizes=sizes, vocab=options.vocab, scores=options.scores, console=console)
        # The same size on the axis of the vocabulary just measured.
        sweep, union = _choose(swept, growth, out)

    def finished() -> RunRecord:
        """run.json with what the run cost until now."""
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return msgspec.structs.replace(
            run,
            command=shlex.join(["vocabopt", *sys.argv[1:]]),
            started_at=started_at.isoformat(timespec="seconds"),
            versions=versions(),
            encoder=segmentation.encoder,
            seconds={**console.seconds, "total": round(time.perf_counter() - start, 3)},
            peak_memory_bytes=peak * (1 if sys.platform == "darwin" else 1024),
            counts_reused=reused,
            options=given,
        )

    # Drawing takes half a second to import; no other command should wait for it.
    from vocabopt.report.page import write_report
    from vocabopt.report.view import View

    with console.step("report"):
        samples, prepare = read_samples(out), _preparation_of(file.url for file in text_sets[0].files)
        if prepare is not None:
            write_record(out / PREPARE_JSON, prepare)
        view = View(sweep, growth.curve, finished(), union, samples=samples, base=base, prepare=prepare)
        write_report(out, view)
    write_record(out / RUN_JSON, finished())
    return SweepResult(record=sweep, curve=growth.curve, union=union if options.method == "union" else None)


def _preparation_of(urls: Iterable[str]) -> PrepareRecord | None:
    """How the text in these files was prepared; None where it was not, or not all together.

    Raises:
        RunDirectoryError: the record is broken.
    """
    folders = {Path(url).parent for url in urls if "://" not in url}
    if len(folders) != 1 or (folder := folders.pop()).name != CLEAN:
        return None
    return read_optional(folder.parent / PREPARE_JSON, PrepareRecord, next_step="Run `vocabopt prepare` again.")


def _prepare_growth(base: Tokenizer) -> None:
    """What the steps after the counting need and do not need the counts for."""
    warm_up()
    _ = base.chunk_tokenizer, base.fast_chunk_tokenizer


def _count(
    run: RunRecord, base: Tokenizer, text_sets: tuple[Files, ...], options: SweepOptions, console: Console
) -> tuple[ChunkCounts, Sample, bool]:
    """Counts of unique chunks, the documents to prove them on, and whether both are those of an earlier run on the
    same inputs."""
    earlier = read_proof_sample(options.out, run.inputs_sha256)
    reused = None if earlier is None else read_counts(options.out, run.inputs_sha256)
    if reused is not None and earlier is not None:
        return reused, earlier, True
    train, *others = text_sets
    sets = {TRAIN: SetStats("train"), HELDOUT: SetStats("heldout")}
    sets |= {text_set.name: SetStats(text_set.role) for text_set in others}
    samples, proof_sample = Samples(list(sets)), ProofSample(options.seed)
    with console.step("count", n_stored_bytes(text_sets), "bytes") as advance:
        counts = count_chunks(
            documents_of_sets(text_sets, options.read_options()),
            sets,
            base,
            heldout_share=options.heldout,
            seed=options.seed,
            advance=advance,
            samples=samples,
            proof_sample=proof_sample,
            cross_spaces=options.cross_spaces,
        )
    if not counts.sets[TRAIN].n_documents:
        raise CorpusError(_no_text(counts.sets, train))
    samples.save(options.out)
    sample = proof_sample.sample()
    save_proof_sample(options.out, sample, run.inputs_sha256)
    return counts, sample, False


def _no_text(sets: Mapping[str, SetStats], train: Files) -> str:
    stats = sets[TRAIN]
    files = first_of([file.url for file in train.files])
    if sets[HELDOUT].n_documents:
        return (
            f"{files}: all {sets[HELDOUT].n_documents:,} documents were held out, none is left to learn from. "
            "Lower --heldout, or give more text."
        )
    if stats.n_skipped:
        return f"{files}: all {stats.n_skipped:,} documents were unreadable and skipped; nothing to learn from."
    if not stats.n_blank:
        how_many = "is empty" if len(train.files) == 1 else "are empty"
        return f"{files}: {how_many}; nothing to learn from. Name files that hold text."
    return f"{files}: only blank lines ({stats.n_blank:,}); nothing to learn from. Name files that hold text."


def _encode(
    base: Tokenizer,
    counts: ChunkCounts,
    weights: NDArray[np.int64],
    protected_sets: list[str],
    scripts: tuple[str, ...],
    console: Console,
) -> tuple[ChunkCounts, Segmentation, NDArray[np.int64], NDArray[np.bool_]]:
    """What the growth pass works on, as `grow` takes it: units that merges never leave, and which are protected."""
    if base.family == "byte-level-bpe":
        with console.step("split", counts.n_chunks, "chunks") as advance:
            counts = refine(base, counts, advance)
            weights = counts.weights()
    places = {name: list(counts.sets).index(name) for name in protected_sets}
    with console.step("encode"):
        segmentation = segment(base, counts, weights)
        cut = base if base.cuts_bytes else None
        protected = protected_chunks(counts, weights, [*places.values()], scripts, cut)
    if scripts:
        held = {name: (int(weights[~protected, i].sum()), int(weights[:, i].sum())) for name, i in places.items()}
        if (limit := limit_sentence(scripts, held)) is not None:
            console.note(limit)
    return counts, segmentation, weights, protected


def _choose(swept: Swept, growth: Growth, out: Path) -> tuple[SweepRecord, UnionRecord | None]:
    """Write sweep.json with the choice; a union measured in this folder before gives the paper's axis."""
    union = read_union(out, swept.scripts, swept.base.n_rows)
    sweep = decided(swept, growth.curve, growth.folds, ChoiceOptions(seed=swept.options.seed), union)
    write_record(out / SWEEP_JSON, sweep)
    return sweep, union

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

from vocabopt.amounts import shown_bytes
from vocabopt.choice.choose import decided
from vocabopt.choice.complexity import grid, parse_sizes, points, size_curve, table_of_base
from vocabopt.choice.options import ChoiceOptions
from vocabopt.console import Console
from vocabopt.errors import CorpusError, OptionError, first_of
from vocabopt.folder import write_parquet_atomic
from vocabopt.growth.counter import Counting
from vocabopt.growth.counts import ChunkCounts, SetStats, char_counts, count_chunks, guard_of
from vocabopt.growth.curve import Curve
from vocabopt.growth.grow import Growth, GrowthOptions, grow, protected_chunks, warm_up
from vocabopt.growth.proof import prove_base
from vocabopt.growth.proof_sample import ProofSample, Sample, read_proof_sample, save_proof_sample
from vocabopt.growth.share import LearnedShare, TooMuchTextError, counter_bytes, too_little_memory
from vocabopt.growth.symbols import Segmentation, segment
from vocabopt.growth.whole_text import check_same_text, count_whole_text
from vocabopt.options import SweepOptions
from vocabopt.preparation.record import PrepareRecord
from vocabopt.records import (
    BaseRecord,
    DocumentProof,
    Guard,
    RunRecord,
    SweepRecord,
    Swept,
    TextSet,
    UnionRecord,
    read_optional,
    write_record,
)
from vocabopt.run_directory import (
    LEARNED_PARQUET,
    RUN_JSON,
    SWEEP_JSON,
    read_counts,
    read_union,
    save_counts,
    take_run_directory,
)
from vocabopt.swap.freeing import Freed
from vocabopt.swap.record import SwapRecord, read_swap
from vocabopt.swap.run import Counts, check_swap, freed_rows, n_asked, run_swap
from vocabopt.text.corpus import TextSet as Files
from vocabopt.text.corpus import find_text_sets, n_stored_bytes
from vocabopt.text.documents import Samples, documents_of_sets, read_samples, texts_of
from vocabopt.text.finding import CLEAN, PREPARE_JSON
from vocabopt.text.scripts import parse_scripts
from vocabopt.text.sets import HELDOUT, TRAIN
from vocabopt.text.shards import shards_of
from vocabopt.tokenizer import Tokenizer, load_base
from vocabopt.tokenizer.chunks import refine
from vocabopt.union.run import Measure, check_vocabulary, run_union
from vocabopt.versions import versions
from vocabopt.wording import guard_sentences, limit_sentence, share_sentence


@dataclass(frozen=True, kw_only=True)
class SweepResult:
    """What a sweep gave: sweep.json, the curve (curve.parquet), and union.json or swap.json where that was measured."""

    record: SweepRecord
    curve: pl.DataFrame
    union: UnionRecord | None
    swap: SwapRecord | None


def run_sweep(options: SweepOptions, console: Console) -> SweepResult:
    """Run a sweep and write its run directory.

    Raises:
        VocaboptError: any of its kinds; the message names the value, the place and the next step.
    """
    started_at, start = datetime.now(UTC), time.perf_counter()
    sizes, scripts = parse_sizes(options.sizes), parse_scripts(options.scripts)
    # A size that is asked for is grown, also beyond --max-added; with the union it is that of the other vocabulary.
    n_rows = n_asked(options, sizes) if options.method == "swap" else 0
    given, options = options, replace(options, max_added=max((options.max_added, n_rows, *(sizes or ()))))
    out, read = options.out, options.read_options()
    base = load_base(options.base, pattern=options.pattern, specials=options.specials)
    if options.vocab is not None:
        check_vocabulary(base, Path(options.vocab), options.scores)
    table = table_of_base(base, options.model)
    text_sets = find_text_sets(
        options.paths,
        target=options.target,
        evals=options.evals,
        protects=options.protects,
        keeps=options.keeps,
        options=read,
    )
    if options.method == "swap":
        check_swap(base, options, text_sets)
    run = take_run_directory(options, base, text_sets)
    learned = _learn(run, base, text_sets, scripts, options, console)
    growth, guard = learned.growth, learned.guard
    curve, stats = _count_the_rest(run, base, text_sets, learned, options, console)
    swapping: tuple[Counts, Freed] | None = None
    if options.method == "swap":
        assert learned.counts is not None, "a swap is of all text"
        assert learned.units is not None, "and of what merges never leave"
        counts = Counts.of(base, learned.counts, learned.units, curve.n_tokens_base)
        swapping = counts, freed_rows(base, counts, curve, options, sizes, console)
    with console.step("write"):
        write_parquet_atomic(out / "curve.parquet", curve.curve)
        write_parquet_atomic(out / "folds.parquet", curve.folds)
    sets = {name: TextSet(**record) for name, record in curve.set_records(stats).items()}
    n_tokens = size_curve(curve.curve, sets, growth.exhausted_at).n_tokens
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
        proof=learned.proof,
        learned=learned.share.record(growth.n_tokens_base),
    )
    sweep, union = _choose(swept, curve, out)
    if options.method == "union":
        assert learned.counts is not None, "the union is of all text"
        measure = Measure(
            base=base,
            counts=learned.counts,
            weights=learned.counts.weights(),
            base_tokens=curve.n_tokens_base,
            scripts=guard.scripts,
            table=table,
            protected={
                text_set.name: partial(texts_of, text_set, read)
                for text_set in text_sets
                if text_set.role == "protected"
            },
        )
        run_union(measure, out, sizes=sizes, vocab=options.vocab, scores=options.scores, console=console)
        # The same size on the axis of the vocabulary just measured.
        sweep, union = _choose(swept, curve, out)
    if swapping is None:
        # As a union, one that was measured in this folder before is shown as well.
        swap = read_swap(out, sweep.curve_sha256)
    else:
        swap = run_swap(base, *swapping, sweep, curve.curve, sizes, out, console)

    def finished() -> RunRecord:
        """run.json with what the run cost until now."""
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return msgspec.structs.replace(
            run,
            command=shlex.join(["vocabopt", *sys.argv[1:]]),
            started_at=started_at.isoformat(timespec="seconds"),
            versions=versions(),
            encoder=learned.encoder,
            seconds={**console.seconds, "total": round(time.perf_counter() - start, 3)},
            peak_memory_bytes=peak * (1 if sys.platform == "darwin" else 1024),
            counts_reused=learned.is_reused,
            options=given,
        )

    # Drawing takes half a second to import; no other command should wait for it.
    from vocabopt.report.page import write_report
    from vocabopt.report.view import View

    with console.step("report"):
        samples, prepare = read_samples(out), _preparation_of(file.url for file in text_sets[0].files)
        if prepare is not None:
            write_record(out / PREPARE_JSON, prepare)
        view = View(sweep, curve.curve, finished(), union, swap=swap, samples=samples, base=base, prepare=prepare)
        write_report(out, view)
    write_record(out / RUN_JSON, finished())
    measured = union if options.method == "union" else None
    return SweepResult(record=sweep, curve=curve.curve, union=measured, swap=None if swapping is None else swap)


def _preparation_of(urls: Iterable[str]) -> PrepareRecord | None:
    """How the text in these files was prepared; None where it was not, or not all together.

    Raises:
        RunDirectoryError: the record is broken.
    """
    folders = {Path(url).parent for url in urls if "://" not in url}
    if len(folders) != 1 or (folder := folders.pop()).name != CLEAN:
        return None
    return read_optional(folder.parent / PREPARE_JSON, PrepareRecord, next_step="Run `vocabopt prepare` again.")


# --- Learning ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Learned:
    """What was learned, and from what. sets: what the sets hold, all text. counts: unique chunks, where all text was
    learned from; others are not needed any more, and would take the memory that counting needs. units: where rows are
    swapped, what merges never leave.

    encoder: which library encoded. is_reused: the counts are those of an earlier run.
    """

    growth: Growth
    guard: Guard
    proof: DocumentProof
    sets: dict[str, SetStats]
    counts: ChunkCounts | None
    units: ChunkCounts | None
    share: LearnedShare
    encoder: str
    is_reused: bool


def _learn(
    run: RunRecord,
    base: Tokenizer,
    text_sets: tuple[Files, ...],
    scripts: tuple[str, ...] | None,
    options: SweepOptions,
    console: Console,
) -> _Learned:
    """Count the text, or the share of it that fits into memory, and grow the base on it."""
    protected = [one.name for one in text_sets if one.role == "protected"]
    with ThreadPoolExecutor(1, thread_name_prefix="background") as background:
        warming = background.submit(_prepare_growth, base)
        counted = _count(run, base, text_sets, options, console, all_protected=scripts == ())
        counts, weights = counted.counts, counted.counts.weights()
        with console.step("prove"):
            # Before the long work: a base whose documents are not what their chunks say is refused at once.
            proof = prove_base(base, counted.sample, cross_spaces=options.cross_spaces, tell=console.note)
        guard = guard_of(scripts, char_counts(counts, weights[:, 0]), protected, options.min_script_share)
        if protected and not guard.scripts and not counted.share.has_protected:
            # Only now is it known that no script guards the protected text: all of it must be there.
            counted = _count(run, base, text_sets, options, console, all_protected=True)
            counts, weights = counted.counts, counted.counts.weights()
        for sentence in guard_sentences(guard):
            console.note(sentence)
        if not counted.share.is_all:
            console.note(share_sentence(counted.share.record({}), counts.sets[TRAIN].n_documents))
        warming.result()
        growing = _encode(base, counts, weights, protected, guard.scripts, console)
        growth_options = GrowthOptions(
            scripts=guard.scripts,
            max_added=options.max_added,
            min_saving=options.min_saving,
            cross_spaces=options.cross_spaces,
        )
        with console.step("grow", options.max_added, "tokens") as advance:
            # Growing takes one core; another has time for what is needed later.
            later: list[Future[Any]] = []
            if not counted.is_reused:
                learned = counted.share.record(growing[1].base_tokens(counts.sets))
                inputs = run.inputs_sha256
                later.append(background.submit(save_counts, options.out, counts, weights, learned, inputs))
            later.append(background.submit(import_module, "vocabopt.report.page"))
            growth = grow(base, *growing, growth_options, advance)
            for job in later:
                job.result()
    return _Learned(
        growth=growth,
        guard=guard,
        proof=proof,
        sets=counts.sets,
        counts=counts if counted.share.is_all else None,
        units=growing[0] if options.method == "swap" else None,
        share=counted.share,
        encoder=growing[1].encoder,
        is_reused=counted.is_reused,
    )


def _prepare_growth(base: Tokenizer) -> None:
    """What the steps after the counting need and do not need the counts for."""
    warm_up()
    _ = base.chunk_tokenizer, base.fast_chunk_tokenizer


@dataclass(frozen=True, kw_only=True)
class _Counted:
    """Unique chunks of the documents in a share, and the documents to prove them on.

    is_reused: all are those of an earlier run on the same inputs.
    """

    counts: ChunkCounts
    sample: Sample
    share: LearnedShare
    is_reused: bool


def _count(
    run: RunRecord,
    base: Tokenizer,
    text_sets: tuple[Files, ...],
    options: SweepOptions,
    console: Console,
    *,
    all_protected: bool,
) -> _Counted:
    """Count what fits into memory.

    Args:
        all_protected: the documents of protected sets are counted in any case.

    Raises:
        CorpusError: there is nothing to learn from, or the share that is asked for does not fit.
    """
    train, *others = text_sets
    memory = options.memory_bytes
    roles = {TRAIN: "train", HELDOUT: "heldout", **{text_set.name: text_set.role for text_set in others}}
    is_protected = np.array([role == "protected" for role in roles.values()])
    share = LearnedShare(
        memory_bytes=memory,
        family=base.family,
        is_always=is_protected & all_protected,
    )
    earlier = read_proof_sample(options.out, run.inputs_sha256)
    reused = None if earlier is None else read_counts(options.out, run.inputs_sha256)
    if reused is not None and earlier is not None:
        counts, learned = reused
        of_earlier = share.of_record(learned, is_protected)
        if of_earlier.has_protected or not all_protected:
            if options.method != "grow" and not of_earlier.is_all:
                raise OptionError(
                    f"--method {options.method}: an earlier run in {options.out} counted a part of the text alone, and "
                    f"the {options.method} is measured on all of it. Sweep into another folder."
                )
            if not of_earlier.is_all:
                console.note(
                    "Tokens are learned from the documents that an earlier run in this folder chose, whatever --memory "
                    "says now. To choose anew sweep into another folder."
                )
            return _Counted(counts=counts, sample=earlier, share=of_earlier, is_reused=True)
    n_bytes = n_stored_bytes(text_sets)
    share = share.begin_with(n_bytes) if options.learn_from is None else share.fixed(options.learn_from)
    while True:
        sets = {name: SetStats(role) for name, role in roles.items()}
        samples, proof_sample = Samples(list(sets)), ProofSample(options.seed)
        try:
            with console.step("count", n_bytes, "bytes") as advance:
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
                    share=share,
                    n_threads=options.n_workers,
                )
            if options.method != "grow" and not share.is_all:
                raise OptionError(
                    f"--method {options.method}: the text needs more than {shown_bytes(memory)} of memory, and the "
                    f"{options.method} is measured on all of it at once. Raise --memory, or give less text."
                )
            break
        except TooMuchTextError:
            share = _smaller(share, options)
    if not counts.sets[TRAIN].n_documents:
        raise CorpusError(_no_text(counts.sets, train))
    if not counts.n_chunks:
        raise CorpusError(
            f"--learn-from {options.learn_from}: none of {counts.sets[TRAIN].n_documents:,} documents is in this share "
            "of the text. Name a larger one."
        )
    samples.save(options.out)
    sample = proof_sample.sample()
    save_proof_sample(options.out, sample, run.inputs_sha256)
    return _Counted(counts=counts, sample=sample, share=share, is_reused=False)


def _smaller(share: LearnedShare, options: SweepOptions) -> LearnedShare:
    """The next smaller share. Raises OptionError where there is none."""
    memory = shown_bytes(share.memory_bytes)
    if share.is_fixed:
        raise OptionError(
            f"--learn-from {options.learn_from}: this share of the text needs more than {memory} of memory. Name a "
            "smaller one, leave it out, or raise --memory."
        )
    if share.n_below == 1:
        raise OptionError(too_little_memory(share.memory_bytes))
    return share.halved()


# --- Counting what was not learned from -------------------------------------------------------------------------------


def _count_the_rest(
    run: RunRecord,
    base: Tokenizer,
    text_sets: tuple[Files, ...],
    learned: _Learned,
    options: SweepOptions,
    console: Console,
) -> tuple[Curve, dict[str, SetStats]]:
    """The curve of all text, and what its sets hold: what the pass gave, where it learned from all of it."""
    growth, stats = learned.growth, learned.sets
    if learned.share.is_all:
        return growth, stats
    write_parquet_atomic(options.out / LEARNED_PARQUET, growth.curve)
    read = options.read_options()
    counting = Counting(
        base=options.base,
        pattern=options.pattern,
        specials=options.specials,
        base_sha256=base.sha256,
        merges=growth.merges,
        encoder=learned.encoder,
        sets={name: one.role for name, one in stats.items()},
        heldout=options.heldout,
        seed=options.seed,
        cross_spaces=options.cross_spaces,
        read=read,
        memory_bytes=counter_bytes(learned.share.memory_bytes, options.n_workers),
        inputs_sha256=run.inputs_sha256,
    )
    shards = shards_of(text_sets, read, shard_bytes=options.shard)
    uses, counted = count_whole_text(counting, shards, options, options.out, console)
    check_same_text(stats, counted)
    return Curve.of(base, growth.merges, uses, counted), counted


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


def _choose(swept: Swept, curve: Curve, out: Path) -> tuple[SweepRecord, UnionRecord | None]:
    """Write sweep.json with the choice; a union measured in this folder before gives the paper's axis."""
    union = read_union(out, swept.scripts, swept.base.n_rows)
    sweep = decided(swept, curve.curve, curve.folds, ChoiceOptions(seed=swept.options.seed), union)
    write_record(out / SWEEP_JSON, sweep)
    return sweep, union

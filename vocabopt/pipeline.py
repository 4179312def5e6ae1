"""The sweep: corpus -> counts -> growth curve -> complexity -> choice -> report, each step leaving its file."""

import hashlib
import resource
import shlex
import sys
import time
from collections.abc import Iterable
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
from vocabopt.growth.balance import Balance
from vocabopt.growth.counter import Counting
from vocabopt.growth.counts import ChunkCounts, SetStats, count_chunks
from vocabopt.growth.curve import Curve, Merges
from vocabopt.growth.grow import Growth, GrowthOptions, grow, protected_chunks, warm_up
from vocabopt.growth.proof import prove_base
from vocabopt.growth.proof_sample import ProofSample, Sample, read_proof_sample, save_proof_sample
from vocabopt.growth.share import LearnedShare, TooMuchTextError, counter_bytes, too_little_memory
from vocabopt.growth.symbols import Segmentation, segment
from vocabopt.growth.terms import TERMS_JSON, read_terms, terms_record
from vocabopt.growth.whole_text import BASE_USES_NPZ, check_same_text, count_whole_text
from vocabopt.growth.widened import Widening, beginning_at, curve_as_it_is, widening_of
from vocabopt.options import SweepOptions
from vocabopt.preparation.record import PrepareRecord
from vocabopt.records import (
    BaseRecord,
    DocumentProof,
    Guard,
    RunRecord,
    SweepRecord,
    Swept,
    Targets,
    TermsRecord,
    TextSet,
    UnionRecord,
    Widened,
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
from vocabopt.targets import balance_of, check_targets, guard_of_targets, targets_of, with_spread, with_sums
from vocabopt.text.corpus import TextSet as Files
from vocabopt.text.corpus import counted_sets, find_text_sets, n_stored_bytes
from vocabopt.text.documents import Samples, documents_of_sets, read_samples, texts_of
from vocabopt.text.finding import CLEAN, PREPARE_JSON
from vocabopt.text.scripts import parse_scripts
from vocabopt.text.shards import shards_of
from vocabopt.tokenizer import Tokenizer, load_base
from vocabopt.tokenizer.chunks import refine
from vocabopt.union.run import Measure, check_vocabulary, run_union
from vocabopt.versions import versions
from vocabopt.wording import guard_sentences, limit_sentence, share_sentence


@dataclass(frozen=True, kw_only=True)
class SweepResult:
    """What a sweep gave: sweep.json, the curve (curve.parquet), union.json or swap.json where that was measured, and
    terms.json where terms were given."""

    record: SweepRecord
    curve: pl.DataFrame
    union: UnionRecord | None
    swap: SwapRecord | None
    terms: TermsRecord | None = None


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
    wanted = () if options.terms is None else read_terms(Path(options.terms), base)
    text_sets = find_text_sets(
        options.paths,
        target=options.target,
        texts=options.texts,
        evals=options.evals,
        protects=options.protects,
        keeps=options.keeps,
        aligned=options.aligned,
        options=read,
    )
    targets = targets_of(options, text_sets)
    if options.method == "swap":
        check_swap(base, options, text_sets)
    run = take_run_directory(options, base, text_sets)
    learned = _learn(run, base, text_sets, targets, scripts, options, console)
    growth, guard = learned.growth, learned.guard
    curve, stats, widened = _count_the_rest(run, base, text_sets, learned, options, console)
    sets = {name: TextSet(**record) for name, record in curve.set_records(stats).items()}
    curve = replace(curve, curve=with_spread(curve.curve, sets, learned.targets))
    swapping: tuple[Counts, Freed] | None = None
    if options.method == "swap":
        assert learned.counts is not None, "a swap is of all text"
        assert learned.units is not None, "and of what merges never leave"
        counts = Counts.of(base, learned.counts, learned.units, curve.n_tokens_base)
        swapping = counts, freed_rows(base, counts, curve, options, sizes, console)
    with console.step("write"):
        write_parquet_atomic(out / "curve.parquet", curve.curve)
        write_parquet_atomic(out / "folds.parquet", curve.folds)
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
        widened=widened,
        targets=learned.targets,
    )
    sweep, union = _choose(swept, curve, out)
    terms = None
    if wanted:
        grown = base if learned.widening is None else learned.widening.base
        of_grid = [point.n_added for point in sweep.points_shown]
        sha256, cross_spaces = swept.curve_sha256, options.cross_spaces
        terms = terms_record(wanted, base, grown, growth.merges, of_grid, sha256, cross_spaces=cross_spaces)
        write_record(out / TERMS_JSON, terms)
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
    swap = None if swapping is None else run_swap(base, *swapping, sweep, curve.curve, sizes, out, console)

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
        of_targets = (file.url for text_set in text_sets if text_set.role == "train" for file in text_set.files)
        samples, prepare = read_samples(out), _preparation_of(of_targets)
        if prepare is not None:
            write_record(out / PREPARE_JSON, prepare)
        # As a union, a swap that was measured in this folder before is shown as well.
        shown = swap or read_swap(out, sweep.curve_sha256)
        view = View(
            sweep, curve.curve, finished(), union, swap=shown, samples=samples, base=base, prepare=prepare, terms=terms
        )
        write_report(out, view)
    write_record(out / RUN_JSON, finished())
    measured = union if options.method == "union" else None
    return SweepResult(record=sweep, curve=curve.curve, union=measured, swap=swap, terms=terms)


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

    encoder: which library encoded. is_reused: the counts are those of an earlier run. widening: of the base's pattern;
    widened: what it gives, and growth then begins at the base as it is.
    """

    widening: Widening | None
    widened: Widened | None
    growth: Growth
    guard: Guard
    targets: Targets | None
    balance: Balance
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
    targets: Targets | None,
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
        guard, targets = guard_of_targets(scripts, counts, weights, targets, protected, options.min_script_share)
        if protected and not guard.scripts and not counted.share.has_protected:
            # Only now is it known that no script guards the protected text: all of it must be there.
            counted = _count(run, base, text_sets, options, console, all_protected=True)
            counts, weights = counted.counts, counted.counts.weights()
        for sentence in guard_sentences(guard):
            console.note(sentence)
        if not counted.share.is_all:
            n_documents = sum(stats.n_documents for stats in counts.sets.values() if stats.role == "train")
            console.note(share_sentence(counted.share.record({}), n_documents))
        balance = balance_of(targets, list(counts.sets))
        check_targets(targets, counts.sets, balance, is_all=counted.share.is_all)
        widening = _widen(base, guard, counts, weights, protected, options, console)
        grown = base if widening is None else widening.base
        start = None if widening is None else curve_as_it_is(base, counts, balance)
        if widening is not None:
            prove_base(grown, counted.sample, cross_spaces=options.cross_spaces, tell=console.note)
        warming.result()
        growing = _encode(grown, counts, weights, protected, guard.scripts, options, console)
        growth_options = GrowthOptions(
            scripts=guard.scripts,
            max_added=options.max_added,
            min_saving=options.min_saving,
            cross_spaces=options.cross_spaces,
            balance=balance,
        )
        with console.step("grow", options.max_added, "tokens") as advance:
            # Growing takes one core; another has time for what is needed later.
            later: list[Future[Any]] = []
            if not counted.is_reused:
                n_tokens_base = with_sums(growing[1].base_tokens(counts.sets), targets)
                if start is not None:
                    n_tokens_base = start.n_tokens_base
                learned = counted.share.record(n_tokens_base)
                inputs = run.inputs_sha256
                later.append(background.submit(save_counts, options.out, counts, weights, learned, inputs))
            later.append(background.submit(import_module, "vocabopt.report.page"))
            growth = grow(grown, *growing, growth_options, advance)
            for job in later:
                job.result()
    widened = None
    if widening is not None and start is not None:
        widened, growth = widening.record(growth, start), beginning_at(growth, start)
    return _Learned(
        widening=widening,
        widened=widened,
        growth=growth,
        guard=guard,
        targets=targets,
        balance=balance,
        proof=proof,
        sets=counts.sets,
        counts=counts if counted.share.is_all else None,
        units=growing[0] if options.method == "swap" else None,
        share=counted.share,
        encoder=growing[1].encoder,
        is_reused=counted.is_reused,
    )


def _widen(
    base: Tokenizer,
    guard: Guard,
    counts: ChunkCounts,
    weights: NDArray[np.int64],
    protected: list[str],
    options: SweepOptions,
    console: Console,
) -> Widening | None:
    """The base's pattern widened, as --widen-pattern says."""
    if options.widen_pattern is None:
        return None
    places = [list(counts.sets).index(name) for name in protected]
    chosen = np.flatnonzero(protected_chunks(counts, weights, places, guard.scripts))
    texts = counts.texts().gather(chosen).to_list()
    return widening_of(base, options.widen_pattern, guard, counts, texts, console.note)


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
    memory = options.memory_bytes
    roles, heldout_of = counted_sets(text_sets)
    is_protected = np.array([role == "protected" for role in roles.values()])
    share = LearnedShare(
        memory_bytes=memory,
        family=base.family,
        is_always=is_protected & all_protected,
        n_targets=len(heldout_of),
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
                    heldout_of=heldout_of,
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
    for target, heldout in heldout_of.items():
        if not counts.sets[target].n_documents:
            (files,) = (one for one in text_sets if one.counted_as == target)
            raise CorpusError(_no_text(counts.sets[target], counts.sets[heldout], files))
    if not counts.n_chunks:
        n_documents = sum(counts.sets[target].n_documents for target in heldout_of)
        raise CorpusError(
            f"--learn-from {options.learn_from}: none of {n_documents:,} documents is in this share of the text. Name "
            "a larger one."
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
) -> tuple[Curve, dict[str, SetStats], Widened | None]:
    """The curve of all text, what its sets hold, and what a widened pattern gives: what the pass gave, where it learned
    from all of it."""
    growth, stats, balance, widening = learned.growth, learned.sets, learned.balance, learned.widening
    if learned.share.is_all:
        return growth, balance.with_sums(stats), learned.widened
    write_parquet_atomic(options.out / LEARNED_PARQUET, growth.curve)
    read = options.read_options()
    counting = Counting(
        base=options.base,
        pattern=options.pattern,
        specials=options.specials,
        widened=None if widening is None else widening.pattern,
        base_sha256=base.sha256,
        merges=growth.merges,
        encoder=learned.encoder,
        sets={name: one.role for name, one in stats.items()},
        heldout_of=counted_sets(text_sets)[1],
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
    sets = balance.with_sums(counted)
    grown = base if widening is None else widening.base
    curve = Curve.of(grown, growth.merges, balance.uses_with_sums(uses, counted), sets)
    if widening is None:
        return curve, sets, None
    as_it_is = replace(counting, widened=None, merges=Merges.none(base))
    uses, _ = count_whole_text(as_it_is, shards, options, options.out, console, name=BASE_USES_NPZ)
    start = Curve.of(base, as_it_is.merges, balance.uses_with_sums(uses, counted), sets)
    return beginning_at(curve, start), sets, widening.record(curve, start)


def _no_text(stats: SetStats, heldout: SetStats, train: Files) -> str:
    files = first_of([file.url for file in train.files])
    if heldout.n_documents:
        return (
            f"{files}: all {heldout.n_documents:,} documents were held out, none is left to learn from. "
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
    options: SweepOptions,
    console: Console,
) -> tuple[ChunkCounts, Segmentation, NDArray[np.int64], NDArray[np.bool_]]:
    """What the growth pass works on, as `grow` takes it: units that merges never leave, and which are protected."""
    if base.family == "byte-level-bpe":
        with console.step("split", counts.n_chunks, "chunks") as advance:
            counts = refine(base, counts, advance)
            weights = counts.weights()
    places = {name: list(counts.sets).index(name) for name in protected_sets}
    with console.step("encode"):
        segmentation = segment(base, counts, weights, cross_spaces=options.cross_spaces)
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

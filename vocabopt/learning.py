"""Learning tokens: the text, or the share of it that fits into memory, counted, proved and grown on."""

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vocabopt.amounts import shown_bytes
from vocabopt.console import Console
from vocabopt.errors import CorpusError, OptionError, first_of
from vocabopt.growth.balance import Balance
from vocabopt.growth.counts import ChunkCounts, SetStats, count_chunks
from vocabopt.growth.grow import Growth, GrowthOptions, grow, protected_chunks, warm_up
from vocabopt.growth.proof import prove_base
from vocabopt.growth.proof_sample import ProofSample, Sample, read_proof_sample, save_proof_sample
from vocabopt.growth.share import LearnedShare, TooMuchTextError, too_little_memory
from vocabopt.growth.symbols import Segmentation, segment
from vocabopt.growth.widened import Widening, beginning_at, curve_as_it_is, widening_of
from vocabopt.options import SweepOptions
from vocabopt.records import DocumentProof, Guard, RunRecord, Targets, Widened
from vocabopt.run_directory import read_counts, save_counts
from vocabopt.targets import balance_of, check_targets, guard_of_targets, with_sums
from vocabopt.text.corpus import TextSet as Files
from vocabopt.text.corpus import counted_sets, n_stored_bytes
from vocabopt.text.documents import Samples, documents_of_sets
from vocabopt.tokenizer import Tokenizer
from vocabopt.tokenizer.chunks import refine
from vocabopt.wording import guard_sentences, limit_sentence, share_sentence


@dataclass(frozen=True, kw_only=True)
class Learned:
    """What was learned, and from what. sets: what the sets hold, all text. counts: unique chunks, where all text was
    learned from, or a union is to be trained on them; others are not needed any more, and would take the memory that
    counting needs. units: where rows are swapped, what merges never leave.

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


def learn(
    run: RunRecord,
    base: Tokenizer,
    text_sets: tuple[Files, ...],
    targets: Targets | None,
    scripts: tuple[str, ...] | None,
    options: SweepOptions,
    console: Console,
) -> Learned:
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
        widened_base = base if widening is None else widening.base
        start = None if widening is None else curve_as_it_is(base, counts, balance)
        if widening is not None:
            prove_base(widened_base, counted.sample, cross_spaces=options.cross_spaces, tell=console.note)
        warming.result()
        growing = _encode(widened_base, counts, weights, protected, guard.scripts, options, console)
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
                of_pass = with_sums(growing[1].base_tokens(counts.sets), targets)
                n_tokens_base = of_pass if start is None else start.n_tokens_base
                learned = counted.share.record(n_tokens_base)
                inputs = run.inputs_sha256
                later.append(background.submit(save_counts, options.out, counts, weights, learned, inputs))
            later.append(background.submit(import_module, "vocabopt.report.page"))
            growth = grow(widened_base, *growing, growth_options, advance)
            for job in later:
                job.result()
    widened = None
    if widening is not None and start is not None:
        widened, growth = widening.record(growth, start), beginning_at(growth, start)
    return Learned(
        widening=widening,
        widened=widened,
        growth=growth,
        guard=guard,
        targets=targets,
        balance=balance,
        proof=proof,
        sets=counts.sets,
        counts=counts if counted.share.is_all or options.method == "union" else None,
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
    n_targets = sum(stats.role == "train" for stats in counts.sets.values())
    return widening_of(base, options.widen_pattern, guard, counts, texts, n_targets, console.note)


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
    if (reused := _counted_before(run, share, is_protected, options, console, all_protected=all_protected)) is not None:
        return reused
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
            if options.method == "swap" and not share.is_all:
                raise OptionError(
                    f"--method swap: the text needs more than {shown_bytes(memory)} of memory, and the swap is "
                    "measured on all of it at once. Raise --memory, or give less text."
                )
            break
        except TooMuchTextError:
            share = _smaller(share, options)
    # Before anything is kept in the folder, so that the mended command may take it.
    _check_counted(counts, heldout_of, text_sets, options)
    samples.save(options.out)
    sample = proof_sample.sample()
    save_proof_sample(options.out, sample, run.inputs_sha256)
    return _Counted(counts=counts, sample=sample, share=share, is_reused=False)


def _counted_before(
    run: RunRecord,
    share: LearnedShare,
    is_protected: NDArray[np.bool_],
    options: SweepOptions,
    console: Console,
    *,
    all_protected: bool,
) -> _Counted | None:
    """The counts that an earlier run left in the folder; None where there are none, or too few protected documents.

    Raises:
        OptionError: they are of a part of the text, and the method is measured on all of it.
    """
    earlier = read_proof_sample(options.out, run.inputs_sha256)
    reused = None if earlier is None else read_counts(options.out, run.inputs_sha256)
    if reused is None or earlier is None:
        return None
    counts, learned = reused
    of_earlier = share.of_record(learned, is_protected)
    if all_protected and not of_earlier.has_protected:
        return None
    if options.method == "swap" and not of_earlier.is_all:
        raise OptionError(
            f"--method swap: an earlier run in {options.out} counted a part of the text alone, and the swap is "
            "measured on all of it. Sweep into another folder."
        )
    if not of_earlier.is_all:
        console.note(
            "Tokens are learned from the documents that an earlier run in this folder chose, whatever --memory "
            "says now. To choose anew sweep into another folder."
        )
    return _Counted(counts=counts, sample=earlier, share=of_earlier, is_reused=True)


def _check_counted(
    counts: ChunkCounts, heldout_of: Mapping[str, str], text_sets: tuple[Files, ...], options: SweepOptions
) -> None:
    """Raises CorpusError: a target, kept text, or the share that is learned from holds no document."""
    for target, heldout in heldout_of.items():
        if not counts.sets[target].n_documents:
            (files,) = (one for one in text_sets if one.counted_as == target)
            raise CorpusError(_no_text(counts.sets[target], counts.sets[heldout], files))
    for name, path in options.keeps.items():
        if not counts.sets[name].n_documents:
            raise CorpusError(f"--keep {name}={path}: only blank lines, which need no row. Name files that hold text.")
    if not counts.n_chunks:
        n_documents = sum(counts.sets[target].n_documents for target in heldout_of)
        raise CorpusError(
            f"--learn-from {options.learn_from}: none of {n_documents:,} documents is in this share of the text. Name "
            "a larger one."
        )


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

"""The sweep: corpus -> counts -> growth curve -> complexity -> choice -> report, each step leaving its file."""

import hashlib
import resource
import shlex
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import polars as pl

from vocabopt.choice.choose import decided
from vocabopt.choice.complexity import EmbeddingTable, grid, parse_sizes, points, size_curve, table_of_base
from vocabopt.choice.measured import read_sizes
from vocabopt.choice.options import ChoiceOptions
from vocabopt.console import Console
from vocabopt.folder import write_parquet_atomic
from vocabopt.growth.counter import Counting
from vocabopt.growth.counts import SetStats
from vocabopt.growth.curve import Curve, Merges
from vocabopt.growth.share import counter_bytes
from vocabopt.growth.terms import TERMS_JSON, read_terms, terms_of, terms_record
from vocabopt.growth.whole_text import BASE_USES_NPZ, check_same_text, count_whole_text
from vocabopt.growth.widened import beginning_at
from vocabopt.learning import Learned, learn
from vocabopt.merging.recounting import Arrays, Recounting, recount_text
from vocabopt.options import SweepOptions
from vocabopt.preparation.record import PrepareRecord
from vocabopt.records import (
    BaseRecord,
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
    read_union,
    take_run_directory,
)
from vocabopt.swap.freeing import Freed
from vocabopt.swap.record import SwapRecord, read_swap
from vocabopt.swap.run import Counts, check_swap, freed_rows, n_asked, run_swap
from vocabopt.targets import targets_of, with_spread
from vocabopt.text.corpus import TextSet as Files
from vocabopt.text.corpus import counted_sets, find_text_sets
from vocabopt.text.documents import read_samples, texts_of
from vocabopt.text.finding import CLEAN, PREPARE_JSON
from vocabopt.text.scripts import parse_scripts
from vocabopt.text.shards import shards_of
from vocabopt.tokenizer import Tokenizer, load_base
from vocabopt.union import UNION_COUNTS_NPZ
from vocabopt.union.measure import UnionSizes
from vocabopt.union.run import UnionText, check_vocabulary, run_union, vocabulary_of
from vocabopt.versions import versions


@dataclass(frozen=True, kw_only=True)
class SweepResult:
    """What a sweep gave: sweep.json, the curve (curve.parquet), union.json or swap.json where that was measured, and
    terms.json where terms were given."""

    record: SweepRecord
    curve: pl.DataFrame
    union: UnionRecord | None
    swap: SwapRecord | None
    terms: TermsRecord | None = None


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """What a sweep is asked, looked up before any text is read.

    given: the options as they were given; options: with as many rows grown as a size needs. wanted: terms.
    """

    given: SweepOptions
    options: SweepOptions
    sizes: tuple[int, ...] | None
    scripts: tuple[str, ...] | None
    base: Tokenizer
    table: EmbeddingTable
    wanted: tuple[str, ...]
    text_sets: tuple[Files, ...]
    targets: Targets | None


def run_sweep(options: SweepOptions, console: Console) -> SweepResult:
    """Run a sweep and write its run directory.

    Raises:
        VocaboptError: any of its kinds; the message names the value, the place and the next step.
    """
    started_at, start = datetime.now(UTC), time.perf_counter()
    asked = _asked(options)
    base, text_sets, sizes, options = asked.base, asked.text_sets, asked.sizes, asked.options
    run, out = take_run_directory(options, base, text_sets), options.out
    learned = learn(run, base, text_sets, asked.targets, asked.scripts, options, console)
    of_union = None
    if options.method == "union":
        of_union = _vocabulary(asked, learned, console)
        if not learned.share.is_all:
            learned = replace(learned, counts=None)  # the memory that counting needs
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
    swept = _swept(asked, learned, curve, sets, widened)
    sweep, union = _choose(swept, curve, out)
    terms = _terms(asked, learned, sweep)
    if options.method == "union":
        assert of_union is not None
        vocabulary, trained = of_union
        text = _union_text(run, asked, learned, curve, stats, console)
        run_union(base, vocabulary, text, asked.table, out, vocab=options.vocab, trained=trained, console=console)
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
            options=asked.given,
        )

    with console.step("report"):
        _write_page(asked, sweep, curve.curve, finished(), union)
    write_record(out / RUN_JSON, finished())
    measured = union if options.method == "union" else None
    return SweepResult(record=sweep, curve=curve.curve, union=measured, swap=swap, terms=terms)


def _asked(given: SweepOptions) -> _Asked:
    """Look up all that the options name. Raises VocaboptError: what is not there, or does not go together."""
    sizes, scripts = parse_sizes(given.sizes), parse_scripts(given.scripts)
    # A size that is asked for is grown, also beyond --max-added; with the union it is that of the other vocabulary.
    n_rows = n_asked(given, sizes) if given.method == "swap" else 0
    options = replace(given, max_added=max((given.max_added, n_rows, *(sizes or ()))))
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
        options=options.read_options(),
    )
    targets = targets_of(options, text_sets)
    if options.method == "swap":
        check_swap(base, options, text_sets)
    return _Asked(
        given=given,
        options=options,
        sizes=sizes,
        scripts=scripts,
        base=base,
        table=table,
        wanted=wanted,
        text_sets=text_sets,
        targets=targets,
    )


def _swept(asked: _Asked, learned: Learned, curve: Curve, sets: dict[str, TextSet], widened: Widened | None) -> Swept:
    """sweep.json but for its choice, of the curve just written."""
    growth, options, table = learned.growth, asked.options, asked.table
    n_tokens = size_curve(curve.curve, sets, growth.exhausted_at).n_tokens
    return Swept(
        method=options.method,
        base=BaseRecord(**asked.base.as_record(), n_rows=table.base_n_rows),
        model=table.model,
        scripts=learned.guard.scripts,
        guard=learned.guard,
        sets=sets,
        points=points(grid(asked.sizes, growth.exhausted_at, options.max_added), n_tokens, table),
        max_added=options.max_added,
        exhausted_at=growth.exhausted_at,
        n_blocked=growth.n_blocked,
        options=asked.given,
        curve_sha256=hashlib.sha256((options.out / "curve.parquet").read_bytes()).hexdigest(),
        proof=learned.proof,
        learned=learned.share.record(growth.n_tokens_base),
        widened=widened,
        targets=learned.targets,
    )


def _terms(asked: _Asked, learned: Learned, sweep: SweepRecord) -> TermsRecord | None:
    """Write terms.json where terms were given."""
    if not asked.wanted:
        return None
    base, options = asked.base, asked.options
    widened_base = base if learned.widening is None else learned.widening.base
    of_grid = [point.n_added for point in sweep.points_shown]
    terms = terms_record(
        asked.wanted,
        base,
        widened_base,
        learned.growth.merges,
        of_grid,
        sweep.curve_sha256,
        cross_spaces=options.cross_spaces,
    )
    write_record(options.out / TERMS_JSON, terms)
    return terms


def _vocabulary(asked: _Asked, learned: Learned, console: Console) -> tuple[UnionSizes, dict[str, Any] | None]:
    """The vocabulary of the union, and with what it was trained."""
    assert learned.counts is not None, "a vocabulary is trained on what tokens are learned from"
    return vocabulary_of(
        learned.counts,
        asked.options.out,
        sizes=asked.sizes,
        vocab=asked.options.vocab,
        scores=asked.options.scores,
        scripts=learned.guard.scripts,
        console=console,
    )


def _union_text(
    run: RunRecord, asked: _Asked, learned: Learned, curve: Curve, stats: dict[str, SetStats], console: Console
) -> UnionText:
    """The text that the union is measured on."""
    options, base, text_sets = asked.options, asked.base, asked.text_sets
    read = options.read_options()
    protected = [text_set for text_set in text_sets if text_set.role == "protected"]

    def recounted(of_union: UnionSizes) -> list[Arrays]:
        counting = replace(_counting(run, base, text_sets, learned, options), merges=Merges.none(base))
        recounting = Recounting(counting=counting, sizes=of_union, judged=tuple(one.name for one in protected))
        shards = shards_of(text_sets, read, shard_bytes=options.shard)
        place = options.out / UNION_COUNTS_NPZ
        return recount_text(recounting, shards, stats, options, place, console, step="union all")

    return UnionText(
        base_tokens=curve.n_tokens_base,
        sets=stats,
        protected={one.name: partial(texts_of, one, read) for one in protected},
        counts=learned.counts,
        recount=recounted,
    )


def _write_page(
    asked: _Asked, sweep: SweepRecord, curve: pl.DataFrame, run: RunRecord, union: UnionRecord | None
) -> None:
    """Write report.html with what this run measured, and what was measured on the same curve in this folder before."""
    # Drawing takes half a second to import; no other command should wait for it.
    from vocabopt.report.page import write_report
    from vocabopt.report.view import View

    out = asked.options.out
    of_targets = (file.url for text_set in asked.text_sets if text_set.role == "train" for file in text_set.files)
    prepare = _preparation_of(of_targets)
    if prepare is not None:
        write_record(out / PREPARE_JSON, prepare)
    view = View(
        sweep,
        curve,
        run,
        union,
        swap=read_swap(out, sweep.curve_sha256),
        samples=read_samples(out),
        base=asked.base,
        prepare=prepare,
        terms=terms_of(out, sweep),
        measured=read_sizes(out, sweep),
    )
    write_report(out, view)


def _preparation_of(urls: Iterable[str]) -> PrepareRecord | None:
    """How the text in these files was prepared; None where it was not, or not all together.

    Raises:
        RunDirectoryError: the record is broken.
    """
    folders = {Path(url).parent for url in urls if "://" not in url}
    if len(folders) != 1 or (folder := folders.pop()).name != CLEAN:
        return None
    return read_optional(folder.parent / PREPARE_JSON, PrepareRecord, next_step="Run `vocabopt prepare` again.")


# --- Counting what was not learned from -------------------------------------------------------------------------------


def _count_the_rest(
    run: RunRecord,
    base: Tokenizer,
    text_sets: tuple[Files, ...],
    learned: Learned,
    options: SweepOptions,
    console: Console,
) -> tuple[Curve, dict[str, SetStats], Widened | None]:
    """The curve of all text, what its sets hold, and what a widened pattern gives: what the pass gave, where it learned
    from all of it."""
    growth, stats, balance, widening = learned.growth, learned.sets, learned.balance, learned.widening
    if learned.share.is_all:
        return growth, balance.with_sums(stats), learned.widened
    write_parquet_atomic(options.out / LEARNED_PARQUET, growth.curve)
    counting = _counting(run, base, text_sets, learned, options)
    shards = shards_of(text_sets, options.read_options(), shard_bytes=options.shard)
    uses, counted = count_whole_text(counting, shards, options, options.out, console)
    check_same_text(stats, counted)
    sets = balance.with_sums(counted)
    widened_base = base if widening is None else widening.base
    curve = Curve.of(widened_base, growth.merges, balance.uses_with_sums(uses, counted), sets)
    if widening is None:
        return curve, sets, None
    as_it_is = replace(counting, widened=None, merges=Merges.none(base))
    uses, counted_again = count_whole_text(as_it_is, shards, options, options.out, console, name=BASE_USES_NPZ)
    check_same_text(counted, counted_again)
    start = Curve.of(base, as_it_is.merges, balance.uses_with_sums(uses, counted), sets)
    return beginning_at(curve, start), sets, widening.record(curve, start)


def _counting(
    run: RunRecord, base: Tokenizer, text_sets: tuple[Files, ...], learned: Learned, options: SweepOptions
) -> Counting:
    """What a worker needs to count all text with what was learned."""
    widening = learned.widening
    return Counting(
        base=options.base,
        pattern=options.pattern,
        specials=options.specials,
        widened=None if widening is None else widening.pattern,
        base_sha256=base.sha256,
        merges=learned.growth.merges,
        encoder=learned.encoder,
        sets={name: one.role for name, one in learned.sets.items()},
        heldout_of=counted_sets(text_sets)[1],
        heldout=options.heldout,
        seed=options.seed,
        cross_spaces=options.cross_spaces,
        read=options.read_options(),
        memory_bytes=counter_bytes(learned.share.memory_bytes, options.n_workers),
        inputs_sha256=run.inputs_sha256,
    )


def _choose(swept: Swept, curve: Curve, out: Path) -> tuple[SweepRecord, UnionRecord | None]:
    """Write sweep.json with the choice; a union measured in this folder before gives the paper's axis, and sizes that
    a probe measured on this curve decide, as in `choose`."""
    union = read_union(out, swept.scripts, swept.base.n_rows)
    measured = read_sizes(out, swept)
    sweep = decided(swept, curve.curve, curve.folds, ChoiceOptions(seed=swept.options.seed), union, measured=measured)
    write_record(out / SWEEP_JSON, sweep)
    return sweep, union

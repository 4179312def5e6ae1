"""`vocabopt merge`: from a sweep, or from a base and a vocabulary, to the folder of a merged tokenizer."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path

from vocabopt.console import Console
from vocabopt.errors import OptionError, RunDirectoryError
from vocabopt.folder import write_files
from vocabopt.growth.whole_text import read_token_counts
from vocabopt.merging.export import merged_base, merged_files
from vocabopt.merging.extension import (
    EXTENSION_JSON,
    Addition,
    ExtensionRecord,
    Method,
    Scores,
    extension_bytes,
    extension_record,
    grown,
)
from vocabopt.merging.proof import check_ids, counted_text, prove, prove_model
from vocabopt.merging.recounting import read_recounted
from vocabopt.merging.swapped import check_reused, swapped
from vocabopt.options import ReadingOptions, VerifyOptions
from vocabopt.records import KeptText, SweepRecord
from vocabopt.run_directory import paths_of_sets, read_curve, read_learned, read_run, read_sweep, read_union_record
from vocabopt.swap.record import KEPT_ROLES, read_swap_record
from vocabopt.targets import with_sums
from vocabopt.tokenizer import Tokenizer, load_base
from vocabopt.tokenizer.widening import with_pattern
from vocabopt.union import UNION_COUNTS_NPZ, UNION_MODEL
from vocabopt.union.vocabulary import read_vocabulary, union_addition
from vocabopt.wording import union_reason


@dataclass(frozen=True)
class Merged:
    """What a merge wrote: `record` is extension.json, `files` the content of each file, by its name in the folder."""

    base: Tokenizer
    addition: Addition
    record: ExtensionRecord
    files: Mapping[str, bytes]


def merge_run(
    run_dir: Path,
    out: Path,
    *,
    n_added: int | None = None,
    expected_base: Tokenizer | None = None,
    method: Method | None = None,
    pad_to: int | None = None,
    console: Console | None = None,
) -> Merged:
    """Merge the tokens of a finished sweep and write the tokenizer to `out`.

    Args:
        n_added: tokens to add; None for the sweep's choice.
        expected_base: the base that the caller takes the sweep to be of; None for any.
        method: "grow" for the first tokens of the curve, "swap" for the same in rows of the base, "union" for those of
            the vocabulary trained apart; None for what the sweep was run with.
        pad_to: rows of the embedding are to be a multiple of this; recorded in extension.json.

    Raises:
        RunDirectoryError: no finished sweep in `run_dir`, it is of another base, or the base changed since.
        OptionError: the size is outside the curve, or the sweep has no union or no swap.
        PromiseError: the finished tokenizer does not give the counts that the sweep promised; nothing is written.
    """
    console = console or Console(quiet=True)
    if out.resolve() == run_dir.resolve():
        raise RunDirectoryError(
            f"--out {out}: is the run directory itself. Name a folder of its own, for example {out / 'tokenizer'}."
        )
    sweep = read_sweep(run_dir)
    with console.step("load"):
        base = as_it_is = _base_of(sweep, run_dir, expected_base)
        addition: Addition
        promised: dict[str, int] | None
        method = method or sweep.method
        if method == "union":
            addition, promised = _union_of(sweep, run_dir, base, n_added), None
        elif method == "swap":
            addition, promised = _swap_of(sweep, run_dir, base, n_added)
        else:
            addition, promised = _curve_of(sweep, run_dir, base, n_added)
            if sweep.widened is not None and addition.n_added:
                # Size 0 of the curve is the base as it is.
                base = with_pattern(base, sweep.widened.pattern)
        merged = merged_base(base, addition)
        if method == "swap":
            check_reused(base, merged, addition)
        else:
            check_ids(base, merged, addition.n_added)
    with console.step("prove"):
        files = merged_files(base, addition, merged)
        counts, sample = counted_text(run_dir)
        json_file = files["tokenizer.json"]
        proof, token_counts = prove(
            sweep, base, merged, addition, json_file, counts, sample, promised, as_it_is=as_it_is
        )
        if not sweep.learned.is_all:
            # What was proved on is a part of the text.
            is_union = addition.method == "union"
            token_counts = (_union_counts if is_union else read_token_counts)(run_dir, sweep, addition.n_added)
    protected = sorted(name for name, text_set in sweep.sets.items() if text_set.role == "protected")
    record = extension_record(
        base,
        addition,
        scripts=sweep.scripts,
        protected_sets=protected if addition.method == "grow" else (),
        base_n_rows=sweep.base.n_rows,
        pad_to=pad_to,
        counts=with_sums(token_counts, sweep.targets),
        proof=proof,
        kept={
            name: KeptText(n_tokens_base=text_set.n_tokens_base, n_tokens=proof.n_tokens[name])
            for name, text_set in sweep.sets.items()
            if method == "swap" and text_set.role in KEPT_ROLES
        },
        widened=sweep.widened if addition.n_added and addition.method == "grow" else None,
    )
    return _write(merged, Merged(base, addition, record, files), sample.texts, out, console)


def options_to_verify(merged: Merged, run_dir: Path | None) -> VerifyOptions:
    """How `merge` verifies what it wrote: of a swap also on the texts that the sweep kept rows for, if they are there.

    Raises:
        RunDirectoryError: run.json cannot be read.
    """
    base, texts, reading = merged.base, {}, {}
    if merged.record.kept and run_dir is not None and (options := read_run(run_dir).options) is not None:
        reading = {given.name: getattr(options, given.name) for given in fields(ReadingOptions)}
        paths = paths_of_sets(run_dir, [*merged.record.kept])
        texts = {name: path for name, path in paths.items() if "://" in path or Path(path).exists()}
    return VerifyOptions(pattern=base.pattern, specials=base.specials, texts=texts, **reading)


def merge_vocabulary(
    base: Tokenizer,
    vocabulary: Path,
    out: Path,
    *,
    scores: Scores = "unique",
    pad_to: int | None = None,
    console: Console | None = None,
) -> Merged:
    """Join a SentencePiece vocabulary trained elsewhere to a base and write the tokenizer to `out`; needs no sweep.

    Raises:
        OptionError: the vocabulary cannot be read, has nothing new, or a piece of it is a special token of the base.
    """
    console = console or Console(quiet=True)
    with console.step("load"):
        addition = union_addition(base, read_vocabulary(vocabulary).pieces, scores=scores, place=str(vocabulary))
        if not addition.n_added:
            raise OptionError(f"--vocab {vocabulary}: {base.name} has all of its pieces already; nothing to add.")
        merged = merged_base(base, addition)
        check_ids(base, merged, addition.n_added)
    n_rows = max(base.model_n_rows or 0, base.n_tokens)
    record = extension_record(base, addition, scripts=None, base_n_rows=n_rows, pad_to=pad_to, counts={}, proof=None)
    files = merged_files(base, addition, merged)
    return _write(merged, Merged(base, addition, record, files), (), out, console)


def _base_of(sweep: SweepRecord, run_dir: Path, expected: Tokenizer | None) -> Tokenizer:
    """The base of a sweep, loaded again, and still the same."""
    recorded = sweep.base
    if expected is not None and expected.sha256 != recorded.sha256:
        raise RunDirectoryError(
            f"{run_dir}: is a sweep of {recorded.name} ({recorded.source}), not of {expected.source}. Leave "
            "--base out, or name the folder of a sweep of that base."
        )
    base = expected or load_base(recorded.source, pattern=recorded.pattern, specials=recorded.specials)
    if base.sha256 != recorded.sha256:
        raise RunDirectoryError(
            f"{recorded.source}: changed since the sweep in {run_dir} (sha256 {base.sha256[:12]}..., then "
            f"{recorded.sha256[:12]}...). Sweep again, or restore the base."
        )
    return base


def _curve_of(
    sweep: SweepRecord, run_dir: Path, base: Tokenizer, n_added: int | None
) -> tuple[Addition, dict[str, int]]:
    curve = read_curve(run_dir, sweep)
    if n_added is None:
        n_added = sweep.choice.n_added
    if not 0 <= n_added <= len(curve):
        end = ("it ends" if sweep.exhausted_at is None else "the text ran dry") + f" at {len(curve):,}"
        raise OptionError(
            f"--size {n_added}: outside the curve of {run_dir}: {end}. Choose 0 to {len(curve):,}, or sweep again "
            "with more text or a larger --max-added."
        )
    # What is proved is the counts that the run kept: those of the documents that were learned from.
    of_counts = curve if sweep.learned.is_all else read_learned(run_dir, sweep)
    promised = dict(sweep.learned.n_tokens_base or sweep.base_tokens)
    if n_added:
        promised = {name: int(of_counts[f"n_tokens_{name}"][n_added - 1]) for name in sweep.sets}
    return grown(base, curve, n_added), promised


def _swap_of(
    sweep: SweepRecord, run_dir: Path, base: Tokenizer, n_swapped: int | None
) -> tuple[Addition, dict[str, int] | None]:
    """The pieces and the ids that they take; and the tokens of every text set where the sweep measured this size."""
    swap = read_swap_record(run_dir, sweep.curve_sha256)
    n_swapped = swap.choice.n_swapped if n_swapped is None else n_swapped
    if not 0 <= n_swapped <= swap.max_swap:
        raise OptionError(
            f"--size {n_swapped}: {run_dir} has {swap.max_swap:,} rows to swap. Choose 0 to {swap.max_swap:,}, or "
            "sweep again with a larger --max-swap."
        )
    point = next((point for point in swap.points if point.n_swapped == n_swapped), None)
    addition = swapped(base, read_curve(run_dir, sweep), swap.freed_ids[:n_swapped])
    return addition, None if point is None else {name: counts.n_tokens for name, counts in point.sets.items()}


def _union_of(sweep: SweepRecord, run_dir: Path, base: Tokenizer, n_added: int | None) -> Addition:
    union = read_union_record(run_dir)
    vocabulary = read_vocabulary(run_dir / UNION_MODEL, sha256=union.sha256)
    n_added = union.choice.n_added if n_added is None else n_added
    if n_added is None:
        raise OptionError(f"--method union: {union_reason(sweep, union)} Name a number of new rows with --size.")
    if not vocabulary.is_bpe and n_added != union.points[0].n_added:
        raise OptionError(
            f"--size {n_added}: the union of {run_dir} is with a vocabulary that is not BPE, so it has one size: "
            f"{union.points[0].n_added:,} new rows."
        )
    pieces = vocabulary.with_rows(base, n_added, place=str(run_dir)) if vocabulary.is_bpe else vocabulary.pieces
    return union_addition(base, pieces, scores=union.scores, place=str(run_dir / UNION_MODEL))


def _union_counts(run_dir: Path, sweep: SweepRecord, n_added: int) -> dict[str, list[int]]:
    """How often each new token of a union occurs in all text; of a size that was not measured nothing is known."""
    union = read_union_record(run_dir)
    for number, point in enumerate(union.points):
        found = read_recounted(run_dir / UNION_COUNTS_NPZ, number) if point.n_added == n_added else {}
        expected = [point.sets[name].n_tokens - of_set.n_special_tokens for name, of_set in sweep.sets.items()]
        if found and found["n_tokens"].tolist() == expected:
            return dict(zip(sweep.sets, found["n_new"].tolist(), strict=True))
    return {}


def _write(merged: Tokenizer, made: Merged, texts: Iterable[str], out: Path, console: Console) -> Merged:
    """Prove the forms alike and write the folder, tokenizer.json last: without it AutoTokenizer may take half a folder
    for another tokenizer.

    Raises:
        RunDirectoryError: `out` cannot be written, or holds another tokenizer.
    """
    base = made.base
    with console.step("write"):
        if difference := prove_model(base, merged, made.addition, made.files, texts):
            console.note(difference)
        source = Path(base.source)
        if source.exists() and out.resolve() in (source.resolve(), source.resolve().parent):
            raise RunDirectoryError(f"--out {out}: is the folder of the base itself. Name a folder of its own.")
        files = {EXTENSION_JSON: extension_bytes(made.record), **made.files}
        write_files(out, files)
        return replace(made, files=files)

"""`vocabopt probe --sizes`: a short run at each of several sizes, and what they say of the size to take.

    merge each size -> read the text once -> every cell: cut the text, pack, new rows, train, measure -> rows, curve

Size 0 is the original tokenizer: what `adapt --control` trains. Its text is that of --steps steps; the other sizes get
the same text, or as much as takes the same training FLOPs, counted on the tokens that are read. A cell is one JSON
file, so a stopped probe goes on.
"""

import shutil
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import product
from pathlib import Path
from typing import NamedTuple

import msgspec
import torch

from trainer.adaptation.arm import Arm, Run, pack_arm, run_arm
from trainer.adaptation.checks import check_early
from trainer.adaptation.inputs import Inputs, read_inputs
from trainer.adaptation.run import adapted_arm, control_arm, initialise, n_tokens_of, run_of
from trainer.adaptation.self_replay import SELF_REPLAY
from trainer.data import PackedText, budget_in_bytes, cut_text, parse_budget
from trainer.evaluate.run import load_tokenizer
from trainer.init import Extension, read_extension
from trainer.measuring_options import ProbeSizesOptions
from trainer.memory.predict import StageCost, StepSettings, predict_plan
from trainer.probe import MEASURED, SaysOnce, check_steps, taken
from trainer.processes import from_main, main_only
from vocabopt.choice.complexity import chosen_table
from vocabopt.choice.cost import model_cost
from vocabopt.choice.measured import (
    SIZES_JSON,
    SizeCell,
    SizesRecord,
    cells_of,
    effects,
    fit_sizes,
    size_rows,
    tokens_per_byte,
)
from vocabopt.console import Console
from vocabopt.errors import ModelError, OptionError, RunDirectoryError, VocaboptError
from vocabopt.folder import check_own_folder
from vocabopt.merging.run import merge_run
from vocabopt.model.spec import spec_of_folder
from vocabopt.records import Equal, SweepRecord, read_record, write_record
from vocabopt.run_directory import read_sweep
from vocabopt.training_record import StageRecord, TextRecord

#: Options that say which cells there are, or where.
_NOT_SHARED = frozenset(("sizes", "equal", "n_seeds", "budget_seconds", "out"))
#: Tries to meet the FLOPs of size 0: each corrects the text by what the last one missed.
_TRIES = 4


class Key(NamedTuple):
    """Which cell. equal: None for size 0."""

    n_added: int
    equal: Equal | None
    seed: int

    @property
    def name(self) -> str:
        return "-".join(str(part) for part in self if part is not None)

    def in_words(self) -> str:
        what = f"{self.n_added:,} added tokens, equal {self.equal}" if self.equal else "the original tokenizer"
        return f"{what}, seed {self.seed}"


def probe_sizes(options: ProbeSizesOptions, console: Console | None = None) -> SizesRecord:
    """Run the cells that are not there yet, as many as --budget-seconds allow, and fit the curve over sizes.

    Returns:
        What OUT/sizes.json holds.

    Raises:
        VocaboptError: as `adapt` and `merge_run`. OptionError: a size is beyond the curve; no time for a single cell.
        RunDirectoryError: the folder holds a probe with other options or inputs.
    """
    began = time.monotonic()
    console = SaysOnce(quiet=console is None or console.quiet)
    out, run_dir = options.adapt.out, options.adapt.run
    assert run_dir is not None, "checked with the options"
    check_steps(options.adapt, options.n_steps)
    sweep = read_sweep(run_dir)
    if (largest := max(options.sizes)) > sweep.end:
        end = ("it ends" if sweep.exhausted_at is None else "the text ran dry") + f" at {sweep.end:,}"
        raise OptionError(
            f"--sizes {largest}: beyond the curve of {run_dir}: {end} added tokens. Leave it out, or sweep again with "
            "more text or a larger --max-added."
        )
    is_new = not check_own_folder(out, SIZES_JSON)
    main_only(lambda: _claim(out, sweep))
    try:
        bench = _bench(options, sweep, run_dir, console)
        record = _run_all(bench, began)
    except VocaboptError:
        # What was refused before its first cell holds nothing yet: its mended command may take the folder.
        if is_new and not [*(out / "cells").glob("*.json")]:
            main_only(lambda: _leave(out))
        raise
    return record


def _claim(out: Path, sweep: SweepRecord) -> None:
    """Mark the folder as a probe's before anything is merged into it, so that one killed there goes on too."""
    path = out / SIZES_JSON
    earlier = read_record(path, SizesRecord) if path.is_file() else None
    is_of_another = earlier is not None and earlier.inputs.get("curve") != sweep.curve_sha256
    if is_of_another and earlier is not None and earlier.options:
        raise RunDirectoryError(f"{out}: holds a probe of another curve. Choose another folder with --out.")
    if earlier is None or not earlier.options:
        if is_of_another and (out / "tokenizers").exists():
            shutil.rmtree(out / "tokenizers")
        write_record(path, SizesRecord(options={}, inputs={"curve": sweep.curve_sha256}))


def _leave(out: Path) -> None:
    (out / SIZES_JSON).unlink(missing_ok=True)
    for name in ("cells", "tokenizers", MEASURED):
        shutil.rmtree(out / name, ignore_errors=True)


# --- What all cells share ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Bench:
    """inputs: with the tokenizer of the smallest size above 0, and the text of size 0. record: of no cells yet."""

    options: ProbeSizesOptions
    sweep: SweepRecord
    inputs: Inputs
    extensions: dict[int, Extension]
    record: SizesRecord
    console: Console
    _costs: dict[int, tuple[StageCost, ...]] = field(default_factory=dict)

    @property
    def out(self) -> Path:
        return self.options.adapt.out

    @cached_property
    def n_base_rows(self) -> int:
        return int(self.inputs.config.get_text_config().vocab_size)

    @property
    def text_bytes(self) -> int:
        """The text of size 0."""
        return int(self.record.inputs["text_bytes"])

    def n_rows(self, n_added: int) -> int:
        return self.extensions[n_added].n_rows_of_table(self.n_base_rows) if n_added else self.n_base_rows

    def flops(self, n_added: int, n_tokens: Iterable[int]) -> int:
        """Training FLOPs of a size. n_tokens: of each stage. Raises ModelError, as `predict_plan`."""
        if n_added not in self._costs:
            plan, options = self.inputs.plan, self.inputs.options
            self._costs[n_added] = predict_plan(
                self.inputs.config,
                plan if n_added else plan.with_own_tokenizer(),
                StepSettings(
                    context_tokens=options.context,
                    micro_batch=1,
                    accumulates=False,
                    precision=self.inputs.precision,
                    gradient_checkpointing=options.gradient_checkpointing,
                    device="cpu",
                ),
                n_rows=self.n_rows(n_added),
                n_new=n_added,
            )
        return sum(cost.training_flops(n) for cost, n in zip(self._costs[n_added], n_tokens, strict=True))

    def arm(self, key: Key, folder: Path, budget_bytes: int) -> tuple[Arm, Run]:
        """The model of a cell with so much text, everything it writes in a folder."""
        # Size 0 has the files of another size, and reads none of them.
        size = key.n_added or min(self.extensions)
        options = replace(
            self.inputs.options, out=folder, seed=key.seed, tokenizer=_tokenizer(self.out, size), eval_every="end"
        )
        shares = self.inputs.text.stage_shares
        inputs = replace(
            self.inputs,
            options=options,
            extension=self.extensions[size],
            text=cut_text(self.inputs.text.sources, budget_bytes=budget_bytes, stage_shares=shares, seed=key.seed),
        )
        run = run_of(inputs, self.console, measured=self.out / MEASURED)
        return (adapted_arm if key.n_added else control_arm)(inputs), run


def _tokenizer(out: Path, n_added: int) -> Path:
    return out / "tokenizers" / str(n_added)


def _bench(options: ProbeSizesOptions, sweep: SweepRecord, run_dir: Path, console: Console) -> _Bench:
    """Merge every size, read the text, and take the folder."""
    out, sizes = options.adapt.out, [size for size in options.sizes if size]
    extensions: dict[int, Extension] = {}
    for size in sizes:
        folder = _tokenizer(out, size)
        if not from_main((folder / "tokenizer.json").is_file):
            main_only(partial(merge_run, run_dir, folder, n_added=size, method="grow"))
        # The first refuses a model with another tokenizer, before the others are merged.
        extensions[size] = read_extension(folder, options.adapt.model)
    shared = replace(options.adapt, run=None, tokenizer=_tokenizer(out, sizes[0]), n_samples=0, control=False)
    checked = check_early(shared, console)
    inputs = read_inputs(checked, console, run=run_dir, own_texts=out / SELF_REPLAY)
    # Tokens are those of the original tokenizer: its text is what the others are equal to.
    batch, tokenizer = parse_budget(options.adapt.batch, "--batch"), load_tokenizer(str(inputs.model))
    amount = replace(batch, amount=batch.amount * options.n_steps)
    text_bytes = budget_in_bytes(amount, inputs.text.sources, tokenizer, inputs.ends)
    # A step reads as many bytes at every size.
    batch_bytes = max(1, text_bytes // options.n_steps)
    inputs = replace(inputs, options=replace(inputs.options, batch=f"{batch_bytes / 1000:.3f}kB"))
    asked = replace(options, adapt=replace(options.adapt, context_tokens=inputs.options.context))
    record = SizesRecord(
        options=asked.as_record(),
        inputs={"model": inputs.files["model"], "curve": sweep.curve_sha256, "text_bytes": str(text_bytes)},
    )
    record = taken(out / SIZES_JSON, record, _NOT_SHARED)
    return _Bench(options=asked, sweep=sweep, inputs=inputs, extensions=extensions, record=record, console=console)


# --- One cell ---------------------------------------------------------------------------------------------------------


def _run_cell(bench: _Bench, key: Key) -> SizeCell:
    """Train and measure one cell, and keep it."""
    began = time.monotonic()
    path, work = bench.out / "cells" / f"{key.name}.json", bench.out / "cells" / f".{key.name}.work"
    main_only(lambda: shutil.rmtree(work, ignore_errors=True))
    wanted = _control_flops(bench, key.seed) if key.equal == "flops" else None
    budget_bytes = bench.text_bytes if wanted is None else _equal_flops(bench, key, wanted, work)
    arm, run = bench.arm(key, work, budget_bytes)
    packed = pack_arm(arm, run)
    for warning in run.inputs.warnings:
        bench.console.note(warning)
    if key.n_added:
        initialise(run)
    stages: tuple[StageRecord, ...] = ()

    def on_stage(records: tuple[StageRecord, ...]) -> None:
        nonlocal stages
        stages = records

    run_arm(arm, run, packed, on_stage)
    base, own = load_tokenizer(str(run.inputs.model)), load_tokenizer(str(arm.tokenizer))
    cell = SizeCell(
        n_added=key.n_added,
        equal=key.equal,
        seed=key.seed,
        texts={
            text.name: TextRecord(
                role=text.role,
                n_documents=len(text.documents),
                n_bytes=text.n_bytes,
                n_tokens_before=n_tokens_of(base, text),
                n_tokens_after=n_tokens_of(own, text),
            )
            for text in run.inputs.evals
        },
        after=stages[-1].bits_per_byte,
        n_rows=bench.n_rows(key.n_added),
        n_steps=sum(stage.n_steps for stage in stages),
        budget_bytes=budget_bytes,
        bytes=sum(stage.bytes for stage in stages),
        tokens=sum(stage.tokens for stage in stages),
        passes=round(run.inputs.text.in_numbers().passes, 4),
        flops=_flops_if_known(bench, key.n_added, [stage.tokens for stage in stages]),
        flops_wanted=wanted,
        seconds=round(time.monotonic() - began, 3),
        peak_bytes=max((stage.peak_bytes or 0 for stage in stages), default=0),
    )
    main_only(lambda: write_record(path, cell))
    main_only(lambda: shutil.rmtree(work))
    return cell


def _flops_if_known(bench: _Bench, n_added: int, n_tokens: Sequence[int]) -> int | None:
    """None for a model that cannot be followed; at equal FLOPs it was refused before."""
    try:
        return bench.flops(n_added, n_tokens)
    except ModelError:
        return None


def _control_flops(bench: _Bench, seed: int) -> int:
    """Training FLOPs of size 0 with this seed, whether its cell was run or not."""
    key = Key(0, None, seed)
    arm, run = bench.arm(key, bench.out / "cells" / f".{key.name}.text", bench.text_bytes)
    packed = pack_arm(arm, run)
    flops = bench.flops(0, [text.n_tokens for text in packed])
    main_only(lambda: shutil.rmtree(arm.folder.parent))
    return flops


def _equal_flops(bench: _Bench, key: Key, wanted: int, folder: Path) -> int:
    """Bytes of text that take as many training FLOPs at this size, to less than half a step, as far as whole documents
    can."""
    found: dict[int, int] = {}
    budget_bytes = bench.text_bytes
    for _ in range(_TRIES):
        arm, run = bench.arm(key, folder, budget_bytes)
        packed: list[PackedText] = pack_arm(arm, run)
        found[budget_bytes] = flops = bench.flops(key.n_added, [text.n_tokens for text in packed])
        n_steps = sum(run.settings(text).n_steps(text.n_blocks) for text in packed)
        if abs(flops - wanted) <= flops / n_steps / 2:
            break
        budget_bytes = round(budget_bytes * wanted / flops)
    return min(found, key=lambda budget: abs(found[budget] - wanted))


# --- All cells, and what they say -------------------------------------------------------------------------------------


def _run_all(bench: _Bench, began: float) -> SizesRecord:
    """Run cells in order until all are there, or the seconds are spent."""
    options = bench.options
    wanted = keys(options)
    end = None if options.budget_seconds is None else began + options.budget_seconds
    done = _read_cells(bench.out)
    record = _summed(bench, done)
    while (key := next_key(wanted, done, adaptive=end is not None)) is not None:
        if end is not None and not from_main(partial(_is_time_left, bench, done, end)):
            n_left = len(wanted) - len({*wanted} & {key_of(cell) for cell in done})
            bench.console.note(
                f"--budget-seconds {options.budget_seconds:g}: are spent; {n_left} of {len(wanted)} runs are left. The "
                "same command goes on."
            )
            break
        bench.console.note(f"Run {len(done) + 1}: {key.in_words()}.")
        _run_cell(bench, key)
        done = _read_cells(bench.out)
        record = _summed(bench, done)
    return record


def keys(options: ProbeSizesOptions) -> list[Key]:
    """Every cell that is asked for: seed by seed, size 0 first."""
    seeds = range(options.adapt.seed, options.adapt.seed + options.n_seeds)
    every = (
        (size, equal if size else None, seed) for seed, equal, size in product(seeds, options.equals, options.sizes)
    )
    return [Key(*parts) for parts in dict.fromkeys(every)]


def key_of(cell: SizeCell) -> Key:
    return Key(cell.n_added, cell.equal, cell.seed)


def next_key(wanted: Sequence[Key], done: Sequence[SizeCell], *, adaptive: bool) -> Key | None:
    """The cell to run next; None where all are done.

    Args:
        adaptive: every size once, then the sizes that the best is not told apart from: those of fewest seeds first, of
            these the one of fewest bits; then the others likewise. Else in the order of `wanted`.
    """
    left = [key for key in wanted if key not in {key_of(cell) for cell in done}]
    if not left:
        return None
    if not adaptive or left[0].seed == wanted[0].seed:
        return left[0]
    ranks: dict[tuple[int, Equal | None], tuple[bool, int, float]] = {}
    for equal in dict.fromkeys(cell.equal for cell in done if cell.equal is not None):
        of_equal = cells_of(done, equal)
        rows = [row for row in size_rows(of_equal, {}) if row.equal == equal]
        least, noise = min(row.reached for row in rows), fit_sizes(rows, effects(of_equal)[1]).noise
        for row in rows:
            told_apart = noise is not None and row.reached > least + noise
            rank = told_apart, row.n_seeds, row.reached
            place = row.n_added, equal if row.n_added else None
            ranks[place] = min(rank, ranks.get(place, rank))
    return min(left, key=lambda key: (*ranks[key.n_added, key.equal], key.seed))


def _is_time_left(bench: _Bench, done: Sequence[SizeCell], end: float) -> bool:
    """For another cell that takes as long as the longest so far.

    Raises:
        OptionError: no cell was run yet, and the first one would take longer.
    """
    left = end - time.monotonic()
    if done:
        return left >= max(cell.seconds for cell in done)
    needed = _seconds_per_byte(bench) * bench.text_bytes
    if left < needed:
        spent = (bench.options.budget_seconds or 0) - left
        raise OptionError(
            f"--budget-seconds {bench.options.budget_seconds:g}: no time for one run: merging and reading took "
            f"{spent:.0f} s, and training on the text of {bench.options.n_steps} steps takes about {needed:.0f} s "
            "here. Give more, or fewer --steps."
        )
    return True


def _seconds_per_byte(bench: _Bench) -> float:
    """Of training the original model, by one pass forward and backward; the second, since the first also prepares."""
    arm, run = bench.arm(Key(0, None, bench.options.adapt.seed), bench.out, bench.text_bytes)
    model, context = run.load(arm.start), bench.inputs.options.context
    ids = torch.zeros((1, context), dtype=torch.long, device=model.device)
    for _ in range(2):
        began = time.monotonic()
        model(input_ids=ids, labels=ids, use_cache=False).loss.backward()
        next(model.parameters()).detach().sum().item()  # waits for the device
        seconds = time.monotonic() - began
    tokenizer = load_tokenizer(str(bench.inputs.model))
    text = bench.inputs.evals[0]
    return seconds / context * n_tokens_of(tokenizer, text) / max(1, text.n_bytes)


def _read_cells(out: Path) -> list[SizeCell]:
    """All that are there: an earlier command may have run others of the same probe."""
    return [read_record(path, SizeCell) for path in sorted((out / "cells").glob("*.json"))]


def _summed(bench: _Bench, cells: Sequence[SizeCell]) -> SizesRecord:
    """sizes.json with these cells, written."""
    cells = sorted(cells, key=lambda cell: (cell.n_added, cell.equal or "", cell.seed))
    rows = size_rows(cells, _serve_flops(bench, cells))
    fits = []
    for equal in sorted({row.equal for row in rows}):
        _, noise = effects(cells_of(cells, equal))
        fits.append(fit_sizes([row for row in rows if row.equal == equal], noise))
    record = msgspec.structs.replace(bench.record, cells=tuple(cells), rows=rows, fits=tuple(fits))
    main_only(lambda: write_record(bench.out / SIZES_JSON, record))
    return record


def _serve_flops(bench: _Bench, cells: Sequence[SizeCell]) -> dict[int, float]:
    """Size -> forward FLOPs for a byte of target text, by the cost model of the model that was probed.

    A context has as many tokens of the base as the run's choice counts with, so fewer of a larger tokenizer.
    """
    base = bench.sweep.base
    spec = spec_of_folder(bench.inputs.model / "config.json")
    cost = None if spec is None else model_cost(chosen_table(spec, base.name, base.n_tokens), bench.sweep.end)
    if cost is None:
        return {}
    context = bench.sweep.choice.options.context_tokens
    found = {cell.n_added: tokens_per_byte(cell.texts) for cell in cells}
    before = {cell.n_added: tokens_per_byte(_as_before(cell)) for cell in cells}
    return {
        size: float(tokens * cost.forward_flops(context * tokens / before[size])[size])
        for size, tokens in found.items()
    }


def _as_before(cell: SizeCell) -> dict[str, TextRecord]:
    """Its texts as the base counts them."""
    return {
        name: msgspec.structs.replace(text, n_tokens_after=text.n_tokens_before) for name, text in cell.texts.items()
    }

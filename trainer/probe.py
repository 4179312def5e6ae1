"""`vocabopt probe`: short runs of every init method and plan on the same text, ranked by what they reach.

Every cell is an adaptation of its own, kept as one JSON file, so a stopped probe goes on.
"""

import shutil
from collections.abc import Container, Sequence
from dataclasses import replace
from hashlib import sha256
from itertools import product
from pathlib import Path
from statistics import mean, stdev
from typing import Any, ClassVar, Literal, TypeVar

import msgspec
from rich.table import Table

from trainer.adaptation import adapt
from trainer.adaptation.checks import check_early, plan_of
from trainer.adaptation.self_replay import SELF_REPLAY
from trainer.data import parse_budget
from trainer.options import AdaptOptions, ProbeOptions, changed_option
from trainer.processes import main_only
from vocabopt.choice.measured import SizesRecord
from vocabopt.console import Console
from vocabopt.errors import OptionError, RunDirectoryError, VocaboptError
from vocabopt.folder import check_own_folder
from vocabopt.records import Count, FileRecord, Record, read_record, write_record
from vocabopt.tables import PlainTable, shown
from vocabopt.training_record import TextRecord

PROBE_JSON = "probe.json"
MEASURED = "measured"
#: Options that say which cells there are, or where.
_NOT_SHARED = frozenset(("inits", "plans", "n_seeds", "out"))


R = TypeVar("R", "ProbeRecord", SizesRecord)


class ProbeCell(FileRecord, frozen=True, kw_only=True):
    """cells/INIT-PLAN-SEED.json: one short run. initialised, after: text -> bits per byte."""

    NEXT_STEP: ClassVar[str] = "Remove it: it is trained again."

    init: str
    plan: str
    seed: int
    texts: dict[str, TextRecord]
    initialised: dict[str, float]
    after: dict[str, float]
    n_steps: Count
    tokens: Count
    bytes: Count
    #: Of training, and of learning the rows that it began with.
    seconds: float
    init_seconds: float = 0.0
    peak_bytes: Count

    def target_score(self, when: Literal["initialised", "after"]) -> float:
        """Mean bits per byte over the target texts."""
        scores = self.initialised if when == "initialised" else self.after
        names = [name for name, text in self.texts.items() if text.role == "target"]
        return mean(scores[name] for name in names or scores)


class ProbeRow(Record, frozen=True, kw_only=True):
    """An init method and plan: means over seeds, and the standard deviation of what they reach (null for one seed)."""

    init: str
    plan: str
    n_seeds: Count
    #: Bits per byte on target text, before training and after; then on every text.
    initialised: float
    reached: float
    spread: float | None
    after: dict[str, float]
    seconds: float
    init_seconds: float = 0.0
    peak_bytes: Count


class ProbeRecord(FileRecord, frozen=True, kw_only=True):
    """probe.json: `rows` in order of rank, `cells` as they were run; none before the first cell is."""

    NEXT_STEP: ClassVar[str] = "Choose another folder with --out."

    options: dict[str, Any]
    #: What the cells share by content: hashes of the model, the tokenizer, the plans that are files.
    inputs: dict[str, str]
    cells: tuple[ProbeCell, ...] = ()
    rows: tuple[ProbeRow, ...] = ()


def probe(options: ProbeOptions, console: Console | None = None, *, measured: Path | None = None) -> ProbeRecord:
    """Run the cells that are not there yet, rank init methods and plans by bits per byte on target text.

    Args:
        measured: the folder of measurements, for probes of one model on the same texts; None takes one of its own.

    Returns:
        What OUT/probe.json holds.

    Raises:
        VocaboptError: as `adapt`. RunDirectoryError: the folder holds a probe with other options.
    """
    console = SaysOnce(quiet=console is None or console.quiet)
    options, inputs = _check_early(options, console)
    out = options.adapt.out
    is_new = not check_own_folder(out, PROBE_JSON)
    record = taken(out / PROBE_JSON, ProbeRecord(options=options.as_record(), inputs=inputs), _NOT_SHARED)
    try:
        first = options.adapt.seed
        for seed, init, plan in product(range(first, first + options.n_seeds), options.inits, options.plans):
            of_cell = replace(options.adapt, init=init, plan=plan, seed=seed)
            _run(of_cell, options.n_steps, out / "cells", console, measured or out / MEASURED)
    except VocaboptError:
        # What was refused with its first cell holds nothing yet: its mended command may take the folder.
        if is_new and not [*(out / "cells").glob("*.json")]:
            main_only(lambda: _leave(out))
        raise
    # All that are there: an earlier command may have run others of the same probe.
    cells = tuple(read_record(path, ProbeCell) for path in sorted((out / "cells").glob("*.json")))
    record = ProbeRecord(options=record.options, inputs=record.inputs, cells=cells, rows=ranked(cells))
    main_only(lambda: write_record(out / PROBE_JSON, record))
    return record


class SaysOnce(Console):
    """Every cell has the same to say of the text and the tokenizers."""

    def __init__(self, *, quiet: bool) -> None:
        super().__init__(quiet=quiet)
        self._said: set[str] = set()

    def note(self, sentence: str) -> None:
        if sentence not in self._said:
            self._said.add(sentence)
            super().note(sentence)


def _check_early(options: ProbeOptions, console: Console) -> tuple[ProbeOptions, dict[str, str]]:
    """Check every plan before any text is read.

    Returns:
        The options with the context that is taken; what the cells share by content.
    """
    of_plans = [replace(options.adapt, plan=plan) for plan in options.plans]
    for of_plan in of_plans:
        check_steps(of_plan, options.n_steps)
    for of_plan in of_plans:
        checked = check_early(of_plan, console)
    plans = {plan: sha256(Path(plan).read_bytes()).hexdigest() for plan in options.plans if Path(plan).is_file()}
    adapt_options = replace(options.adapt, context_tokens=checked.options.context)
    return replace(options, adapt=adapt_options), {**plans, **checked.files}


def check_steps(options: AdaptOptions, n_steps: int) -> None:
    """Raises OptionError: they are too few for the plan's stages.

    Every stage needs text for a step, and the cut between stages is at whole documents.
    """
    n_stages = len(plan_of(options).stages)
    if n_stages > 1 and n_steps < 2 * n_stages:
        raise OptionError(
            f"--steps {n_steps}: plan {options.plan} has {n_stages} stages, which share them. Give at least "
            f"{2 * n_stages}, or a plan of one stage (--plan full)."
        )


def _leave(out: Path) -> None:
    (out / PROBE_JSON).unlink(missing_ok=True)
    for name in ("cells", MEASURED, SELF_REPLAY):
        shutil.rmtree(out / name, ignore_errors=True)


def taken(path: Path, asked: R, not_shared: Container[str]) -> R:
    """Take the folder of a probe's file. Cells may be added to a probe (other methods, plans, sizes, seeds); what they
    share must stay.

    Args:
        not_shared: options that say which cells there are, or where.

    Raises:
        RunDirectoryError: something else was shared by the cells that are there.
    """
    inputs: dict[str, str] = asked.inputs
    # One without options was marked, and killed before it knew its inputs.
    if path.is_file() and (earlier := read_record(path, type(asked))).options:
        changes = [changed_option(earlier.options, asked.options, not_shared)]
        for name, value in inputs.items():
            # A plan's file that is new to the probe has no earlier content.
            if (before := earlier.inputs.get(name, value)) != value:
                changes.append(f"another {name}: its content changed (hash {before[:12]} then, {value[:12]} now)")
        if change := next(filter(None, changes), None):
            raise RunDirectoryError(
                f"{path.parent}: holds a probe with {change}. Give what it was started with, or choose another folder "
                "with --out."
            )
        inputs = {**earlier.inputs, **inputs}
    record = msgspec.structs.replace(asked, inputs=inputs)
    main_only(lambda: write_record(path, record))
    return record


def _run(options: AdaptOptions, n_steps: int, folder: Path, console: Console, measured: Path) -> None:
    """Run a cell, if it was not run yet. options: its init, plan and seed, and what all cells share."""
    name = f"{options.init}-{options.plan.replace('/', '_')}-{options.seed}"
    path, work = folder / f"{name}.json", folder / f".{name}.work"
    if path.is_file():
        return
    main_only(lambda: shutil.rmtree(work, ignore_errors=True))
    # The text of so many steps.
    batch = parse_budget(options.batch, "--batch")
    amount = batch.amount * n_steps
    budget = f"{amount}tok" if batch.unit == "tokens" else f"{amount / 1000:.3f}kB"
    # The base model is the same in every cell, and so are new rows that are not random.
    done = adapt(replace(options, budget=budget, out=work, n_samples=0, control=False), console, measured=measured)
    record = ProbeCell(
        init=options.init,
        plan=options.plan,
        seed=options.seed,
        texts=done.texts,
        initialised=done.initialised,
        after=done.after,
        n_steps=sum(stage.n_steps for stage in done.stages),
        tokens=sum(stage.tokens for stage in done.stages),
        bytes=sum(stage.bytes for stage in done.stages),
        seconds=round(sum(stage.seconds for stage in done.stages), 3),
        init_seconds=0.0 if done.init_log.distill is None else done.init_log.distill.seconds,
        peak_bytes=max((stage.peak_bytes or 0 for stage in done.stages), default=0),
    )
    main_only(lambda: write_record(path, record))
    main_only(lambda: shutil.rmtree(work))


def ranked(cells: Sequence[ProbeCell]) -> tuple[ProbeRow, ...]:
    """A row for every init and plan, the best first."""
    groups: dict[tuple[str, str], list[ProbeCell]] = {}
    for cell in cells:
        groups.setdefault((cell.init, cell.plan), []).append(cell)
    rows = []
    for (init, plan), of_group in groups.items():
        reached = [cell.target_score("after") for cell in of_group]
        row = ProbeRow(
            init=init,
            plan=plan,
            n_seeds=len(of_group),
            initialised=round(mean(cell.target_score("initialised") for cell in of_group), 6),
            reached=round(mean(reached), 6),
            spread=round(stdev(reached), 6) if len(reached) > 1 else None,
            after={name: round(mean(cell.after[name] for cell in of_group), 6) for name in of_group[0].after},
            seconds=round(mean(cell.seconds for cell in of_group), 2),
            init_seconds=round(mean(cell.init_seconds for cell in of_group), 2),
            peak_bytes=max(cell.peak_bytes for cell in of_group),
        )
        rows.append(row)
    return tuple(sorted(rows, key=lambda row: row.reached))


def probe_table(record: ProbeRecord, width: int) -> Table:
    """Init methods and plans, the best first, with the start that does not tell the order."""
    names = list(record.rows[0].after) if record.rows else []
    learns = any(row.init_seconds for row in record.rows)
    rows = [
        [
            f"{rank}. {row.init}, {row.plan}",
            f"{row.initialised:.4f}",
            f"{row.reached:.4f}",
            shown(row.spread, ".4f"),
            *(f"{row.after[name]:.4f}" for name in names),
            f"{row.seconds:.1f}",
            *([f"{row.init_seconds:.1f}"] if learns else []),
        ]
        for rank, row in enumerate(record.rows, start=1)
    ]
    options = record.options
    return PlainTable(
        caption=f"{options['n_steps']} steps each, {options['n_seeds']} seeds; bits per byte on target text",
        headers=[
            "init, plan",
            "at step 0",
            "reached",
            "spread\nover seeds",
            *names,
            "seconds",
            *(["learning\nrows, s"] if learns else []),
        ],
        rows=rows,
        bold=frozenset((0,)),
    ).for_terminal(width)


def conclusion(record: ProbeRecord) -> str:
    """Which won, and whether the seeds can tell it from the second."""
    if len(record.rows) < 2:
        return "One row: nothing to rank. Name more --init methods or --plan plans."
    first, second = record.rows[:2]
    gap = second.reached - first.reached
    spread = max(first.spread or 0.0, second.spread or 0.0)
    best_start = min(record.rows, key=lambda row: row.initialised)
    told = f"Best: {first.init} with plan {first.plan}, {gap:.4f} bits per byte before the second"
    if first.spread is None:
        told += "; one seed says nothing of chance (--seeds 3)"
    elif gap < spread:
        told += f", less than the spread over seeds ({spread:.4f}): not told apart"
    if best_start is not first:
        return f"{told}. The lowest start ({best_start.init}, {best_start.plan}) did not win."
    return f"{told}."

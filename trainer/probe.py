"""`vocabopt probe`: short runs of every init method and plan on the same text, ranked by what they reach.

Every cell is an adaptation of its own, kept as one JSON file, so a stopped probe goes on.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import msgspec
from rich.table import Table

from trainer.adaptation import adapt
from trainer.adaptation.checks import check_early, plan_of
from trainer.data import parse_budget
from trainer.options import Cell, ProbeOptions, changed_option
from trainer.processes import main_only
from vocabopt.console import Console
from vocabopt.errors import OptionError, RunDirectoryError, VocaboptError
from vocabopt.fields import COUNT, NUMBER, Shape, check_fields
from vocabopt.folder import FORMAT_VERSION, check_own_folder, read_json, write_json_atomic
from vocabopt.tables import PlainTable, shown

PROBE_JSON = "probe.json"
MEASURED = "measured"
#: Options that say which cells there are, or where.
_NOT_SHARED = frozenset(("inits", "plans", "n_seeds", "out"))


def probe(options: ProbeOptions, console: Console | None = None, *, measured: Path | None = None) -> dict[str, Any]:
    """Run the cells that are not there yet, rank init methods and plans by bits per byte on target text.

    Args:
        measured: the folder of measurements, for probes of one model on the same texts; None takes one of its own.

    Returns:
        What OUT/probe.json holds: `rows` in order of rank, `cells` as they were run.

    Raises:
        VocaboptError: as `adapt`. RunDirectoryError: the folder holds a probe with other options.
    """
    console = _SaysOnce(quiet=console is None or console.quiet)
    _check_steps(options)
    options, inputs = _check_early(options, console)
    out = options.adapt.out
    is_new = not check_own_folder(out, PROBE_JSON)
    record = {"format_version": FORMAT_VERSION, "options": options.as_record(), "inputs": inputs}
    _take(out / PROBE_JSON, record)
    try:
        for cell in options.cells:
            _run(cell, options, out / "cells", console, measured or out / MEASURED)
    except VocaboptError:
        # What was refused with its first cell holds nothing yet: its mended command may take the folder.
        if is_new and not [*(out / "cells").glob("*.json")]:
            main_only(lambda: _leave(out))
        raise
    # All that are there: an earlier command may have run others of the same probe.
    cells = [_read_cell(path) for path in sorted((out / "cells").glob("*.json"))]
    record |= {"cells": cells, "rows": ranked(cells)}
    main_only(lambda: write_json_atomic(out / PROBE_JSON, record))
    return record


class _SaysOnce(Console):
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
        The options with the context that is taken; what the cells share by content: the model, the tokenizer, the
        plans that are files.
    """
    for plan in options.plans:
        checked = check_early(replace(options.adapt, plan=plan), console)
    plans = {plan: sha256(Path(plan).read_bytes()).hexdigest() for plan in options.plans if Path(plan).is_file()}
    adapt_options = replace(options.adapt, context_tokens=checked.options.context)
    return replace(options, adapt=adapt_options), {**plans, **checked.files}


def _leave(out: Path) -> None:
    (out / PROBE_JSON).unlink(missing_ok=True)
    for name in ("cells", MEASURED):
        shutil.rmtree(out / name, ignore_errors=True)


def _take(path: Path, record: dict[str, Any]) -> None:
    """Cells may be added to a probe (other methods, plans, seeds); what they share must stay."""
    if path.is_file():
        next_step = "Choose another folder with --out."
        earlier = read_json(path, next_step=next_step)
        check_fields(earlier, {"options": {}, "inputs": {"*": str}}, path, next_step)
        if (change := changed_option(earlier["options"], record["options"], _NOT_SHARED)) is not None:
            raise _another(path.parent, change)
        for name, value in record["inputs"].items():
            # A plan's file that is new to the probe has no earlier content.
            if (before := earlier["inputs"].get(name, value)) != value:
                what = f"another {name}: its content changed (hash {before[:12]} then, {value[:12]} now)"
                raise _another(path.parent, what)
        record["inputs"] = {**earlier["inputs"], **record["inputs"]}
    main_only(lambda: write_json_atomic(path, record))


def _another(folder: Path, what: str) -> RunDirectoryError:
    return RunDirectoryError(
        f"{folder}: holds a probe with {what}. Give what it was started with, or choose another folder with --out."
    )


def _check_steps(options: ProbeOptions) -> None:
    """Every stage needs text for a step, and the cut between stages is at whole documents."""
    for plan in options.plans:
        n_stages = len(plan_of(replace(options.adapt, plan=plan)).stages)
        if n_stages > 1 and options.n_steps < 2 * n_stages:
            raise OptionError(
                f"--steps {options.n_steps}: plan {plan} has {n_stages} stages, which share them. Give at least "
                f"{2 * n_stages}, or a plan of one stage (--plan full)."
            )


def _run(cell: Cell, options: ProbeOptions, folder: Path, console: Console, measured: Path) -> None:
    path = folder / f"{cell.name}.json"
    if path.is_file():
        return
    work = folder / f".{cell.name}.work"
    main_only(lambda: shutil.rmtree(work, ignore_errors=True))
    of_cell = replace(
        options.adapt,
        init=cell.init,
        plan=cell.plan,
        seed=cell.seed,
        budget=_budget(options),
        out=work,
        n_samples=0,
        control=False,
    )
    # The base model is the same in every cell, and so are new rows that are not random.
    done = adapt(of_cell, console, measured=measured)
    record = {
        "format_version": FORMAT_VERSION,
        "init": cell.init,
        "plan": cell.plan,
        "seed": cell.seed,
        "texts": msgspec.to_builtins(done.texts),
        "initialised": done.initialised,
        "after": done.after,
        "n_steps": sum(stage.n_steps for stage in done.stages),
        "tokens": sum(stage.tokens for stage in done.stages),
        "bytes": sum(stage.bytes for stage in done.stages),
        "seconds": round(sum(stage.seconds for stage in done.stages), 3),
        "peak_bytes": max((stage.peak_bytes or 0 for stage in done.stages), default=0),
    }
    main_only(lambda: write_json_atomic(path, record))
    main_only(lambda: shutil.rmtree(work))


_CELL: Shape = {
    **dict.fromkeys(("init", "plan"), str),
    "texts": {"*": {"role": str}},
    "initialised": {"*": NUMBER},
    "after": {"*": NUMBER},
    "seconds": NUMBER,
    "peak_bytes": COUNT,
}


def _read_cell(path: Path) -> dict[str, Any]:
    next_step = "Remove it: it is trained again."
    cell = read_json(path, next_step=next_step)
    check_fields(cell, _CELL, path, next_step)
    return cell


def _budget(options: ProbeOptions) -> str:
    """The text of so many steps."""
    batch = parse_budget(options.adapt.batch, "--batch")
    amount = batch.amount * options.n_steps
    return f"{amount}tok" if batch.unit == "tokens" else f"{amount / 1000:.3f}kB"


def target_score(cell: Mapping[str, Any], field: str) -> float:
    """Mean bits per byte over the target texts."""
    names = [name for name, text in cell["texts"].items() if text["role"] == "target"]
    scores: Mapping[str, float] = cell[field]
    return mean(scores[name] for name in names or scores)


def ranked(cells: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row for every init and plan, the best first: means over seeds, and their standard deviation."""
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for cell in cells:
        groups.setdefault((cell["init"], cell["plan"]), []).append(cell)
    rows = []
    for (init, plan), of_group in groups.items():
        reached = [target_score(cell, "after") for cell in of_group]
        rows.append(
            {
                "init": init,
                "plan": plan,
                "n_seeds": len(of_group),
                "initialised": round(mean(target_score(cell, "initialised") for cell in of_group), 6),
                "reached": round(mean(reached), 6),
                "spread": round(stdev(reached), 6) if len(reached) > 1 else None,
                "after": {
                    name: round(mean(cell["after"][name] for cell in of_group), 6) for name in of_group[0]["after"]
                },
                "seconds": round(mean(cell["seconds"] for cell in of_group), 2),
                "peak_bytes": max(cell["peak_bytes"] for cell in of_group),
            }
        )
    return sorted(rows, key=lambda row: row["reached"])


def probe_table(record: Mapping[str, Any], width: int) -> Table:
    """Init methods and plans, the best first, with the start that does not tell the order."""
    names = list(record["rows"][0]["after"]) if record["rows"] else []
    rows = [
        [
            f"{rank}. {row['init']}, {row['plan']}",
            f"{row['initialised']:.4f}",
            f"{row['reached']:.4f}",
            shown(row["spread"], ".4f"),
            *(f"{row['after'][name]:.4f}" for name in names),
            f"{row['seconds']:.1f}",
        ]
        for rank, row in enumerate(record["rows"], start=1)
    ]
    options = record["options"]
    return PlainTable(
        caption=f"{options['n_steps']} steps each, {options['n_seeds']} seeds; bits per byte on target text",
        headers=["init, plan", "at step 0", "reached", "spread\nover seeds", *names, "seconds"],
        rows=rows,
        bold=frozenset((0,)),
    ).for_terminal(width)


def conclusion(record: Mapping[str, Any]) -> str:
    """Which won, and whether the seeds can tell it from the second."""
    rows = record["rows"]
    if len(rows) < 2:
        return "One row: nothing to rank. Name more --init methods or --plan plans."
    first, second = rows[0], rows[1]
    gap = second["reached"] - first["reached"]
    spread = max(first["spread"] or 0.0, second["spread"] or 0.0)
    best_start = min(rows, key=lambda row: row["initialised"])
    told = f"Best: {first['init']} with plan {first['plan']}, {gap:.4f} bits per byte before the second"
    if first["spread"] is None:
        told += "; one seed says nothing of chance (--seeds 3)"
    elif gap < spread:
        told += f", less than the spread over seeds ({spread:.4f}): not told apart"
    told += "."
    if best_start is not first:
        told += f" The lowest start ({best_start['init']}, {best_start['plan']}) did not win."
    return told

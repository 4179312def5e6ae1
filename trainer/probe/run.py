"""`vocabopt probe`: every cell is an adaptation of its own, kept as one JSON file, so a stopped probe goes on."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from trainer.adapt import adapt
from trainer.adapt.inputs import plan_of, weights_identity
from trainer.data import parse_budget
from trainer.init.folders import model_folder
from trainer.probe.options import Cell, ProbeOptions
from trainer.processes import main_only
from vocabopt.artifacts import FORMAT_VERSION, check_own_folder, read_json, write_json_atomic
from vocabopt.console import Console
from vocabopt.errors import OptionError, RunDirectoryError

PROBE_JSON = "probe.json"


def probe(options: ProbeOptions, console: Console | None = None) -> dict[str, Any]:
    """Run the cells that are not there yet, rank init methods and plans by bits per byte on target text.

    Returns:
        What OUT/probe.json holds: `rows` in order of rank, `cells` as they were run.

    Raises:
        VocaboptError: as `adapt`. RunDirectoryError: the folder holds a probe with other options.
    """
    console = console or Console(quiet=True)
    _check_steps(options)
    out = options.adapt.out
    check_own_folder(out, PROBE_JSON)
    record = {"format_version": FORMAT_VERSION, "options": options.as_record(), "inputs": _inputs(options)}
    _take(out / PROBE_JSON, record)
    for cell in options.cells:
        _run(cell, options, out / "cells", console)
    # All that are there: an earlier command may have run others of the same probe.
    cells = [read_json(path, next_step="Remove it.") for path in sorted((out / "cells").glob("*.json"))]
    record |= {"cells": cells, "rows": ranked(cells)}
    main_only(lambda: write_json_atomic(out / PROBE_JSON, record))
    return record


def _take(path: Path, record: Mapping[str, Any]) -> None:
    """Cells may be added to a probe (other methods, plans, seeds); what they share must stay."""
    shared = {name: value for name, value in record["options"].items() if name not in ("inits", "plans", "n_seeds")}
    # As JSON gives it back: tuples are lists there.
    shared = json.loads(json.dumps(shared | record["inputs"]))
    if path.is_file():
        earlier = read_json(path, next_step="Choose another folder with --out.")
        earlier = earlier["options"] | earlier.get("inputs", {})
        for name, value in shared.items():
            if earlier.get(name) != value:
                raise RunDirectoryError(
                    f"{path.parent}: holds a probe with another {name}: {earlier.get(name)!r} then, {value!r} now. "
                    "Choose another folder with --out."
                )
    main_only(lambda: write_json_atomic(path, record))


def _check_steps(options: ProbeOptions) -> None:
    """Every stage needs text for a step, and the cut between stages is at whole documents."""
    for plan in options.plans:
        n_stages = len(plan_of(replace(options.adapt, plan=plan)).stages)
        if n_stages > 1 and options.n_steps < 2 * n_stages:
            raise OptionError(
                f"--steps {options.n_steps}: plan {plan} has {n_stages} stages, which share them. Give at least "
                f"{2 * n_stages}, or a plan of one stage (--plan full)."
            )


def _inputs(options: ProbeOptions) -> dict[str, str]:
    """What the cells of a probe share by content: the model, the tokenizer, the plans that are files."""
    tokenizer = (options.adapt.tokenizer_dir / "tokenizer.json").read_bytes()
    plans = {plan: sha256(Path(plan).read_bytes()).hexdigest() for plan in options.plans if Path(plan).is_file()}
    return {
        "weights": weights_identity(model_folder(options.adapt.model)),
        "merges": sha256(tokenizer).hexdigest(),
        **plans,
    }


def _run(cell: Cell, options: ProbeOptions, folder: Path, console: Console) -> None:
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
    done = adapt(of_cell, console)
    record = {
        "format_version": FORMAT_VERSION,
        "init": cell.init,
        "plan": cell.plan,
        "seed": cell.seed,
        "texts": done["texts"],
        "initialised": done["initialised"],
        "after": done["after"],
        "n_steps": sum(stage["n_steps"] for stage in done["stages"]),
        "tokens": sum(stage["tokens"] for stage in done["stages"]),
        "bytes": sum(stage["bytes"] for stage in done["stages"]),
        "seconds": round(sum(stage["seconds"] for stage in done["stages"]), 3),
        "peak_bytes": max((stage["peak_bytes"] or 0 for stage in done["stages"]), default=0),
    }
    main_only(lambda: write_json_atomic(path, record))
    main_only(lambda: shutil.rmtree(work))


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

"""The choice on the files of a run directory: made by the sweep, made again by `vocabopt choose` without the text."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl

from vocabopt.artifacts import write_json_atomic
from vocabopt.choice.complexity import EmbeddingTable, chosen_table, points
from vocabopt.choice.options import ChoiceOptions
from vocabopt.choice.recommend import choose
from vocabopt.choice.sizes import size_curve
from vocabopt.model.spec import load_model_spec, spec_of_record
from vocabopt.run_files import read_curve, read_folds, read_sweep, read_union
from vocabopt.text.sets import TRAIN


def choice_records(
    sweep: Mapping[str, Any],
    curve: pl.DataFrame,
    folds: pl.DataFrame,
    table: EmbeddingTable,
    options: ChoiceOptions,
    union: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """The fields of sweep.json that a choice writes: `choice`, with its point, and `n_scaffold`, which counts there.

    Args:
        sweep: `sets`, `points` and `exhausted_at` of sweep.json.
    """
    sizes = size_curve(curve, sweep["sets"], sweep["exhausted_at"])
    choice = choose(sizes, folds, table, options, union)
    base_tokens = {name: given["n_tokens_base"] for name, given in sweep["sets"].items()}
    (point,) = points((choice.n_added,), curve, base_tokens, table)
    shown = [given["n_added"] for given in sweep["points"]]
    n_used = sizes.n_used[TRAIN]
    return {
        "n_scaffold": {
            str(size): size - int(n_used[size]) for size in (*shown, choice.n_added) if 0 < size <= sizes.end
        },
        "choice": {**choice.as_record(), "point": point},
    }


def rechoose(run_dir: Path, options: ChoiceOptions, model: str | None = None) -> dict[str, Any]:
    """Decide again on a finished sweep and write its sweep.json anew; text and counts are not touched.

    Args:
        model: another model whose embedding, compute and memory are counted from now on; None for that of the run.

    Returns:
        What sweep.json now holds.

    Raises:
        RunDirectoryError: no finished sweep, or a file of it is missing, broken or of another run.
        OptionError, ModelSpecError: the window, set or model is not one for this curve.
    """
    sweep = read_sweep(run_dir, with_choice=False)
    curve = read_curve(run_dir, {**sweep, "choice": {}})
    folds = read_folds(run_dir, sweep, curve)
    table = table_of(sweep)
    if model is not None:
        table = chosen_table(load_model_spec(model), sweep["base"]["name"], sweep["base"]["n_tokens"])
        base_tokens = {name: given["n_tokens_base"] for name, given in sweep["sets"].items()}
        shown = tuple(point["n_added"] for point in sweep["points"])
        sweep["model"], sweep["base"]["n_rows"] = asdict(table.model) if table.model else None, table.base_n_rows
        sweep["points"] = points(shown, curve, base_tokens, table)
        sweep["options"] = {**sweep["options"], "model": model}
    union = read_union(run_dir, tuple(sweep["scripts"]), table.base_n_rows)
    sweep |= choice_records(sweep, curve, folds, table, options, union)
    write_json_atomic(run_dir / "sweep.json", sweep)
    return sweep


def table_of(sweep: Mapping[str, Any]) -> EmbeddingTable:
    """The embedding table that sweep.json tells of."""
    base = sweep["base"]
    return EmbeddingTable(
        base_n_tokens=base["n_tokens"], base_n_rows=base["n_rows"], model=spec_of_record(sweep["model"])
    )

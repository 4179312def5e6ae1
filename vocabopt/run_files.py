"""Reading what a finished sweep left, for the commands that go on from it: a file has one reader, which checks it."""

import dataclasses
import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from vocabopt.artifacts import read_json, read_parquet
from vocabopt.errors import OptionError, RunDirectoryError
from vocabopt.fields import COUNT, NUMBER, Kind, Shape, check_fields, or_null
from vocabopt.model.architecture import Architecture
from vocabopt.text.scripts import parse_scripts
from vocabopt.text.sets import HELDOUT, N_FOLDS, TRAIN
from vocabopt.union import UNION_JSON

_AGAIN = "Sweep again into this folder."
_SHARE = Kind((int, float), "a number from 0 to 1", lambda value: not isinstance(value, bool) and 0 <= value <= 1)
_POINT: Shape = {
    "n_added": COUNT,
    "n_rows_total": COUNT,
    "n_embedding_params": or_null(COUNT),
    "ratio_embedding": or_null(NUMBER),
    "dry": bool,
    "sets": {"*": {"n_tokens": COUNT, "ratio_input": or_null(NUMBER)}},
}
_STATS: Shape = {
    "role": str,
    "n_tokens_base": COUNT,
    "entropy_bits_base?": NUMBER,
    **dict.fromkeys(("n_documents", "n_bytes", "n_chars", "n_words"), COUNT),
    **dict.fromkeys(("n_special_tokens?", "n_blank?", "n_skipped?", "n_lost_chars?"), COUNT),
}
_PROOF: Shape = {
    **dict.fromkeys(("n_documents", "n_excerpts", "n_bytes", "n_tokens", "n_features", "n_features_held"), COUNT),
    "n_whole_documents?": COUNT,
    "is_all": bool,
}
_SWEEP: Shape = {
    "method?": str,
    "base": {
        **dict.fromkeys(("name", "family", "source", "sha256"), str),
        **dict.fromkeys(("pattern?", "specials?"), str),
        **dict.fromkeys(("n_tokens", "n_rows"), COUNT),
    },
    "model?": {
        **dict.fromkeys(("name", "source"), str),
        **dict.fromkeys(("hidden_size", "n_rows"), COUNT),
        "tied_embeddings": bool,
        "architecture?": {
            (field.name if field.default is dataclasses.MISSING else f"{field.name}?"): COUNT
            for field in dataclasses.fields(Architecture)
        },
    },
    "scripts": [str],
    "options": {"heldout": _SHARE, "seed": int},
    "sets": {TRAIN: _STATS, HELDOUT: _STATS, "*": _STATS},
    "points": [_POINT],
    "max_added": COUNT,
    "exhausted_at": or_null(COUNT),
    "n_blocked?": COUNT,
    "proof?": _PROOF,
    "curve_sha256": str,
}
_INTERVAL = dict.fromkeys(("low?", "high?", "share?", "n_resamples?", "n_without_knee?", "n_folds?"), NUMBER)
#: What stands beside the size is shown where it is there, and needed by no command.
_CHOICE: Shape = {
    "n_added": COUNT,
    "point": _POINT,
    "reason": str,
    **dict.fromkeys(("rule?", "set?", "clipped_by?", "window_sentence?", "agreement_sentence?"), str),
    "knee?": COUNT,
    "window?": [COUNT],
    "interval?": _INTERVAL,
    "windows?": {"starts": [COUNT], "ends": [COUNT], "knees": [[(int, type(None))]]},
    "sets?": [{"set": str, "role?": str, "knee?": COUNT, "window?": [COUNT]}],
    "rules?": [{"name": str, "kind": str, "n_added?": COUNT, "bound?": str, "sentence": str}],
    "model_cost?": {
        **dict.fromkeys(("n_body_params?", "n_active_body_params?", "n_layers?", "n_heads?", "n_kv_heads?"), COUNT),
        **dict.fromkeys(("head_dim?", "context_tokens?"), COUNT),
        "flops?": {"*": NUMBER},
        "gain?": {"*": or_null(NUMBER)},
        "left_out?": str,
    },
    "options?": {"*": (int, float, str, list, type(None))},
}
_RUN: Shape = {
    "inputs_sha256": str,
    "inputs?": [{"url": str, "text_set": str, "role": str, "fingerprint": str, "n_bytes?": COUNT}],
    **dict.fromkeys(("command?", "started_at?", "encoder?"), str),
    "versions?": {"*": (str, type(None))},
    "seconds?": {"*": NUMBER},
    "peak_memory_bytes?": COUNT,
    "counts_reused?": bool,
    "options?": {},
}
_UNION: Shape = {
    "vocab?": str,
    "vocab_size": COUNT,
    "sha256": str,
    "scores": Kind((str,), '"unique" or "zero"', lambda value: value in ("unique", "zero")),
    "scripts": [str],
    "base_n_rows": COUNT,
    "points": [
        {
            **dict.fromkeys(("vocab_size", "n_overlap", "n_added", "n_rows_total"), COUNT),
            "sets": {TRAIN: {"n_tokens": COUNT}, HELDOUT: {"n_tokens": COUNT}, "*": {"ratio_input": or_null(NUMBER)}},
        }
    ],
    "choice": {"vocab_size?": COUNT, "n_added?": COUNT, "reason": str, "window?": [COUNT]},
}


def read_sweep(run_dir: Path, *, with_choice: bool = True) -> dict[str, Any]:
    """sweep.json of a finished sweep.

    Args:
        with_choice: whether its choice is needed; a command that makes it anew does without.

    Raises:
        RunDirectoryError: it is not there, broken, or a field is missing or no value of its kind.
    """
    path = run_dir / "sweep.json"
    if not path.exists():
        if (run_dir / "run.json").exists():
            raise RunDirectoryError(f"{run_dir}: its sweep did not finish (no sweep.json). {_AGAIN}")
        what = "is not the folder of a sweep (no sweep.json)" if run_dir.is_dir() else "no such folder"
        raise RunDirectoryError(f"{run_dir}: {what}. Name the one that `vocabopt sweep ... --out` wrote.")
    sweep = read_json(path, next_step=_AGAIN)
    check_fields(sweep, _SWEEP, path, _AGAIN)
    try:
        known = parse_scripts(",".join(sweep["scripts"]) or "none")
    except OptionError as error:
        raise RunDirectoryError(f"{path}: field scripts: {error} {_AGAIN}") from error
    if known != tuple(sweep["scripts"]):
        raise RunDirectoryError(f"{path}: field scripts is not as a sweep writes it. {_AGAIN}")
    if with_choice:
        decide_again = f"Decide again: vocabopt choose {run_dir}"
        check_fields(sweep, {"choice": _CHOICE}, path, decide_again)
        windows = sweep["choice"].get("windows")
        if windows and [*map(len, windows["knees"])] != [len(windows["ends"])] * len(windows["starts"]):
            raise RunDirectoryError(
                f"{path}: field choice.windows.knees is no row a start of a knee an end. {decide_again}"
            )
        _check_points(path, "choice.point", [sweep["choice"]["point"]], sweep, decide_again)
    _check_points(path, "points", sweep["points"], sweep, _AGAIN)
    return sweep


def _check_points(
    path: Path, field: str, given: list[dict[str, Any]], sweep: Mapping[str, Any], next_step: str
) -> None:
    """Refuse points that are not of the sweep's text sets. Raises RunDirectoryError."""
    for point in given:
        if point["sets"].keys() != sweep["sets"].keys():
            names = ", ".join(sweep["sets"])
            raise RunDirectoryError(
                f"{path}: field {field}: its text sets are not those of the sweep ({names}). {next_step}"
            )


def read_run(run_dir: Path, *, next_step: str = _AGAIN) -> dict[str, Any]:
    """run.json of a sweep: what went in and what it cost. Raises RunDirectoryError as `read_sweep`."""
    path = run_dir / "run.json"
    run = read_json(path, next_step=next_step)
    check_fields(run, _RUN, path, next_step)
    return run


def protected_paths(run_dir: Path, names: Sequence[str]) -> dict[str, str]:
    """Protected set -> the path that gave it: that of --protect, else the folder of its files, else "PATH".

    Raises:
        RunDirectoryError: as `read_run`.
    """
    run = read_run(run_dir)
    given = (run.get("options") or {}).get("protects") or {}
    inputs = run.get("inputs") or []
    paths = {}
    for name in names:
        own = [entry["url"] for entry in inputs if entry["text_set"] == name]
        folder = os.path.commonpath(own) if own and not any("://" in url for url in own) else ""
        others = [entry["url"] for entry in inputs if entry["text_set"] != name]
        is_own = folder and not any(url.startswith(f"{folder}/") for url in others)
        paths[name] = str(given.get(name) or (folder if is_own else "PATH"))
    return paths


def read_curve(run_dir: Path, sweep: Mapping[str, Any]) -> pl.DataFrame:
    """The growth curve of a finished sweep, which sweep.json names by its hash.

    Args:
        sweep: what `read_sweep` gave.

    Raises:
        RunDirectoryError: it is not there, broken, of another run than sweep.json, or shorter than the choice made.
    """
    path = run_dir / "curve.parquet"
    curve = read_parquet(path, next_step=_AGAIN)
    if hashlib.sha256(path.read_bytes()).hexdigest() != sweep["curve_sha256"]:
        raise RunDirectoryError(
            f"{path}: is not the curve that sweep.json was made from (a run was interrupted between the two, or one of "
            f"them was changed). {_AGAIN}"
        )
    columns = ["rank", "piece", "bytes", "kind", "saving", "left", "right", "opened"]
    _check_columns(path, curve, [*columns, *(f"n_tokens_{name}" for name in sweep["sets"])])
    end = sweep["max_added"] if sweep["exhausted_at"] is None else sweep["exhausted_at"]
    if len(curve) != end:
        raise RunDirectoryError(
            f"{run_dir / 'sweep.json'}: fields max_added and exhausted_at say that the curve ends at {end:,} added "
            f"tokens; it ends at {len(curve):,}. {_AGAIN}"
        )
    if (n_added := sweep.get("choice", {}).get("n_added", 0)) > len(curve):
        raise RunDirectoryError(
            f"{run_dir / 'sweep.json'}: field choice.n_added is {n_added:,}, and the curve ends at {len(curve):,}. "
            f"Decide again: vocabopt choose {run_dir}"
        )
    return curve


def read_folds(run_dir: Path, sweep: Mapping[str, Any], curve: pl.DataFrame) -> pl.DataFrame:
    """folds.parquet of a finished sweep, whose folds add up to its curve.

    Raises:
        RunDirectoryError: it is not there, broken, or of another curve.
    """
    path = run_dir / "folds.parquet"
    folds = read_parquet(path, next_step=_AGAIN)
    names = [f"n_tokens_{name}" for name in sweep["sets"]]
    _check_columns(path, folds, ["n_added", "fold", *names])
    sizes = folds["n_added"].unique().sort()
    per_size = folds.group_by("n_added").agg(pl.col(names).sum(), pl.len().alias("n_folds")).sort("n_added")
    is_whole = len(sizes) and sizes[0] == 0 and sizes[-1] <= len(curve) and per_size["n_folds"].eq(N_FOLDS).all()
    if is_whole:
        rows = curve.select(names)[(sizes[1:] - 1).to_list()]
        for name in sweep["sets"]:
            column, stats = f"n_tokens_{name}", sweep["sets"][name]
            expected = [stats["n_tokens_base"], *rows[column]]
            # Special tokens inside the text are no part of the folds.
            is_whole = is_whole and [n + (stats.get("n_special_tokens") or 0) for n in per_size[column]] == expected
    if not is_whole:
        raise RunDirectoryError(f"{path}: its folds do not add up to curve.parquet: it is of another run. {_AGAIN}")
    return folds


def read_union(run_dir: Path, scripts: tuple[str, ...], base_n_rows: int) -> dict[str, Any] | None:
    """What a run with the union method left in a run directory.

    None where there is nothing, or where it was measured for other scripts or another model, so that it does not stand
    beside this curve.

    Raises:
        RunDirectoryError: union.json is broken, or a field is missing or no value of its kind.
    """
    if not (run_dir / UNION_JSON).is_file():
        return None
    union = read_union_record(run_dir)
    return union if (union["scripts"], union["base_n_rows"]) == (list(scripts), base_n_rows) else None


def read_union_record(run_dir: Path) -> dict[str, Any]:
    """union.json, of whatever scripts and model. Raises RunDirectoryError as `read_union`, or where there is none."""
    next_step = "Sweep into this folder with --method union again."
    path = run_dir / UNION_JSON
    union = read_json(path, next_step=next_step)
    check_fields(union, _UNION, path, next_step)
    if not union["points"]:
        raise RunDirectoryError(f"{path}: field points is empty. {next_step}")
    return union


def _check_columns(path: Path, frame: pl.DataFrame, columns: list[str]) -> None:
    for column in columns:
        if column not in frame.columns:
            raise RunDirectoryError(f"{path}: column {column} is missing. {_AGAIN}")
        if column.startswith(("n_", "rank", "saving", "fold")) and not frame[column].dtype.is_integer():
            raise RunDirectoryError(f"{path}: column {column} holds no whole numbers. {_AGAIN}")

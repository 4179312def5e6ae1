"""What a sweep leaves in its run directory: taking the folder, the counts of an earlier run, and reading what is there.

Every file has one reader here, which checks it against the others: the curve is the one that sweep.json names, the
folds add up to it, the counts are of the same inputs.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from vocabopt.errors import OptionError, RunDirectoryError
from vocabopt.folder import (
    check_own_folder,
    check_writable,
    digest,
    read_json,
    read_parquet,
    read_parquet_metadata,
    write_parquet_atomic,
)
from vocabopt.options import SweepOptions
from vocabopt.records import (
    Input,
    Learned,
    RunRecord,
    SweepRecord,
    Swept,
    UnionRecord,
    json_of,
    read_record,
    record_of,
    write_record,
)
from vocabopt.text.corpus import TextSet, fingerprint, tell_same_content
from vocabopt.text.scripts import parse_scripts
from vocabopt.text.sets import HELDOUT, N_FOLDS, TRAIN
from vocabopt.text.utf8 import printable
from vocabopt.tokenizer import Tokenizer
from vocabopt.union import UNION_JSON

if TYPE_CHECKING:
    from vocabopt.growth.counts import ChunkCounts

RUN_JSON, SWEEP_JSON = "run.json", "sweep.json"
#: The curve of the documents that were learned from, where that are not all.
LEARNED_PARQUET = "learned.parquet"
#: Raised when the same text gives other counts: other chunks, held-out documents or folds.
COUNTS_VERSION = 2
#: Options that decide which documents there are, and in which set; the rest may change between runs.
_COUNT_OPTIONS = ("heldout", "seed", "unit", "column", "encoding", "on_error", "format", "cross_spaces", "learn_from")
_AGAIN = Swept.NEXT_STEP
S = TypeVar("S", bound=Swept)


def take_run_directory(options: SweepOptions, base: Tokenizer, text_sets: tuple[TextSet, ...]) -> RunRecord:
    """Take an empty folder, or that of an earlier run on the same inputs; run.json then says what went in.

    Raises:
        RunDirectoryError: the folder cannot be written, or holds another run or other files.
    """
    check_writable(options.out)
    fingerprints = {file.url: fingerprint(file) for text_set in text_sets for file in text_set.files}
    tell_same_content(text_sets, fingerprints)
    inputs = tuple(
        Input(
            url=printable(file.url),
            text_set=file.text_set,
            n_bytes=file.n_bytes,
            role=text_set.role,
            fingerprint=fingerprints[file.url],
        )
        for text_set in text_sets
        for file in text_set.files
    )
    identity = {
        "counts_version": COUNTS_VERSION,
        "base": base.sha256,
        "inputs": sorted([entry.text_set, entry.role, entry.fingerprint] for entry in inputs),
        "options": {name: getattr(options, name) for name in _COUNT_OPTIONS},
    }
    record = RunRecord(counts_version=COUNTS_VERSION, inputs=inputs, inputs_sha256=digest(identity))
    # A run that failed before it had counts left nothing to lose: its mended command may take the folder.
    check_own_folder(options.out, RUN_JSON, inputs_sha256=record.inputs_sha256, results=("counts.parquet", SWEEP_JSON))
    write_record(options.out / RUN_JSON, record)
    return record


# --- Counts -----------------------------------------------------------------------------------------------------------


def save_counts(
    run_dir: Path, counts: "ChunkCounts", weights: NDArray[np.int64], learned: Learned, inputs_sha256: str
) -> None:
    """Write counts.parquet (chunk -> count per set) and counts_folds.parquet (the same per fold)."""
    # Here, since it brings numba, which commands that only read a finished run do not need.
    from vocabopt.growth.counts import count_words

    count_words(counts, weights)
    frame = pl.DataFrame({"chunk": counts.texts()} | {f"n_{name}": weights[:, i] for i, name in enumerate(counts.sets)})
    folds = pl.DataFrame(
        {
            "chunk": np.repeat(np.arange(counts.n_chunks), np.diff(counts.offsets)),
            "group": counts.groups,
            "n": counts.counts,
        }
    )
    write_parquet_atomic(run_dir / "counts_folds.parquet", folds)
    # Last, and with what a later run needs to know: its presence means that the counts are whole.
    metadata = {
        "inputs_sha256": inputs_sha256,
        "sets": json.dumps({name: asdict(stats) for name, stats in counts.sets.items()}),
        "learned": json.dumps(json_of(learned)),
    }
    write_parquet_atomic(run_dir / "counts.parquet", frame, metadata=metadata)


def read_counts(run_dir: Path, inputs_sha256: str) -> "tuple[ChunkCounts, Learned] | None":
    """The counts of a run, and which documents they are of; None where they are not there, not whole, or of others."""
    from vocabopt.growth.counts import ChunkCounts, SetStats

    path, folds_path = run_dir / "counts.parquet", run_dir / "counts_folds.parquet"
    if not path.is_file() or not folds_path.is_file():
        return None
    try:
        metadata = read_parquet_metadata(path, next_step="")
        if metadata.get("inputs_sha256") != inputs_sha256:
            return None
        frame, folds = read_parquet(path, next_step=""), read_parquet(folds_path, next_step="")
        sets = {name: SetStats(**given) for name, given in json.loads(metadata["sets"]).items()}
        texts = frame["chunk"]
        chunk, group, n = (folds[name].cast(pl.Int64).to_numpy() for name in ("chunk", "group", "n"))
        if texts.null_count() or not len(texts) or not len(folds) or folds.null_count().sum_horizontal().item():
            return None
        # Copies, since numba compiles its functions anew for arrays that are read-only.
        text = np.frombuffer((texts.str.join("\0").item() + "\0").encode(), np.uint8).copy()
        ends = np.flatnonzero(text == 0)
        # Compiled code follows the numbers without looking, so each is checked: are the files of one another?
        in_order = chunk[0] >= 0 and chunk[-1] < len(texts) and not (np.diff(chunk) < 0).any()
        is_group = group.min() >= 0 and group.max() < len(sets) * N_FOLDS
        if not in_order or not is_group or len(ends) != len(texts) or n.min() < 1:
            return None
        counts = ChunkCounts(
            sets=sets,
            text=text,
            ends=ends,
            offsets=np.concatenate([[0], np.cumsum(np.bincount(chunk, minlength=len(texts)))]),
            groups=group.astype(np.int32),
            counts=n.copy(),
        )
        stored = frame.select(f"n_{name}" for name in sets).to_numpy()
        learned = msgspec.json.decode(metadata["learned"], type=Learned)
        return (counts, learned) if np.array_equal(counts.weights(), stored) else None
    except (RunDirectoryError, pl.exceptions.PolarsError, ValueError, TypeError, KeyError, AttributeError):
        return None


# --- What a finished sweep left ---------------------------------------------------------------------------------------


def read_sweep(run_dir: Path) -> SweepRecord:
    """sweep.json of a finished sweep.

    Raises:
        RunDirectoryError: it is not there, broken, or a field is missing or no value of its kind.
    """
    return _read_sweep(run_dir, SweepRecord)


def read_swept(run_dir: Path) -> Swept:
    """sweep.json without its choice, for a command that makes the choice anew. Raises RunDirectoryError."""
    return _read_sweep(run_dir, Swept)


def _read_sweep(run_dir: Path, kind: type[S]) -> S:
    path = run_dir / SWEEP_JSON
    if not path.exists():
        if (run_dir / RUN_JSON).exists():
            raise RunDirectoryError(f"{run_dir}: its sweep did not finish (no {SWEEP_JSON}). {_AGAIN}")
        what = f"is not the folder of a sweep (no {SWEEP_JSON})" if run_dir.is_dir() else "no such folder"
        raise RunDirectoryError(f"{run_dir}: {what}. Name the one that `vocabopt sweep ... --out` wrote.")

    def next_step(field: str) -> str:
        return f"Decide again: vocabopt choose {run_dir}" if field.startswith(("choice", "n_scaffold")) else _AGAIN

    sweep = record_of(read_json(path, next_step=_AGAIN), kind, path, next_step)
    try:
        known = parse_scripts(",".join(sweep.scripts) or "none")
    except OptionError as error:
        raise RunDirectoryError(f"{path}: field scripts: {error} {_AGAIN}") from error
    if known != sweep.scripts:
        raise RunDirectoryError(f"{path}: field scripts is not as a sweep writes it. {_AGAIN}")
    for name in (TRAIN, HELDOUT):
        if name not in sweep.sets:
            raise RunDirectoryError(f"{path}: field sets.{name} is missing. {_AGAIN}")
    fields = [(f"points.{i}", point) for i, point in enumerate(sweep.points)]
    if isinstance(sweep, SweepRecord):
        windows = sweep.choice.windows
        if [*map(len, windows.knees)] != [len(windows.ends)] * len(windows.starts):
            raise RunDirectoryError(
                f"{path}: field choice.windows.knees is no row a start of a knee an end. {next_step('choice')}"
            )
        if sweep.choice.set not in sweep.sets:
            raise RunDirectoryError(f"{path}: field choice.set is no text set of the sweep. {next_step('choice')}")
        fields.append(("choice.point", sweep.choice.point))
    for field, point in fields:
        if point.sets.keys() != sweep.sets.keys():
            names = ", ".join(sweep.sets)
            raise RunDirectoryError(
                f"{path}: field {field}: its text sets are not those of the sweep ({names}). {next_step(field)}"
            )
    return sweep


def read_run(run_dir: Path, *, next_step: str = _AGAIN) -> RunRecord:
    """run.json of a sweep: what went in and what it cost. Raises RunDirectoryError."""
    return read_record(run_dir / RUN_JSON, RunRecord, next_step=next_step)


def paths_of_sets(run_dir: Path, names: Sequence[str]) -> dict[str, str]:
    """Text set -> the path that gave it: that of --protect or --keep, else the folder of its files, else "PATH".

    Raises:
        RunDirectoryError: as `read_run`.
    """
    run = read_run(run_dir)
    given = {**run.options.protects, **run.options.keeps} if run.options is not None else {}
    paths = {}
    for name in names:
        own = [entry.url for entry in run.inputs if entry.text_set == name]
        folder = os.path.commonpath(own) if own and not any("://" in url for url in own) else ""
        others = [entry.url for entry in run.inputs if entry.text_set != name]
        is_own = folder and not any(url.startswith(f"{folder}/") for url in others)
        paths[name] = str(given.get(name) or (folder if is_own else "PATH"))
    return paths


def read_curve(run_dir: Path, sweep: Swept) -> pl.DataFrame:
    """The growth curve of a finished sweep, which sweep.json names by its hash.

    Raises:
        RunDirectoryError: it is not there, broken, of another run than sweep.json, or shorter than the choice made.
    """
    path = run_dir / "curve.parquet"
    curve = read_parquet(path, next_step=_AGAIN)
    if hashlib.sha256(path.read_bytes()).hexdigest() != sweep.curve_sha256:
        raise RunDirectoryError(
            f"{path}: is not the curve that sweep.json was made from (a run was interrupted between the two, or one of "
            f"them was changed). {_AGAIN}"
        )
    columns = ["rank", "piece", "bytes", "kind", "saving", "left", "right", "opened"]
    _check_columns(path, curve, [*columns, *(f"n_tokens_{name}" for name in sweep.sets)])
    if len(curve) != sweep.end:
        raise RunDirectoryError(
            f"{run_dir / SWEEP_JSON}: fields max_added and exhausted_at say that the curve ends at {sweep.end:,} added "
            f"tokens; it ends at {len(curve):,}. {_AGAIN}"
        )
    if isinstance(sweep, SweepRecord) and (n_added := sweep.choice.n_added) > len(curve):
        raise RunDirectoryError(
            f"{run_dir / SWEEP_JSON}: field choice.n_added is {n_added:,}, and the curve ends at {len(curve):,}. "
            f"Decide again: vocabopt choose {run_dir}"
        )
    return curve


def read_learned(run_dir: Path, sweep: Swept) -> pl.DataFrame:
    """The curve of the documents that were learned from, where that are not all.

    Raises:
        RunDirectoryError: it is not there, broken, or of other merges than the curve.
    """
    path = run_dir / LEARNED_PARQUET
    learned, curve = read_parquet(path, next_step=_AGAIN), read_curve(run_dir, sweep)
    _check_columns(path, learned, ["piece", *(f"n_tokens_{name}" for name in sweep.sets)])
    if not learned["piece"].equals(curve["piece"]):
        raise RunDirectoryError(f"{path}: its tokens are not those of curve.parquet: it is of another run. {_AGAIN}")
    return learned


def read_folds(run_dir: Path, sweep: Swept, curve: pl.DataFrame) -> pl.DataFrame:
    """folds.parquet of a finished sweep, whose folds add up to its curve.

    Raises:
        RunDirectoryError: it is not there, broken, or of another curve.
    """
    path = run_dir / "folds.parquet"
    folds = read_parquet(path, next_step=_AGAIN)
    names = [f"n_tokens_{name}" for name in sweep.sets]
    _check_columns(path, folds, ["n_added", "fold", *names])
    sizes = folds["n_added"].unique().sort()
    per_size = folds.group_by("n_added").agg(pl.col(names).sum(), pl.len().alias("n_folds")).sort("n_added")
    is_whole = len(sizes) and sizes[0] == 0 and sizes[-1] <= len(curve) and per_size["n_folds"].eq(N_FOLDS).all()
    if is_whole:
        rows = curve.select(names)[(sizes[1:] - 1).to_list()]
        for name, stats in sweep.sets.items():
            expected = [stats.n_tokens_base, *rows[f"n_tokens_{name}"]]
            # Special tokens inside the text are no part of the folds.
            found = [n + stats.n_special_tokens for n in per_size[f"n_tokens_{name}"]]
            is_whole = is_whole and found == expected
    if not is_whole:
        raise RunDirectoryError(f"{path}: its folds do not add up to curve.parquet: it is of another run. {_AGAIN}")
    return folds


def read_union(run_dir: Path, scripts: tuple[str, ...], base_n_rows: int) -> UnionRecord | None:
    """What a run with the union method left in a run directory.

    None where there is nothing, or where it was measured for other scripts or another model, so that it is not to be
    compared with this curve.

    Raises:
        RunDirectoryError: union.json is broken, or a field is missing or no value of its kind.
    """
    if not (run_dir / UNION_JSON).is_file():
        return None
    union = read_union_record(run_dir)
    return union if (union.scripts, union.base_n_rows) == (scripts, base_n_rows) else None


def read_union_record(run_dir: Path) -> UnionRecord:
    """union.json, of whatever scripts and model. Raises RunDirectoryError as `read_union`, or where there is none."""
    path = run_dir / UNION_JSON
    union = read_record(path, UnionRecord)
    for i, point in enumerate(union.points):
        for name in (TRAIN, HELDOUT):
            if name not in point.sets:
                raise RunDirectoryError(f"{path}: field points.{i}.sets.{name} is missing. {union.NEXT_STEP}")
    return union


def _check_columns(path: Path, frame: pl.DataFrame, columns: list[str]) -> None:
    for column in columns:
        if column not in frame.columns:
            raise RunDirectoryError(f"{path}: column {column} is missing. {_AGAIN}")
        if column.startswith(("n_", "rank", "saving", "fold")) and not frame[column].dtype.is_integer():
            raise RunDirectoryError(f"{path}: column {column} holds no whole numbers. {_AGAIN}")

"""One run directory: whose it is, and the counts that a second run on the same inputs need not make again."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from vocabopt.artifacts import (
    FORMAT_VERSION,
    check_writable,
    digest,
    read_json,
    read_parquet,
    read_parquet_metadata,
    write_json_atomic,
    write_parquet_atomic,
)
from vocabopt.errors import RunDirectoryError
from vocabopt.growth.counts import ChunkCounts, SetStats, count_words
from vocabopt.locks import entries
from vocabopt.options import SweepOptions
from vocabopt.text.corpus import TextSet, fingerprint, tell_same_content
from vocabopt.text.sets import N_FOLDS
from vocabopt.text.utf8 import printable
from vocabopt.tokenizer import Base

#: Raised when the same text gives other counts: other chunks, held-out documents or folds.
COUNTS_VERSION = 2
#: Options that decide which documents there are, and in which set; the rest may change between runs.
_COUNT_OPTIONS = ("heldout", "seed", "unit", "column", "encoding", "on_error", "format", "cross_spaces")


@dataclass
class RunDirectory:
    """The folder of one run. `record` is what run.json says of its inputs from the start."""

    path: Path
    record: dict[str, Any]
    counts_reused: bool = False

    @classmethod
    def open(cls, options: SweepOptions, base: Base, text_sets: tuple[TextSet, ...]) -> "RunDirectory":
        """Take an empty folder, or that of an earlier run on the same inputs.

        Raises:
            RunDirectoryError: the folder cannot be written, or holds another run or other files.
        """
        check_writable(options.out)
        fingerprints = {file.url: fingerprint(file) for text_set in text_sets for file in text_set.files}
        tell_same_content(text_sets, fingerprints)
        inputs = [
            {
                **asdict(file),
                "url": printable(file.url),
                "role": text_set.role,
                "fingerprint": fingerprints[file.url],
            }
            for text_set in text_sets
            for file in text_set.files
        ]
        identity = {
            "counts_version": COUNTS_VERSION,
            "base": base.sha256,
            "inputs": sorted([entry["text_set"], entry["role"], entry["fingerprint"]] for entry in inputs),
            "options": {name: getattr(options, name) for name in _COUNT_OPTIONS},
        }
        record = {"format_version": FORMAT_VERSION, "counts_version": COUNTS_VERSION, "inputs": inputs}
        run = cls(options.out, {**record, "inputs_sha256": digest(identity)})
        run._check_owner()
        write_json_atomic(run.path / "run.json", run.record)
        return run

    def _check_owner(self) -> None:
        marker = self.path / "run.json"
        if marker.exists():
            earlier = read_json(marker, next_step="Choose another folder with --out.")
            # A run that failed before it had counts left nothing to lose: its mended command may take the folder.
            has_results = any((self.path / name).exists() for name in ("counts.parquet", "sweep.json"))
            if has_results and earlier.get("counts_version") != COUNTS_VERSION:
                raise RunDirectoryError(
                    f"{self.path}: holds a run of a version of vocabopt that counted otherwise. Choose another folder "
                    "with --out, or remove this one."
                )
            if has_results and earlier.get("inputs_sha256") != self.record["inputs_sha256"]:
                raise RunDirectoryError(
                    f"{self.path}: holds another run (other text, base or reading options). "
                    "Choose another folder with --out, or remove this one."
                )
        elif found := entries(self.path):
            raise RunDirectoryError(
                f"{self.path}: is not empty and holds no run (found {', '.join(found[:3])}). "
                "Choose a new or empty folder with --out."
            )

    def save_counts(self, counts: ChunkCounts, weights: NDArray[np.int64]) -> None:
        """Write counts.parquet (chunk -> count per set) and counts_folds.parquet (the same per fold)."""
        if self.counts_reused:
            return
        count_words(counts, weights)
        frame = pl.DataFrame(
            {"chunk": counts.texts()} | {f"n_{name}": weights[:, i] for i, name in enumerate(counts.sets)}
        )
        folds = pl.DataFrame(
            {
                "chunk": np.repeat(np.arange(counts.n_chunks), np.diff(counts.offsets)),
                "group": counts.groups,
                "n": counts.counts,
            }
        )
        write_parquet_atomic(self.path / "counts_folds.parquet", folds)
        # Last, and with what a later run needs to know: its presence means that the counts are whole.
        metadata = {
            "inputs_sha256": self.record["inputs_sha256"],
            "sets": json.dumps({name: asdict(stats) for name, stats in counts.sets.items()}),
        }
        write_parquet_atomic(self.path / "counts.parquet", frame, metadata=metadata)

    def load_counts(self) -> ChunkCounts | None:
        """The counts of an earlier run on the same inputs, None if there are none or they are not whole."""
        counts = read_counts(self.path, self.record["inputs_sha256"])
        self.counts_reused = counts is not None
        return counts


def read_counts(run_dir: Path, inputs_sha256: str) -> ChunkCounts | None:
    """The counts of a run; None where they are not there, not whole, or of other inputs."""
    path, folds_path = run_dir / "counts.parquet", run_dir / "counts_folds.parquet"
    if not path.is_file() or not folds_path.is_file():
        return None
    try:
        metadata = read_parquet_metadata(path, next_step="")
        if metadata.get("inputs_sha256") != inputs_sha256:
            return None
        frame, folds = read_parquet(path, next_step=""), read_parquet(folds_path, next_step="")
        sets = {name: SetStats(**given) for name, given in json.loads(metadata["sets"]).items()}
        return _counts_of(frame, folds, sets)
    except (RunDirectoryError, pl.exceptions.PolarsError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _counts_of(frame: pl.DataFrame, folds: pl.DataFrame, sets: dict[str, SetStats]) -> ChunkCounts | None:
    """The counts that the two files hold; None where the files are not of one another.

    Compiled code follows the numbers without looking, so each is checked here.
    """
    texts, n_groups = frame["chunk"], len(sets) * N_FOLDS
    chunk, group, n = (folds[name].cast(pl.Int64).to_numpy() for name in ("chunk", "group", "n"))
    if texts.null_count() or not len(texts) or not len(folds) or folds.null_count().sum_horizontal().item():
        return None
    # Copies, since numba compiles its functions anew for arrays that are read-only.
    text = np.frombuffer((texts.str.join("\0").item() + "\0").encode(), np.uint8).copy()
    ends = np.flatnonzero(text == 0)
    in_order = chunk[0] >= 0 and chunk[-1] < len(texts) and not (np.diff(chunk) < 0).any()
    if not in_order or len(ends) != len(texts) or n.min() < 1 or group.min() < 0 or group.max() >= n_groups:
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
    return counts if np.array_equal(counts.weights(), stored) else None

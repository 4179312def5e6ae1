"""The files of a preparation, while it works and when it is done.

OUT/options.json            whose folder it is: options and inputs, before any text is read
OUT/work/K/N.parquet        shard N behind pass K; N.removed.parquet, N.npz (sketch), N.decision.npz (what the corpus
                            step decided); N.json (counts), last: the shard is whole when it is there
OUT/work/K/done.json        pass K is whole, its decision too
OUT/clean/, OUT/removed/    a file per shard, written by the last pass
OUT/prepare.json, OUT/report.html    the funnel; then OUT/work is removed
"""

import io
import re
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar

import msgspec
import numpy as np
import polars as pl
import zstandard
from numpy.typing import NDArray

from vocabopt.errors import RunDirectoryError
from vocabopt.folder import read_object, read_parquet, write_atomic, write_json_atomic, write_parquet_atomic
from vocabopt.preparation.funnel import Count, StepCount, StepNumbers
from vocabopt.preparation.options import OutputFormat
from vocabopt.preparation.reading import FileReport
from vocabopt.preparation.step import Sketch
from vocabopt.text.finding import CLEAN, REMOVED, WORK

_ZSTD_LEVEL = 3
R = TypeVar("R", bound=msgspec.Struct)


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """A pass that is whole. facts: what its corpus step found, beside its decision."""

    n_shards: Count
    facts: dict[str, Any]


class FilesRead(msgspec.Struct, frozen=True, kw_only=True):
    """The first pass, as far as reading goes."""

    n_shards: Count
    files: list[FileReport]


class ShardCounts(msgspec.Struct, frozen=True, kw_only=True):
    """A shard behind a pass: what each step of the pass did."""

    counts: list[StepCount]
    n_documents: Count


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """What the table in the terminal shows of prepare.json."""

    files: list[FileReport]
    steps: list[StepNumbers]


def record_of(value: Any, kind: type[R], path: Path, next_step: str) -> R:
    """What was read from a JSON file as a record. Raises RunDirectoryError: names file and field, and what to do."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        said, _, at = str(error).partition(" - at `$")
        place = re.sub(r"\[(.*?)\]", r".\1", at.rstrip("`"))
        if missing := re.fullmatch(r"Object missing required field `(.+)`", said):
            place, said = f"{place}.{missing[1]}", "is missing"
        raise RunDirectoryError(f"{path}: field {place.lstrip('.')} {said}. {next_step}") from error


@dataclass(frozen=True)
class Work:
    """The files of one preparation in the folder `out`."""

    out: Path
    output: OutputFormat

    def path(self, segment: int, shard: int, suffix: str) -> Path:
        return self.out / WORK / str(segment) / f"{shard:06d}{suffix}"

    def is_done(self, segment: int, shard: int) -> bool:
        return self.path(segment, shard, ".json").exists()

    def n_shards_done(self, segment: int) -> int | None:
        """How many shards the pass has; None while it is not whole."""
        return self._done(segment).n_shards if (self.out / WORK / str(segment) / "done.json").exists() else None

    def mark_done(self, segment: int, n_shards: int, facts: Mapping[str, Any]) -> None:
        """The pass is whole: what the one before it left is not needed any more."""
        done = Done(n_shards=n_shards, facts=dict(facts))
        write_json_atomic(self.out / WORK / str(segment) / "done.json", msgspec.to_builtins(done))
        for shard in range(n_shards):
            self.path(segment, shard, ".npz").unlink(missing_ok=True)
            if segment:
                for suffix in (".parquet", ".decision.npz"):
                    self.path(segment - 1, shard, suffix).unlink(missing_ok=True)

    def facts(self, segment: int) -> dict[str, Any]:
        """What the corpus step of a whole pass found, beside its decision."""
        return self._done(segment).facts

    def _done(self, segment: int) -> Done:
        return self.record(self.out / WORK / str(segment) / "done.json", Done)

    def record(self, path: Path, kind: type[R]) -> R:
        """A JSON file of the work. Raises RunDirectoryError: it is missing, broken or lacks a field."""
        return record_of(read_object(path, next_step=self.anew), kind, path, self.anew)

    @property
    def anew(self) -> str:
        """What to do where a file of the work is broken."""
        return f"Remove {self.out / WORK} and give the same command again: it begins anew."

    def save_arrays(self, segment: int, shard: int, suffix: str, arrays: Sketch) -> None:
        write_atomic(self.path(segment, shard, suffix), lambda file: np.savez(file, allow_pickle=False, **arrays))

    def arrays(self, segment: int, shard: int, suffix: str) -> dict[str, NDArray[Any]]:
        with _arrays_of(self, self.path(segment, shard, suffix)) as stored:
            return {name: stored[name] for name in stored.files}

    def save_frame(self, segment: int, shard: int, suffix: str, frame: pl.DataFrame) -> None:
        write_parquet_atomic(self.path(segment, shard, suffix), frame)

    def frame(self, segment: int, shard: int, suffix: str) -> pl.DataFrame:
        return read_parquet(self.path(segment, shard, suffix), next_step=self.anew)

    def removed(self, segments: int, shard: int) -> pl.DataFrame:
        """What the passes up to here have removed of a shard, in the order of the steps."""
        return pl.concat([self.frame(segment, shard, ".removed.parquet") for segment in range(segments)])

    def write_output(self, folder: str, shard: int, frame: pl.DataFrame) -> None:
        """A finished file of clean/ or removed/; one without documents is not written."""
        path = self.out / folder / f"{shard:06d}.{self.output}"
        if not len(frame):
            path.unlink(missing_ok=True)
        elif self.output == "parquet":
            write_parquet_atomic(path, frame)
        else:
            lines = io.BytesIO()
            frame.write_ndjson(lines)
            packed = zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compress(lines.getvalue())
            write_atomic(path, lambda file: file.write(packed))

    def clear(self) -> None:
        """Remove what only the work needed."""
        shutil.rmtree(self.out / WORK, ignore_errors=True)

    def discard(self) -> None:
        """Remove all that a run left which did not finish: its shards are cut otherwise, and would stay among ours."""
        for folder in (WORK, CLEAN, REMOVED):
            shutil.rmtree(self.out / folder, ignore_errors=True)


@contextmanager
def _arrays_of(work: Work, path: Path) -> Iterator["np.lib.npyio.NpzFile"]:
    """An .npz file. Raises RunDirectoryError: it is missing, broken or lacks the array that is asked for."""
    try:
        # Opened here: numpy leaves a file open that is no archive.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            yield stored
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise RunDirectoryError(f"{path}: cannot be read ({error}). {work.anew}") from error


@dataclass(frozen=True)
class _StoredArrays(Mapping[str, NDArray[Any]]):
    """The arrays of an .npz file, each read when it is asked for: some are small, some as large as the text."""

    work: Work
    path: Path

    def __getitem__(self, name: str) -> NDArray[Any]:
        with _arrays_of(self.work, self.path) as stored:
            array: NDArray[Any] = stored[name]
        return array

    def __iter__(self) -> Iterator[str]:
        with _arrays_of(self.work, self.path) as stored:
            names = list(stored.files)
        yield from names

    def __len__(self) -> int:
        return sum(1 for _ in self)


@dataclass(frozen=True)
class StoredSketches:
    """The sketches that the shards of a pass left on disk, read one at a time."""

    work: Work
    segment: int
    n_shards: int

    def __len__(self) -> int:
        return self.n_shards

    def __iter__(self) -> Iterator[Sketch]:
        return (self[shard] for shard in range(self.n_shards))

    def __getitem__(self, shard: int) -> Sketch:
        return _StoredArrays(self.work, self.work.path(self.segment, shard, ".npz"))

    def scratch(self) -> IO[bytes]:
        return tempfile.TemporaryFile(dir=self.work.out / WORK)

"""The files of a preparation, while it works and when it is done.

OUT/options.json            whose folder it is
OUT/work/K/N.parquet        shard N behind pass K; N.removed.parquet, N.npz (sketch), N.decision.npz (what the corpus
                            step decided); N.json (counts), last: the shard is whole when it is there
OUT/work/K/done.json        pass K is whole, its decision too
OUT/clean/, OUT/removed/    a file per shard, written by the last pass
OUT/prepare.json, OUT/report.html    the funnel; then OUT/work is removed
"""

import io
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np
import polars as pl
import zstandard
from numpy.typing import NDArray

from vocabopt.errors import RunDirectoryError
from vocabopt.folder import read_object, read_parquet, write_atomic, write_parquet_atomic, writing
from vocabopt.preparation.options import OutputFormat
from vocabopt.preparation.record import Done
from vocabopt.preparation.step import Sketch
from vocabopt.records import FileRecord, record_of, write_record
from vocabopt.text.finding import CLEAN, REMOVED, WORK

_ZSTD_LEVEL = 3
R = TypeVar("R", bound=FileRecord)


@dataclass(frozen=True)
class Work:
    """The files of one preparation in the folder `out`."""

    out: Path
    output: OutputFormat

    @property
    def folder(self) -> Path:
        return self.out / WORK

    @property
    def anew(self) -> str:
        """What to do where a file of the work is broken."""
        return f"Remove {self.folder} and give the same command again: it begins anew."

    def path(self, segment: int, shard: int, suffix: str) -> Path:
        return self.folder / str(segment) / f"{shard:06d}{suffix}"

    def is_done(self, segment: int, shard: int) -> bool:
        return self.path(segment, shard, ".json").exists()

    def done(self, segment: int) -> Done | None:
        """None while the pass is not whole."""
        path = self.folder / str(segment) / "done.json"
        return self.record(path, Done) if path.exists() else None

    def mark_done(self, segment: int, done: Done) -> None:
        """The pass is whole: what the one before it left is not needed any more."""
        write_record(self.folder / str(segment) / "done.json", done)
        for shard in range(done.n_shards):
            self.path(segment, shard, ".npz").unlink(missing_ok=True)
            if segment:
                for suffix in (".parquet", ".decision.npz"):
                    self.path(segment - 1, shard, suffix).unlink(missing_ok=True)

    def record(self, path: Path, kind: type[R]) -> R:
        """A JSON file of the work. Raises RunDirectoryError: it is missing, broken or lacks a field."""
        return record_of(read_object(path, next_step=self.anew), kind, path, lambda field: self.anew)

    def save_arrays(self, segment: int, shard: int, suffix: str, arrays: Sketch) -> None:
        write_atomic(self.path(segment, shard, suffix), lambda file: np.savez(file, allow_pickle=False, **arrays))

    @contextmanager
    def arrays(self, segment: int, shard: int, suffix: str) -> Iterator["np.lib.npyio.NpzFile"]:
        """Stored arrays. Raises RunDirectoryError: the file is missing, broken or lacks the array that is asked for."""
        path = self.path(segment, shard, suffix)
        try:
            # Opened here: numpy leaves a file open that is no archive.
            with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                yield stored
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
            raise RunDirectoryError(f"{path}: cannot be read ({error}). {self.anew}") from error

    def save_frame(self, segment: int, shard: int, suffix: str, frame: pl.DataFrame) -> None:
        write_parquet_atomic(self.path(segment, shard, suffix), frame)

    def frame(self, segment: int, shard: int, suffix: str) -> pl.DataFrame:
        return read_parquet(self.path(segment, shard, suffix), next_step=self.anew)

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
        shutil.rmtree(self.folder, ignore_errors=True)

    def discard(self) -> None:
        """Remove all that a run left which did not finish: its shards are cut otherwise, and would stay among ours."""
        for folder in (WORK, CLEAN, REMOVED):
            shutil.rmtree(self.out / folder, ignore_errors=True)


@dataclass(frozen=True)
class _StoredSketch:
    """Each array is read when it is asked for: some are small, some as large as the text."""

    work: Work
    segment: int
    shard: int

    def __getitem__(self, name: str) -> NDArray[Any]:
        with self.work.arrays(self.segment, self.shard, ".npz") as stored:
            array: NDArray[Any] = stored[name]
        return array


@dataclass(frozen=True)
class StoredSketches:
    """The sketches that the shards of a pass left on disk."""

    work: Work
    segment: int
    n_shards: int
    memory_bytes: int

    def __iter__(self) -> Iterator[_StoredSketch]:
        return (_StoredSketch(self.work, self.segment, shard) for shard in range(self.n_shards))

    @contextmanager
    def scratch(self) -> Iterator[IO[bytes]]:
        with writing(self.work.folder), tempfile.TemporaryFile(dir=self.work.folder) as file:
            yield file

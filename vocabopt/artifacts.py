"""The files of a run directory: written whole or not at all, never deleted.

DIR/run.json        what went in (options, files, versions), what it cost (seconds, peak memory)
DIR/counts.parquet  unique chunk -> count per text set (with counts_folds.parquet: per fold of the documents)
DIR/curve.parquet   one row per added token
DIR/folds.parquet   token counts per fold of the documents at about 100 sizes
DIR/sweep.json      base, sets, points, choice
DIR/report.html     and DIR/figures/
"""

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import polars as pl

from vocabopt.errors import RunDirectoryError
from vocabopt.failures import is_panic, refusal
from vocabopt.locks import entries, make_folder
from vocabopt.signals import end_if_stopped
from vocabopt.text.utf8 import json_bytes, json_value, read_utf8

FORMAT_VERSION = 1


def write_atomic(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write through a temporary file in the same folder, fsync, rename: readers see all of it or nothing.

    Raises:
        RunDirectoryError: the folder cannot be made or written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial")
    except OSError as error:
        raise RunDirectoryError(refusal(error, path, what="cannot be written")) from error
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        share(Path(temporary))
        os.replace(temporary, path)
    except BaseException as error:
        Path(temporary).unlink(missing_ok=True)
        if (refused := refusal(error, path, what="cannot be written")) is not None:
            raise RunDirectoryError(refused) from error
        raise


def share(path: Path) -> None:
    """Give a file the mode of any new one: mkstemp and safetensors make private files."""
    umask = os.umask(0)
    os.umask(umask)
    path.chmod(0o666 & ~umask)


def sync(path: Path) -> None:
    """Wait until a file's content, or a folder's names, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_bytes_atomic(path: Path, data: bytes) -> None:
    """Write `data` to `path` atomically, making the folder if needed.

    Raises:
        RunDirectoryError: the folder cannot be made or written.
    """
    write_atomic(path, lambda file: file.write(data))


def write_json_atomic(path: Path, value: Any) -> None:
    """Write `value` as readable JSON, atomically. Raises RunDirectoryError as `write_bytes_atomic`."""
    write_bytes_atomic(path, json_bytes(value) + b"\n")


def write_parquet_atomic(path: Path, frame: pl.DataFrame, *, metadata: dict[str, str] | None = None) -> None:
    """Write `frame` as parquet, atomically; equal frames give equal bytes. Raises RunDirectoryError."""

    def write(file: IO[bytes]) -> None:
        kept = _KeepsError(file)
        try:
            frame.write_parquet(kept, compression="zstd", compression_level=1, metadata=metadata)  # type: ignore[arg-type]
        except pl.exceptions.PolarsError as error:
            raise kept.error or error from error

    write_atomic(path, write)


class _KeepsError:
    """A file whose error is kept: polars tells of a full disk as a "transport error", without its number."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        try:
            return self._file.write(data)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        self._file.flush()


def read_parquet(path: Path, *, next_step: str) -> pl.DataFrame:
    """A parquet file of this project.

    Raises:
        RunDirectoryError: missing or broken; the message ends with `next_step`.
    """
    with _own_parquet(path, next_step) as file:
        return pl.read_parquet(file)


def read_parquet_metadata(path: Path, *, next_step: str) -> dict[str, str]:
    """What `write_parquet_atomic` was given as metadata. Raises RunDirectoryError as `read_parquet`."""
    with _own_parquet(path, next_step) as file:
        return pl.read_parquet_metadata(file)


@contextmanager
def _own_parquet(path: Path, next_step: str) -> Iterator[IO[bytes]]:
    """Opened here: polars takes a name for a pattern, and none that is not UTF-8."""
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        end_if_stopped(error)
        raise RunDirectoryError(f"{path}: cannot be read ({error.strerror or error}). {next_step}") from error
    except BaseException as error:
        end_if_stopped(error)
        if not (isinstance(error, pl.exceptions.PolarsError) or is_panic(error)):
            raise
        raise RunDirectoryError(f"{path}: cannot be read ({error}). {next_step}") from error


def read_object(path: Path, *, next_step: str) -> dict[str, Any]:
    """Read a JSON object of this project that only the command which wrote it reads again.

    Raises:
        RunDirectoryError: missing or broken; the message ends with `next_step`.
    """
    try:
        value = json_value(read_utf8(path))
    except FileNotFoundError as error:
        raise RunDirectoryError(f"{path}: not found. {next_step}") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RunDirectoryError(f"{path}: cannot be read ({reason}). {next_step}") from error
    if not isinstance(value, dict):
        raise RunDirectoryError(f"{path}: is no JSON object. {next_step}")
    return value


def read_json(path: Path, *, next_step: str) -> dict[str, Any]:
    """Read a JSON object of this project, of this version of its format. Raises RunDirectoryError as `read_object`."""
    value = read_object(path, next_step=next_step)
    if value.get("format_version") != FORMAT_VERSION:
        raise RunDirectoryError(
            f"{path}: format_version is not {FORMAT_VERSION}, so another version of vocabopt wrote it. {next_step}"
        )
    return value


def digest(value: Any) -> str:
    """sha256 of a JSON-able value, independent of dictionary order."""
    return hashlib.sha256(json_bytes(value, indent=None, sort_keys=True)).hexdigest()


def check_writable(directory: Path) -> None:
    """Find out before the long work, not after it, that nothing can be written.

    Raises:
        RunDirectoryError: `directory` is a file, cannot be made, or cannot be written to.
    """
    make_folder(directory)
    try:
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        raise RunDirectoryError(refusal(error, directory, what="cannot be written")) from error


def check_own_folder(directory: Path, marker: str) -> bool:
    """A folder to write into: an empty one, or one that holds `marker`, which an earlier run of the command left.

    Returns:
        Whether the marker is there.

    Raises:
        RunDirectoryError: as `check_writable`, or it holds other files.
    """
    check_writable(directory)
    if (directory / marker).exists():
        return True
    if found := entries(directory):
        raise RunDirectoryError(
            f"{directory}: is not empty and holds no {marker} (found {', '.join(found[:3])}). Choose a new or empty "
            "folder with --out."
        )
    return False

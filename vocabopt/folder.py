"""A run's folder: files written whole or not at all, one run at a time, and whose folder it is.

A file goes through a temporary file, fsync and rename, so that readers see all of it or nothing; nothing is deleted.
A running command holds its folder by a lock, which ends with the process however it ends:

FOLDER/.vocabopt.lock           locked by the kernel while the run lives; a file left by a dead run holds nobody up
FOLDER/.vocabopt.holder.json    who: the command, its process, its machine, since when

Both are removed at the end. A file that one command writes alone has a lock of its own: .NAME.lock, .NAME.holder.json.
"""

import hashlib
import json
import os
import re
import socket
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import takewhile
from pathlib import Path
from typing import IO, Any

import polars as pl
from filelock import FileLock, Timeout

from vocabopt.errors import RunDirectoryError
from vocabopt.failures import end_if_stopped, is_panic, refusal
from vocabopt.text.utf8 import json_bytes, json_value, printable, read_utf8

#: Of every JSON file that a command leaves; another version's file is refused.
FORMAT_VERSION = 1

#: Hidden files that stand in a folder only while a result is being made.
_OWN = re.compile(r"\..+\.(lock|holder\.json|partial)")
#: A file that `write_atomic` makes, with the name of what it is to become.
_PARTIAL = re.compile(r"\.(.+)\.[^.]+\.partial")
_FOLDER = "vocabopt"
#: Folders and files that this process has locked: a command that runs another in the same folder waits for nobody.
_held: set[str] = set()

# --- Files, whole or not at all ---------------------------------------------------------------------------------------


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Tell what the system refuses while `path` is written."""
    try:
        yield
    except BaseException as error:
        if (refused := refusal(error, path, what="cannot be written")) is not None:
            raise RunDirectoryError(refused) from error
        raise


def write_atomic(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write through a temporary file in the same folder, fsync, rename: readers see all of it or nothing.

    Raises:
        RunDirectoryError: the folder cannot be made or written.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial")
        try:
            with os.fdopen(handle, "wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            share(Path(temporary))
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
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


# --- Whose folder it is -----------------------------------------------------------------------------------------------


def check_writable(directory: Path) -> None:
    """Find out before the long work, not after it, that nothing can be written.

    Raises:
        RunDirectoryError: `directory` is a file, cannot be made, or cannot be written to.
    """
    make_folder(directory)
    with writing(directory), tempfile.TemporaryFile(dir=directory):
        pass


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write the files of one result, by their path in the folder, in order: the last one says that all is there.

    Other files may lie there, and the same ones. Without the last one nothing new stays.

    Raises:
        RunDirectoryError: the folder cannot be written to, or holds another file of one of the names.
    """
    for name, data in files.items():
        if (folder / name).is_file() and (folder / name).read_bytes() != data:
            raise RunDirectoryError(
                f"{folder / name}: is there already and differs. Choose another folder with --out, or remove {folder} "
                "first."
            )
    check_writable(folder)
    new = [folder / name for name in files if not (folder / name).exists()]
    try:
        for name, data in files.items():
            write_bytes_atomic(folder / name, data)
    except BaseException:
        for path in new if not (folder / list(files)[-1]).exists() else ():
            path.unlink(missing_ok=True)
            if path.parent != folder and not any(path.parent.iterdir()):
                path.parent.rmdir()
        raise


def check_own_folder(
    directory: Path,
    marker: str,
    *,
    inputs_sha256: str | None = None,
    what: str = "run",
    results: Sequence[str] = (),
) -> bool:
    """A folder to write into: an empty one, or one that an earlier run of the command left, on the same inputs.

    Args:
        marker: the JSON file that an earlier run left.
        inputs_sha256: what the marker's field of that name must be; None for any.
        what: what the folder holds, for the message.
        results: a folder without any of these files may be taken on other inputs, as nothing is lost; () for never.

    Returns:
        Whether the marker is there.

    Raises:
        RunDirectoryError: as `check_writable`; or it holds other files, or a run on other inputs.
    """
    check_writable(directory)
    if not (directory / marker).exists():
        if found := entries(directory):
            raise RunDirectoryError(
                f"{directory}: is not empty and holds no {marker} (found {', '.join(found[:3])}). Choose a new or "
                "empty folder with --out."
            )
        return False
    if inputs_sha256 is not None:
        earlier = read_json(directory / marker, next_step="Choose another folder with --out.")
        has_results = not results or any((directory / name).exists() for name in results)
        if has_results and earlier.get("inputs_sha256") != inputs_sha256:
            raise RunDirectoryError(
                f"{directory}: holds another {what} (other text, base or reading options, or made by another version "
                "of vocabopt). Choose another folder with --out, or remove this one."
            )
    return True


def make_folder(folder: Path) -> list[Path]:
    """Make a folder.

    Returns:
        Those that were made, the innermost first.

    Raises:
        RunDirectoryError: it is a file, or cannot be made.
    """
    with writing(folder):
        if folder.exists() and not folder.is_dir():
            raise RunDirectoryError(f"{printable(folder)}: is a file, not a folder. Choose another folder with --out.")
        made = list(takewhile(lambda path: not path.exists(), (folder, *folder.parents)))
        folder.mkdir(parents=True, exist_ok=True)
    return made


def is_own(name: str) -> bool:
    """Whether a file name is that of a lock, of its holder, or of a file that a killed run did not finish."""
    return _OWN.fullmatch(name) is not None


def entries(folder: Path) -> list[str]:
    """Names in a folder, sorted, without those of `is_own`."""
    return sorted(entry.name for entry in folder.iterdir() if not is_own(entry.name))


def remove_unfinished(folder: Path) -> None:
    """Remove what processes that were killed have half-written. For whoever holds the folder: others may be writing.

    What lies in a folder inside that another command holds, or belongs to a file that one holds, is that command's.
    """
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not _is_locked(Path(place, name), _FOLDER)]
        for found in filter(None, map(_PARTIAL.fullmatch, names)):
            if not _is_locked(Path(place), found[1]):
                Path(place, found[0]).unlink(missing_ok=True)


def _is_locked(folder: Path, name: str) -> bool:
    """Whether a command that lives, this one included, holds the lock of this name."""
    path = folder / f".{name}.lock"
    if not path.exists():
        return False
    try:
        _acquired(path).release()
    except (Timeout, OSError):
        return True
    return False


def _acquired(path: Path) -> FileLock:
    """A lock, held. Raises Timeout: another process holds it; OSError."""
    lock = FileLock(path, timeout=0)
    with warnings.catch_warnings():
        # A file system without locks: a marker file then stands for one, as well as it can.
        warnings.simplefilter("ignore")
        lock.acquire()
    return lock


# --- One run at a time ------------------------------------------------------------------------------------------------


@contextmanager
def folder_lock(folder: Path, command: str) -> Iterator[None]:
    """Hold a folder for the time of the context; it is made where it is not there.

    A folder made here that stays empty is removed again. What a killed run left half-written is removed.

    Args:
        command: what is running, for those who find the folder held.

    Raises:
        RunDirectoryError: another run holds it, which the message names; or it cannot be made or written to.
    """
    made = make_folder(folder)
    try:
        with _lock(folder, folder, _FOLDER, command) as was_killed:
            if was_killed:
                remove_unfinished(folder)
            yield
    finally:
        for empty in made:
            with suppress(OSError):  # not empty: there is a result
                empty.rmdir()


@contextmanager
def file_lock(path: Path, command: str) -> Iterator[None]:
    """Hold the name of one file. Where its folder cannot be written to there is no lock: its writer will say so.

    Raises:
        RunDirectoryError: another run is about to write it.
    """
    if not os.access(path.parent, os.W_OK):
        yield
        return
    with _lock(path, path.parent, path.name, command):
        yield


@contextmanager
def _lock(what: Path, folder: Path, name: str, command: str) -> Iterator[bool]:
    """Gives whether a run that was killed has left its lock."""
    key = os.path.realpath(what)
    if key in _held:
        yield False
        return
    path, holder = folder / f".{name}.lock", folder / f".{name}.holder.json"
    was_held = os.path.lexists(holder)
    try:
        lock = _acquired(path)
    except Timeout as error:
        raise RunDirectoryError(
            f"{printable(what)}: is in use by {_who(holder)}. Wait until it ends, or work in another folder."
        ) from error
    except OSError as error:
        raise RunDirectoryError(refusal(error, folder, what="cannot be written")) from error
    try:
        _held.add(key)
        with suppress(OSError):  # without it the message says less
            since = time.strftime("%Y-%m-%d %H:%M:%S %z")
            told = {"command": command, "pid": os.getpid(), "host": socket.gethostname(), "since": since}
            holder.write_text(json.dumps(told), encoding="utf-8")
        yield was_held
    finally:
        _held.discard(key)
        # While it is still held: a run that waits on the removed file sees that it guards no name any more.
        for own in (holder, path):
            with suppress(OSError):
                own.unlink(missing_ok=True)
        lock.release()


def _who(holder: Path) -> str:
    """The holder in words. Its file may not be there yet, or be written at this moment."""
    for _ in range(10):
        with suppress(OSError, ValueError):
            told = json_value(holder.read_text(encoding="utf-8"))
            return f"{told['command']} (process {told['pid']} on {told['host']}, since {told['since']})"
        time.sleep(0.02)
    return "another run"

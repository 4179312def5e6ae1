"""One run at a time in a folder: a lock that its holder's end opens, however it ends.

FOLDER/.vocabopt.lock           locked by the kernel while the run lives; a file left by a dead run holds nobody up
FOLDER/.vocabopt.holder.json    who: the command, its process, its machine, since when
Both are removed at the end. A file that one command writes alone has a lock beside it: .NAME.lock, .NAME.holder.json.
"""

import json
import os
import re
import socket
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from vocabopt.errors import RunDirectoryError
from vocabopt.failures import refusal
from vocabopt.text.utf8 import json_value, printable

#: Of the hidden files that stand beside a result only while it is being made.
_OWN = re.compile(r"\..+\.(lock|holder\.json|partial)")
#: A file that `artifacts.write_atomic` makes, with the name of what it is to become.
_PARTIAL = re.compile(r"\.(.+)\.[^.]+\.partial")
_FOLDER = "vocabopt"
#: Folders and files that this process has locked: a command that runs another in the same folder waits for nobody.
_held: set[str] = set()


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
    lock = FileLock(path, timeout=0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            lock.acquire()
    except (Timeout, OSError):
        return True
    lock.release()
    return False


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


def make_folder(folder: Path) -> list[Path]:
    """Make a folder.

    Returns:
        Those that were made, the innermost first.

    Raises:
        RunDirectoryError: it is a file, or cannot be made.
    """
    try:
        if folder.exists() and not folder.is_dir():
            raise RunDirectoryError(f"{printable(folder)}: is a file, not a folder. Choose another folder with --out.")
        made = []
        for path in (folder, *folder.parents):
            if path.exists():
                break
            made.append(path)
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunDirectoryError(refusal(error, folder, what="cannot be written")) from error
    return made


@contextmanager
def _lock(what: Path, folder: Path, name: str, command: str) -> Iterator[bool]:
    """Gives whether a run that was killed has left its lock."""
    key = os.path.realpath(what)
    if key in _held:
        yield False
        return
    path, holder = folder / f".{name}.lock", folder / f".{name}.holder.json"
    lock = FileLock(path, timeout=0)
    was_held = os.path.lexists(holder)
    try:
        with warnings.catch_warnings():
            # A file system without locks: a marker file then stands for one, as well as it can.
            warnings.simplefilter("ignore")
            lock.acquire()
    except Timeout as error:
        raise RunDirectoryError(
            f"{printable(what)}: is in use by {_who(holder)}. Wait until it ends, or choose another place with --out."
        ) from error
    except OSError as error:
        raise RunDirectoryError(refusal(error, folder, what="cannot be written")) from error
    try:
        _held.add(key)
        with suppress(OSError):  # without it the message says less
            holder.write_text(json.dumps(_self(command)), encoding="utf-8")
        yield was_held
    finally:
        _held.discard(key)
        # While it is still held: a run that waits on the removed file sees that it guards no name any more.
        for own in (holder, path):
            with suppress(OSError):
                own.unlink(missing_ok=True)
        lock.release()


def _self(command: str) -> dict[str, Any]:
    return {
        "command": command,
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "since": time.strftime("%Y-%m-%d %H:%M:%S %z"),
    }


def _who(holder: Path) -> str:
    """The holder in words. Its file may not be there yet, or be written at this moment."""
    for _ in range(10):
        with suppress(OSError, ValueError):
            told = json_value(holder.read_text(encoding="utf-8"))
            return f"{told['command']} (process {told['pid']} on {told['host']}, since {told['since']})"
        time.sleep(0.02)
    return "another run"

"""Running commands in tests: in this process or as one of their own, and what a refusal must look like."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from vocabopt.cli import main
from vocabopt.failures import TRACEBACK


def vocabopt(*arguments: object) -> Result:
    """Run a command in this process; a bug shows as its own traceback."""
    result = CliRunner(env={TRACEBACK: "1"}).invoke(main, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def replaced(options: Sequence[object], *more: object) -> list[object]:
    """Options with those of `more` behind them; one that takes a single value and stands in both is that of `more`."""
    several = ("--text", "--replay", "--eval", "--init", "--plan", "--report-to")
    again = {str(option) for option in more if str(option).startswith("--")} - set(several)
    kept: list[object] = []
    leaves_out = False
    for option in options:
        if str(option).startswith("--"):
            leaves_out = str(option) in again
        if not leaves_out:
            kept.append(option)
    return [*kept, *more]


def command_of(*arguments: object) -> list[str]:
    code = "from vocabopt.__main__ import run; run()"
    return [sys.executable, "-c", code, *(str(argument) for argument in arguments)]


def process(*arguments: object, **options: Any) -> "subprocess.CompletedProcess[str]":
    """Run a command as a process of its own, not on a terminal."""
    return subprocess.run(command_of(*arguments), capture_output=True, text=True, check=False, timeout=300, **options)


@contextmanager
def started(command: Sequence[str], **options: Any) -> "Iterator[subprocess.Popen[Any]]":
    """A process that does not outlive its test."""
    with subprocess.Popen(command, **options) as running:
        try:
            yield running
        finally:
            running.kill()


def workers_of(parent: int) -> list[int]:
    """Living processes that work for `parent`, forked by the one that it started for that (`vocabopt.processes`)."""
    parents, forked = {}, set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, of = path.read_text().rpartition(")")[2].split()[:2]
            number = int(path.parent.name)
            parents[number] = int(of)
            if state not in "ZX" and b"forkserver" in (path.parent / "cmdline").read_bytes():
                forked.add(number)
    return [number for number in forked if parents[number] in forked and parents.get(parents[number]) == parent]


def read_terminal(descriptor: int) -> bytes:
    """Some output; nothing when the other side is closed, which Linux tells by an error."""
    try:
        return os.read(descriptor, 1 << 16)
    except OSError:
        return b""


def written(path: Path, data: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def half_written(folder: Path) -> list[Path]:
    """Temporary files, and files that stand for a finished sweep."""
    return [path for path in folder.rglob("*") if path.name.endswith(".partial") or path.name == "sweep.json"]


def assert_refused(result: Result, match: str, folder: Path) -> None:
    """One message that matches, exit code 2, nothing on standard output, nothing half-written."""
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert re.search(match, result.stderr), result.stderr
    assert "Traceback" not in result.stderr
    assert half_written(folder) == []

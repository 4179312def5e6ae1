"""A step of `make real`: a command in a process of its own, its time, its memory and what it printed, in a JSON file.

A step that is there with the same command is not run again.
"""

import json
import os
import shlex
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from vocabopt.console import Console
from vocabopt.errors import RunDirectoryError
from vocabopt.records import FileRecord, read_record, write_record


class StepRecord(FileRecord, frozen=True, kw_only=True):
    """seconds: by the wall clock. peak_bytes: of the process. printed: the JSON on its standard output, or null."""

    NEXT_STEP: ClassVar[str] = "Remove the folder that it lies in: its steps are run again."

    command: tuple[str, ...]
    seconds: float
    peak_bytes: int
    printed: Any


@dataclass(frozen=True)
class Steps:
    """The steps of one model; their records are in folder/steps."""

    folder: Path
    console: Console

    def run(
        self, name: str, command: Sequence[str], *, fails: Sequence[int] = (), resume: Sequence[str] = ()
    ) -> StepRecord:
        """Run a command, or take what it gave before.

        Args:
            fails: exit codes other than 0 that are a result.
            resume: options that go on with what the command left when it was stopped; no part of what it is known by.

        Raises:
            RunDirectoryError: it failed; the message ends with what it said last.
        """
        path = self.folder / "steps" / f"{name}.json"
        if path.is_file() and (record := read_record(path, StepRecord)).command == tuple(command):
            return record
        path.parent.mkdir(parents=True, exist_ok=True)
        output, log = path.with_suffix(".out"), path.with_suffix(".log")
        begin = time.perf_counter()
        with self.console.step(f"{self.folder.name}: {name}"):
            code, peak_bytes = self.launch([*command, *resume], output, log)
        if code and code not in fails:
            said = (log.read_text(errors="replace").strip().splitlines() or ["nothing was said"])[-1]
            raise RunDirectoryError(
                f"step {name} ended with {code}: {said}. All it said is in {log}. The command: {shlex.join(command)}"
            )
        text = output.read_text(encoding="utf-8").strip()
        record = StepRecord(
            command=tuple(command),
            seconds=time.perf_counter() - begin,
            peak_bytes=peak_bytes,
            printed=json.loads(text) if text.startswith("{") else None,
        )
        write_record(path, record)
        output.unlink()
        return record

    def launch(self, command: Sequence[str], output: Path, log: Path) -> tuple[int, int]:
        """Run a command, what it prints into the two files. Returns its exit code and the most memory it took."""
        with output.open("wb") as out, log.open("wb") as err:
            process = subprocess.Popen(command, stdout=out, stderr=err)
            try:
                _, status, usage = os.wait4(process.pid, 0)
            except BaseException:
                process.kill()
                raise
        process.returncode = os.waitstatus_to_exitcode(status)
        return process.returncode, usage.ru_maxrss * 1024

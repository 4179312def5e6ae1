"""Workers for the tests of the engine: other processes import them from here."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from vocabopt.errors import CorpusError
from vocabopt.options import EngineOptions


def options(n_workers: int, where: str = "local") -> EngineOptions:
    return EngineOptions(engine=where, workers=n_workers)


class Squares:
    """The square of a job, and the process that made it. Leaves a file per worker in `folder`, named by its process."""

    def __init__(self, folder: Path, seconds: float = 0.02) -> None:
        (folder / str(os.getpid())).touch()
        self.seconds = seconds

    def __call__(self, job: int) -> tuple[int, int]:
        time.sleep(self.seconds)
        return job * job, os.getpid()


@dataclass
class Leaves:
    """Leaves a file in `folder` when a job begins, and one when it ends."""

    folder: Path
    seconds: float

    def __call__(self, job: int) -> int:
        (self.folder / f"begun-{job}").touch()
        time.sleep(self.seconds)
        (self.folder / f"ended-{job}").touch()
        return job


class Fails:
    """Raises at job 7: an error with an attribute, or (local) one of a class that no other process can import."""

    def __init__(self, *, local: bool = False, at_start: bool = False) -> None:
        if at_start:
            raise CorpusError("there is no table")
        self.local = local

    def __call__(self, job: int) -> int:
        if job != 7:
            return job

        class LocalError(Exception): ...

        error = LocalError("job 7") if self.local else CorpusError("job 7 has no text. Leave it out.")
        error.of_job = 7  # type: ignore[attr-defined]
        raise error


@dataclass
class Ends:
    """Kills its own process at job 7, after it has written its number; with `times`, so often in all processes."""

    pid: Path
    times: int = 1_000

    def __call__(self, job: int) -> int:
        if job == 7 and len(list(self.pid.parent.glob("pid*"))) < self.times:
            self.pid.with_name(f"pid{time.monotonic_ns()}").touch()
            self.pid.write_text(str(os.getpid()), encoding="utf-8")
            os.kill(os.getpid(), signal.SIGKILL)
        return job

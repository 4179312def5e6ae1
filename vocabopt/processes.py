"""Worker processes that never outlive the process that started them, and whose end is told by that process alone."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.context import SpawnContext, SpawnProcess
from types import FrameType
from typing import Any

#: How soon a process notices that its parent is gone. What it writes is whole or not there, so it may end anywhere.
_LOOK_EVERY_SECONDS = 0.5


class WorkerEnded(BaseException):
    """A worker was told to end; raised in it, so that it removes what is half-written, and given to its parent."""


class WorkerContext(SpawnContext):
    """How an executor is to start its workers.

    Not forked, since threads of polars and of the encoders would be left behind holding their locks. Ctrl-C is blocked
    in them from their first instant: the parent hears it and ends them. `start_worker` is to run first in each.
    """

    def __init__(self) -> None:
        super().__init__()
        self._started: list[_Worker] = []

    def Process(self, *args: Any, **options: Any) -> "_Worker":  # type: ignore[override]  # noqa: N802
        self._started.append(worker := _Worker(*args, **options))
        return worker

    def terminate(self) -> None:
        """End all workers soon, whatever they are at."""
        for worker in self._started:
            if worker.is_alive():
                worker.terminate()


class _Worker(SpawnProcess):
    def start(self) -> None:
        with _sigint_blocked():
            super().start()


@contextmanager
def _sigint_blocked() -> Iterator[None]:
    """Signals that are blocked stay so in a process that is started; the parent's own is heard a moment later."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def start_worker(parent: int) -> None:
    """Let this process end with the process `parent`, which started it, and be ended by it alone."""
    signal.signal(signal.SIGTERM, _end)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    end_with_parent(parent)


def _end(number: int, frame: FrameType | None) -> None:
    raise WorkerEnded


def end_with_parent(parent: int) -> None:
    """End this process soon after the process `parent`, which started it: that one may be killed and say nothing."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_LOOK_EVERY_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, name="parent", daemon=True).start()

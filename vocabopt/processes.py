"""Worker processes that never outlive the process that started them, and whose end is told by that process alone."""

import os
import pickle
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.context import SpawnContext, SpawnProcess
from multiprocessing.reduction import ForkingPickler
from typing import Any

from vocabopt.failures import SIGNALS

#: Libraries that would start a thread per core in each worker.
ONE_THREAD = dict.fromkeys(("POLARS_MAX_THREADS", "RAYON_NUM_THREADS", "OMP_NUM_THREADS"), "1")
#: How soon a process notices that its parent is gone. What it writes is whole or not there, so it may end anywhere.
_LOOK_EVERY_SECONDS = 0.5


@contextmanager
def signals_blocked() -> Iterator[None]:
    """What is started in this context never hears Ctrl-C and its like; this process hears them a moment later.

    For `ProcessPoolExecutor(...)`, which starts a helper of its own. Workers of a `WorkerContext` need no more.
    """
    heard: list[int] = []
    handlers: dict[int, Any] = {}
    # A terminal, or whoever ends a group of processes, sends these to all of them.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    if threading.current_thread() is threading.main_thread():
        # The mask is this thread's: another one may take the signal, and Python would interrupt this one all the same.
        # A worker whose start is interrupted ends with a traceback of its own.
        handlers = {number: handler for number in SIGNALS if (handler := signal.getsignal(number)) is not None}
        for number in handlers:
            signal.signal(number, lambda number, frame: heard.append(number))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        for number in heard:
            signal.raise_signal(number)


class WorkerContext(SpawnContext):
    """How an executor is to start its workers.

    Not forked, since threads of polars and of the encoders would be left behind holding their locks. They end with
    their parent, and by `kill`; by no signal that is meant for the parent, which would make each of them say something.
    Libraries start one thread in each. started: all of them, also those that have ended.
    """

    def __init__(self) -> None:
        super().__init__()
        self.started: list[SpawnProcess] = []

    def Process(self, *args: Any, **options: Any) -> "_Worker":  # type: ignore[override]  # noqa: N802
        self.started.append(worker := _Worker(*args, **options))
        return worker

    def kill(self) -> None:
        """End all workers now, whatever they are at."""
        for worker in self.started:
            if worker.is_alive():
                worker.kill()


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Processes that are started in this context have these variables."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


class _Worker(SpawnProcess):
    def start(self) -> None:
        with signals_blocked(), _environment(ONE_THREAD):
            super().start()

    def __reduce__(self) -> tuple[Any, ...]:
        # Two pickles: the inner one, with what the worker is to do, imports for seconds, and the parent may end.
        return _unpickled, (os.getpid(), bytes(ForkingPickler.dumps(self.__dict__)))


def _unpickled(parent: int, state: bytes) -> _Worker:
    end_with_parent(parent)
    worker = _Worker.__new__(_Worker)
    worker.__dict__.update(pickle.loads(state))
    return worker


def end_with_parent(parent: int) -> None:
    """End this process soon after the process `parent`, which started it: that one may be killed and say nothing."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_LOOK_EVERY_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, name="parent", daemon=True).start()

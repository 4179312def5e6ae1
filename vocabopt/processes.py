"""Worker processes that never outlive the process that started them, and whose end is told by that process alone.

A worker takes 1.7 s of processor time to import and to load the kernels (reports/LOG.md). So on Linux one process does
that once (`preloaded`), starts no thread of its own, and is forked for each worker: multiprocessing's fork server.
"""

import os
import pickle
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing import connection, parent_process
from multiprocessing.context import ForkServerContext, ForkServerProcess, SpawnContext, SpawnProcess
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


#: Bytes of a socket's path at most, and of what the fork server adds to that of the temporary folder.
_SOCKET_PATH_BYTES = 107
_SOCKET_NAME_BYTES = len("/pymp-12345678/listener-12345678")


def _can_fork() -> bool:
    """Whether one process is forked for each worker. macOS ends processes that are forked and call its libraries; a
    long TMPDIR leaves no room for the name of the fork server's socket."""
    try:
        n_bytes = len(os.fsencode(tempfile.gettempdir())) + _SOCKET_NAME_BYTES
    except FileNotFoundError:  # said where such a folder is needed
        return False
    return sys.platform == "linux" and n_bytes <= _SOCKET_PATH_BYTES


_FORKS = _can_fork()
_Context: Any = ForkServerContext if _FORKS else SpawnContext
_Process: Any = ForkServerProcess if _FORKS else SpawnProcess


class WorkerContext(_Context):  # type: ignore[misc]
    """How an executor is to start its workers.

    This process itself is not forked, since threads of polars and of the encoders would be left behind holding their
    locks. Workers end with their parent, and by `kill`; by no signal that is meant for the parent, which would make
    each of them say something. Libraries start one thread in each. started: all of them, also those that have ended.
    """

    def __init__(self) -> None:
        super().__init__()
        self.started: list[Any] = []
        if _FORKS:
            self.set_forkserver_preload(["vocabopt.preloaded"])

    def Process(self, *args: Any, **options: Any) -> "_Worker":  # noqa: N802
        self.started.append(worker := _Worker(*args, **options))
        return worker

    def kill(self) -> None:
        """End all workers now, whatever they are at."""
        for worker in self.started:
            # It is not asked whether it is alive, which an executor does in a thread of its own at the same time.
            if worker.pid is not None:
                worker.kill()

    def ended(self) -> list[Any]:
        """Workers that are over by now."""
        begun = [worker for worker in self.started if worker.pid is not None]
        told = connection.wait([worker.sentinel for worker in begun], timeout=0)
        # Of a forked one that is told once, to whoever asks first; but its process is gone.
        return [worker for worker in begun if worker.sentinel in told or not _is_there(worker.pid)]


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


class _Worker(_Process):  # type: ignore[misc]
    def start(self) -> None:
        with signals_blocked(), _environment(ONE_THREAD):
            super().start()

    def __reduce__(self) -> tuple[Any, ...]:
        # Two pickles: the inner one, with what the worker is to do, imports for seconds, and the parent may end.
        return _unpickled, (os.getpid(), dict(os.environ), bytes(ForkingPickler.dumps(self.__dict__)))


def _unpickled(parent: int, environment: dict[str, str], state: bytes) -> _Worker:
    # Where processes are forked `parent` did not start it itself; multiprocessing knows whose it is a moment later.
    _end_without(lambda: _is_there(parent) if (known := parent_process()) is None else known.is_alive())
    # A process that was forked has that of the first worker's time.
    os.environ.clear()
    os.environ.update(environment)
    worker = _Worker.__new__(_Worker)
    worker.__dict__.update(pickle.loads(state))
    return worker


def _is_there(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, PermissionError):  # gone, or its number is another user's process by now
        return False
    return True


def end_with_parent(parent: int) -> None:
    """End this process soon after the process `parent`, which started it: that one may be killed and say nothing."""
    _end_without(lambda: os.getppid() == parent)


def _end_without(is_there: Callable[[], bool]) -> None:
    """End this process soon after something is gone."""

    def watch() -> None:
        while is_there():
            time.sleep(_LOOK_EVERY_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, name="parent", daemon=True).start()

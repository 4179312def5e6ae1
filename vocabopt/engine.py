"""Shards in, results out: the same work in this process, in processes of this machine, or on a Ray cluster.

    with engine(options, partial(Counter, table)) as workers:
        for uses in workers.run(shards, step="count"):
            total += uses

`make_worker` is called once in each process that works, and what it gives is called for every job. Both travel to other
processes, so they are picklable: a class or function of a module, or a functools.partial of one. A result comes once
per job, in order of completion, so that nothing may depend on the order. Which jobs are done already is the caller's to
know: it leaves them out.
"""

import pickle
import signal
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import chain, islice
from typing import Any, Generic, TypeAlias, TypeVar

from vocabopt.errors import EngineError
from vocabopt.failures import heard
from vocabopt.options import EngineOptions
from vocabopt.processes import WorkerContext, signals_blocked

Job = TypeVar("Job")
Result = TypeVar("Result")
Worker: TypeAlias = Callable[[Job], Result]

#: What a user can change where a worker was lost; the end of a message.
FEWER = "What is done is kept: run the same command again, with fewer --workers or more memory."
#: How soon a signal is heard that another thread has taken, while a worker was started: it wakes no wait of this one.
_HEAR_EVERY_SECONDS = 0.2


class Engine(ABC, Generic[Job, Result]):
    """Workers for the time of `engine`'s context. n_workers: how many work at once, at most."""

    n_workers: int

    @abstractmethod
    def run(self, jobs: Iterable[Job], *, step: str) -> Iterator[Result]:
        """The result of every job, in order of completion; with the same workers at every call.

        Jobs are taken as workers need them: n_workers + 1 at most are under way. step: what is done, for messages.

        Raises:
            EngineError: a worker was killed, or cannot be started.
            Exception: what the worker raised; the other workers finish the job they are at.
        """

    @abstractmethod
    def close(self, *, now: bool) -> None:
        """End the workers: behind the job that they are at, or at once."""


@contextmanager
def engine(options: EngineOptions, make_worker: Callable[[], Callable[[Job], Result]]) -> Iterator[Engine[Job, Result]]:
    """Workers for the time of the context, where the options say. The user's Ctrl-C stops them at once.

    Raises:
        OptionError: ray is asked for and not installed. EngineError: its cluster does not answer.
    """
    workers: Engine[Job, Result]
    if options.engine == "local":
        workers = _Local(options.n_workers, make_worker)
    else:
        from vocabopt.engine_ray import RayEngine

        workers = RayEngine(options.ray_address, options.workers, make_worker)
    is_stopped = False
    try:
        yield workers
    except KeyboardInterrupt as error:
        is_stopped = True
        # Ray raises one of its own, which does not say by what signal.
        raise heard() or error from None
    finally:
        workers.close(now=is_stopped)


class _Local(Engine[Job, Result]):
    """One worker is this process; several are processes of their own, which start when there is a second job."""

    def __init__(self, n_workers: int, make_worker: Callable[[], Callable[[Job], Result]]) -> None:
        self.n_workers, self._make_worker = n_workers, make_worker
        self._here: Callable[[Job], Result] | None = None
        self._executor: ProcessPoolExecutor | None = None
        self._context = WorkerContext()

    def run(self, jobs: Iterable[Job], *, step: str) -> Iterator[Result]:
        first = list(islice(iterator := iter(jobs), 2 if self.n_workers > 1 else 0))
        if self.n_workers == 1 or (len(first) < 2 and self._executor is None):
            if self._here is None:
                self._here = self._make_worker()
            yield from map(self._here, chain(first, iterator))
            return
        if self._executor is None:
            with signals_blocked():
                self._executor = ProcessPoolExecutor(self.n_workers, self._context, _start, (self._make_worker,))
        yield from self._spread(self._executor, chain(first, iterator), step)

    def _spread(self, executor: ProcessPoolExecutor, jobs: Iterator[Job], step: str) -> Iterator[Result]:
        waiting: set[Future[Result]] = set()
        try:
            for job in jobs:
                waiting.add(executor.submit(_work, job))
                while len(waiting) > self.n_workers:
                    done, waiting = wait(waiting, _HEAR_EVERY_SECONDS, FIRST_COMPLETED)
                    yield from (future.result() for future in done)
            while waiting:
                done, waiting = wait(waiting, _HEAR_EVERY_SECONDS, FIRST_COMPLETED)
                yield from (future.result() for future in done)
        except BrokenProcessPool as error:
            raise EngineError(f"{step}: {self._lost(executor)}. {FEWER}") from error
        finally:
            for future in waiting:
                future.cancel()

    def _lost(self, executor: ProcessPoolExecutor) -> str:
        """End the workers; says which one had ended by itself, and how."""
        ended = self._context.ended()
        self._context.kill()
        executor.shutdown()  # it waits for them, so that their exit codes are known
        for worker in self._context.started:
            if worker in ended and (code := worker.exitcode):
                how = f"was killed ({signal.Signals(-code).name})" if code < 0 else f"ended with code {code}"
                why = ", probably for lack of memory" if code == -signal.SIGKILL else ""
                return f"worker process {worker.pid} {how}{why}"
        return "a worker process ended, nobody knows why"

    def close(self, *, now: bool) -> None:
        if now:
            self._context.kill()
        if self._executor is not None:
            self._executor.shutdown(cancel_futures=True)


# --- In a worker process ----------------------------------------------------------------------------------------------

_make: Callable[[], Callable[[Any], Any]] | None = None
_worker: Callable[[Any], Any] | None = None


def _start(make_worker: Callable[[], Callable[[Any], Any]]) -> None:
    """Only kept: what fails while a process starts would end all of them, and its reason would be lost."""
    global _make
    _make = make_worker


def _work(job: Any) -> Any:
    global _worker
    try:
        if _worker is None:
            assert _make is not None, "_start ran"
            _worker = _make()
        return _worker(job)
    except BaseException as error:
        if (sent := portable(error)) is error:
            raise
        raise sent from error


def portable(error: BaseException) -> BaseException:
    """The error if another process can read it; else one that says the same (a panic's class is in no module)."""
    try:
        if type(pickle.loads(pickle.dumps(error))) is type(error):
            return error
    except Exception:
        pass
    return RuntimeError(f"{type(error).__name__}: {error}")

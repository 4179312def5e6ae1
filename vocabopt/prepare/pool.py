"""Worker processes for the shards of a pass; a single shard, or a single worker, needs none."""

import os
import resource
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import chain, islice
from typing import TypeAlias

from vocabopt.errors import RunDirectoryError
from vocabopt.locks import remove_unfinished
from vocabopt.prepare.options import PrepareOptions
from vocabopt.prepare.reading import Shard
from vocabopt.prepare.shard import Pass, Worker
from vocabopt.prepare.work import Work
from vocabopt.processes import WorkerContext, signals_blocked

#: Takes shards through a pass and gives their numbers as they are done, in any order.
Submit: TypeAlias = Callable[[Pass, Iterable[tuple[int, Shard | None]]], Iterator[int]]

#: Shards that wait beside those at work: enough to keep workers busy, few enough to bound memory.
_N_WAITING = 1
#: Libraries that would start a thread per core in each worker.
_THREADS = ("POLARS_MAX_THREADS", "RAYON_NUM_THREADS", "OMP_NUM_THREADS")


@contextmanager
def pool(options: PrepareOptions, work: Work) -> Iterator[Submit]:
    """Workers for the time of the context; those at work when an error ends it finish their shard first, when the user
    ends it they stop."""
    here: list[Worker] = []
    executor: list[ProcessPoolExecutor] = []
    context = WorkerContext()

    def submit(plan: Pass, jobs: Iterable[tuple[int, Shard | None]]) -> Iterator[int]:
        first = list(islice(iterator := iter(jobs), 2))
        if options.workers == 1 or (len(first) < 2 and not executor):
            if not here:
                here.append(Worker(options, work))
            return (here[0].run(plan, number, shard) for number, shard in chain(first, iterator))
        if not executor:
            with signals_blocked():
                executor.append(ProcessPoolExecutor(options.workers, context, _start, (options, work)))
        return _spread(executor[0], plan, chain(first, iterator), options.workers + _N_WAITING)

    before = {name: os.environ.get(name) for name in _THREADS}
    if options.workers > 1:
        os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield submit
    except KeyboardInterrupt:
        context.kill()
        raise
    finally:
        for started in executor:
            started.shutdown(cancel_futures=True)
        if executor:
            remove_unfinished(work.out)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _spread(
    executor: ProcessPoolExecutor, plan: Pass, jobs: Iterator[tuple[int, Shard | None]], n_at_once: int
) -> Iterator[int]:
    waiting: set[Future[int]] = set()
    try:
        for number, shard in jobs:
            waiting.add(executor.submit(_run, plan, number, shard))
            if len(waiting) >= n_at_once:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        while waiting:
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)
    except BrokenProcessPool as error:
        raise RunDirectoryError(
            f"pass {plan.number + 1}: a worker process was killed, probably for lack of memory. Finished shards are "
            "kept: run the same command again, with fewer --workers or a smaller --shard."
        ) from error


_worker: Worker | None = None  # of this process


def _start(options: PrepareOptions, work: Work) -> None:
    global _worker
    _worker = Worker(options, work)


def _run(plan: Pass, number: int, shard: Shard | None) -> int:
    assert _worker is not None, "_start ran"
    return _worker.run(plan, number, shard)


def peak_memory_bytes(workers: int) -> int:
    """At most what all held together: the peak of this process, and for each worker that of the largest."""
    unit = 1 if sys.platform == "darwin" else 1024
    own, largest = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return unit * (own + (workers * largest if workers > 1 else 0))

"""Sums over shards of text: worked on by the engine, kept on disk, and gone on with after a run that was stopped.

Whole numbers add up in any order, so the sums are the same for any number of workers.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from vocabopt.console import Console
from vocabopt.engine import engine
from vocabopt.options import EngineOptions
from vocabopt.processes import signals_blocked

#: Sums are written at most this often.
_SAVE_EVERY_SECONDS = 1.0

Result_contra = TypeVar("Result_contra", contravariant=True)


class Sums(Protocol[Result_contra]):
    """What the jobs that are done add up to."""

    def add(self, result: Result_contra) -> int:
        """Add what a job gave; its stored bytes."""

    def save(self) -> None:
        """Write the sums, and which jobs are in them."""


def add_up(
    sums: Sums[Any],
    jobs: Sequence[Any],
    n_bytes: tuple[int, int],
    make_worker: Callable[[], Callable[[Any], Any]],
    options: EngineOptions,
    console: Console,
    *,
    step: str,
) -> None:
    """Do the jobs and add them to the sums, which are saved on the way and at the end, whatever the end is.

    Args:
        jobs: those that are not in the sums yet. n_bytes: stored bytes that are, and those of all jobs.

    Raises:
        VocaboptError: text cannot be read, or a worker was lost.
    """
    n_done, total = n_bytes
    saved_at = time.monotonic()
    with console.step(step, total or None, "bytes", n_done) as advance:
        try:
            with engine(options, make_worker) as workers:
                for result in workers.run(jobs, step=step):
                    with signals_blocked():  # a job is in the sums as a whole, or not at all
                        n_done += sums.add(result)
                    advance(n_done)
                    if time.monotonic() - saved_at > _SAVE_EVERY_SECONDS:
                        sums.save()
                        saved_at = time.monotonic()
        finally:
            sums.save()

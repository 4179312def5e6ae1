"""One process or several (torchrun): who writes, and who waits."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

from accelerate import PartialState
from accelerate.utils import broadcast_object_list

from vocabopt.processes import end_with_parent

#: One process may pack text or measure for hours while the others wait.
_TIMEOUT = timedelta(days=2)
_T = TypeVar("_T")


def join_processes(*, cpu: bool) -> PartialState:
    """Take part in the group that torchrun made, over gloo on CPUs; does nothing in a process of its own."""
    if "RANK" not in os.environ:
        return PartialState(cpu=cpu)
    if "TORCHELASTIC_RUN_ID" in os.environ:
        # Started by torchrun: when that is killed, its processes would go on, or wait for each other, for days.
        end_with_parent(os.getppid())
    return PartialState(cpu=cpu, timeout=_TIMEOUT)


def is_main() -> bool:
    """Whether this process writes what is written once."""
    return int(os.environ.get("RANK", "0")) == 0


def n_processes() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


@contextmanager
def main_first() -> Iterator[None]:
    """The main process goes through first, then the others, who find what it left."""
    if "RANK" not in os.environ:
        yield
        return
    with PartialState().main_process_first():
        yield


def main_only(work: Callable[[], object]) -> None:
    """Let the main process do it, the others wait."""
    if is_main():
        work()
    if "RANK" in os.environ:
        PartialState().wait_for_everyone()


def from_main(find: Callable[[], _T]) -> _T:
    """What the main process finds, in every process.

    Whether a file is there decides which work follows, and work is done together: processes that each look for
    themselves (at different moments, on different disks) go different ways and wait for each other for ever.
    """
    if "RANK" not in os.environ:
        return find()
    PartialState()  # the group, where nobody made it
    found: list[_T | None] = [find() if is_main() else None]
    broadcast_object_list(found)
    # Nobody goes on, and writes what others look for, before all know.
    PartialState().wait_for_everyone()
    value: _T = found[0]  # type: ignore[assignment]
    return value

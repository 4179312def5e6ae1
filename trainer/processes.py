"""The device, and one process or several (torchrun): who writes, who waits, and what they add up."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list

from vocabopt.errors import OptionError
from vocabopt.processes import end_with_parent


def pick_device(name: str) -> torch.device:
    """The device of that name; "auto": a GPU where there is one, else the CPU.

    Raises:
        OptionError: there is no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise OptionError(
            f"--device {name}: is not to be had here ({str(error).splitlines()[0]}). Give auto, cpu, or a GPU's name: "
            "cuda:0."
        ) from error
    return device


#: One process may pack text or measure for hours while the others wait.
_TIMEOUT = timedelta(days=2)
_T = TypeVar("_T")


def join_processes(*, cpu: bool) -> torch.device:
    """Take part in the group that torchrun made, over gloo on CPUs. The device of this process."""
    cpu = cpu or not torch.cuda.is_available()
    if "RANK" not in os.environ:
        return torch.device("cpu" if cpu else "cuda")
    if not torch.distributed.is_initialized() and "TORCHELASTIC_RUN_ID" in os.environ:
        # Started by torchrun: when that is killed, its processes would go on, or wait for each other, for days.
        end_with_parent(os.getppid())
    device: torch.device = PartialState(cpu=cpu, timeout=_TIMEOUT).device
    return device


def rank() -> int:
    """Number of this process, from 0."""
    return int(os.environ.get("RANK", "0"))


def is_main() -> bool:
    """Whether this process writes what is written once."""
    return rank() == 0


def n_processes() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def wait_for_all() -> None:
    """Go on when all processes are here."""
    if "RANK" in os.environ:
        PartialState().wait_for_everyone()


def total(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor's sum over all processes, in place."""
    if n_processes() > 1:
        torch.distributed.all_reduce(tensor)
    return tensor


def highest(value: int, device: torch.device) -> int:
    """The highest value that a process has."""
    tensor = torch.tensor([value], device=device)
    if n_processes() > 1:
        torch.distributed.all_reduce(tensor, op=torch.distributed.ReduceOp.MAX)
    return int(tensor.item())


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
    wait_for_all()


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
    wait_for_all()
    value: _T = found[0]  # type: ignore[assignment]
    return value

"""Out of memory, wherever it happens: an error that says what was being done and what would take less."""

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from vocabopt.amounts import shown_bytes
from vocabopt.errors import TrainingError

#: torch has a class for it on GPUs only. The allocator of CPUs, cuBLAS and CUDA's own errors have words alone.
_WORDS = ("can't allocate memory", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")


def is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _WORDS)


@contextmanager
def memory_guard(doing: str | Callable[[], str], advice: Callable[[], str], *, place: str = "") -> Iterator[None]:
    """Out of memory inside becomes a TrainingError: "PLACE: out of memory while DOING. ADVICE".

    Args:
        doing: what is done, or what tells it when it has happened.
        advice: whole sentences; asked for only when it has happened.
    """
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        told = doing if isinstance(doing, str) else doing()
        raise TrainingError(f"{place}{': ' if place else ''}out of memory while {told}. {advice()}") from error


def of_weights(n_params: int, option: str) -> str:
    """Advice for where only weights are held. option: what halves them, as it is written for the command."""
    return (
        f"{n_params:,} parameters take {shown_bytes(4 * n_params)} in 32 bits and {shown_bytes(2 * n_params)} in 16 "
        f"({option}). If they are in 16 bits already, it takes a machine with more memory."
    )

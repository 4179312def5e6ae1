"""Limits of this process, to fail as a machine with little disk or memory does."""

import resource
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager


@contextmanager
def limited(kind: int, n_bytes: int) -> Iterator[None]:
    """A limit of this process, by its number in `resource`."""
    soft, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(kind, (soft, hard))


def full_disk(n_bytes: int) -> AbstractContextManager[None]:
    """No file can grow beyond this: what writes then fails in the kernel, as on a disk that is full."""
    return limited(resource.RLIMIT_FSIZE, n_bytes)


def address_space(n_bytes: int) -> AbstractContextManager[None]:
    """As much memory at most, whatever the machine would promise."""
    return limited(resource.RLIMIT_AS, n_bytes)

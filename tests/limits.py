"""Limits of this process, to fail as a machine with little disk or memory does."""

import os
import resource
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path


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


def let_everyone_enter(folder: Path) -> None:
    """Open the way to a test's folder, which pytest makes for its own user alone."""
    for place in (folder, *folder.parents):
        if place.stat().st_uid == os.geteuid() and not place.stat().st_mode & 0o001:
            place.chmod(0o755)


@contextmanager
def without_root(folder: Path) -> Iterator[None]:
    """Run the body as a user whom permissions bind: root may read everything, so it asks as nobody."""
    if os.geteuid() != 0:
        yield
        return
    let_everyone_enter(folder)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)

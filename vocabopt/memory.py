"""How much memory this process may still take."""

import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def memory_to_use() -> int:
    """In bytes, where nobody says: half of what is free."""
    return free_bytes() // 2


def free_bytes() -> int:
    """Memory that is free, or can be made so without swapping: of the machine, or of the container where that is less.

    Where the system does not tell, half of what the machine has.
    """
    free = [_available() or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2]
    limit, used = (_number(_CGROUP / name) for name in ("memory.max", "memory.current"))
    if limit is not None and used is not None:
        free.append(max(0, limit - used))
    return min(free)


def _available() -> int | None:
    meminfo = Path("/proc/meminfo")
    if not meminfo.is_file():
        return None
    values = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
    return int(values["MemAvailable"].split()[0]) * 1024 if "MemAvailable" in values else None


def _number(path: Path) -> int | None:
    text = path.read_text().strip() if path.is_file() else ""
    return int(text) if text.isdigit() else None

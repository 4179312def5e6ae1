"""Run a command in its own process and measure the whole of it: wall time, CPU time, peak memory."""

import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.texts import ROOT, BenchError

_N_LOG_LINES = 15


@dataclass(frozen=True, kw_only=True)
class Run:
    """One process, from its start to its end. `details` is what the command itself reports."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    details: Mapping[str, Any] = field(default_factory=dict)


def run(command: Sequence[str], *, log: Path, environment: Mapping[str, str] | None = None) -> Run:
    """Run `command` in the repository's folder, its output to `log`.

    Peak memory is the kernel's own maximum for the process. A process inherits the peak of the one that starts it, so
    this one stays small: numpy, polars and the libraries measured are never imported here.

    Raises:
        BenchError: it failed; the message ends with the end of its output.
    """
    with log.open("wb") as output:
        start = time.perf_counter()
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            process.wait()
            raise
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-_N_LOG_LINES:])
        raise BenchError(f"{' '.join(command)}\nfailed with exit code {process.returncode}:\n{tail}")
    return Run(
        seconds=round(seconds, 3),
        cpu_seconds=round(usage.ru_utime + usage.ru_stime, 3),
        peak_bytes=usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
    )


def n_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine() -> dict[str, Any]:
    """What the numbers depend on; a load well above 0 means that other work ran beside the benchmark."""
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "n_cores": n_cores(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "load_at_start": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")

"""Two records of all files compared: digests exactly, numbers of training within a tolerance."""

from math import isclose
from typing import Any

#: Processors and their libraries round sums otherwise; a change of the method moves a loss by more.
TOLERANCE = 2e-3


def differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """A line for each file that is gone, new, or not the same."""
    told = [f"gone: {name}" for name in before.keys() - after.keys()]
    told += [f"new: {name}" for name in after.keys() - before.keys()]
    for name in before.keys() & after.keys():
        old, new = before[name], after[name]
        if old["sha"] != new["sha"]:
            told.append(f"changed: {name}")
        elif not _close(old.get("numbers", []), new.get("numbers", [])):
            told.append(f"changed in numbers: {name}")
    return sorted(told)


def _close(old: list[float], new: list[float]) -> bool:
    return len(old) == len(new) and all(
        isclose(x, y, rel_tol=TOLERANCE, abs_tol=TOLERANCE) for x, y in zip(old, new, strict=True)
    )

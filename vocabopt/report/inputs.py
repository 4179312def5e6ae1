"""What verify, analyze and prepare leave in a run directory, as far as the page shows it (of adapt: training.py).

Each writer's file holds more; what the page does without may be missing. A number that is not finite (a loss that
diverged) is taken as not known.
"""

import math
from pathlib import Path
from typing import Any, TypeVar

from vocabopt.records import FileRecord, record_of

R = TypeVar("R", bound=FileRecord)
Number = int | float


def input_of(value: dict[str, Any], kind: type[R], path: Path) -> R:
    """What was read from a file that another command left. Raises RunDirectoryError as `read_optional`."""
    return record_of(_finite(value), kind, path, lambda field: f"{kind.NEXT_STEP} Or remove the file.")


def _finite(value: Any) -> Any:
    """The value with None for every number that is not finite, or a whole number beyond any float."""
    if isinstance(value, dict):
        return {name: _finite(inside) for name, inside in value.items()}
    if isinstance(value, list):
        return [_finite(inside) for inside in value]
    try:
        return None if isinstance(value, int | float) and not math.isfinite(value) else value
    except OverflowError:
        return None

"""Reading what a finished sweep left: for the commands that go on from it."""

import hashlib
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from vocabopt.artifacts import read_json
from vocabopt.errors import RunDirectoryError
from vocabopt.union.files import UNION_JSON

_AGAIN = "Sweep again into this folder."


def read_sweep(run_dir: Path) -> dict[str, Any]:
    """sweep.json of a finished sweep. Raises RunDirectoryError."""
    return read_json(run_dir / "sweep.json", next_step="Run `vocabopt sweep ... --out` with this folder first.")


def require_fields(path: Path, record: Mapping[str, Any], fields: Iterable[str]) -> None:
    """Refuse a file that lacks what an older version did not write. Raises RunDirectoryError."""
    for field in fields:
        if field not in record:
            raise RunDirectoryError(f"{path}: field {field} is missing. {_AGAIN}")


def read_curve(run_dir: Path, sha256: str) -> pl.DataFrame:
    """The growth curve of a finished sweep, which sweep.json names by its hash.

    Raises:
        RunDirectoryError: it is not there, broken, or of another run than sweep.json.
    """
    curve, data = _read_parquet(run_dir / "curve.parquet")
    if hashlib.sha256(data).hexdigest() != sha256:
        raise RunDirectoryError(
            f"{run_dir / 'curve.parquet'}: is not the curve that sweep.json was made from (a run was interrupted "
            f"between the two). {_AGAIN}"
        )
    return curve


def read_folds(run_dir: Path) -> pl.DataFrame:
    """folds.parquet of a finished sweep. Raises RunDirectoryError."""
    return _read_parquet(run_dir / "folds.parquet")[0]


def read_union(run_dir: Path, scripts: tuple[str, ...], base_n_rows: int) -> dict[str, Any] | None:
    """What a run with the union method left in a run directory.

    None where there is nothing, or where it was measured for other scripts or another model, so that it does not stand
    beside this curve.
    """
    if not (run_dir / UNION_JSON).is_file():
        return None
    union = read_json(run_dir / UNION_JSON, next_step="Sweep into this folder with --method union again.")
    return union if (union.get("scripts"), union.get("base_n_rows")) == (list(scripts), base_n_rows) else None


def _read_parquet(path: Path) -> tuple[pl.DataFrame, bytes]:
    try:
        data = path.read_bytes()
        return pl.read_parquet(io.BytesIO(data)), data
    except OSError as error:
        raise RunDirectoryError(f"{path}: cannot be read ({error.strerror}). {_AGAIN}") from error
    except pl.exceptions.PolarsError as error:
        raise RunDirectoryError(f"{path}: cannot be read ({error}). {_AGAIN}") from error

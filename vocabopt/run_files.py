"""What a finished sweep left, as mappings: for importers that do not take the records of `run_directory` yet."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from vocabopt import run_directory
from vocabopt.records import json_of
from vocabopt.run_directory import protected_paths

__all__ = ["protected_paths", "read_curve", "read_run", "read_sweep", "read_union_record"]


def read_sweep(run_dir: Path) -> dict[str, Any]:
    return json_of(run_directory.read_sweep(run_dir))


def read_run(run_dir: Path, *, next_step: str = "Sweep again into this folder.") -> dict[str, Any]:
    return json_of(run_directory.read_run(run_dir, next_step=next_step))


def read_curve(run_dir: Path, sweep: Mapping[str, Any]) -> pl.DataFrame:
    return run_directory.read_curve(run_dir, run_directory.read_sweep(run_dir))


def read_union_record(run_dir: Path) -> dict[str, Any]:
    return json_of(run_directory.read_union_record(run_dir))

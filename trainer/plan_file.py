"""A training plan of one's own, from a TOML file (docs/adapt.md has one).

name = "tables-then-all"        # the file's name without .toml where it is left out

[[stage]]
name = "tables"
embeddings = "new"
head = "all"
share = 1

[[stage]]
name = "adapters"
blocks = [1, 2, -1]
share = 3
[stage.lora]
rank = 64
"""

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from trainer.plan import Lora, Plan, Stage, named_plan
from vocabopt.errors import PlanError
from vocabopt.text.utf8 import read_utf8

#: What TOML's values must be, by field: a word for it, and the types.
_KINDS: dict[str, tuple[str, tuple[type, ...]]] = {
    "name": ("a string", (str,)),
    "embeddings": ('"all" or "new"', (str,)),
    "head": ('"all" or "new"', (str,)),
    "blocks": ('a word as "odd", or a list of numbers', (str, list)),
    "other": ("true or false", (bool,)),
    "lora": ("a table, [stage.lora]", (dict,)),
    "share": ("a number", (int, float)),
    "learning_rate": ("a number", (int, float)),
    "new_rows_factor": ("a number", (int, float)),
    "schedule": ("a string", (str,)),
    "warmup": ("a number", (int, float)),
    "final_factor": ("a number", (int, float)),
    "weight_decay": ("a number", (int, float)),
    "rank": ("a whole number", (int,)),
    "alpha": ("a whole number", (int,)),
    "dropout": ("a number", (int, float)),
    "targets": ("a list of module names", (list,)),
}


def read_plan(path: Path) -> Plan:
    """The plan of a TOML file.

    Raises:
        PlanError: the file is missing or no TOML, or a field is unknown, missing or of another kind; the message names
            the file, the stage and the field.
    """
    record = _read_toml(path)
    if unknown := sorted(record.keys() - {"name", "stage"}):
        raise PlanError(f"{path}: unknown field {unknown[0]!r}. A plan has name and one [[stage]] for each stage.")
    name, stages = record.get("name", path.stem), record.get("stage", [])
    if not isinstance(name, str):
        raise PlanError(f"{path}: name {name!r} must be a string.")
    if not isinstance(stages, list) or not all(isinstance(stage, dict) for stage in stages):
        raise PlanError(f"{path}: stage must be written [[stage]], once for each stage.")
    read = tuple(_read_stage(path, number, stage) for number, stage in enumerate(stages, start=1))
    try:
        return Plan(name=name, stages=read, source=str(path))
    except PlanError as error:
        raise PlanError(f"{path}: {error}") from error


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(read_utf8(path))
    except FileNotFoundError as error:
        raise PlanError(f"{path}: not found. Give --plan the name of a plan or a .toml file.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise PlanError(f"{path}: cannot be read ({error}).") from error
    except tomllib.TOMLDecodeError as error:
        raise PlanError(f"{path}: is no TOML ({error}).") from error


def _read_stage(path: Path, number: int, record: Mapping[str, Any]) -> Stage:
    place = f"{path}: stage {number}" + (f" ({record['name']!r})" if "name" in record else "")
    if "name" not in record:
        raise PlanError(f"{place}: has no name. Give it one: it names the stage's folder.")
    _check_fields(place, record, Stage)
    values = dict(record)
    if "blocks" in values and isinstance(values["blocks"], list):
        values["blocks"] = tuple(values["blocks"])
    try:
        if "lora" in values:
            values["lora"] = _read_lora(f"{place}: lora", values["lora"])
        return Stage(**values)
    except PlanError as error:
        known = str(error).startswith(str(path))
        raise error if known else PlanError(f"{path}: {error}") from error


def _read_lora(place: str, record: Mapping[str, Any]) -> Lora:
    _check_fields(place, record, Lora)
    values = dict(record)
    targets = values.get("targets", [])
    if not all(isinstance(target, str) for target in targets):
        raise PlanError(f"{place}: targets {targets!r} must be {_KINDS['targets'][0]}.")
    try:
        return Lora(**(values | {"targets": tuple(targets)}))
    except PlanError as error:
        raise PlanError(f"{place}: {error}") from error


def _check_fields(place: str, record: Mapping[str, Any], kind: type[Stage] | type[Lora]) -> None:
    known = [field.name for field in fields(kind)]
    for field, value in record.items():
        if field not in known:
            near = difflib.get_close_matches(field, known, n=1)
            hint = f" Did you mean {near[0]}?" if near else f" Known: {', '.join(known)}."
            raise PlanError(f"{place}: unknown field {field!r}.{hint}")
        what, types = _KINDS[field]
        # TOML's true is no number, though Python's is.
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            raise PlanError(f"{place}: {field} {value!r} must be {what}.")


def plan_by_name(value: str, lora: Lora) -> Plan:
    """`--plan`: a plan by its name, with adapters of the given size, or from a .toml file. Raises PlanError."""
    return read_plan(Path(value)) if value.endswith(".toml") else named_plan(value, lora)

"""What verify, analyze and prepare leave in a run directory, as far as the page shows it (of adapt: training.py).

Each writer's file holds more; what the page does without may be missing. A number that is not finite (a loss that
diverged) is taken as not known.
"""

import math
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from vocabopt.folder import read_json
from vocabopt.records import FileRecord, Record, record_of

R = TypeVar("R", bound=FileRecord)
Number = int | float


def read_optional(path: Path, kind: type[R]) -> R | None:
    """A file that another command left, None where there is none.

    Raises:
        RunDirectoryError: it is broken, or lacks a field that the page needs.
    """
    if not path.is_file():
        return None
    next_step = f"{kind.NEXT_STEP} Or remove the file."
    return input_of(read_json(path, next_step=next_step), kind, path)


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


# --- tokenizer/verify.json --------------------------------------------------------------------------------------------


class Named(Record, frozen=True, kw_only=True):
    """A tokenizer that was compared."""

    name: str | None = None


class Example(Record, frozen=True, kw_only=True):
    """Where two tokenizers differ."""

    what: str
    base: str
    new: str


class Check(Record, frozen=True, kw_only=True):
    """One check of verify."""

    name: str
    status: str
    summary: str
    examples: tuple[Example, ...]


class VerifyRecord(FileRecord, frozen=True, kw_only=True):
    NEXT_STEP: ClassVar[str] = "Run `vocabopt merge` again."

    passed: bool
    base: Named
    new: Named
    n_new: int
    scripts: tuple[str, ...]
    checks: tuple[Check, ...]


# --- analysis/analyze.json --------------------------------------------------------------------------------------------


class Measured(Record, frozen=True, kw_only=True):
    """What a tokenizer takes of a text."""

    n_tokens: int
    tokens_per_word: Number | None = None
    bytes_per_token: Number | None = None
    share_words_whole: Number | None = None
    share_unknown_tokens: Number | None = None


class Analyzed(Record, frozen=True, kw_only=True):
    """A tokenizer, measured on each text."""

    name: str
    n_tokens: int
    sets: dict[str, Measured]


class AnalysisRecord(FileRecord, frozen=True, kw_only=True):
    NEXT_STEP: ClassVar[str] = "Run `vocabopt analyze` again."

    sets: dict[str, dict[str, Any]]
    tokenizers: tuple[Analyzed, ...]


# --- prepare.json -----------------------------------------------------------------------------------------------------


class Document(Record, frozen=True, kw_only=True):
    """A document that a step took, changed or left."""

    id: str
    text: str
    after: str | None = None
    why: str | None = None


class PrepareStep(Record, frozen=True, kw_only=True):
    """What a step of the preparation was given, and what it left."""

    step: str
    n_documents_in: int
    n_documents_out: int
    n_bytes_in: int
    n_bytes_out: int
    n_changed: int
    n_tokens_in: int | None = None
    n_tokens_out: int | None = None
    seconds: Number
    taken: tuple[Document, ...]
    kept: tuple[Document, ...]


class PrepareRecord(FileRecord, frozen=True, kw_only=True):
    NEXT_STEP: ClassVar[str] = "Sweep the prepared text again."

    steps: tuple[PrepareStep, ...]

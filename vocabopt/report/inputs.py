"""What other commands leave in a run directory, as far as the page shows it: verify, analyze, prepare, adapt.

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
#: Text -> bits per byte; None where it was not measured.
Bits = dict[str, Number | None]


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


# --- adapt.json -------------------------------------------------------------------------------------------------------


class LogPoint(Record, frozen=True, kw_only=True):
    """One logged point of a stage: how far it had come, and the mean loss since the point before (nats per token)."""

    step: Number | None = None
    tokens: Number | None = None
    bytes: Number | None = None
    loss: Number | None = None


class Stage(Record, frozen=True, kw_only=True):
    """One stage of training. bits_per_byte: at its end."""

    name: str | None = None
    trains: str | None = None
    n_trainable: Number | None = None
    n_steps: Number | None = None
    tokens: Number | None = None
    bytes: Number | None = None
    seconds: Number | None = None
    peak_bytes: Number | None = None
    learning_rate: Number | None = None
    bits_per_byte: Bits
    curve: tuple[LogPoint, ...] | None = None


class Written(Record, frozen=True, kw_only=True):
    """A prompt, and how the model goes on before and after training."""

    prompt: str
    before: str | None = None
    after: str | None = None


class TextRead(Record, frozen=True, kw_only=True):
    """A text that was measured."""

    role: str | None = None
    n_documents: Number | None = None
    n_bytes: Number | None = None
    n_tokens_before: Number | None = None
    n_tokens_after: Number | None = None


class Part(Record, frozen=True, kw_only=True):
    """A part of the training text."""

    n_bytes: Number | None = None
    n_documents: Number | None = None


class TrainingText(Part, frozen=True, kw_only=True):
    """The training text. passes: how often it is to be read in all."""

    passes: Number | None = None
    sources: dict[str, Part] | None = None


class Exposure(Record, frozen=True, kw_only=True):
    """How often the new tokens occur in the training text; p10: of ten the lowest."""

    n_new: Number | None = None
    n_unseen: Number | None = None
    median: Number | None = None
    p10: Number | None = None


class Gate(Record, frozen=True, kw_only=True):
    """The most that may be forgotten on base-language text, as a share of bits per byte before; and what was."""

    max_forgetting: Number | None = None
    worst: Number | None = None
    texts: tuple[str, ...] | None = None

    @property
    def held(self) -> bool | None:
        """None where there was no gate, or nothing was measured."""
        return None if self.max_forgetting is None or self.worst is None else self.worst <= self.max_forgetting


class FullTraining(Record, frozen=True, kw_only=True):
    """Peak memory of training every parameter at once; source: how it is known."""

    peak_bytes: Number | None = None
    source: str | None = None


class Control(Record, frozen=True, kw_only=True):
    """The original tokenizer with the same text and plan."""

    before: Bits | None = None
    stages: tuple[Stage, ...] | None = None
    after: Bits
    samples: tuple[Written, ...] | None = None


class AdaptRecord(FileRecord, frozen=True, kw_only=True):
    NEXT_STEP: ClassVar[str] = "Run `vocabopt adapt` again."

    #: "finished", "running", or "stopped: why".
    status: str | None = None
    plan: str | None = None
    init: str | None = None
    model: str | None = None
    device: str | None = None
    n_added: Number | None = None
    n_params: Number | None = None
    options: dict[str, Any] | None = None
    versions: dict[str, Any] | None = None
    texts: dict[str, TextRead] | None = None
    training_text: TrainingText | None = None
    exposure: Exposure | None = None
    before: Bits
    #: With the new rows made, before training.
    initialised: Bits | None = None
    stages: tuple[Stage, ...] | None = None
    after: Bits
    gate: Gate | None = None
    full_training: FullTraining | None = None
    samples: tuple[Written, ...] | None = None
    control: Control | None = None

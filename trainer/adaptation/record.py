"""The files of an adaptation as typed records: adapt.json, what was done and what it cost, and those of its stages."""

from collections.abc import Mapping
from typing import Any, ClassVar

from trainer.data import Exposure, TrainingText
from trainer.document_ends import DocumentEnds
from trainer.evaluate import Gate, Role, TextScore
from trainer.init import InitLog
from trainer.stages import StageRun
from vocabopt.records import FileRecord, Record

ADAPT_JSON = "adapt.json"


class TextRecord(Record, frozen=True, kw_only=True):
    """A text that is measured. n_tokens_before, n_tokens_after: under the base and the merged tokenizer."""

    role: Role
    n_documents: int
    n_bytes: int
    n_tokens_before: int
    n_tokens_after: int


class StageRecord(StageRun, frozen=True, kw_only=True, omit_defaults=True):
    """A finished stage: its stage.json, what it trained, and bits per byte after it (empty: not measured).

    Of its fields only format_version has a default, so only that is omitted: adapt.json has its own.
    """

    learning_rate: float
    trains: str
    bits_per_byte: dict[str, float]


class SampleRecord(Record, frozen=True, kw_only=True):
    """How the base model continues a prompt, and how the adapted one (or the control) does."""

    prompt: str
    before: str
    after: str


class ControlRecord(Record, frozen=True, kw_only=True):
    """The original tokenizer and model on the same text and plan."""

    plan: str
    before: dict[str, float]
    stages: tuple[StageRecord, ...]
    after: dict[str, float]
    samples: tuple[SampleRecord, ...] = ()


class WeightsRecord(Record, frozen=True, kw_only=True):
    """Types of the base's weights, in training, and in OUT/model; bits per byte of weights that were rounded at the
    end, None where they were not."""

    base: str
    trained: str
    saved: str
    bits_per_byte: dict[str, float] | None


class PeakRecord(Record, frozen=True, kw_only=True):
    """The highest memory of training every parameter at once, and where the number is from."""

    peak_bytes: int
    source: str


class AdaptRecord(FileRecord, frozen=True, kw_only=True):
    """adapt.json, complete at any time for what is done so far."""

    NEXT_STEP: ClassVar[str] = "Remove it: --resume writes it anew from the finished stages."

    #: "running", "finished", or "stopped: " and why.
    status: str
    n_added: int
    plan: str
    init: str
    model: str
    tokenizer: str
    out: str
    #: As given, and as they were taken where they were left open.
    options: dict[str, Any]
    versions: dict[str, str]
    #: In words.
    device: str
    n_params: int
    texts: dict[str, TextRecord]
    document_ends: DocumentEnds
    training_text: TrainingText
    exposure: Exposure
    init_log: InitLog
    #: Text -> bits per byte of the base, after initialisation, and after the last stage.
    before: dict[str, float]
    initialised: dict[str, float]
    stages: tuple[StageRecord, ...] = ()
    after: dict[str, float]
    gate: Gate
    samples: tuple[SampleRecord, ...] = ()
    control: ControlRecord | None = None
    #: None where it cannot be predicted.
    full_training: PeakRecord | None
    #: Of OUT/model; None until it is written.
    weights: WeightsRecord | None = None
    warnings: tuple[str, ...]


class OptionsRecord(FileRecord, frozen=True, kw_only=True):
    """stages/options.json: what must be the same for the run to be resumed."""

    NEXT_STEP: ClassVar[str] = "Choose another folder with --out."

    options: dict[str, Any]
    inputs: dict[str, Any]


class StartRecord(FileRecord, frozen=True, kw_only=True):
    """stages/0-init/start.json, next to the model with its new rows."""

    NEXT_STEP: ClassVar[str] = "Remove it and the model beside it: both are made again."

    #: Text -> bits per byte of the base with its own tokenizer, and after initialisation (empty: not measured).
    before: dict[str, float]
    initialised: dict[str, float]
    n_tokens_before: dict[str, int]
    n_tokens_after: dict[str, int]
    #: Prompt -> what the base writes.
    continued: dict[str, str]
    init_log: InitLog
    n_params: int


class ScoresRecord(FileRecord, frozen=True, kw_only=True):
    """scores.json of a stage."""

    NEXT_STEP: ClassVar[str] = "Remove it: it is measured again."

    bits_per_byte: dict[str, float]


class MeasuredRecord(FileRecord, frozen=True, kw_only=True):
    """A file of stages/measured: the scores of one model."""

    NEXT_STEP: ClassVar[str] = "Remove it: it is measured again."

    texts: dict[str, TextScore]


def bits_after(stages: tuple[StageRecord, ...], otherwise: Mapping[str, float]) -> dict[str, float]:
    """After the last stage that is finished, none where it was not measured; before any, those of the start."""
    return stages[-1].bits_per_byte if stages else dict(otherwise)

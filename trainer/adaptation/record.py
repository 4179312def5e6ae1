"""adapt.json as one typed record: what was done, what it cost, what was gained and forgotten."""

from collections.abc import Mapping
from typing import Any

import msgspec

from trainer.document_ends import DocumentEnds
from trainer.evaluate import Role
from trainer.stages import CurvePoint
from vocabopt.folder import FORMAT_VERSION

ADAPT_JSON = "adapt.json"


class TextRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A text that is measured. n_tokens_before, n_tokens_after: under the base and the merged tokenizer."""

    role: Role
    n_documents: int
    n_bytes: int
    n_tokens_before: int
    n_tokens_after: int


class StageRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A finished stage: what `StageRun` says, what it trained, and bits per byte after it (empty: not measured)."""

    name: str
    n_trainable: int
    n_steps: int
    tokens: int
    bytes: int
    seconds: float
    peak_bytes: int | None
    curve: tuple[CurvePoint, ...]
    learning_rate: float
    trains: str
    bits_per_byte: dict[str, float]


class SampleRecord(msgspec.Struct, frozen=True, kw_only=True):
    """How the base model continues a prompt, and how the adapted one (or the control) does."""

    prompt: str
    before: str
    after: str


class ControlRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The original tokenizer and model on the same text and plan."""

    plan: str
    before: dict[str, float]
    stages: tuple[StageRecord, ...]
    after: dict[str, float]
    samples: tuple[SampleRecord, ...] = ()


class GateRecord(msgspec.Struct, frozen=True, kw_only=True):
    """worst: the largest relative rise in bits per byte on `texts` after any stage; None where not measured."""

    max_forgetting: float | None
    texts: tuple[str, ...]
    worst: float | None


class ExposureRecord(msgspec.Struct, frozen=True, kw_only=True):
    """How often new tokens occur in the training text; a tenth of them occurs at most `p10` times."""

    n_new: int
    n_unseen: int
    median: int | None
    p10: int | None


class WeightsRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Types of the base's weights, in training, and in OUT/model; bits per byte of weights that were rounded at the
    end, None where they were not."""

    base: str
    trained: str
    saved: str
    bits_per_byte: dict[str, float] | None


class PeakRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The highest memory of training every parameter at once, and where the number is from."""

    peak_bytes: int
    source: str


class AdaptRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What adapt.json holds, complete at any time for what is done so far.

    status: "running", "finished", or "stopped: " and why.
    options: as given, and as they were taken where they were left open. device: in words.
    training_text, init_log: as `TextPlan` and `InitLog` record themselves.
    before, initialised, after: text -> bits per byte of the base, after initialisation, and after the last stage.
    weights: of OUT/model; None until it is written. full_training: None where it cannot be predicted.
    """

    format_version: int = FORMAT_VERSION
    status: str
    n_added: int
    plan: str
    init: str
    model: str
    tokenizer: str
    out: str
    options: dict[str, Any]
    versions: dict[str, Any]
    device: str
    n_params: int
    texts: dict[str, TextRecord]
    document_ends: DocumentEnds
    training_text: dict[str, Any]
    exposure: ExposureRecord
    init_log: dict[str, Any]
    before: dict[str, float]
    initialised: dict[str, float]
    stages: tuple[StageRecord, ...] = ()
    after: dict[str, float]
    gate: GateRecord
    samples: tuple[SampleRecord, ...] = ()
    control: ControlRecord | None = None
    full_training: PeakRecord | None
    weights: WeightsRecord | None = None
    warnings: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        record: dict[str, Any] = msgspec.to_builtins(self)
        return record


def bits_after(stages: tuple[StageRecord, ...], otherwise: Mapping[str, float]) -> dict[str, float]:
    """After the last stage that is finished, none where it was not measured; before any, those of the start."""
    return stages[-1].bits_per_byte if stages else dict(otherwise)

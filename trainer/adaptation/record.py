"""The files of an adaptation besides adapt.json (vocabopt/training_record.py) as typed records."""

from collections.abc import Mapping
from typing import Any, ClassVar

from trainer.evaluate import TextScore
from vocabopt.records import FileRecord
from vocabopt.training_record import InitLog, StageRecord


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

"""What goes into a stage, and what it did, as its folder keeps it.

STAGE/model/        the whole model at the stage's end (safetensors, config)
STAGE/stage.json    the StageRun; written last, so a stage that has it is finished
STAGE/checkpoints/  while the stage runs (see checkpoints.py)
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeAlias

import torch
from torch.utils.data import Dataset

from vocabopt.records import Count, FileRecord, read_record
from vocabopt.training_record import CurvePoint, StageRun

MODEL = "model"
STAGE_FILE = "stage.json"

#: input_ids, position_ids and labels of one block, or of several stacked; int64.
Block: TypeAlias = dict[str, torch.Tensor]

IGNORED = -100


class PackedText(Protocol):
    """The text of one stage, cut into blocks. n_tokens, n_bytes: of the text, padding left out."""

    @property
    def n_blocks(self) -> int: ...
    @property
    def n_tokens(self) -> int: ...
    @property
    def n_bytes(self) -> int: ...
    def dataset(self, seed: int) -> "Dataset[Block]":
        """The blocks in their final order, as a map-style dataset."""
        ...

    def text_of(self, blocks: Sequence[int], seed: int) -> str:
        """The documents in some blocks of that dataset, in words, for messages; "" where they are not known."""
        ...


class TrainingState(FileRecord, frozen=True, kw_only=True):
    """state.json: what a checkpoint holds that is no tensor."""

    NEXT_STEP: ClassVar[str] = "Remove the checkpoint: the stage goes on from the one before, or starts again."

    step: Count
    #: Options that must not change when the stage is resumed, by name.
    asked: dict[str, Any]
    #: Values of the optimizer's state that are no tensors, "NAME|KEY".
    optimizer_numbers: dict[str, int | float]
    #: Sum over the steps that no point of the curve holds yet, over all processes.
    unlogged_loss: float
    #: Of training so far.
    seconds: float
    curve: tuple[CurvePoint, ...]


class CompleteMark(FileRecord, frozen=True, kw_only=True):
    """complete.json: a checkpoint's files and their sizes."""

    files: dict[str, Count]


def is_finished(folder: Path) -> bool:
    return (folder / STAGE_FILE).is_file()


def read_run(folder: Path) -> StageRun:
    """The record of a finished stage. Raises RunDirectoryError: there is none, or it cannot be read."""
    return read_record(folder / STAGE_FILE, StageRun)

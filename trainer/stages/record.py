"""What goes into a stage, and what it did, as its folder keeps it.

STAGE/model/        the whole model at the stage's end (safetensors, config)
STAGE/stage.json    the StageRun; written last, so a stage that has it is finished
STAGE/checkpoints/  while the stage runs (see checkpoints.py)
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import torch
from torch.utils.data import Dataset

from vocabopt.fields import COUNT, NUMBER, Shape, check_fields, or_null
from vocabopt.folder import FORMAT_VERSION, read_json

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


@dataclass(frozen=True, kw_only=True)
class CurvePoint:
    """After a step.

    tokens, bytes: of the text read so far, the blocks' share of the stage's own; exact at the stage's end.
    loss: nats per predicted token, the mean of the steps since the point before. learning_rate: of that step, for
    everything but new rows. grad_norm: before it was clipped.
    """

    step: int
    tokens: int
    bytes: int
    loss: float
    learning_rate: float
    grad_norm: float
    tokens_per_second: float


@dataclass(frozen=True, kw_only=True)
class StageRun:
    """seconds: of training, those before an interruption too. peak_bytes: of one process; None where not measured."""

    name: str
    n_trainable: int
    n_steps: int
    tokens: int
    bytes: int
    seconds: float
    peak_bytes: int | None
    curve: tuple[CurvePoint, ...]

    def as_record(self) -> dict[str, Any]:
        return {"format_version": FORMAT_VERSION, **asdict(self)}


_POINT: dict[str, Shape] = {
    **dict.fromkeys(("step", "tokens", "bytes"), COUNT),
    **dict.fromkeys(("loss", "learning_rate", "grad_norm", "tokens_per_second"), NUMBER),
}
_RUN: dict[str, Shape] = {
    "name": str,
    **dict.fromkeys(("n_trainable", "n_steps", "tokens", "bytes"), COUNT),
    "seconds": NUMBER,
    "peak_bytes": or_null(COUNT),
    "curve": [_POINT],
}


def is_finished(folder: Path) -> bool:
    return (folder / STAGE_FILE).is_file()


def read_run(folder: Path) -> StageRun:
    """The record of a finished stage.

    Raises:
        RunDirectoryError: there is none, or it cannot be read.
    """
    path, next_step = folder / STAGE_FILE, "Train the stage again."
    record = read_json(path, next_step=next_step)
    check_fields(record, _RUN, path, next_step)
    curve = tuple(CurvePoint(**{name: point[name] for name in _POINT}) for point in record["curve"])
    return StageRun(**{name: record[name] for name in _RUN} | {"curve": curve})

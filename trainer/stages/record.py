"""What a stage did, as its folder keeps it.

STAGE/model/        the whole model at the stage's end (safetensors, config)
STAGE/stage.json    the StageRun; written last, so a stage that has it is finished
STAGE/checkpoints/  while the stage runs (see checkpoints.py)
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vocabopt.artifacts import FORMAT_VERSION, read_json

MODEL = "model"
STAGE_FILE = "stage.json"


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


def is_finished(folder: Path) -> bool:
    return (folder / STAGE_FILE).is_file()


def read_run(folder: Path) -> StageRun:
    """The record of a finished stage.

    Raises:
        RunDirectoryError: there is none, or it cannot be read.
    """
    record = read_json(folder / STAGE_FILE, next_step="Train the stage again.")
    record.pop("format_version")
    record["curve"] = tuple(CurvePoint(**point) for point in record["curve"])
    return StageRun(**record)

"""One stage of a plan: freezing, training, checkpoints, resuming.

settings  ──>  run_stage  ──>  StageRun, and the stage's folder
                  │
  freeze: prepare_stage      exactly the stage's parameters train: new rows apart, adapters
  sharding: shard_stage      split over processes, where asked for
  loop: StageLoop            the training loop
  checkpoints                what trains, written whole or not at all
  freeze: finish_stage       a plain model again
"""

from trainer.stages.record import is_finished, read_run
from trainer.stages.run import check_size, finished_run, run_stage
from trainer.stages.settings import Precision, StageSettings

__all__ = [
    "Precision",
    "StageSettings",
    "check_size",
    "finished_run",
    "is_finished",
    "read_run",
    "run_stage",
]

"""What training every parameter at once would take: the line that staged training is compared with."""

from typing import Any

from trainer.adapt.inputs import Inputs
from trainer.memory import predict_stage
from trainer.memory.build import outline_of
from trainer.memory.fitting import step_settings
from trainer.memory.target import with_rows
from trainer.plan import named_plan
from trainer.processes import n_processes
from trainer.stages import StageSettings


def full_training(inputs: Inputs, settings: StageSettings) -> dict[str, Any] | None:
    """Peak memory of plan full with the same settings, as `vocabopt plan` predicts it for one process.

    None for a model that cannot be predicted (mixtures of experts), or where weights are sharded over processes.
    """
    if settings.shard:
        return None
    config = inputs.config
    n_rows = inputs.extension.n_rows_of_table(int(config.get_text_config().vocab_size))
    step = step_settings(settings, n_processes(), inputs.device)
    (stage,) = named_plan("full").stages
    try:
        cost = predict_stage(outline_of(with_rows(config, n_rows)), stage, step, n_new=len(inputs.extension.new_ids))
    except Exception:  # a line in a figure: no model may fail for want of it
        return None
    return {"peak_bytes": cost.peak_bytes(settings.optimizer), "source": "predicted by vocabopt plan"}

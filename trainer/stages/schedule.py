"""The learning rate over the steps of a stage."""

import math

from trainer.plan import Stage


def learning_rate_factor(stage: Stage, step: int, n_steps: int) -> float:
    """What the stage's highest learning rate is multiplied with in a step, the first of `n_steps` being 0.

    It rises in equal parts over the warmup, reaches 1 in the step after it, and arrives at `final_factor` in the last
    step. No step has a learning rate of 0 but by a final_factor of 0.
    """
    n_warmup = min(math.ceil(stage.warmup * n_steps), n_steps - 1)
    if step < n_warmup:
        return (step + 1) / (n_warmup + 1)
    n_after = n_steps - 1 - n_warmup
    done = min(1.0, (step - n_warmup) / n_after) if n_after > 0 else 0.0
    if stage.schedule == "constant":
        return 1.0
    height = 1 - done if stage.schedule == "linear" else (1 + math.cos(math.pi * done)) / 2
    return stage.final_factor + (1 - stage.final_factor) * height

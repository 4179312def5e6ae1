"""Memory and compute of a training stage: predicted from the model's config, and measured while it runs."""

from trainer.memory.predict import StageCost, StepSettings, predict_stage

__all__ = ["StageCost", "StepSettings", "predict_stage"]

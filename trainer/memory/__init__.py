"""Memory and compute of a training stage: predicted from the model's config."""

from trainer.memory.predict import StageCost, StepSettings, predict_stage

__all__ = ["StageCost", "StepSettings", "predict_stage"]

"""Adaptation as a whole: a base model, a merged tokenizer and text in; a finished model folder and adapt.json out."""

from trainer.adapt.options import AdaptOptions
from trainer.adapt.run import adapt

__all__ = ["AdaptOptions", "adapt"]

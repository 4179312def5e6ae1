"""Adaptation as a whole: a base model, a merged tokenizer and text in; a finished model folder and adapt.json out."""

from trainer.adaptation.run import adapt
from trainer.options import AdaptOptions

__all__ = ["AdaptOptions", "adapt"]

"""`vocabopt prepare --compare`: which part of a text does most for a model, and whether less but cleaner does."""

from trainer.measuring_options import CompareOptions
from trainer.selection.run import compare

__all__ = ["CompareOptions", "compare"]

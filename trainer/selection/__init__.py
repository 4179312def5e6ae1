"""`vocabopt prepare --compare`: which part of a text a model learns most from, and whether less but cleaner text does."""

from trainer.selection.options import CompareOptions
from trainer.selection.run import compare

__all__ = ["CompareOptions", "compare"]

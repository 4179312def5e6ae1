"""Base tokenizers: load them from what people have, recognise their family, refuse what cannot be grown exactly."""

from vocabopt.tokenizer.base import Base, Original
from vocabopt.tokenizer.load import load_base

__all__ = ["Base", "Original", "load_base"]

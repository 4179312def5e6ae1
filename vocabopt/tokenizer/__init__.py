"""Tokenizers: load them from what people have, encode with each of their forms, say which can grow and why not."""

from vocabopt.tokenizer.load import load_base, load_tokenizer
from vocabopt.tokenizer.tokenizer import Form, Tokenizer

__all__ = ["Form", "Tokenizer", "load_base", "load_tokenizer"]

"""vocabopt: how many tokens to add to a base tokenizer, which ones, and at what cost."""

__version__ = "0.1.0"

"""Adaptation of a model to a merged tokenizer: embedding init and staged continual pretraining.

This package may import `vocabopt`, never the reverse: the two meet in the files of a run directory.
It is the only one that imports torch (the extra ``train``).
"""

"""`python -m vocabopt`: for torchrun, which starts modules."""

from vocabopt.cli import run

run()

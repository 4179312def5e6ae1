"""`python -m vocabopt`: the same as `vocabopt`, for programs that start modules, such as torchrun."""

from vocabopt.cli import run

run()

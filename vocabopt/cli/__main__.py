"""python -m vocabopt.cli: the same as `vocabopt`."""

from vocabopt.cli import run

run()

"""The initialisation methods as data: which rule makes a new row of the input table, and which of the output table.

random, mean, decompose-embedding, decompose-head, decompose   RedWhale (arXiv 2408.11294); the last is its best
eeve                                                           EEVE (arXiv 2402.14714)
weighted                                                       Beyond Initialization Loss (arXiv 2608.03494)
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from trainer.options import INIT_METHODS as INIT_METHODS
from trainer.options import InitMethod as InitMethod

#: normal: drawn, mean 0, the standard deviation of the base tokens' rows. mean: of all base tokens' rows. base-ids:
#: mean of the rows of the token's base ids. first-base-id: the row of the first of them. base-ids-by-bytes: their
#: mean, each weighted with its bytes of text. base-ids-at-norm: their mean, rescaled to the median norm of base rows
#: of the target's text (`norm_rows`).
Rule: TypeAlias = Literal["normal", "mean", "base-ids", "first-base-id", "base-ids-by-bytes", "base-ids-at-norm"]
#: What a table of the log says of rows made by each rule.
RULE_WORDS: Mapping[Rule, str] = {
    "normal": "drawn from a normal distribution",
    "mean": "mean of all base rows",
    "base-ids": "mean of their base ids' rows",
    "first-base-id": "row of their first base id",
    "base-ids-by-bytes": "mean of their base ids' rows, by bytes",
    "base-ids-at-norm": "mean of their base ids' rows, at the norm of the target's rows",
}


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Of the input table, and of the output table with its bias. A tied model has one table: the input rule."""

    input: Rule
    output: Rule


RULES: Mapping[InitMethod, Rules] = {
    "random": Rules(input="normal", output="normal"),
    "mean": Rules(input="mean", output="mean"),
    "decompose-embedding": Rules(input="base-ids", output="normal"),
    "decompose-head": Rules(input="normal", output="base-ids"),
    "decompose": Rules(input="base-ids", output="base-ids"),
    "eeve": Rules(input="base-ids", output="first-base-id"),
    "weighted": Rules(input="base-ids-at-norm", output="base-ids-by-bytes"),
}

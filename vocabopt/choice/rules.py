"""Rules that name a size without a window, each a pure function of the curve.

A rule gives an answer `at` a size; `at_least` the curve's end, where the curve does not bound it; or `none`, where what
it needs is not there or was not stated.
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from vocabopt.choice.sizes import Floats, Integers

#: Compute that rises by less than this share of its minimum by the curve's end has not turned: counts are whole tokens,
#: so the sum wavers a little.
RISE = 0.001

Bound = Literal["at", "at_least", "none"]
Kind = Literal["knee", "flops", "exposure", "used", "marginal", "memory", "law"]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a rule says. second_opinion: fitted to other text or models than these."""

    name: str
    kind: Kind
    n_added: int | None
    bound: Bound
    sentence: str
    source: str
    second_opinion: bool = False

    def as_record(self) -> dict[str, Any]:
        return asdict(self)


def cheapest(flops: Floats) -> tuple[int, Bound]:
    """The size of least compute for the same text: argmin of tokens x FLOPs per token.

    Derivation: the first tokens added save much of the body's work, each row adds to every token's head; the sum falls,
    then rises. For a large body it falls, or lies flat, to the end of the curve: then the end is a lower bound.
    """
    best, end = int(np.argmin(flops)), len(flops) - 1
    if end > 0 and flops[end] <= (1 + RISE) * flops[best]:
        return end, "at_least"
    return best, "at"


def exposed(n_occurrences: Integers, scale: float, n_times: int) -> tuple[int, Bound]:
    """The largest size whose last token is seen at least `n_times` in training (EEVE, 2402.14714, asks for 6,000).

    Args:
        n_occurrences: per added token, in the counted training text when it is added.
        scale: planned training text / counted training text.
    """
    seen = np.flatnonzero(n_occurrences * scale >= n_times)
    size = int(seen[-1]) + 1 if len(seen) else 0
    return size, "at_least" if size == len(n_occurrences) and size else "at"


def used(n_used: Integers, share: float) -> tuple[int, Bound]:
    """The largest size at which at least `share` of the added tokens occur in held-out text.

    Derivation: a row that other text of the same kind never needs is paid for and not trained on.
    """
    sizes = np.arange(len(n_used))
    enough = np.flatnonzero(n_used >= share * sizes)
    size = int(enough[-1])
    return size, "at_least" if size == len(n_used) - 1 and size else "at"


def marginal(n_tokens: Integers, step: int, share: float) -> tuple[int, Bound]:
    """The first size whose next `step` tokens save less than `share` of the base's count.

    Derivation: the slope of the curve, on a scale that does not depend on where the curve ends.
    """
    if len(n_tokens) <= step:
        return len(n_tokens) - 1, "at_least"
    saved = n_tokens[:-step] - n_tokens[step:]
    little = np.flatnonzero(saved < share * n_tokens[0])
    return (int(little[0]), "at") if len(little) else (len(n_tokens) - 1, "at_least")


def fitting(n_bytes: Floats | Integers, budget_bytes: int) -> tuple[int, Bound]:
    """The largest size that fits a memory budget; 0 where not even the base does."""
    fits = np.flatnonzero(n_bytes <= budget_bytes)
    size = int(fits[-1]) if len(fits) else 0
    return size, "at_least" if size == len(n_bytes) - 1 and size else "at"

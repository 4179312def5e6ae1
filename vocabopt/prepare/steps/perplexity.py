"""Documents that a character language model finds unlikely (another language, noise) or all too likely (repetition)."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import polars as pl

from vocabopt.choice.options import parse_bytes
from vocabopt.errors import OptionError
from vocabopt.prepare.character_lm import MAX_ORDER
from vocabopt.prepare.perplexity import DEFAULT_MIN_COUNT, DEFAULT_ORDER, load_perplexities, train
from vocabopt.prepare.step import Outcome


@dataclass(frozen=True, kw_only=True)
class Perplexity:
    """Remove documents by their perplexity per character (see vocabopt.prepare.perplexity).

    model: a kenlm file, .arpa or binary, whose symbols are characters, ▁ for white space; or
    reference: clean text, a path or glob, that `prepare` estimates such a model on.
    max_perplexity, min_perplexity: documents above, or below, are removed. They mean nothing without the model: look at
    its scores on text that must stay. A share of the text is what the step select cuts.
    order: characters of the longest n-gram. min_count: a longer n-gram than 2 that the reference holds less often is
    left out. reference_bytes: so much of the reference is read, from its beginning.
    """

    name: ClassVar[str] = "perplexity"
    model: str | None = None
    reference: str | None = None
    max_perplexity: float | None = None
    min_perplexity: float | None = None
    order: int = DEFAULT_ORDER
    min_count: int = DEFAULT_MIN_COUNT
    reference_bytes: str = "50MB"

    def __post_init__(self) -> None:
        if (self.model is None) == (self.reference is None):
            given = "neither" if self.model is None else "both"
            raise OptionError(f"[{self.name}] model, reference: {given} given; give one of them.")
        if self.max_perplexity is None and self.min_perplexity is None:
            raise OptionError(f"[{self.name}] max_perplexity, min_perplexity: neither given; give one or both.")
        for option in ("max_perplexity", "min_perplexity"):
            value = getattr(self, option)
            if value is not None and not 1 <= value < float("inf"):
                raise OptionError(f"[{self.name}] {option} {value}: must be at least 1, which is certainty.")
        if self.max_perplexity is not None and (self.min_perplexity or 0) > self.max_perplexity:
            raise OptionError(
                f"[{self.name}] min_perplexity {self.min_perplexity}: must not be above max_perplexity, which is "
                f"{self.max_perplexity}."
            )
        if not 2 <= self.order <= MAX_ORDER:
            raise OptionError(f"[{self.name}] order {self.order}: must be from 2 to {MAX_ORDER}, which kenlm can read.")
        if self.min_count < 1:
            raise OptionError(f"[{self.name}] min_count {self.min_count}: must be at least 1.")
        parse_bytes(self.reference_bytes, f"[{self.name}] reference_bytes")

    @property
    def inputs(self) -> tuple[str, ...]:
        return tuple(path for path in (self.model, self.reference) if path is not None)

    def prepare(self, work: Path) -> "Perplexity":
        """The step with the model of its reference, which is made once in the folder `work`.

        Raises:
            CorpusError: the reference is missing, unreadable or holds no text.
            RunDirectoryError: the folder cannot be written.
        """
        if self.reference is None:
            return self
        max_bytes = parse_bytes(self.reference_bytes, f"[{self.name}] reference_bytes")
        path = train(self.reference, work, order=self.order, min_count=self.min_count, max_bytes=max_bytes)
        return replace(self, model=str(path), reference=None)

    def load(self) -> Callable[[pl.Series], Outcome]:
        """Raises OptionError: kenlm is not installed, or cannot use the model."""
        assert self.model is not None, "prepare the step first"
        perplexities = load_perplexities(self.name, self.model)
        highest = np.inf if self.max_perplexity is None else self.max_perplexity
        lowest = 0.0 if self.min_perplexity is None else self.min_perplexity

        def remove(texts: pl.Series) -> Outcome:
            scores = perplexities(texts)
            above, below = scores > highest, scores < lowest  # neither of a text without characters, which is NaN
            limit = np.where(above, highest, lowest)
            frame = pl.DataFrame({"score": scores, "limit": limit, "side": np.where(above, "above", "below")})
            why = frame.select(
                pl.format("perplexity {} {} {}", pl.col("score").round_sig_figs(4), "side", pl.col("limit"))
            ).to_series()
            return Outcome.removing(texts, pl.Series(above | below), why.str.replace_all(r"\.0\b", ""))

        return remove

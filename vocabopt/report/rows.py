"""The rows of the page's tables: what the sweep gave, and quotients of its integers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


def quotient(numerator: float | None, denominator: float | None) -> float | None:
    if numerator is None or not denominator:
        return None
    return numerator / denominator


@dataclass(frozen=True, kw_only=True)
class TextSet:
    """One text set as the sweep gave it, with its tokens at the choice."""

    number: int
    name: str
    given: Mapping[str, Any]
    n_tokens_choice: int | None

    @property
    def role(self) -> str:
        return str(self.given.get("role", ""))

    @property
    def n_tokens_base(self) -> int | None:
        n_tokens: int | None = self.given.get("n_tokens_base")
        return n_tokens

    @property
    def ratio_choice(self) -> float | None:
        return quotient(self.n_tokens_choice, self.n_tokens_base)

    @property
    def saved_choice(self) -> float | None:
        return None if self.ratio_choice is None else 1 - self.ratio_choice

    @property
    def tokens_per_word(self) -> float | None:
        return quotient(self.n_tokens_choice, self.given.get("n_words"))

    @property
    def tokens_per_word_base(self) -> float | None:
        return quotient(self.n_tokens_base, self.given.get("n_words"))

    @property
    def bytes_per_token(self) -> float | None:
        return quotient(self.given.get("n_bytes"), self.n_tokens_choice)

    @property
    def bytes_per_token_base(self) -> float | None:
        return quotient(self.given.get("n_bytes"), self.n_tokens_base)


@dataclass(frozen=True, kw_only=True)
class PointRow:
    """One row of the table of sizes."""

    given: Mapping[str, Any]
    main: Mapping[str, Any]  # the set whose numbers stand first: the one that the choice was made on
    n_words: int | None
    n_bytes: int | None
    ratio_heldout: float | None
    ratio_train: float | None
    ratio_main: float | None
    is_choice: bool

    @property
    def n_tokens(self) -> int | None:
        n_tokens: int | None = self.main.get("n_tokens")
        return n_tokens

    @property
    def tokens_per_word(self) -> float | None:
        return quotient(self.n_tokens, self.n_words)

    @property
    def bytes_per_token(self) -> float | None:
        return quotient(self.n_bytes, self.n_tokens)


@dataclass(frozen=True, kw_only=True)
class UsedRow:
    n_added: int
    n_used: int | None

    @property
    def share(self) -> float | None:
        return quotient(self.n_used, self.n_added)


@dataclass(frozen=True, kw_only=True)
class UnionRow:
    """One size of the union."""

    given: Mapping[str, Any]
    ratio_union: float | None
    ratio_grown: float | None
    n_changed: int | None
    is_choice: bool

    @property
    def more_tokens(self) -> float | None:
        """Tokens of the union for each of the grown ones, less one."""
        share = quotient(self.ratio_union, self.ratio_grown)
        return None if share is None else share - 1

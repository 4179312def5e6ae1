"""What initialisation needs to know of a merged tokenizer, and how it fits a model's tables."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from vocabopt.errors import ModelError

#: With fewer rows a median norm is chance: of 64 normal norms its standard error is a sixth of their deviation.
MIN_NORM_ROWS = 64


@dataclass(frozen=True, kw_only=True)
class Extension:
    """The new tokens of a tokenizer that extends a model's own.

    new_ids: in ascending order, wherever they lie: behind the base's last id, or in a hole of it. base_ids: for each
    the base's own encoding of the token's bytes, without a dummy prefix. base_n_bytes: bytes of text of each of those.
    texts: the tokens' bytes. n_tokens: one more than the merged tokenizer's largest id. n_rows: rows wanted, padding
    included (merge's --pad-to); None for no wish.
    base_tokens: ids that are tokens of the base; rows of other ids below them are padding. scripts: the target's, ()
    where there is none. script_ids: base tokens whose text holds a whole character of them.
    place: the tokenizer's folder, for messages. source: "extension.json", or "bytes" where it was worked out.
    """

    new_ids: tuple[int, ...]
    base_ids: tuple[tuple[int, ...], ...]
    base_n_bytes: tuple[tuple[int, ...], ...]
    texts: tuple[bytes, ...]
    n_tokens: int
    n_rows: int | None = None
    base_tokens: Sequence[int] = field(repr=False)
    scripts: tuple[str, ...] = ()
    script_ids: tuple[int, ...] = field(default=(), repr=False)
    place: str
    source: str

    @property
    def n_base_tokens(self) -> int:
        """One more than the largest id of the base."""
        return self.base_tokens[-1] + 1

    def norm_rows(self) -> tuple[tuple[int, ...], bool]:
        """Base ids whose median norm tells how long a row of the target's text is, and whether they are of its script.

        The base's tokens of the target script, where there are 64 of them. One Hangul token tells nothing (SmolLM2 has
        one): with fewer, all base ids that the new tokens are made of, which is what target text was spelled with.
        """
        if len(self.script_ids) >= MIN_NORM_ROWS:
            return self.script_ids, True
        return tuple(sorted({index for ids in self.base_ids for index in ids})), False

    def n_rows_of_table(self, n_rows: int) -> int:
        """Rows of a table of `n_rows` rows once the new tokens have theirs: it grows where it must, never shrinks."""
        return max(n_rows, self.n_tokens, self.n_rows or 0)

    def check(self, n_rows: int, model: str) -> None:
        """Refuse a model whose tables this tokenizer does not extend.

        Args:
            n_rows: of the model's table, padding included.
            model: what the model is called in messages.

        Raises:
            ModelError: the base has more tokens than the table rows, or a token has no base ids, or ones outside of it.
        """
        if self.n_base_tokens > n_rows:
            raise ModelError(
                f"{self.place}: extends a base of {self.n_base_tokens:,} tokens; {model} has {n_rows:,} rows. Its "
                "tokenizer is another one: sweep with that model as --base, then merge."
            )
        known = frozenset(self.base_tokens)
        for index, replaced in zip(self.new_ids, self.base_ids, strict=True):
            if not replaced or not known.issuperset(replaced):
                raise ModelError(
                    f"{self.place}: its new token {index} replaces the base ids {list(replaced)}; they must be ids of "
                    f"the base's {self.n_base_tokens:,} tokens. Merge again, or remove extension.json to have them "
                    "worked out from the tokenizers."
                )

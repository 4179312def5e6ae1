"""Documents to token ids, each opened and closed; and a check that the tokenizer keeps the text."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal
from unicodedata import normalize

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from trainer.data.documents import Budget, ScannedSource
from trainer.document_ends import document_ends
from trainer.lost_characters import LostCharacters
from vocabopt.errors import BaseTokenizerError
from vocabopt.failures import encoded
from vocabopt.training_record import DocumentEnds

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

#: Documents of each batch that are decoded again, and how much of each.
_N_CHECKED, _CHECKED_CHARS = 4, 10_000
_NORMAL_FORMS: tuple[Literal["NFC", "NFKC"], ...] = ("NFC", "NFKC")  # what normalisers of some bases do to text


@dataclass(frozen=True)
class DocumentEncoder:
    """Encodes documents: [start] ids [end].

    tokenizer: that of tokenizer.json, without truncation or padding. lost: characters that it has no token for, which
    are counted as a sweep counts them.
    """

    name: str
    tokenizer: Tokenizer
    ends: DocumentEnds
    sha256: str
    lost: LostCharacters

    @classmethod
    def of(cls, tokenizer: "PreTrainedTokenizerBase", ends: DocumentEnds | None = None) -> "DocumentEncoder":
        """The encoder of a tokenizer of transformers.

        Args:
            ends: of every document; None takes the tokenizer's own (`document_ends`).

        Raises:
            BaseTokenizerError: it is not one of the `tokenizers` library.
        """
        name = str(tokenizer.name_or_path or type(tokenizer).__name__)
        backend: Any = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None:
            raise BaseTokenizerError(
                f"{name}: is a {type(tokenizer).__name__}, which encodes in Python. Use a folder with a "
                "tokenizer.json, as `vocabopt merge` writes one."
            )
        # A copy: transformers leaves truncation and padding of its last call set in its own.
        own = Tokenizer.from_str(backend.to_str())
        own.no_truncation()
        own.no_padding()
        sha256 = hashlib.sha256(own.to_str().encode()).hexdigest()
        return cls(name, own, ends or document_ends(tokenizer), sha256, LostCharacters.of(own))

    @property
    def dtype(self) -> np.dtype[Any]:
        """The smallest type that holds every id."""
        n_ids = max(self.tokenizer.get_vocab().values()) + 1
        return np.dtype(np.uint16 if n_ids <= 1 << 16 else np.uint32)

    def encode(self, texts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Ids of the documents one after another; how many each has, start and end included; how many characters of
        each the tokenizer has no token for.

        Raises:
            BaseTokenizerError: the library panics on a document, or a document is not what its ids spell. Unknown
                characters are looked for in all, other losses in a few of each call.
        """
        encodings = encoded(self.tokenizer, texts, self.name)
        rows = [encoding.ids for encoding in encodings]
        lengths = np.fromiter(map(len, rows), np.int64, len(rows)) + self.ends.n_tokens
        first, last = ([] if end is None else [end] for end in (self.ends.start_id, self.ends.end_id))
        ids = np.fromiter(chain.from_iterable(chain(first, row, last) for row in rows), np.int64)
        self._check_unknown(texts, rows, ids)
        for text in texts[:_N_CHECKED]:
            self._check_spelling(text[:_CHECKED_CHARS])
        n_lost = np.fromiter(map(self.lost.count, texts), np.int64, len(texts))
        if self.lost.tears and n_lost.any():
            raise BaseTokenizerError(
                f"{self.name}: has no token for the bytes {self.lost.missing.hex(' ').upper()}, some of which stand "
                f"inside characters, and tears {n_lost.sum():,} characters, most of them in the document that begins "
                f"{texts[int(n_lost.argmax())][:40]!r}. Use a base that has all bytes."
            )
        return ids, lengths, n_lost

    def _check_unknown(self, texts: Sequence[str], rows: Sequence[Sequence[int]], ids: NDArray[np.int64]) -> None:
        if self.lost.missing:
            return  # its characters are counted, and nothing else is unknown to bytes
        unknown: str | None = getattr(self.tokenizer.model, "unk_token", None)
        unknown_id = None if unknown is None else self.tokenizer.token_to_id(unknown)
        if unknown is None or unknown_id is None or unknown_id in (self.ends.start_id, self.ends.end_id):
            return
        if not (ids == unknown_id).any():
            return
        for text, row in zip(texts, rows, strict=True):
            if unknown_id in row and unknown not in text:
                raise BaseTokenizerError(
                    f"{self.name}: encodes characters it does not know as {unknown}, and what they were is lost, in "
                    f"the document that begins {text[:40]!r}. Use a base with byte fallback or a byte-level one."
                )

    def _check_spelling(self, text: str) -> None:
        if "▁" in text or any(token.content in text for token in self.tokenizer.get_added_tokens_decoder().values()):
            return  # what stands for a space, and special tokens, decode to something else by design
        text = self.lost.without(text)
        ids = self.tokenizer.encode(text, add_special_tokens=False).ids
        decoded = self.tokenizer.decode(ids, skip_special_tokens=False)
        # But for one space that a dummy prefix hides at the beginning, and for a Unicode normal form.
        back, given = decoded.removeprefix(" "), text.removeprefix(" ")
        if back != given and all(normalize(form, back) != normalize(form, given) for form in _NORMAL_FORMS):
            at = next((i for i, (a, b) in enumerate(zip(decoded, text, strict=False)) if a != b), len(decoded))
            around = slice(max(0, at - 10), at + 20)
            raise BaseTokenizerError(
                f"{self.name}: drops a part of the text: {text[around]!r} comes back as {decoded[around]!r}. Check it "
                "with `vocabopt verify`; train with the folder that `vocabopt merge` wrote."
            )


def budget_in_bytes(
    budget: Budget,
    sources: Sequence[ScannedSource],
    tokenizer: "PreTrainedTokenizerBase",
    ends: DocumentEnds | None = None,
) -> int:
    """A budget in bytes.

    Tokens (those of start and end count) become bytes by the tokens per byte of the sources' samples, each weighted
    with its share of the bytes. Both arms of a comparison must read the same bytes: call this with the merged tokenizer
    and use the result for both.

    Raises:
        BaseTokenizerError: the tokenizer cannot encode documents.
    """
    if budget.unit == "bytes":
        return budget.amount
    encoder = DocumentEncoder.of(tokenizer, ends)
    tokens_per_byte = 0.0
    for source in sources:
        ids, _, _ = encoder.encode(source.sample)
        tokens_per_byte += source.share * len(ids) / sum(len(text.encode()) for text in source.sample)
    return round(budget.amount / tokens_per_byte)

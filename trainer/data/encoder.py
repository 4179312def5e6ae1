"""Documents to token ids, each opened and closed; and a check that the tokenizer keeps the text."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal
from unicodedata import normalize

import numpy as np
import polars as pl
from numpy.typing import NDArray
from tokenizers import Tokenizer

from trainer.data.documents import Budget, ScannedSource
from trainer.document_ends import document_ends
from trainer.lost_characters import LostCharacters
from vocabopt.errors import BaseTokenizerError, PromiseError
from vocabopt.failures import encoded
from vocabopt.text.documents import bytes_of_texts
from vocabopt.tokenizer.load import tokenizer_of_json
from vocabopt.tokenizer.whole_documents import WholeEncoder
from vocabopt.training_record import DocumentEnds

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Ints = NDArray[np.int64]

#: Documents of each batch that are decoded again, and how much of each.
_N_CHECKED, _CHECKED_CHARS = 4, 10_000
_NORMAL_FORMS: tuple[Literal["NFC", "NFKC"], ...] = ("NFC", "NFKC")  # what normalisers of some bases do to text


class _Texts(Sequence[str]):
    """The documents data[starts[i]:ends[i]] as text, each made when it is asked for."""

    def __init__(self, data: bytes, starts: Ints, ends: Ints) -> None:
        self._data, self._starts, self._ends = data, starts, ends

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, index: Any) -> Any:
        return self._data[self._starts[index] : self._ends[index]].decode()


def _n_ids(value: Mapping[str, Any]) -> int:
    vocab = value["model"]["vocab"]
    # That of a Unigram model is a list of pieces in the order of ids.
    ids = vocab.values() if isinstance(vocab, Mapping) else range(len(vocab))
    return 1 + max(int(index) for index in chain(ids, (token["id"] for token in value["added_tokens"])))


@dataclass
class DocumentEncoder:
    """Encodes documents: [start] ids [end].

    tokenizer_json: without truncation or padding. n_ids: one more than the largest id. lost: characters that it has no
    token for, which are counted as a sweep counts them. fast: gives the same ids sooner, once `use_fast` was called in
    this process.
    """

    name: str
    tokenizer_json: str
    n_ids: int
    ends: DocumentEnds
    sha256: str
    lost: LostCharacters
    fast: WholeEncoder | None = None

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
        if backend.truncation is not None or backend.padding is not None:
            # What transformers leaves set after its last call is no part of the tokenizer.
            backend = Tokenizer.from_str(backend.to_str())
            backend.no_truncation()
            backend.no_padding()
        written = backend.to_str()
        value = json.loads(written)
        return cls(
            name=name,
            tokenizer_json=written,
            n_ids=_n_ids(value),
            ends=ends or document_ends(tokenizer),
            sha256=hashlib.sha256(written.encode()).hexdigest(),
            lost=LostCharacters.of(value),
        )

    def __getstate__(self) -> dict[str, Any]:
        """For another process, which makes `tokenizer` of what it is written as."""
        return {**{field.name: getattr(self, field.name) for field in fields(self)}, "fast": None}

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """What `tokenizers` encodes with."""
        return Tokenizer.from_str(self.tokenizer_json)

    def use_fast(self, texts: Sequence[str]) -> None:
        """Encode with the fast encoder from here on, where there is one that agrees with `tokenizers` on some texts."""
        # Where it fails, the tokenizer is of no family whose documents are understood, or cannot encode these texts.
        with suppress(BaseTokenizerError):
            base = tokenizer_of_json(self.tokenizer_json, self.name)
            self.tokenizer = base.full  # the same, made once
            self.fast = WholeEncoder.of(base, texts)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The smallest type that holds every id."""
        return np.dtype(np.uint16 if self.n_ids <= 1 << 16 else np.uint32)

    def encode(self, data: bytes, starts: Ints, ends: Ints) -> tuple[Ints, Ints, Ints]:
        """Encode the documents data[starts[i]:ends[i]].

        Returns:
            Their ids one after another; how many each has, start and end included; how many characters of each the
            tokenizer has no token for. int64.

        Raises:
            BaseTokenizerError: the library panics on a document, or a document is not what its ids spell. Unknown
                characters are looked for in all, other losses in a few of each call.
            PromiseError: the fast encoder gives a document other ids than `tokenizers`; a few of each call are
                compared.
        """
        texts = _Texts(data, starts, ends)
        if self.fast is not None:
            ids, lengths = self.fast.encode(data, starts, ends)
        else:
            rows = [encoding.ids for encoding in encoded(self.tokenizer, list(texts), self.name)]
            lengths = np.fromiter(map(len, rows), np.int64, len(rows))
            ids = np.fromiter(chain.from_iterable(rows), np.int64)
        row_ends = np.cumsum(lengths)
        self._check_unknown(texts, ids, row_ends)
        for i in range(min(_N_CHECKED, len(texts))):
            self._check(texts[i], ids[row_ends[i] - lengths[i] : row_ends[i]])
        n_lost = np.zeros(len(texts), np.int64)
        if self.lost.missing:
            n_lost = np.fromiter(map(self.lost.count, texts), np.int64, len(texts))
        if self.lost.tears and n_lost.any():
            raise BaseTokenizerError(
                f"{self.name}: has no token for the bytes {self.lost.missing.hex(' ').upper()}, some of which stand "
                f"inside characters, and tears {n_lost.sum():,} characters, most of them in the document that begins "
                f"{texts[int(n_lost.argmax())][:40]!r}. Use a base that has all bytes."
            )
        return *self._between_ends(ids, lengths), n_lost

    def _between_ends(self, ids: Ints, lengths: Ints) -> tuple[Ints, Ints]:
        """Ids and lengths with the tokens that open and close each document."""
        opening, closing = ([] if end is None else [end] for end in (self.ends.start_id, self.ends.end_id))
        longer = lengths + self.ends.n_tokens
        stops = np.cumsum(longer)
        closed = np.empty(len(ids) + len(lengths) * self.ends.n_tokens, np.int64)
        is_text = np.ones(len(closed), np.bool_)
        for places, end in ((stops - longer, opening), (stops - 1, closing)):
            for index in end:
                closed[places], is_text[places] = index, False
        closed[is_text] = ids
        return closed, longer

    def _check_unknown(self, texts: "_Texts", ids: Ints, row_ends: Ints) -> None:
        if self.lost.missing:
            return  # its characters are counted, and nothing else is unknown to bytes
        unknown: str | None = getattr(self.tokenizer.model, "unk_token", None)
        unknown_id = None if unknown is None else self.tokenizer.token_to_id(unknown)
        if unknown is None or unknown_id is None or unknown_id in (self.ends.start_id, self.ends.end_id):
            return
        for i in np.unique(np.searchsorted(row_ends, np.flatnonzero(ids == unknown_id), side="right")).tolist():
            if unknown not in texts[i]:
                raise BaseTokenizerError(
                    f"{self.name}: encodes characters it does not know as {unknown}, and what they were is lost, in "
                    f"the document that begins {texts[i][:40]!r}. Use a base with byte fallback or a byte-level one."
                )

    def _check(self, text: str, ids: Ints) -> None:
        """That a document is what its ids spell; where the fast encoder gave them, that they are those it must have."""
        if self.fast is not None and len(text) <= _CHECKED_CHARS:
            (expected,) = encoded(self.tokenizer, [text], self.name)
            if expected.ids != ids.tolist():
                raise PromiseError(
                    f"{self.name}: gigatoken gives other ids than the tokenizers library for the document that begins "
                    f"{text[:40]!r}. Please report this with the tokenizer; uninstall gigatoken to go on without it."
                )
        self._check_spelling(text[:_CHECKED_CHARS])

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
        ids, _, _ = encoder.encode(*bytes_of_texts(pl.Series(source.sample, dtype=pl.String)))
        tokens_per_byte += source.share * len(ids) / sum(len(text.encode()) for text in source.sample)
    return round(budget.amount / tokens_per_byte)

"""What encodes with a union: the `tokenizers` library, or sentencepiece itself where scores are tied.

With tied scores sentencepiece merges the leftmost pair, whichever piece it makes, and no tokenizer.json does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import sentencepiece
from numpy.typing import NDArray

from vocabopt.failures import encoded
from vocabopt.merge.addition import Addition
from vocabopt.merge.export import extended_original
from vocabopt.tokenizer import Base
from vocabopt.tokenizer.sentencepiece_model import read_model


class TextEncoder(Protocol):
    """Ids of texts: of pieces and chunks as they stand, of documents with the dummy prefix that the base gives them."""

    def chunk_ids(self, texts: Sequence[str]) -> list[list[int]]: ...

    def document_ids(self, texts: Sequence[str]) -> list[list[int]]: ...


@dataclass(frozen=True)
class LibraryEncoder:
    """The `tokenizers` library with a tokenizer.json."""

    base: Base

    def chunk_ids(self, texts: Sequence[str]) -> list[list[int]]:
        tokenizer = self.base.whole_chunk_tokenizer
        return [encoding.ids for encoding in tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]

    def document_ids(self, texts: Sequence[str]) -> list[list[int]]:
        return [encoding.ids for encoding in encoded(self.base.full, texts, self.base.source)]


@dataclass(frozen=True)
class ScoredEncoder:
    """sentencepiece with a model; `bare` is the same without a dummy prefix."""

    whole: sentencepiece.SentencePieceProcessor
    bare: sentencepiece.SentencePieceProcessor
    name: str = "sentencepiece"

    @classmethod
    def of(cls, data: bytes) -> "ScoredEncoder":
        model = read_model(data)
        model.normalizer_spec.add_dummy_prefix = False
        load = sentencepiece.SentencePieceProcessor
        return cls(whole=load(model_proto=data), bare=load(model_proto=model.SerializeToString()))

    def chunk_ids(self, texts: Sequence[str]) -> list[list[int]]:
        ids: list[list[int]] = self.bare.encode(list(texts), num_threads=-1)
        return ids

    def document_ids(self, texts: Sequence[str]) -> list[list[int]]:
        ids: list[list[int]] = self.whole.encode(list(texts), num_threads=-1)
        return ids

    def encode(self, data: bytes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Runs of chunks, as `ChunkEncoder.encode`."""
        rows = self.chunk_ids(data.decode().split("\0"))
        ends = np.cumsum(np.fromiter(map(len, rows), np.int64, len(rows)))
        return np.fromiter((index for row in rows for index in row), np.int64), ends


def encoders_of(base: Base, merged: Base, addition: Addition) -> tuple[TextEncoder, TextEncoder]:
    """What encodes with the base, and with the addition merged in."""
    if addition.scores != "zero":
        return LibraryEncoder(base), LibraryEncoder(merged)
    original = next(original for original in base.originals if original.kind == "sentencepiece")
    return ScoredEncoder.of(original.data), ScoredEncoder.of(extended_original(base, original, addition))

"""Encoding whole documents with the place of every token: the way of tokenizers whose text cannot be cut into chunks.

A place is a pair of offsets into the documents joined by NUL, in characters where `tokenizers` encodes and in UTF-8
bytes where sentencepiece does. Tokens that hold a part of one character share its place. Neither starts nor ends ever
decrease; a piece that stands for nothing in the text (the dummy prefix) may be empty.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import sentencepiece
from numpy.typing import NDArray
from sentencepiece import sentencepiece_pb2
from tokenizers import Tokenizer

from vocabopt.failures import encoded

Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Spans:
    """Tokens of some texts, in order, and their places in the texts joined by NUL.

    ids, starts, ends: int64 [n_tokens]. n_tokens: int64 [n_texts], of each text. in_bytes: the unit of places.
    """

    ids: Ints
    starts: Ints
    ends: Ints
    n_tokens: Ints
    in_bytes: bool

    @property
    def text_of_token(self) -> Ints:
        """The number of the text that each token is of."""
        return np.repeat(np.arange(len(self.n_tokens)), self.n_tokens)


def json_spans(tokenizer: Tokenizer, texts: Sequence[str], source: str) -> Spans:
    """Encode with the `tokenizers` library; places in characters. Raises BaseTokenizerError as `encoded`."""
    encodings = encoded(tokenizer, texts, source, with_offsets=True)
    rows = [encoding.ids for encoding in encodings]
    places = _flat(chain.from_iterable(chain.from_iterable(encoding.offsets for encoding in encodings)))
    return _joined(_flat(chain.from_iterable(rows)), places, rows, [len(text) for text in texts], in_bytes=False)


def model_spans(processor: sentencepiece.SentencePieceProcessor, texts: Sequence[str]) -> Spans:
    """Encode with sentencepiece; places in bytes."""
    rows: list[Any] = []
    for serialized in processor.encode(list(texts), out_type="serialized_proto", num_threads=-1):
        message = sentencepiece_pb2.SentencePieceText()  # type: ignore[attr-defined]
        message.ParseFromString(serialized)
        rows.append(message.pieces)
    ids = _flat(piece.id for row in rows for piece in row)
    places = _flat(place for row in rows for piece in row for place in (piece.begin, piece.end))
    return _joined(ids, places, rows, [len(text.encode()) for text in texts], in_bytes=True)


def _flat(values: Iterable[int]) -> Ints:
    return np.fromiter(values, np.int64)


def _joined(ids: Ints, places: Ints, rows: Sequence[Any], lengths: list[int], *, in_bytes: bool) -> Spans:
    n_tokens = np.fromiter(map(len, rows), np.int64, len(rows))
    first = np.concatenate([[0], np.cumsum(np.array(lengths, np.int64) + 1)[:-1]]) if rows else np.zeros(0, np.int64)
    shift = np.repeat(first, n_tokens)
    starts, ends = places[0::2] + shift, places[1::2] + shift
    # A normaliser that moves characters can leave a place before its neighbour's.
    return Spans(
        ids=ids,
        starts=np.maximum.accumulate(starts),
        ends=np.maximum.accumulate(ends),
        n_tokens=n_tokens,
        in_bytes=in_bytes,
    )

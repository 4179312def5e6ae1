"""Whole documents to token ids by gigatoken: the ids of the `tokenizers` library, many times faster.

gigatoken does not take added tokens out of text, and its tables of Unicode are newer. `tokenizers` itself encodes the
documents where the two could differ:

    added tokens        documents that hold the string of one, or, in the SentencePiece family, a literal ▁
    newer characters    in the byte-level family, documents with a letter, mark, number or space that Unicode 3.2 did
                        not have as such: its class, and so where a pattern splits, or its normal form depends on the
                        version of Unicode
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from vocabopt.failures import encoded
from vocabopt.growth.chunk_kernel import mark_documents, scan_documents
from vocabopt.text.documents import bytes_of_texts
from vocabopt.tokenizer.added_tokens import AddedTokens
from vocabopt.tokenizer.chunks import ChunkEncoder, newer_characters
from vocabopt.tokenizer.tokenizer import Tokenizer

Ints = NDArray[np.int64]

#: gigatoken keeps what it encoded, as long as it lives: it is made anew where the process has grown by this much.
_CACHE_BYTES = 512 << 20


class WholeEncoder:
    """Encodes documents with a tokenizer of a family that can be grown."""

    def __init__(self, base: Tokenizer) -> None:
        """What `of` makes is known to agree with `tokenizers`."""
        self._base = base
        self._added = AddedTokens(base)
        self._suspicious = self._added.suspicious
        self._renew()

    @classmethod
    def of(cls, base: Tokenizer, texts: Sequence[str]) -> "WholeEncoder | None":
        """The encoder of a tokenizer; None where gigatoken does not know it, or differs from `tokenizers` on a text.

        Raises:
            BaseTokenizerError: `tokenizers` cannot encode a text.
        """
        made = cls(base)
        if made._encoder.fast is None:
            return None
        ids, lengths = made.encode(*bytes_of_texts(pl.Series(texts, dtype=pl.String)))
        rows = [encoding.ids for encoding in encoded(base.full, texts, base.source)]
        is_same = lengths.tolist() == [*map(len, rows)] and ids.tolist() == [*chain.from_iterable(rows)]
        return made if is_same else None

    def encode(self, data: bytes, starts: Ints, ends: Ints) -> tuple[Ints, Ints]:
        """Ids of the documents data[starts[i]:ends[i]], one after another, and how many each has, int64.

        No document may hold NUL.

        Raises:
            BaseTokenizerError: `tokenizers` cannot encode a document.
        """
        is_odd = self._is_odd(data, starts, ends)
        fast_ids, fast_lengths = self._by_gigatoken(data, starts[~is_odd], ends[~is_odd])
        if not is_odd.any():
            return fast_ids, fast_lengths
        places = zip(starts[is_odd].tolist(), ends[is_odd].tolist(), strict=True)
        texts = [data[start:end].decode() for start, end in places]
        rows = [encoding.ids for encoding in encoded(self._base.full, texts, self._base.source)]
        lengths = np.empty(len(starts), np.int64)
        lengths[~is_odd], lengths[is_odd] = fast_lengths, [*map(len, rows)]
        ids = np.empty(int(lengths.sum()), np.int64)
        of_odd = np.repeat(is_odd, lengths)
        ids[~of_odd], ids[of_odd] = fast_ids, np.fromiter(chain.from_iterable(rows), np.int64)
        return ids, lengths

    def _is_odd(self, data: bytes, starts: Ints, ends: Ints) -> NDArray[np.bool_]:
        """Which documents are left to `tokenizers`; empty ones too."""
        view = np.frombuffer(data, np.uint8)
        _, _, suspects = scan_documents(view, starts, ends, np.uint64(0), self._suspicious)
        is_odd: NDArray[np.bool_] = starts == ends
        if self._base.family == "byte-level-bpe":
            mark_documents(view, starts, ends, newer_characters(), is_odd)
        for i in np.flatnonzero(suspects & ~is_odd).tolist():
            is_odd[i] = self._added.may_be_in(data[starts[i] : ends[i]])
        return is_odd

    def _by_gigatoken(self, data: bytes, starts: Ints, ends: Ints) -> tuple[Ints, Ints]:
        if not len(starts):
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        base = self._base
        documents: Iterator[bytes] = map(data.__getitem__, map(slice, starts.tolist(), ends.tolist()))
        if base.prefix == "never":
            joined = b"\0".join(documents)
        elif base.prefix_unless_space:
            joined = b"\0".join(text if text.startswith(b" ") else b" " + text for text in documents)
        else:
            joined = b" " + b"\0 ".join(documents)
        ids, row_ends = self._encoder.encode(joined)
        if _resident_bytes() - self._n_bytes_at_first > _CACHE_BYTES:
            self._renew()
        return ids, np.diff(row_ends, prepend=0)

    def _renew(self) -> None:
        """Take a gigatoken that has encoded nothing, and forget the one before."""
        self._encoder = ChunkEncoder(self._base.full, None)
        # A copy of the record, which keeps what it has made.
        self._encoder = ChunkEncoder(self._base.full, replace(self._base).fast_chunk_tokenizer)
        self._n_bytes_at_first = _resident_bytes()


def _resident_bytes() -> int:
    """Memory that this process has; 0 where the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) << 12
    except OSError:
        return 0

"""Tokens per document with a base tokenizer, for the funnel: by gigatoken where it gives what tokenizer.json gives.

Not where the base has bytes missing or cut, or a document may hold an added token: a sample of documents, which is
compared, seldom holds those.
"""

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from vocabopt.failures import encoded
from vocabopt.growth import chunk_kernel as kernel
from vocabopt.text.documents import bytes_of_texts
from vocabopt.tokenizer import Tokenizer, load_base
from vocabopt.tokenizer.added_tokens import AddedTokens
from vocabopt.tokenizer.tokenizer_json import fast_tokenizer, without_batch_settings

#: Documents of each call on which the fast encoder must agree with `tokenizers`, and the longest of them.
_N_CHECKED, _MAX_CHECKED_BYTES = 16, 4096
_BATCH_DOCUMENTS = 10_000


@dataclass
class TokenCounter:
    """Counts tokens of documents, special tokens of the base in the text included, none added."""

    base: Tokenizer
    fast: Any

    @classmethod
    def load(cls, base: str, pattern: str | None, specials: str | None) -> "TokenCounter":
        """Raises BaseTokenizerError: the base cannot be loaded."""
        loaded = load_base(base, pattern=pattern, specials=specials)
        if loaded.missing_bytes or loaded.cuts_bytes:
            return cls(loaded, None)
        return cls(loaded, fast_tokenizer({**without_batch_settings(loaded.tokenizer_json), "post_processor": None}))

    def count(self, texts: pl.Series) -> NDArray[np.int64]:
        """Tokens of each text, int64 [n]; texts are not empty and hold no NUL."""
        n_tokens = np.zeros(len(texts), np.int64)
        is_slow = self._may_hold_added(texts) if self.fast is not None else np.ones(len(texts), bool)
        if not is_slow.all():
            plain = texts.filter(pl.Series(~is_slow))
            if (counted := self._fast(plain)) is None:
                self.fast, is_slow[:] = None, True
            else:
                n_tokens[~is_slow] = counted
        n_tokens[is_slow] = self._slow(texts.filter(pl.Series(is_slow)))
        return n_tokens

    @functools.cached_property
    def _added(self) -> AddedTokens:
        return AddedTokens(self.base)

    def _may_hold_added(self, texts: pl.Series) -> NDArray[np.bool_]:
        """Which texts may hold an added token, bool [n]."""
        added, (data, starts, ends) = self._added, bytes_of_texts(texts)
        _, _, suspects = kernel.scan_documents(
            np.frombuffer(data, np.uint8), starts, ends, np.uint64(0), added.suspicious
        )
        for i in np.flatnonzero(suspects):
            suspects[i] = added.may_be_in(data[starts[i] : ends[i]])
        return np.asarray(suspects, bool)

    def _fast(self, texts: pl.Series) -> NDArray[np.int64] | None:
        """None where the fast encoder does not give what tokenizer.json gives."""
        from gigatoken import BytesSource

        data = texts.str.join("\0").cast(pl.Binary).item()
        layout = self.fast.encode_batch(BytesSource([data], separator="\0")).layout
        n_tokens = np.diff(np.asarray(layout.offsets.data)).astype(np.int64)
        if len(n_tokens) != len(texts):
            return None
        n_bytes = texts.str.len_bytes().to_numpy()
        short = np.flatnonzero(n_bytes <= max(_MAX_CHECKED_BYTES, n_bytes.min()))
        checked = short[:: max(1, len(short) // _N_CHECKED)]
        return n_tokens if (self._slow(texts.gather(checked)) == n_tokens[checked]).all() else None

    def _slow(self, texts: pl.Series) -> NDArray[np.int64]:
        counts: list[int] = []
        for start in range(0, len(texts), _BATCH_DOCUMENTS):
            batch = texts.slice(start, _BATCH_DOCUMENTS).to_list()
            counts += [len(encoding) for encoding in encoded(self.base.full, batch, self.base.source)]
        return np.array(counts, np.int64)

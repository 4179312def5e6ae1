"""Tokens per document with a base tokenizer, for the funnel: by gigatoken where it gives what tokenizer.json gives."""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from vocabopt.bases import Base, load_base
from vocabopt.bases.pipeline import without_batch_settings
from vocabopt.panics import encoded

#: Documents of each call on which the fast encoder must agree with `tokenizers`, and the longest of them.
_N_CHECKED, _MAX_CHECKED_BYTES = 16, 4096
_BATCH_DOCUMENTS = 10_000


@dataclass
class TokenCounter:
    """Counts tokens of documents, special tokens of the base in the text included, none added."""

    base: Base
    fast: Any

    @classmethod
    def load(cls, base: str, pattern: str | None, specials: str | None) -> "TokenCounter":
        """Raises BaseTokenizerError: the base cannot be loaded."""
        loaded = load_base(base, pattern=pattern, specials=specials)
        try:
            from gigatoken import Tokenizer as FastTokenizer

            plain = {**without_batch_settings(loaded.tokenizer_json), "post_processor": None}
            return cls(loaded, FastTokenizer.from_json(json.dumps(plain)))
        except Exception:  # its errors are of many kinds
            return cls(loaded, None)

    def count(self, texts: pl.Series) -> NDArray[np.int64]:
        """Tokens of each text, int64 [n]; texts are not empty and hold no NUL."""
        if not len(texts):
            return np.zeros(0, np.int64)
        if self.fast is not None:
            from gigatoken import BytesSource

            data = texts.str.join("\0").cast(pl.Binary).item()
            layout = self.fast.encode_batch(BytesSource([data], separator="\0")).layout
            n_tokens = np.diff(np.asarray(layout.offsets.data)).astype(np.int64)
            if len(n_tokens) == len(texts) and self._agrees(texts, n_tokens):
                return n_tokens
            self.fast = None
        return self._slow(texts)

    def _agrees(self, texts: pl.Series, n_tokens: NDArray[np.int64]) -> bool:
        n_bytes = texts.str.len_bytes().to_numpy()
        short = np.flatnonzero(n_bytes <= max(_MAX_CHECKED_BYTES, n_bytes.min()))
        checked = short[:: max(1, len(short) // _N_CHECKED)]
        return bool((self._slow(texts.gather(checked)) == n_tokens[checked]).all())

    def _slow(self, texts: pl.Series) -> NDArray[np.int64]:
        counts: list[int] = []
        for start in range(0, len(texts), _BATCH_DOCUMENTS):
            batch = texts.slice(start, _BATCH_DOCUMENTS).to_list()
            counts += [len(encoding) for encoding in encoded(self.base.full, batch, self.base.source)]
        return np.array(counts, np.int64)

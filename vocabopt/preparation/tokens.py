"""Tokens per document with a base tokenizer, for the funnel: by gigatoken where it gives what tokenizer.json gives."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from vocabopt.failures import encoded
from vocabopt.text.documents import bytes_of_texts
from vocabopt.tokenizer import Tokenizer, load_base
from vocabopt.tokenizer.whole_documents import WholeEncoder

#: Documents of each call on which the fast encoder must agree with `tokenizers`, and the longest of them.
_N_CHECKED, _MAX_CHECKED_BYTES = 16, 4096
_BATCH_DOCUMENTS = 10_000


@dataclass
class TokenCounter:
    """Counts tokens of documents, special tokens of the base in the text included, none added."""

    base: Tokenizer
    fast: WholeEncoder | None

    @classmethod
    def load(cls, base: str, pattern: str | None, specials: str | None) -> "TokenCounter":
        """Raises BaseTokenizerError: the base cannot be loaded."""
        loaded = load_base(base, pattern=pattern, specials=specials)
        return cls(loaded, WholeEncoder.of(loaded, ()))

    def count(self, texts: pl.Series) -> NDArray[np.int64]:
        """Tokens of each text, int64 [n]; texts are not empty and hold no NUL."""
        if self.fast is not None and len(texts):
            _, n_tokens = self.fast.encode(*bytes_of_texts(texts))
            n_bytes = texts.str.len_bytes().to_numpy()
            short = np.flatnonzero(n_bytes <= max(_MAX_CHECKED_BYTES, n_bytes.min()))
            checked = short[:: max(1, len(short) // _N_CHECKED)]
            if (self._slow(texts.gather(checked)) == n_tokens[checked]).all():
                return n_tokens
            self.fast = None
        return self._slow(texts)

    def _slow(self, texts: pl.Series) -> NDArray[np.int64]:
        counts: list[int] = []
        for start in range(0, len(texts), _BATCH_DOCUMENTS):
            batch = texts.slice(start, _BATCH_DOCUMENTS).to_list()
            counts += [len(encoding) for encoding in encoded(self.base.full, batch, self.base.source)]
        return np.array(counts, np.int64)

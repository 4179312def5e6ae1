"""Identity of documents: a hash of their content, and which of them it holds out.

The same on every machine and in any order of the text, so that what a sweep held out is found again in training.
"""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from vocabopt.growth import chunk_kernel as kernel

_NOTHING_SUSPICIOUS = np.zeros(1 << 16, bool)


def content_hashes(
    data: bytes, starts: NDArray[np.int64], ends: NDArray[np.int64], seed: int = 0
) -> NDArray[np.uint64]:
    """The hash of each document `data[starts[i]:ends[i]]`, [n_documents]: that of a sweep with this seed."""
    hashes, *_ = kernel.scan_documents(
        np.frombuffer(data, np.uint8), starts, ends, np.uint64(seed), _NOTHING_SUSPICIOUS
    )
    return np.asarray(hashes, np.uint64)


def bytes_of_texts(texts: pl.Series) -> tuple[bytes, NDArray[np.int64], NDArray[np.int64]]:
    """A column of text as UTF-8, one after another, and where each text starts and ends, int64 [n]."""
    data = texts.str.join("").cast(pl.Binary).item() if len(texts) else b""
    ends = np.cumsum(texts.str.len_bytes().to_numpy().astype(np.int64))
    return data, np.concatenate([np.zeros(min(1, len(ends)), np.int64), ends[:-1]]), ends


def is_held_out(hashes: NDArray[np.uint64], share: float) -> NDArray[np.bool_]:
    """Which documents a sweep that holds out `share` of them picks, by their content hashes."""
    return (hashes & np.uint64(0xFFFFFFFF)) < np.uint64(round(share * 2**32))

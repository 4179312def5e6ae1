"""From text sets to blocks of documents, as counting and measuring take them."""

from collections.abc import Iterator
from itertools import chain

import numpy as np
import polars as pl

from vocabopt.growth.counts import Documents
from vocabopt.text.corpus import TextSet
from vocabopt.text.readers import Block, ReadOptions, read_blocks
from vocabopt.text.sets import TRAIN

#: Text counted at a time; fewer and larger blocks make fewer entries per chunk and group.
_COUNTED_BYTES = 16 << 20


def documents_of_sets(text_sets: tuple[TextSet, ...], options: ReadOptions) -> Iterator[Documents]:
    """Blocks of documents of all sets, joined by NUL, which no document holds."""
    for text_set in text_sets:
        name = TRAIN if text_set.role == "train" else text_set.name
        gathered: list[Block] = []
        for block in chain.from_iterable(read_blocks(file, options) for file in text_set.files):
            gathered.append(block)
            if sum(block.n_stored_bytes for block in gathered) >= _COUNTED_BYTES:
                yield _joined(name, gathered)
                gathered = []
        yield _joined(name, gathered)


def _joined(text_set: str, blocks: list[Block]) -> Documents:
    # As bytes, not by way of Python's strings: a third of the time.
    filled = [block.documents for block in blocks if len(block.documents)]
    data = b"\0".join([*(documents.str.join("\0").cast(pl.Binary).item() for documents in filled), b""])
    ends = np.flatnonzero(np.frombuffer(data, np.uint8) == 0)
    return Documents(
        text_set=text_set,
        data=data,
        starts=np.concatenate([np.zeros(min(1, len(ends)), np.int64), ends[:-1] + 1]),
        ends=ends,
        n_blank=sum(block.n_blank for block in blocks),
        n_skipped=sum(block.n_skipped for block in blocks),
        n_stored_bytes=sum(block.n_stored_bytes for block in blocks),
    )


def texts_of(text_set: TextSet, options: ReadOptions) -> Iterator[pl.Series]:
    """The documents of a text set, in blocks."""
    for file in text_set.files:
        yield from (block.documents for block in read_blocks(file, options))

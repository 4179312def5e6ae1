"""Text sets in shards of about one size: parts of large files, and small files together.

Every document is in exactly one shard, whatever their size.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import polars as pl

from vocabopt.errors import CorpusError
from vocabopt.text.corpus import TextFile, TextSet
from vocabopt.text.documents import Documents, joined
from vocabopt.text.lines import Block
from vocabopt.text.readers import ReadOptions, can_be_cut, read_blocks
from vocabopt.text.storage import STDIN, Span, spooled_stdin

#: Text handed on at a time.
_BLOCK_BYTES = 4 << 20


@dataclass(frozen=True, kw_only=True)
class Part:
    """A file of text, or a part of one (`readers.read_blocks`)."""

    file: TextFile
    span: Span | None

    @property
    def n_stored_bytes(self) -> int:
        """0 for a file whose size is not known."""
        return (self.file.n_bytes or 0) if self.span is None else self.span[1] - self.span[0]


@dataclass(frozen=True, kw_only=True)
class Shard:
    """Text of one set. number: from 0. text_set: as it is counted, so that that of the only target is "train"."""

    number: int
    text_set: str
    parts: tuple[Part, ...]

    @property
    def n_stored_bytes(self) -> int:
        """0 for files whose size is not known."""
        return sum(part.n_stored_bytes for part in self.parts)


def shards_of(text_sets: Sequence[TextSet], options: ReadOptions, *, shard_bytes: int) -> list[Shard]:
    """All text, in order, in shards of about `shard_bytes` stored bytes; what cannot be cut is larger."""
    shards: list[Shard] = []
    for text_set in text_sets:
        name = text_set.counted_as
        parts: list[Part] = []
        n_bytes = 0
        for part in (part for file in text_set.files for part in _parts(file, options, shard_bytes)):
            if parts and (n_bytes + part.n_stored_bytes > shard_bytes or part.file.n_bytes is None):
                shards.append(Shard(number=len(shards), text_set=name, parts=tuple(parts)))
                parts, n_bytes = [], 0
            parts.append(part)
            n_bytes += part.n_stored_bytes
        if parts:
            shards.append(Shard(number=len(shards), text_set=name, parts=tuple(parts)))
    return shards


def _parts(file: TextFile, options: ReadOptions, shard_bytes: int) -> Iterator[Part]:
    if file.url == STDIN:  # another process has another standard input
        file = TextFile(url=spooled_stdin(), text_set=file.text_set, n_bytes=file.n_bytes)
    n_bytes = file.n_bytes or 0
    if n_bytes <= shard_bytes or not can_be_cut(file.url, options):
        yield Part(file=file, span=None)
        return
    for start in range(0, n_bytes, shard_bytes):
        yield Part(file=file, span=(start, min(start + shard_bytes, n_bytes)))


def documents_of_shard(shard: Shard, options: ReadOptions) -> Iterator[Documents]:
    """The documents of a shard, in blocks. Raises CorpusError as `readers.read_blocks`, or for a file that changed."""
    for block in _blocks(shard, options):
        yield joined(shard.text_set, [block])


def texts_of_shard(shard: Shard, options: ReadOptions) -> Iterator[pl.Series]:
    """The same as columns of text."""
    for block in _blocks(shard, options):
        yield block.documents


def _blocks(shard: Shard, options: ReadOptions) -> Iterator[Block]:
    for part in shard.parts:
        url, n_bytes = part.file.url, part.file.n_bytes
        if "://" not in url and n_bytes is not None and (now := os.path.getsize(url)) != n_bytes:
            raise CorpusError(
                f"{url}: changed since the run began: it had {n_bytes:,} bytes, and has {now:,}. Begin again in "
                "another folder, and leave the text alone meanwhile."
            )
        yield from read_blocks(part.file, options, block_bytes=_BLOCK_BYTES, span=part.span)

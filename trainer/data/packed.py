"""Packed text on disk: blocks of token ids of one length, with the documents in them kept apart."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from trainer.data.scan import mixed
from vocabopt.artifacts import read_json

if TYPE_CHECKING:
    from trainer.data.dataset import PackedDataset
    from trainer.data.origin import TextOrigin

TOKENS, STARTS, PACKED_JSON = "tokens.bin", "starts.npy", "packed.json"
_PIECE_TOKENS = 1 << 22


@dataclass(frozen=True, kw_only=True)
class PackedText:
    """The text of one stage as token ids, and where its documents start.

    end_id: None where nothing closes documents. n_tokens: with the start and end tokens of the documents, without what
    fills up the last block. sources: name -> n_documents, n_bytes, n_tokens, n_lost_chars (characters that the
    tokenizer has no token for). origin: the text itself; None for what was read from its folder alone.
    """

    folder: Path
    context_tokens: int
    end_id: int | None
    dtype: str
    n_tokens: int
    sources: Mapping[str, Mapping[str, int]]
    fingerprint: str
    origin: "TextOrigin | None" = field(default=None, compare=False, repr=False)

    @property
    def n_blocks(self) -> int:
        return -(-self.n_tokens // self.context_tokens)

    @property
    def n_bytes(self) -> int:
        return sum(source["n_bytes"] for source in self.sources.values())

    @property
    def n_documents(self) -> int:
        return sum(source["n_documents"] for source in self.sources.values())

    @classmethod
    def read(cls, folder: Path) -> "PackedText":
        """What `pack_stage` wrote.

        Raises:
            RunDirectoryError: it is not there, not finished, or broken.
        """
        record = read_json(folder / PACKED_JSON, next_step="Pack the text again.")
        return cls(folder=folder, **{key: record[key] for key in cls.fields()})

    @classmethod
    def fields(cls) -> tuple[str, ...]:
        """Those that packed.json holds."""
        return ("context_tokens", "end_id", "dtype", "n_tokens", "sources", "fingerprint")

    @cached_property
    def tokens(self) -> NDArray[Any]:
        """[n_blocks x context_tokens], the last block filled up with end tokens, else id 0; not read until used."""
        return np.memmap(self.folder / TOKENS, np.dtype(self.dtype), mode="r")

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """Where each document starts, ascending, [n_documents]; not read until it is used."""
        return np.asarray(np.load(self.folder / STARTS, mmap_mode="r"))

    def block(self, index: int) -> dict[str, NDArray[np.int64]]:
        """A block in the order of the text: input_ids, position_ids and labels, int64 [context_tokens].

        Positions count from 0 in every document and every block. A label is the token itself, since transformers
        shifts labels; -100, for none, where a document or the block begins and behind the end of the text.
        """
        start = index * self.context_tokens
        stop = start + self.context_tokens
        ids = self.tokens[start:stop].astype(np.int64)
        first, last = np.searchsorted(self.starts, (start, stop))
        n_text = min(self.context_tokens, self.n_tokens - start)
        begins = np.concatenate([[0], self.starts[first:last] - start, [n_text]])
        begins = np.unique(begins[begins < self.context_tokens])
        lengths = np.diff(begins, append=self.context_tokens)
        labels = ids.copy()
        labels[begins] = -100
        labels[n_text:] = -100
        return {
            "input_ids": ids,
            "position_ids": np.arange(self.context_tokens) - np.repeat(begins, lengths),
            "labels": labels,
        }

    def order(self, seed: int) -> NDArray[np.int64]:
        """The blocks in the order in which they are trained on, [n_blocks]: a permutation that the seed chooses."""
        return np.argsort(mixed(np.arange(self.n_blocks, dtype=np.uint64), f"blocks {seed}"), kind="stable")

    def dataset(self, seed: int) -> "PackedDataset":
        """The blocks in that order, for torch. An item depends on its index alone: go on from any."""
        from trainer.data.dataset import PackedDataset

        return PackedDataset(self, seed)

    def text_of(self, blocks: Sequence[int], seed: int) -> str:
        """The documents in some blocks of that dataset, in words; "" where the text is not known."""
        return "" if self.origin is None else self.origin.in_words(self, blocks, seed)

    def pieces(self) -> Iterator[NDArray[Any]]:
        """The tokens in order, without what fills up the last block, in pieces of bounded size."""
        for start in range(0, self.n_tokens, _PIECE_TOKENS):
            yield self.tokens[start : min(start + _PIECE_TOKENS, self.n_tokens)]


@dataclass(frozen=True)
class Exposure:
    """How often each new token occurs in the training text. counts: int64 [n_new]."""

    counts: NDArray[np.int64]

    @property
    def n_new(self) -> int:
        return len(self.counts)

    @property
    def n_unseen(self) -> int:
        return int((self.counts == 0).sum())

    @property
    def median(self) -> int | None:
        return self._percentile(50)

    @property
    def p10(self) -> int | None:
        """A tenth of the new tokens occur at most so often."""
        return self._percentile(10)

    def _percentile(self, percent: int) -> int | None:
        return int(np.percentile(self.counts, percent, method="inverted_cdf")) if self.n_new else None

    def as_record(self) -> dict[str, int | None]:
        return {"n_new": self.n_new, "n_unseen": self.n_unseen, "median": self.median, "p10": self.p10}


def exposure(packed: Sequence[PackedText], new_ids: Sequence[int]) -> Exposure:
    """Count the new tokens in the text of all stages."""
    ids = np.asarray(new_ids, np.int64)
    counts = np.zeros(int(ids.max(initial=-1)) + 1, np.int64)
    for text in packed if len(ids) else ():
        for piece in text.pieces():
            found = np.bincount(piece)[: len(counts)]
            counts[: len(found)] += found
    return Exposure(counts[ids])

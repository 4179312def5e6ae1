"""A stage's blocks of text as the Trainer reads them: in order, and as many on every process."""

from collections.abc import Sequence
from typing import Protocol, TypeAlias

import torch
from torch.utils.data import Dataset

#: input_ids, position_ids and labels of one block, or of several stacked; int64.
Block: TypeAlias = dict[str, torch.Tensor]

IGNORED = -100


class PackedText(Protocol):
    """The text of one stage, cut into blocks. n_tokens, n_bytes: of the text, padding left out."""

    @property
    def n_blocks(self) -> int: ...
    @property
    def n_tokens(self) -> int: ...
    @property
    def n_bytes(self) -> int: ...
    def dataset(self, seed: int) -> "Dataset[Block]":
        """The blocks in their final order, as a map-style dataset."""
        ...

    def text_of(self, blocks: Sequence[int], seed: int) -> str:
        """The documents in some blocks of that dataset, in words, for messages; "" where they are not known."""
        ...


class EvenBlocks(Dataset[Block]):
    """Blocks up to a multiple of `multiple`: those that fill it up predict nothing, so that they weigh nothing.

    Without them accelerate would repeat the first blocks, and a step would not be the same on one process and on two.
    """

    def __init__(self, blocks: "Dataset[Block]", n_blocks: int, multiple: int) -> None:
        self.blocks, self.n_blocks = blocks, n_blocks
        self.n = -(-n_blocks // multiple) * multiple

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> Block:
        if index < self.n_blocks:
            return self.blocks[index]
        filler = self.blocks[0]
        return {**filler, "labels": torch.full_like(filler["labels"], IGNORED)}

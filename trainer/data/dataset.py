"""Packed text as torch takes it."""

import torch
from torch.utils.data import Dataset

from trainer.data.packed import PackedText


class PackedDataset(Dataset[dict[str, torch.Tensor]]):
    """Blocks of packed text in a seeded order. Items: input_ids, position_ids and labels, int64 [context_tokens]."""

    def __init__(self, packed: PackedText, seed: int) -> None:
        self.packed, self.seed = packed, seed
        self.order = packed.order(seed)

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {name: torch.from_numpy(row) for name, row in self.packed.block(int(self.order[index])).items()}

    def __reduce__(self) -> tuple[type["PackedDataset"], tuple[PackedText, int]]:
        # Workers open the files themselves: a pickled memory map would be a copy of the whole text.
        fields = {name: getattr(self.packed, name) for name in ("folder", *PackedText.fields())}
        return PackedDataset, (PackedText(**fields), self.seed)

"""From packed blocks to what a model takes, with documents kept apart in its attention.

transformers builds the mask of packed documents from positions that restart, under three conditions that fail without
a word: the model hands its position_ids to the mask (OPT, Falcon and MPT do not), it keeps no cache of keys and
values (use_cache is on in most configs), and attention is not flash attention on several rows. So the batch says that
there is no cache, and a look at the model tells whether documents see each other; where they do, the batch brings a
mask.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec
import torch
from torch.utils.data import Dataset

from trainer.data.packing import PackedText
from trainer.init.models import eval_mode
from vocabopt.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


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
        return PackedDataset, (msgspec.structs.replace(self.packed, origin=None), self.seed)


Item: TypeAlias = Mapping[str, torch.Tensor]
Collator: TypeAlias = Callable[[Sequence[Item]], dict[str, Any]]

#: Documents of the look at a model: of each of two rows, the first and the second.
_FIRST, _SECOND = 5, 7


def collator_of(model: "PreTrainedModel") -> Collator:
    """What makes batches of `PackedDataset` items for this model; it is run on a few tokens to find out.

    Call it before the model is sharded or compiled.

    Raises:
        ModelError: documents in one block would see each other, with a mask too.
    """
    if _keeps_apart(model, _batch):
        return _batch
    # torch's attention takes a mask of booleans; the eager implementation adds numbers to the scores.
    of_weights = next(parameter.dtype for parameter in model.parameters() if parameter.is_floating_point())
    for dtype in (torch.bool, of_weights):
        masked = partial(_masked, dtype=dtype)
        if _keeps_apart(model, masked):
            return masked
    raise ModelError(
        f"{type(model).__name__}: documents packed into one block see each other in its attention. Load it with "
        'attn_implementation="sdpa" or "eager"; if it is, this kind of model cannot be trained on packed text.'
    )


def _batch(items: Sequence[Item]) -> dict[str, Any]:
    batch: dict[str, Any] = {name: torch.stack([item[name] for item in items]) for name in items[0]}
    return {**batch, "use_cache": False}


def _masked(items: Sequence[Item], dtype: torch.dtype) -> dict[str, Any]:
    """With attention_mask [B, 1, T, T]: causal, and inside a document."""
    batch = _batch(items)
    # A document begins wherever the position is 0.
    document = (batch["position_ids"] == 0).cumsum(-1)  # its number in the row, [B, T]
    mask = (document[:, None, :, None] == document[:, None, None, :]).tril()  # [B, 1, T, T]
    if dtype is not torch.bool:
        mask = torch.zeros(mask.shape, dtype=dtype).masked_fill(~mask, torch.finfo(dtype).min)
    return {**batch, "attention_mask": mask}


def _keeps_apart(model: "PreTrainedModel", collate: Collator) -> bool:
    """Does another first document leave the second one's logits as they are?

    In every precision: what a mask hides has weight 0, so equal is equal, whatever the rounding.
    """
    n_rows = int(model.config.get_text_config().vocab_size)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(n_rows, (2, _FIRST + _SECOND), generator=generator)
    other = ids.clone()
    other[:, :_FIRST] = (other[:, :_FIRST] + 1 + n_rows // 2) % n_rows
    positions = torch.cat([torch.arange(_FIRST), torch.arange(_SECOND)])
    device = next(model.parameters()).device
    try:
        logits = []
        with eval_mode(model):
            for rows in (ids, other):
                batch = collate([{"input_ids": row, "position_ids": positions} for row in rows])
                batch = {name: value.to(device) if torch.is_tensor(value) else value for name, value in batch.items()}
                logits.append(model(**batch).logits[:, _FIRST:].float())
    except (TypeError, ValueError, RuntimeError, IndexError):
        return False  # it does not take such a batch
    return bool((logits[0] - logits[1]).abs().max() <= 1e-6 * logits[0].std())

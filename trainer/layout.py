"""Where a model keeps its tables and blocks, by the names of parameters."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vocabopt.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel


@dataclass(frozen=True, kw_only=True)
class ModelLayout:
    """Names as `named_parameters` gives them.

    embeddings: the input table. head, head_bias: the output table and its bias; None where there is none. A tied
    model's head is its input table: is_tied, and head is None. block_prefix: what the parameters of the blocks begin
    with, before the block's index: "model.layers.", "transformer.h.".
    """

    embeddings: str
    head: str | None
    head_bias: str | None
    block_prefix: str
    n_blocks: int

    @property
    def is_tied(self) -> bool:
        return self.head is None

    def block_of(self, name: str) -> int | None:
        """Number of the block, from 1, that a parameter belongs to; None outside the blocks."""
        if not name.startswith(self.block_prefix):
            return None
        return int(name[len(self.block_prefix) :].partition(".")[0]) + 1

    def blocks_of(self, model: "nn.Module") -> "Iterator[nn.Module]":
        return model.get_submodule(self.block_prefix.rstrip(".")).children()


def layout_of(model: "PreTrainedModel") -> ModelLayout:
    """The layout of a causal language model of transformers.

    Raises:
        ModelError: it has no input embeddings, no output head, or no list of blocks with as many entries as its
            config says.
    """
    kind = type(model).__name__
    embeddings, head = model.get_input_embeddings(), model.get_output_embeddings()  # type: ignore[no-untyped-call]
    if embeddings is None or head is None:
        raise ModelError(
            f"{kind}: has no {'output head' if embeddings else 'input embeddings'}; adapt a causal "
            "language model (AutoModelForCausalLM)."
        )
    names_of = {id(parameter): name for name, parameter in model.named_parameters()}
    n_blocks = int(model.config.get_text_config().num_hidden_layers)
    indices: dict[str, set[int]] = {}
    for name in names_of.values():
        if found := re.match(r"(.*?\.)(\d+)\.", name):
            indices.setdefault(found[1], set()).add(int(found[2]))
    prefix = next((prefix for prefix, found in indices.items() if found == set(range(n_blocks))), None)
    if prefix is None:
        raise ModelError(f"{kind}: no list of {n_blocks} blocks among its parameters ({', '.join(indices) or 'none'}).")
    bias = getattr(head, "bias", None)
    return ModelLayout(
        embeddings=names_of[id(embeddings.weight)],
        head=None if head.weight is embeddings.weight else names_of[id(head.weight)],
        head_bias=None if bias is None else names_of[id(bias)],
        block_prefix=prefix,
        n_blocks=n_blocks,
    )


def replace_tensors(model: "nn.Module", replaced: "Callable[[Tensor], Tensor]") -> None:
    """Put another tensor in the place of every parameter and buffer, wherever it is held: tied ones stay tied.

    Args:
        replaced: called for each place, so the same tensor may come more than once. Parameters must become parameters.
    """
    named = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
    for name, tensor in named:
        module, _, key = name.rpartition(".")
        setattr(model.get_submodule(module), key, replaced(tensor))

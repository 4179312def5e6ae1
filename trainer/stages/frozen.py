"""Frozen matrices in 16 bits while a stage computes in bf16-mixed, on a GPU.

Autocast makes a 16-bit copy of a 32-bit matrix for every product, and the backward pass keeps it: 6 bytes a weight
where 2 would do. Held in 16 bits from the start the products are the same, bit for bit. The 32-bit values wait in the
CPU's memory, since later stages train them.
"""

from dataclasses import dataclass

import torch
from torch import nn

from trainer.stages.settings import Precision


def narrows_frozen(precision: Precision, device_type: str, *, shard: bool) -> bool:
    """Not on a CPU, where the waiting values take what is saved; nor split: FSDP wants one type in what it gathers."""
    return precision == "bf16-mixed" and device_type == "cuda" and not shard


def frozen_matrices(model: nn.Module) -> dict[str, nn.Parameter]:
    """Frozen weights that are used in products of linear layers alone, by name: autocast casts these and no others.

    A table that is tied to the head is looked up too, and what comes out of it must stay in 32 bits.
    """
    from transformers.pytorch_utils import Conv1D

    looked_up = {
        id(parameter)
        for module in model.modules()
        if not isinstance(module, (nn.Linear, Conv1D))
        for parameter in module.parameters(recurse=False)
    }
    found = {}
    for name, module in model.named_modules():
        if isinstance(module, (nn.Linear, Conv1D)):
            # A weight whose new rows train apart is no parameter of the module.
            weight = module._parameters.get("weight")
            if weight is not None and not weight.requires_grad and id(weight) not in looked_up:
                found[f"{name}.weight"] = weight
    return found


@dataclass(frozen=True, kw_only=True)
class NarrowedWeights:
    """values: the 32-bit ones, on the CPU."""

    parameters: tuple[nn.Parameter, ...]
    values: tuple[torch.Tensor, ...]

    def restore(self) -> None:
        """Give the weights their 32 bits back, on the device where they are."""
        for parameter, value in zip(self.parameters, self.values, strict=True):
            parameter.data = value.to(parameter.device)


def narrow_frozen(model: nn.Module) -> NarrowedWeights:
    """Hold a prepared model's frozen matrices in 16 bits, in place, until `restore`."""
    parameters = tuple(frozen_matrices(model).values())
    values = []
    for parameter in parameters:
        values.append(parameter.data.to("cpu"))
        parameter.data = parameter.data.to(torch.bfloat16)
    return NarrowedWeights(parameters=parameters, values=tuple(values))

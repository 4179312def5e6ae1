"""A prepared model split over processes by torch's fully_shard (FSDP2), and made whole again.

accelerate's own FSDP does nothing on a CPU and says nothing of it; this does the same on a CPU with gloo and on GPUs.
"""

import copy
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, distribute_tensor

from trainer.layout import ModelLayout
from trainer.stages.freeze import PreparedStage


def gathered(tensor: torch.Tensor, *, keep: bool) -> torch.Tensor | None:
    """A tensor's values on the CPU, from all processes where it is split: then all must call it.

    Args:
        keep: whether this process wants them. The others hold one tensor at a time.
    """
    full = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    return full.detach().cpu().contiguous() if keep else None


def like(value: torch.Tensor, parameter: torch.Tensor) -> torch.Tensor:
    """A whole tensor, split as a parameter is. Every process holds the same, so nothing is sent."""
    if not isinstance(parameter, DTensor):
        return value
    value = value.to(parameter.device)
    return distribute_tensor(value, parameter.device_mesh, parameter.placements, src_data_rank=None)


@dataclass(frozen=True, kw_only=True)
class ShardedStage:
    """prepared: the split model. skeleton: it without values (on the meta device), to be filled at the stage's end."""

    prepared: PreparedStage
    skeleton: PreparedStage

    def gather(self, *, keep: bool) -> PreparedStage | None:
        """The prepared model whole, on the CPU, for the process that keeps it. All processes must call it."""
        sharded, skeleton = self.prepared.model, self.skeleton.model
        values = {name: gathered(parameter, keep=keep) for name, parameter in sharded.named_parameters()}
        if not keep:
            return None
        buffers = dict(sharded.named_buffers(remove_duplicate=False))
        filled = {
            id(parameter): nn.Parameter(values[name], requires_grad=parameter.requires_grad)  # type: ignore[arg-type]
            for name, parameter in skeleton.named_parameters()
        }
        for prefix, module in skeleton.named_modules():
            for key, parameter in module._parameters.items():
                if parameter is not None:
                    module._parameters[key] = filled[id(parameter)]
            for key, buffer in module._buffers.items():
                if buffer is not None:
                    module._buffers[key] = buffers[f"{prefix}.{key}" if prefix else key].cpu()
        return self.skeleton


def shard_stage(prepared: PreparedStage, layout: ModelLayout, device: torch.device, n_processes: int) -> ShardedStage:
    """Split a prepared model: each block is gathered when it computes, the rest with the model.

    Every process has the whole model before, best on the CPU and mapped from its file: blocks go to the device one
    after another. torch.distributed must have been started. The model that was prepared is not to be used until it has
    become (`become`) a whole one.
    """
    from torch.distributed.fsdp import fully_shard

    # One dtype within what is gathered at once: peft makes adapters of bf16 layers in fp32.
    dtype = prepared.model.dtype
    for parameter in prepared.trained.values():
        parameter.data = parameter.data.to(dtype)
    skeleton = _without_values(prepared)
    # fully_shard marks a model for good, by its identity: this one has the same parts.
    model = prepared.model.__class__.__new__(prepared.model.__class__)
    model.__dict__ = prepared.model.__dict__
    mesh = init_device_mesh(device.type, (n_processes,))
    for block in model.get_submodule(layout.block_prefix.rstrip(".")).children():
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    # transformers' words for a model that is split already: the Trainer then leaves placement and sums to it.
    marks: dict[str, Any] = {"_is_distributed_loading_by_transformers": True, "_is_fsdp_managed_module": True}
    for name, value in marks.items():
        setattr(model, name, value)
    return ShardedStage(prepared=replace(prepared, model=model), skeleton=skeleton)


def _without_values(prepared: PreparedStage) -> PreparedStage:
    """A copy whose parameters are on the meta device; what is shared in the model is shared in it."""
    memo: dict[int, Any] = {}
    for parameter in prepared.model.parameters():
        memo[id(parameter)] = nn.Parameter(parameter.to("meta"), requires_grad=parameter.requires_grad)
    return copy.deepcopy(prepared, memo)


def become(model: nn.Module, other: nn.Module) -> None:
    """Make `model` be `other`, so that who holds the model that was split holds the whole one."""
    assert model.__class__ is other.__class__
    model.__dict__ = other.__dict__

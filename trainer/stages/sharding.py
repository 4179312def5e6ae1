"""A prepared model split over processes by torch's fully_shard (FSDP2), and its weights put together again.

accelerate's own FSDP does nothing on a CPU and says nothing of it; this does the same on a CPU with gloo and on GPUs.
"""

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, distribute_tensor

from trainer.layout import ModelLayout, replace_tensors
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
    """The prepared model, split, and a copy of it without values (on the meta device), to be filled at the end."""

    prepared: PreparedStage
    skeleton: PreparedStage

    def gather(self, *, keep: bool) -> PreparedStage | None:
        """The prepared model whole, on the CPU, for the process that keeps it. All processes must call it."""
        sharded = self.prepared.model
        values = {name: gathered(parameter, keep=keep) for name, parameter in sharded.named_parameters()}
        if not keep:
            return None
        skeleton = self.skeleton.model
        filled: dict[int, torch.Tensor] = {
            id(empty): nn.Parameter(values[name], requires_grad=empty.requires_grad)  # type: ignore[arg-type]
            for name, empty in skeleton.named_parameters()
        }
        buffers = dict(sharded.named_buffers())
        filled |= {id(copied): buffers[name].cpu() for name, copied in skeleton.named_buffers()}
        replace_tensors(skeleton, lambda tensor: filled[id(tensor)])
        return self.skeleton


def shard_stage(prepared: PreparedStage, layout: ModelLayout, device: torch.device, n_processes: int) -> ShardedStage:
    """Split a prepared model in place: each block is gathered when it computes, the rest with the model.

    Every process has the whole model before, best on the CPU and mapped from its file: blocks go to the device one
    after another. torch.distributed must have been started. The model is not made whole again: `gather` fills a copy.
    """
    from torch.distributed.fsdp import fully_shard

    # One dtype within what is gathered at once: peft makes adapters of bf16 layers in fp32.
    dtype = prepared.model.dtype
    for parameter in prepared.trained.values():
        parameter.data = parameter.data.to(dtype)
    # A copy whose parameters are on the meta device; what is shared in the model is shared in it.
    memo: dict[int, Any] = {}
    for parameter in prepared.model.parameters():
        memo[id(parameter)] = nn.Parameter(parameter.to("meta"), requires_grad=parameter.requires_grad)
    skeleton = copy.deepcopy(prepared, memo)
    mesh = init_device_mesh(device.type, (n_processes,))
    for block in layout.blocks_of(prepared.model):
        fully_shard(block, mesh=mesh)
    fully_shard(prepared.model, mesh=mesh)
    return ShardedStage(prepared=prepared, skeleton=skeleton)

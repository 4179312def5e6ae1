"""The highest bytes of live tensors while training steps run: what the prediction is held against."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch._C._profiler import ProfilerConfig, ProfilerState, _ExperimentalConfig


def measure_peak_bytes(step: Callable[[], None], model: nn.Module) -> int:
    """The highest bytes of live tensors while `step` runs: weights, gradients, optimizer state, activations.

    Args:
        step: one or more whole training steps, on this thread. At its first call nothing but the model's weights,
            buffers and gradients may be there: an optimizer that has made its state before would be missed.
        model: whose weights and buffers are counted as there before.

    On CUDA it is `torch.cuda.max_memory_allocated`, of the model's device, which counts all that is there. On the CPU
    it comes from the records of torch's allocator, the work space inside operations included.
    """
    device = next(model.parameters()).device
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        step()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device)
    level = peak = _bytes_there(model)
    for n_bytes in _allocations(step):
        level += n_bytes
        peak = max(peak, level)
    return peak


def _bytes_there(model: nn.Module) -> int:
    tensors = [*model.parameters(), *model.buffers()]
    tensors += [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    storages = {tensor.untyped_storage()._cdata: tensor.untyped_storage().nbytes() for tensor in tensors}
    return sum(storages.values())


def _allocations(step: Callable[[], None]) -> list[int]:
    """Bytes that the CPU's allocator gave (+) and took back (-), in the order of time.

    torch's old profiler: the new one takes eight times as long to end, and writes to standard error.
    """
    config = ProfilerConfig(ProfilerState.CPU, False, True, False, False, False, _ExperimentalConfig())
    torch._C._autograd._enable_profiler_legacy(config)
    try:
        step()
    finally:
        threads: Any = torch._C._autograd._disable_profiler_legacy()
    return [event.cpu_memory_usage() for events in threads for event in events if event.kind() == "memory_alloc"]

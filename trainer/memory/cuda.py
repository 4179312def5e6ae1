"""What a step does otherwise on a CUDA device, for a step recorded on a CPU.

torch without CUDA cannot record gradients of CUDA tensors, not even of those without memory. Two things differ in what
they allocate, and both are put in here: which attention kernel runs, and what autocast computes in 32 bits.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

_HALF = (torch.bfloat16, torch.float16)
#: Autocast's list for CUDA (torch's documentation, "CUDA Ops that can autocast to float32"), of what decoders use.
_IN_32_BITS = {
    "layer_norm", "softmax", "log_softmax", "cross_entropy", "nll_loss", "pow", "__pow__", "__rpow__", "rsqrt", "exp",
    "log", "sum", "prod", "norm", "cumsum", "softplus", "reciprocal", "__rtruediv__", "group_norm",
}  # fmt: skip


class CudaSemantics(TorchFunctionMode):
    """Enter it around a step on the CPU to allocate as the same step does on a CUDA device."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is functional.scaled_dot_product_attention:
            return _attention(*args, **kwargs)
        if getattr(func, "__name__", "") in _IN_32_BITS and torch.is_autocast_enabled("cpu"):
            args = [_to_32_bits(value) for value in args]
            kwargs = {name: _to_32_bits(value) for name, value in kwargs.items()}
        return func(*args, **kwargs)


def _to_32_bits(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.dtype in _HALF else value


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Flash where there is no mask and 16 bits, the memory-efficient kernel else, T x T where that cannot either."""
    if torch.is_autocast_enabled("cpu"):
        query, key, value = (x.to(torch.get_autocast_dtype("cpu")) for x in (query, key, value))
    if attn_mask is None and query.dtype in _HALF and query.shape[-1] <= 256:
        flash = torch.ops.aten._scaled_dot_product_flash_attention
        out: Tensor = flash(query, key, value, dropout_p, is_causal, scale=scale)[0]
        return out
    if enable_gqa and query.shape[1] != key.shape[1]:
        with sdpa_kernel(SDPBackend.MATH):
            return functional.scaled_dot_product_attention(
                query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=True
            )
    bias = None
    if attn_mask is not None:
        # torch turns a mask into one of the query's type at every call, and the backward pass needs it.
        bias = attn_mask.to(query.dtype)
        bias = bias.expand(*query.shape[:-1], key.shape[-2])
    efficient = torch.ops.aten._scaled_dot_product_efficient_attention
    out = efficient(query, key, value, bias, True, dropout_p, is_causal, scale=scale)[0]
    return out

"""What a step does otherwise on a CUDA device, for a step recorded on a CPU.

torch without CUDA cannot record gradients of CUDA tensors, not even of those without memory. Three things differ in
what they allocate, and are put in here: which attention kernel runs, what autocast computes in 32 bits, and the fused
linear cross-entropy (liger): logits in pieces, their gradient made at once.
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
    # Of the results of a kernel the first is attention's output, the others are for its backward pass.
    output: Tensor
    if attn_mask is None and query.dtype in _HALF and query.shape[-1] <= 256:
        flash = torch.ops.aten._scaled_dot_product_flash_attention
        output = flash(query, key, value, dropout_p, is_causal, scale=scale)[0]
        return output
    if enable_gqa and query.shape[1] != key.shape[1]:
        with sdpa_kernel(SDPBackend.MATH):
            return functional.scaled_dot_product_attention(
                query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=True
            )
    bias = None
    if attn_mask is not None:
        # torch turns a mask into one of the query's type at every call, and the backward pass needs it.
        bias = attn_mask.to(query.dtype).expand(*query.shape[:-1], key.shape[-2])
    efficient = torch.ops.aten._scaled_dot_product_efficient_attention
    output = efficient(query, key, value, bias, True, dropout_p, is_causal, scale=scale)[0]
    return output


class FusedLinearCrossEntropy(torch.autograd.Function):
    """Allocates and multiplies as liger's kernel does; computes nothing on tensors that hold something.

    Liger cuts the tokens so that a piece of logits is about as large as the hidden states, overwrites it with its
    gradient, and keeps the gradients of hidden states and table, from the forward pass on.
    """

    @staticmethod
    def forward(ctx: Any, hidden_ND: Tensor, table_VD: Tensor) -> Tensor:
        (n, width), n_rows = hidden_ND.shape, table_VD.shape[0]
        n_pieces = -(-n_rows // width)
        piece = 1 << (-(-n // n_pieces) - 1).bit_length()
        grad_hidden_ND = torch.zeros_like(hidden_ND)
        grad_table_VD = torch.zeros_like(table_VD) if table_VD.requires_grad else None
        losses_N = torch.zeros(n, dtype=torch.float32, device=hidden_ND.device)
        for start in range(0, n, piece):
            part_PD = hidden_ND[start : start + piece]
            logits_PV = part_PD @ table_VD.t()
            grad_hidden_ND[start : start + piece] = logits_PV @ table_VD
            if grad_table_VD is not None:
                grad_table_VD += logits_PV.t() @ part_PD
            del logits_PV
        ctx.save_for_backward(grad_hidden_ND, grad_table_VD)
        return losses_N.sum()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None]:
        grad_hidden_ND, grad_table_VD = ctx.saved_tensors
        needs_hidden, needs_table = ctx.needs_input_grad
        return grad_hidden_ND if needs_hidden else None, grad_table_VD if needs_table else None


def fused_loss(hidden_BTD: Tensor, table_VD: Tensor) -> Tensor:
    """The loss of hidden states under an output table; autocast's 16-bit copies of both are made, as for a product."""
    if torch.is_autocast_enabled("cpu"):
        dtype = torch.get_autocast_dtype("cpu")
        hidden_BTD, table_VD = hidden_BTD.to(dtype), table_VD.to(dtype)
    loss: Tensor = FusedLinearCrossEntropy.apply(hidden_BTD.flatten(0, -2), table_VD)  # type: ignore[no-untyped-call]
    return loss

"""The loss of a fused linear cross-entropy (liger): logits in pieces, their gradient made at once."""

from typing import Any

import torch
from torch import Tensor


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

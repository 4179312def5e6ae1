"""What a model's predictions cost, in nats per token, without holding the logits of a whole batch.

B windows, T positions, P scored positions of a batch, V rows of the output table, D width.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from transformers import PreTrainedModel

#: Of float32 logits held at once, where the model lets its head be asked in parts.
_LOGIT_BYTES = 256 << 20
_PROBE_TOKENS = 4


class TokenLosses:
    """Losses of single tokens under one model.

    Logits of a batch are its largest array by far: 8 windows of 2,048 tokens over 50,000 rows take 3.3 GB in float32.
    So the head is given a part of the positions at a time, where head(body(ids)) is what the model itself computes;
    models that scale or cap their logits behind the head are asked whole, a few windows at a time.
    """

    def __init__(self, model: "PreTrainedModel") -> None:
        self._model = model
        self._head: Callable[[Tensor], Tensor] | None = _separate_head(model)
        self._n_rows = n_rows_of(model)

    def __call__(self, input_BT: Tensor, target_BT: Tensor, is_scored_BT: Tensor) -> Tensor:
        """Losses [P] in float32, in the order of `is_scored_BT`. Logits are float32 before the softmax, always."""
        if self._head is not None:
            hidden_PD = _body(self._model, input_BT)[is_scored_BT]
            target_P = target_BT[is_scored_BT]
            step = max(1, _LOGIT_BYTES // (4 * self._n_rows))
            parts = zip(torch.split(hidden_PD, step), torch.split(target_P, step), strict=True)
            return torch.cat([_cross_entropy(self._head(hidden), target) for hidden, target in parts])
        step = max(1, _LOGIT_BYTES // (4 * self._n_rows * input_BT.shape[1]))
        losses = []
        for rows in range(0, len(input_BT), step):
            part = slice(rows, rows + step)
            logits_PV = _logits(self._model, input_BT[part])[is_scored_BT[part]]
            losses.append(_cross_entropy(logits_PV, target_BT[part][is_scored_BT[part]]))
        return torch.cat(losses)


def _cross_entropy(logits_PV: Tensor, target_P: Tensor) -> Tensor:
    return torch.nn.functional.cross_entropy(logits_PV.float(), target_P, reduction="none")


def _arguments(input_BT: Tensor) -> dict[str, Any]:
    # Padding stands behind all that is scored, where causal attention does not look, so every position may count as
    # text: a mask would cost the fast attention, and none at all a warning about padding.
    return {"input_ids": input_BT, "attention_mask": torch.ones_like(input_BT), "use_cache": False}


def _logits(model: "PreTrainedModel", input_BT: Tensor) -> Tensor:
    logits: Tensor = model(**_arguments(input_BT)).logits
    return logits


def _body(model: "PreTrainedModel", input_BT: Tensor) -> Tensor:
    hidden: Tensor = model.base_model(**_arguments(input_BT)).last_hidden_state
    return hidden


def n_rows_of(model: "PreTrainedModel") -> int:
    """Rows of the input table, padding included."""
    embeddings: Any = model.get_input_embeddings()
    return int(embeddings.weight.shape[0])


def _separate_head(model: "PreTrainedModel") -> Callable[[Tensor], Tensor] | None:
    """The head, where the model's logits are it on the body's output and nothing else; found out by trying."""
    head: Any = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    if head is None or model.base_model is model:
        return None
    ids = torch.arange(_PROBE_TOKENS, device=model.device)[None]
    try:
        apart = head(_body(model, ids))
    except (AttributeError, TypeError):  # a body of another shape than transformers' own
        return None
    # Logits within rounding of one another, but not by a factor or a cap.
    return head if torch.allclose(apart, _logits(model, ids), rtol=1e-3, atol=1e-5) else None

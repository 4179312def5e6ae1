"""Compute and memory of a model at a vocabulary size, from config.json alone.

Forward FLOPs of one token, two for each multiply-add (Kaplan et al. 2020, arXiv 2001.08361, table 1):

    body        2 x weights of all matrices that the token passes (of experts, those it is sent to)
    attention   4 x layers x heads x head size x context tokens     scores and their weighting, over the full context
    head        2 x rows x hidden size
    embedding   nothing: a row is looked up

Training takes three times the forward (the backward pass takes two). Left out: norms, activations, softmax, rotary
positions and biases; the causal half and sliding windows of attention; recomputation; what optimizers and data loading
take. Equal to torch's own counter on small models (tests/training/test_cost.py).
"""

from dataclasses import dataclass

import numpy as np

from vocabopt.choice.complexity import EmbeddingTable, Floats, Integers
from vocabopt.model.architecture import Architecture

#: Keys and values are kept in 16 bits.
BYTES_PER_KV_VALUE = 2
#: A logit in 16 bits, and in 32 bits for the loss.
BYTES_PER_LOGIT = 6


@dataclass(frozen=True, kw_only=True)
class ModelCost:
    """FLOPs and bytes of one model over all sizes 0..end of its embedding table."""

    architecture: Architecture
    table: EmbeddingTable
    end: int

    @property
    def n_rows(self) -> Integers:
        """Rows of the embedding at every size."""
        return self.table.all_rows(self.end)

    @property
    def body_flops(self) -> int:
        return 2 * self.architecture.n_active_body_params

    @property
    def attention_flops_per_context_token(self) -> int:
        a = self.architecture
        return 4 * a.n_layers * a.n_heads * a.head_dim

    @property
    def head_flops_per_row(self) -> int:
        return 2 * self.architecture.hidden_size

    def forward_flops(self, context_tokens: float | Floats) -> Floats:
        """FLOPs of one token's forward pass at every size, [end + 1], with so many tokens in its context."""
        attention = self.attention_flops_per_context_token * context_tokens
        return np.asarray(self.body_flops + attention + self.head_flops_per_row * self.n_rows, float)

    def training_flops(self, ratio_input: Floats, context_tokens: int) -> Floats:
        """FLOPs to train on the text that is one token of the base, [end + 1]; sequences are of `context_tokens`."""
        return 3 * ratio_input * self.forward_flops(context_tokens)

    def serving_flops(self, ratio_input: Floats, context_tokens: int) -> Floats:
        """FLOPs to read or write the text that is one token of the base, [end + 1], logits for every token.

        context_tokens: of a served text in tokens of the base; with fewer tokens its context is shorter too.
        """
        return ratio_input * self.forward_flops(context_tokens * ratio_input)

    @property
    def n_params(self) -> Integers:
        """Weights at every size: body and embedding."""
        model = self.table.model
        assert model is not None, "an architecture comes from a model"
        per_row = model.n_embedding_params(1)
        return self.architecture.n_body_params + per_row * self.n_rows

    def training_bytes(self, *, bytes_per_param: int, batch_tokens: int) -> Integers:
        """Memory to train all weights at every size: weights, gradients, optimizer and logits; no activations."""
        return bytes_per_param * self.n_params + BYTES_PER_LOGIT * batch_tokens * self.n_rows

    def serving_bytes(self, ratio_input: Floats, *, bytes_per_param: int, context_tokens: int, batch: int) -> Floats:
        """Memory to serve `batch` texts of `context_tokens` tokens of the base: weights, keys and values."""
        kv_per_token = BYTES_PER_KV_VALUE * self.architecture.n_kv_values_per_token
        return bytes_per_param * self.n_params + batch * context_tokens * ratio_input * kv_per_token


def model_cost(table: EmbeddingTable, end: int) -> ModelCost | None:
    """The cost of the table's model; None where the model or its architecture is not known."""
    if table.model is None or table.model.architecture is None:
        return None
    return ModelCost(architecture=table.model.architecture, table=table, end=end)

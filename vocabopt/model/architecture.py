"""The widths of a decoder that its cost depends on, from config.json alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# Models whose blocks are: attention with rotary positions, and a gated feed-forward of three matrices.
_GATED = {
    "cohere", "cohere2", "ernie4_5", "exaone4", "gemma", "gemma2", "gemma3", "gemma3_text", "glm", "glm4", "granite",
    "internlm2", "llama", "mistral", "ministral", "mixtral", "olmo", "olmo2", "olmo3", "olmoe", "phi3", "qwen2",
    "qwen2_moe", "qwen3", "qwen3_moe", "seed_oss", "smollm3", "stablelm",
}  # fmt: skip
# Models with a plain feed-forward of two matrices; where the config gives no width, it is four times the model's.
_PLAIN = {"bloom", "gpt2", "gpt_bigcode", "gpt_neo", "gpt_neox", "gptj", "mpt", "nemotron", "opt", "phi", "starcoder2"}

_LAYERS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers")
_HEADS = ("num_attention_heads", "n_head", "num_heads", "n_heads")
_WIDTHS = ("intermediate_size", "ffn_dim", "n_inner", "ffn_hidden_size")
_EXPERTS = ("num_local_experts", "num_experts")


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """Layers, widths and experts of a decoder.

    n_mlp_matrices: 3 for a gated feed-forward (gate, up, down), 2 for a plain one. n_dense_layers: layers without
    experts, which have a feed-forward of mlp_width; the others have n_experts of expert_width, of which a token takes
    n_active_experts, and a shared one of shared_expert_width (0: none).
    """

    hidden_size: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    mlp_width: int
    n_mlp_matrices: int
    n_dense_layers: int
    n_experts: int = 0
    n_active_experts: int = 0
    expert_width: int = 0
    shared_expert_width: int = 0

    @property
    def n_attention_params(self) -> int:
        """Of one layer: query and output over all heads, key and value over the KV heads."""
        return 2 * self.hidden_size * self.head_dim * (self.n_heads + self.n_kv_heads)

    def _n_mlp_params(self, n_experts: int) -> int:
        """All layers' feed-forward with `n_experts` of the experts, routers and the shared expert's gate included."""
        matrix = self.n_mlp_matrices * self.hidden_size
        router = self.hidden_size * (self.n_experts + (1 if self.shared_expert_width else 0))
        sparse = matrix * (n_experts * self.expert_width + self.shared_expert_width) + router
        return self.n_dense_layers * matrix * self.mlp_width + (self.n_layers - self.n_dense_layers) * sparse

    @property
    def n_body_params(self) -> int:
        """Weights of all matrices between embedding and head. Left out: norms, biases, positions (under 1 %)."""
        return self.n_layers * self.n_attention_params + self._n_mlp_params(self.n_experts)

    @property
    def n_active_body_params(self) -> int:
        """Those that one token passes: of the experts only the ones it is sent to."""
        return self.n_layers * self.n_attention_params + self._n_mlp_params(self.n_active_experts)

    @property
    def n_kv_values_per_token(self) -> int:
        """Keys and values kept for one token of context."""
        return 2 * self.n_layers * self.n_kv_heads * self.head_dim


def read_architecture(config: Mapping[str, Any], hidden_size: int) -> Architecture | None:
    """The architecture a text model's config.json describes; None where it is of a kind that is not known here.

    Not known: other model types, compressed keys and values (kv_lora_rank), an embedding of another width than the
    model (word_embed_proj_dim), or a missing field.
    """
    kind = config.get("model_type")
    if kind not in _GATED | _PLAIN or config.get("kv_lora_rank"):
        return None
    if config.get("word_embed_proj_dim") not in (None, hidden_size):
        return None
    n_layers, n_heads = _first(config, _LAYERS), _first(config, _HEADS)
    width = _first(config, _WIDTHS)
    if width is None and kind in _PLAIN:
        width = int(config.get("expansion_ratio", 4) * hidden_size)
    if n_layers is None or n_heads is None or width is None:
        return None
    n_kv_heads = 1 if kind == "gpt_bigcode" and config.get("multi_query", True) else None
    experts = _experts(config, n_layers, width)
    if experts is None:
        return None
    return Architecture(
        hidden_size=hidden_size,
        n_layers=n_layers,
        n_heads=n_heads,
        n_kv_heads=n_kv_heads or _first(config, ("num_key_value_heads",)) or n_heads,
        head_dim=_first(config, ("head_dim",)) or hidden_size // n_heads,
        mlp_width=width,
        n_mlp_matrices=3 if kind in _GATED else 2,
        **experts,
    )


def _experts(config: Mapping[str, Any], n_layers: int, width: int) -> dict[str, int] | None:
    """The mixture of experts, n_dense_layers = n_layers where there is none; None where the config leaves it open."""
    n_experts, n_active = _first(config, _EXPERTS), _first(config, ("num_experts_per_tok",))
    if n_experts is None:
        return {"n_dense_layers": n_layers}
    if n_active is None:
        return None
    step, dense = config.get("decoder_sparse_step") or 1, set(config.get("mlp_only_layers") or ())
    return {
        "n_dense_layers": sum(layer in dense or (layer + 1) % step != 0 for layer in range(n_layers)),
        "n_experts": n_experts,
        "n_active_experts": n_active,
        "expert_width": _first(config, ("moe_intermediate_size",)) or width,
        "shared_expert_width": _first(config, ("shared_expert_intermediate_size",)) or 0,
    }


def _first(config: Mapping[str, Any], fields: tuple[str, ...]) -> int | None:
    """The first field that holds a positive integer."""
    for field in fields:
        value = config.get(field)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return None

"""The cost model against torch's own FLOP counter and transformers' own parameter counts, on small models."""

from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from vocabopt.choice.complexity import EmbeddingTable
from vocabopt.choice.cost import ModelCost, model_cost
from vocabopt.model.architecture import Architecture, read_architecture
from vocabopt.model.spec import PRESETS, ModelSpec, load_model_spec

N_ROWS, WIDTH, N_TOKENS = 320, 64, 40
SMALL: dict[str, Any] = {
    "vocab_size": N_ROWS,
    "hidden_size": WIDTH,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
GATED: dict[str, Any] = {"intermediate_size": 128, "num_key_value_heads": 2}
EXPERTS: dict[str, Any] = {"num_experts_per_tok": 2, "moe_intermediate_size": 32}
MODELS: dict[str, dict[str, Any]] = {
    "llama": GATED,
    "mistral": {**GATED, "head_dim": 32},
    "qwen2": GATED,
    "qwen3": {**GATED, "head_dim": 32},
    "gemma2": {**GATED, "head_dim": 32},
    "gemma3_text": {**GATED, "head_dim": 32},
    "phi3": GATED,
    "olmo2": GATED,
    "cohere": GATED,
    "smollm3": GATED,
    "gpt2": {"n_inner": None},
    "gpt_neox": {"intermediate_size": 96},
    "gptj": {"rotary_dim": 8},
    "gpt_bigcode": {"multi_query": True},
    "opt": {"ffn_dim": 96, "word_embed_proj_dim": WIDTH},
    "bloom": {},
    "mpt": {"d_model": WIDTH, "n_heads": 4, "n_layers": 3},
    "phi": {"intermediate_size": 96},
    "starcoder2": {"intermediate_size": 96, "num_key_value_heads": 2},
    "nemotron": {"intermediate_size": 96, "num_key_value_heads": 2, "head_dim": 16},
    "mixtral": {**GATED, "num_local_experts": 4, "num_experts_per_tok": 2},
    "olmoe": {**GATED, "num_experts": 4, "num_experts_per_tok": 2},
    "qwen2_moe": {**GATED, **EXPERTS, "num_experts": 4, "shared_expert_intermediate_size": 48, "mlp_only_layers": [0]},
    "qwen3_moe": {**GATED, **EXPERTS, "num_experts": 4, "head_dim": 32, "decoder_sparse_step": 2},
}
#: Biases, norms and learned positions weigh more on a model this small; these have none or few.
LIGHT = ("llama", "mistral", "qwen2", "qwen3", "gemma2", "mixtral", "qwen2_moe", "qwen3_moe", "bloom", "mpt")


def small_model(kind: str) -> tuple[Any, Architecture]:
    config = CONFIG_MAPPING[kind](**{**SMALL, **MODELS[kind]})
    experts = {"experts_implementation": "eager"} if "num_experts_per_tok" in MODELS[kind] else {}
    # Written-out attention and experts: the counter does not know the fused kernels of a CPU.
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager", **experts).eval()
    architecture = read_architecture(config.to_dict(), WIDTH)
    assert architecture is not None
    return model, architecture


def cost_of(architecture: Architecture, *, tied: bool = False, end: int = 0) -> ModelCost:
    spec = ModelSpec(
        name="x", hidden_size=WIDTH, n_rows=N_ROWS, tied_embeddings=tied, source="test", architecture=architecture
    )
    cost = model_cost(EmbeddingTable(base_n_tokens=N_ROWS, base_n_rows=N_ROWS, model=spec), end)
    assert cost is not None
    return cost


@pytest.mark.parametrize("kind", MODELS)
def test_forward_flops_are_those_that_torch_counts(kind: str) -> None:
    model, architecture = small_model(kind)
    ids = torch.arange(N_TOKENS)[None] + 3
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(ids, use_cache=False)
    per_token = cost_of(architecture).forward_flops(N_TOKENS)[0]
    assert counter.get_total_flops() == N_TOKENS * per_token


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_training_takes_three_times_the_forward_but_for_the_embedding_s_input(kind: str) -> None:
    """The first layer's input needs no gradient where the embedding is frozen; with it trained, exactly 3 x forward."""
    model, architecture = small_model(kind)
    ids = torch.arange(N_TOKENS)[None] + 3
    with FlopCounterMode(display=False) as counter:
        model(ids, labels=ids, use_cache=False).loss.backward()
    assert counter.get_total_flops() == N_TOKENS * cost_of(architecture).training_flops(np.ones(1), N_TOKENS)[0]


@pytest.mark.parametrize("kind", LIGHT)
def test_body_parameters_are_transformers_own_up_to_norms_and_biases(kind: str) -> None:
    model, architecture = small_model(kind)
    n_embedding = N_ROWS * WIDTH * (1 if model.config.tie_word_embeddings else 2)
    n_params = sum(parameter.numel() for parameter in model.parameters())
    assert 0.975 * (n_params - n_embedding) < architecture.n_body_params <= n_params - n_embedding


@pytest.mark.parametrize(
    ("preset", "n_published"),
    [
        ("solar-10.7b", 10_731_524_096),
        ("llama-2-7b", 6_738_415_616),
        ("llama-2-13b", 13_015_864_320),
        ("mistral-7b", 7_241_732_096),
        ("llama-3-8b", 8_030_261_248),
        ("llama-3.2-1b", 1_235_814_400),
        ("qwen2.5-0.5b", 494_032_768),
        ("qwen2.5-7b", 7_615_616_512),
        ("gpt2", 124_439_808),
        ("gemma-2-2b", 2_614_341_888),
    ],
)
def test_presets_have_their_published_size_up_to_what_is_left_out(preset: str, n_published: int) -> None:
    spec = PRESETS[preset]
    assert spec.architecture is not None
    n_params = spec.architecture.n_body_params + spec.n_embedding_params(spec.n_rows)
    assert 0.99 * n_published < n_params <= n_published
    assert spec.architecture.hidden_size == spec.hidden_size


def test_a_token_of_a_mixture_passes_only_its_experts() -> None:
    architecture = small_model("mixtral")[1]
    spared = architecture.n_body_params - architecture.n_active_body_params
    assert spared == 3 * (4 - 2) * 3 * WIDTH * 128  # layers x experts left out x matrices x width x inner width


def test_a_served_text_that_is_shorter_in_tokens_has_a_shorter_context_too() -> None:
    """Mistral 7B at ratio 0.5: half the tokens, and each looks back on 500 of 1,000; a row of the head more."""
    table = EmbeddingTable(base_n_tokens=32_000, base_n_rows=32_000, model=PRESETS["mistral-7b"])
    cost = model_cost(table, 1)
    assert cost is not None
    body, attention = 2 * 6_979_321_856, 4 * 32 * 32 * 128
    served = cost.serving_flops(np.array([1.0, 0.5]), 1_000)
    assert served[0] == body + 1_000 * attention + 2 * 4_096 * 32_000
    assert served[1] == 0.5 * (body + 500 * attention + 2 * 4_096 * 32_001)


def test_serving_memory_by_hand() -> None:
    """Mistral 7B, 16 bits: 7.24 B weights, and 2 x 32 layers x 8 heads x 128 x 2 bytes = 131,072 bytes a token."""
    table = EmbeddingTable(base_n_tokens=32_000, base_n_rows=32_000, model=PRESETS["mistral-7b"])
    cost = model_cost(table, 1)
    assert cost is not None
    n_bytes = cost.serving_bytes(np.array([1.0, 0.5]), bytes_per_param=2, context_tokens=1_000, batch=3)
    weights = 6_979_321_856 + 32_000 * 8_192
    assert n_bytes[0] == 2 * weights + 3 * 1_000 * 131_072
    assert n_bytes[1] == 2 * (weights + 8_192) + 3 * 500 * 131_072


def test_training_memory_by_hand() -> None:
    """16 bytes a weight, and logits of 10 tokens in 16 and 32 bits."""
    table = EmbeddingTable(base_n_tokens=32_000, base_n_rows=32_000, model=PRESETS["mistral-7b"])
    cost = model_cost(table, 0)
    assert cost is not None
    n_bytes = cost.training_bytes(bytes_per_param=16, batch_tokens=10)
    assert n_bytes[0] == 16 * (6_979_321_856 + 32_000 * 8_192) + 6 * 10 * 32_000


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "mamba"},
        {"model_type": "deepseek_v3", "kv_lora_rank": 512},
        {"model_type": "llama", "num_hidden_layers": 2, "num_attention_heads": 4},
        {"model_type": "opt", "word_embed_proj_dim": 32, "num_hidden_layers": 2, "num_attention_heads": 4},
        {"model_type": "mixtral", "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 8,
         "num_local_experts": 4},
        {},
    ],
)  # fmt: skip
def test_what_is_not_known_is_none_not_a_guess(config: dict[str, Any]) -> None:
    assert read_architecture(config, WIDTH) is None


def test_an_architecture_survives_sweep_json_and_comes_from_config_json(tmp_path: Any) -> None:
    config = CONFIG_MAPPING["qwen3_moe"](**{**SMALL, **MODELS["qwen3_moe"]})
    config.save_pretrained(tmp_path)
    spec = load_model_spec(str(tmp_path))
    assert spec.architecture == read_architecture(config.to_dict(), WIDTH)
    assert spec.architecture is not None
    assert spec.architecture.n_dense_layers == 2  # every second layer has experts: the second of three
    assert msgspec.convert(msgspec.to_builtins(spec), ModelSpec) == spec

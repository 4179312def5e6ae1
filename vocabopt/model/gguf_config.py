"""What a GGUF file says of its model, in the words of a config.json. Weights are not read.

github.com/ggml-org/ggml, docs/gguf.md: fields are named after the architecture (`llama.embedding_length`); the rows of
the table are those of the tensor token_embd.weight, and a file without output.weight has one table for both.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from vocabopt.errors import ModelSpecError
from vocabopt.tokenizer.gguf_file import opened

#: Field of a config.json -> that of a GGUF, behind the architecture's name.
_FIELDS = {
    "hidden_size": "embedding_length",
    "num_hidden_layers": "block_count",
    "intermediate_size": "feed_forward_length",
    "num_attention_heads": "attention.head_count",
    "num_key_value_heads": "attention.head_count_kv",
    "head_dim": "attention.key_length",
    "num_experts": "expert_count",
    "num_experts_per_tok": "expert_used_count",
    "moe_intermediate_size": "expert_feed_forward_length",
    "shared_expert_intermediate_size": "expert_shared_feed_forward_length",
}
#: Architecture -> model_type, where they are not the same word.
_TYPES = {"gptneox": "gpt_neox", "qwen2moe": "qwen2_moe", "qwen3moe": "qwen3_moe"}
_IN, _OUT = "token_embd.weight", "output.weight"


def config_of_gguf(path: Path) -> dict[str, Any]:
    """The fields of a config.json that the file tells; those that differ between layers are left out.

    Raises:
        BaseTokenizerError: the package gguf is missing, or the file is broken.
        ModelSpecError: it holds no embedding table (a vocabulary alone, a projector, a later part of a model), or does
            not name its width.
    """
    reader = opened(path)
    shapes = {tensor.name: [int(size) for size in tensor.shape] for tensor in reader.tensors}

    def said(name: str, kind: Callable[[Any], Any]) -> Any:
        value = reader.fields[name].contents() if name in reader.fields else None
        return None if value is None or isinstance(value, list) else kind(value)

    architecture = said("general.architecture", str)
    if _IN not in shapes:
        raise ModelSpecError(
            f"{path}: holds no embedding table ({_IN}), so it does not tell the sizes of a model. Of a model in "
            "several files name the first (-00001-of-); else name its config.json."
        )
    found = {field: said(f"{architecture}.{name}", int) for field, name in _FIELDS.items()}
    if not found["hidden_size"]:
        raise ModelSpecError(f"{path}: a GGUF without {architecture}.embedding_length. Name the model's config.json.")
    return {
        # 0 stands for none: experts of a dense model.
        **{field: value for field, value in found.items() if value},
        "model_type": _TYPES.get(architecture, architecture),
        "vocab_size": shapes[_IN][-1],
        "tie_word_embeddings": _OUT not in shapes,
    }

"""Small models on disk with the tokenizers of the small bases, for the tests of `vocabopt init`."""

import shutil
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, PreTrainedConfig, Qwen2Config

from trainer.init import save_model

N_ADDED = 150
WIDTHS: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}


def config_for(base: str) -> PreTrainedConfig:
    """A small model of the kind that has such a tokenizer; the small bases leave padding rows, as Qwen2.5 does."""
    if base == "llama-like":
        return LlamaConfig(vocab_size=2_048, bos_token_id=1, eos_token_id=2, **WIDTHS)
    if base == "qwen2-like":
        return Qwen2Config(vocab_size=2_048, tie_word_embeddings=True, bos_token_id=1_997, eos_token_id=1_999, **WIDTHS)
    return GPT2Config(vocab_size=2_000, n_embd=32, n_layer=2, n_head=4, bos_token_id=0, eos_token_id=0)


def write_model(folder: Path, config: PreTrainedConfig) -> Path:
    torch.manual_seed(0)
    save_model(AutoModelForCausalLM.from_config(config), folder)
    return folder


def with_tokenizer(folder: Path, base: Path) -> Path:
    """The base's own tokenizer beside the weights."""
    for path in base.iterdir():
        if path.name != "config.json":
            shutil.copy(path, folder / path.name)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

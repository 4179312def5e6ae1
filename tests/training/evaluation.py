"""What the tests of evaluation share: tiny models of three architectures, and scores computed without the trainer."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

POSITIONS = 128
KINDS = ("llama", "gpt2", "gpt-neox")


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Models this small are slower on several."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


def tiny_model(kind: str, n_rows: int, *, seed: int = 0, **settings: Any) -> PreTrainedModel:
    """Two blocks, 32 wide, random weights large enough for predictions that differ."""
    torch.manual_seed(seed)
    size: dict[str, Any] = {"vocab_size": n_rows, "initializer_range": 0.5}
    special = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
    if kind == "gpt2":
        shape = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": POSITIONS}
        return GPT2LMHeadModel(GPT2Config(**size, **shape, **special, **settings)).eval()
    shape = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": POSITIONS,
    }
    config, model = (LlamaConfig, LlamaForCausalLM) if kind == "llama" else (GPTNeoXConfig, GPTNeoXForCausalLM)
    return model(config(**{**size, **shape, **special, **settings})).eval()


def tokenizer_in(folder: Path, *, bos: str | None = None, eos: str | None = None) -> PreTrainedTokenizerFast:
    """What folder/tokenizer.json says, without transformers' own ideas."""
    names = {name: value for name, value in (("bos_token", bos), ("eos_token", eos)) if value is not None}
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_file(str(folder / "tokenizer.json")), **names)


def nats_alone(model: PreTrainedModel, start: int, ids: Sequence[int], n_context: int = 0) -> float:
    """Negative log-likelihood of ids[n_context:] after the start token and ids[:n_context]: one window, no batch."""
    with torch.no_grad():
        logits = model(torch.tensor([[start, *ids]])).logits[0, :-1].double()
    chosen = logits.log_softmax(-1)[range(len(ids)), list(ids)]
    return -float(chosen[n_context:].sum())


def bits(nats: float) -> float:
    return nats / math.log(2)

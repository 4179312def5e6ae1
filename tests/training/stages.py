"""Tiny models, text and settings for the tests of the trainer's stages, and one call that runs a stage."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from trainer.plan import Stage
from trainer.stages import StageSettings, run_stage
from vocabopt.console import Console
from vocabopt.training_record import CurvePoint, StageRun

N_ROWS, WIDTH, CONTEXT = 96, 32, 16
#: As a swap has them: at ids of the base, one in the middle alone, and none at the end (rows 90 to 95 are padding).
NEW_IDS = (3, 17, 18, 40, 55, *range(80, 85))


def tiny_llama(n_blocks: int = 2) -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=N_ROWS,
        hidden_size=WIDTH,
        intermediate_size=48,
        num_hidden_layers=n_blocks,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=64,
    )
    return LlamaForCausalLM(config)


def tiny_qwen2(n_blocks: int = 2) -> Qwen2ForCausalLM:
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=N_ROWS,
        hidden_size=WIDTH,
        intermediate_size=48,
        num_hidden_layers=n_blocks,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=64,
        tie_word_embeddings=True,
    )
    return Qwen2ForCausalLM(config)


def tiny_gpt2(n_blocks: int = 2) -> GPT2LMHeadModel:
    """With the dropout that GPT-2 has by default, so that the random generators matter."""
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=N_ROWS, n_embd=WIDTH, n_layer=n_blocks, n_head=2, n_positions=64, bos_token_id=0, eos_token_id=0
    )
    return GPT2LMHeadModel(config)


class TinyBlocks(Dataset[dict[str, torch.Tensor]]):
    """Random ids; each block is two documents, and nothing is predicted across their border."""

    def __init__(self, n_blocks: int, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.ids = torch.randint(0, 90, (n_blocks, CONTEXT), generator=generator)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        if not 0 <= index < len(self):
            raise IndexError(index)
        ids = self.ids[index]
        labels = ids.clone()
        labels[[0, CONTEXT // 2]] = -100
        return {"input_ids": ids, "position_ids": torch.arange(CONTEXT) % (CONTEXT // 2), "labels": labels}


@dataclass(frozen=True, kw_only=True)
class TinyText:
    n_blocks: int

    @property
    def n_tokens(self) -> int:
        return self.n_blocks * CONTEXT

    @property
    def n_bytes(self) -> int:
        return 3 * self.n_tokens

    def dataset(self, seed: int) -> TinyBlocks:
        return TinyBlocks(self.n_blocks, seed)

    def text_of(self, blocks: Sequence[int], seed: int) -> str:
        return ""


def tensors_of(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """A copy of everything in the model, by the names that its files have."""
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


TEXT = TinyText(n_blocks=22)  # five steps of four blocks, and one of two
SETTINGS = StageSettings(
    context_tokens=CONTEXT, batch_tokens=4 * CONTEXT, micro_batch=2, save_every_steps=2, log_every_steps=1, cpu=True
)


def train(model: PreTrainedModel, stage: Stage, folder: Path, **options: Any) -> StageRun:
    options = {"settings": SETTINGS, "packed": TEXT, "console": Console(quiet=True), "new_ids": NEW_IDS} | options
    return run_stage(model, stage, folder=folder, **options)


class StoppedError(Exception):
    """What a test stops a stage with, from outside of it."""


def stop_at(step: int) -> Any:
    def on_log(point: CurvePoint) -> None:
        if point.step == step:
            raise StoppedError

    return on_log

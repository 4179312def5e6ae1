"""What the tests of several processes run under torchrun: OUT shard|copy LORA?"""

import os
import sys
from pathlib import Path

import torch
from stages import CONTEXT, NEW_IDS, TinyText, tiny_gpt2, tiny_llama, tiny_qwen2
from torch.distributed.tensor import DTensor

from trainer.layout import layout_of
from trainer.plan import Lora, Stage
from trainer.stages import sharding
from trainer.stages.run import run_stage
from trainer.stages.settings import StageSettings
from vocabopt.console import Console

MODELS = {"llama": tiny_llama, "qwen2": tiny_qwen2}
STAGES = {
    "tables": Stage(name="tables", embeddings="new", head="all", other=True, learning_rate=1e-2, new_rows_factor=3.0),
    "odd": Stage(name="odd", blocks="odd", learning_rate=1e-2),
    "lora": Stage(name="lora", blocks="all", lora=Lora(rank=4, alpha=8), learning_rate=1e-2),
}


def settings(shard: bool) -> StageSettings:
    # 22 blocks in steps of 8: the last step is smaller, and not a whole number of micro-batches on two processes.
    return StageSettings(
        context_tokens=CONTEXT,
        batch_tokens=8 * CONTEXT,
        micro_batch=2,
        log_every_steps=1,
        save_every_steps=1,
        cpu=True,
        shard=shard,
        threads=1,
    )


TEXT = TinyText(n_blocks=21)

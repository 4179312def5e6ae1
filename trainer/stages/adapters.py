"""Low-rank adapters on the linear layers of a stage's blocks, by peft."""

import warnings
from typing import TYPE_CHECKING

from torch import nn

from trainer.layout import ModelLayout
from trainer.plan import Stage, stage_blocks
from vocabopt.errors import PlanError

if TYPE_CHECKING:
    from peft import LoraModel
    from transformers import PreTrainedModel


def add_adapters(model: "PreTrainedModel", stage: Stage, layout: ModelLayout) -> "LoraModel":
    """Put adapters on a model, which keeps its class and the names of its parameters outside the adapted layers.

    Returns:
        The tuner: its `merge_and_unload` takes the adapters off again, their product added to the weights.

    Raises:
        PlanError: no linear layer of the stage's blocks is named by its targets.
    """
    from peft import LoraConfig, LoraModel
    from transformers.pytorch_utils import Conv1D

    assert stage.lora is not None
    blocks = stage_blocks(stage.blocks, layout.n_blocks)
    layers = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, (nn.Linear, Conv1D)) and layout.block_of(name) in blocks
    }
    wanted = stage.lora.targets
    targets = [name for name in layers if not wanted or name.rpartition(".")[2] in wanted]
    kinds = sorted({name.rpartition(".")[2] for name in layers})
    if unknown := sorted(set(wanted) - set(kinds)):
        raise PlanError(f"stage {stage.name!r}: lora targets {unknown[0]!r}: its blocks have {', '.join(kinds)}.")
    if not targets:
        raise PlanError(f"stage {stage.name!r}: lora: its blocks have no linear layer to put adapters on.")
    config = LoraConfig(
        r=stage.lora.rank,
        lora_alpha=stage.lora.alpha,
        lora_dropout=stage.lora.dropout,
        target_modules=targets,
        # Conv1D holds its weight the other way round.
        fan_in_fan_out=all(isinstance(layers[name], Conv1D) for name in targets),
    )
    with warnings.catch_warnings():
        # Said of any tied model, adapters on its tables or not; ours are in the blocks only.
        warnings.filterwarnings("ignore", message=".*tie_word_embeddings.*")
        return LoraModel(model, config, "default")

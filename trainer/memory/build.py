"""A model from its config without memory, and a smaller sample of it that has every kind of its blocks.

Blocks are alike where their parameters have the same shapes, their config the same layer type, the stage trains them
alike, and the backward pass meets them alike: it stops at the lowest block with something to train at or below it.
"""

import copy
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

from trainer.layout import ModelLayout, layout_of, replace_tensors
from trainer.plan import Stage, stage_blocks, trainable_names
from vocabopt.errors import ModelError

#: Of the sample the first and last so many blocks stand for themselves alone: what is outside the blocks touches them.
N_EDGE = 2


@dataclass(frozen=True, kw_only=True)
class Outline:
    """Names and shapes of a model's parameters (a tied table once), and where its blocks are."""

    config: PreTrainedConfig
    shapes: dict[str, tuple[int, ...]]
    layout: ModelLayout

    @property
    def n_params(self) -> int:
        return sum(torch.Size(shape).numel() for shape in self.shapes.values())

    def shapes_of_block(self, number: int) -> tuple[tuple[str, tuple[int, ...]], ...]:
        prefix = f"{self.layout.block_prefix}{number - 1}."
        return tuple((name[len(prefix) :], shape) for name, shape in self.shapes.items() if name.startswith(prefix))


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A smaller model: its config, the stage with its blocks' numbers, and for each block of the whole one its like."""

    config: PreTrainedConfig
    stage: Stage
    sample_of: tuple[int, ...]


def build(config: PreTrainedConfig, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """The model of a config on the meta device, without memory.

    Raises:
        ModelError: transformers cannot build a causal language model of it.
    """
    try:
        with torch.device("meta"):
            model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=dtype)  # type: ignore[no-untyped-call]
    except (ValueError, TypeError, KeyError, AttributeError, ImportError, RuntimeError) as error:
        kind = getattr(config, "model_type", "?")
        raise ModelError(
            f"model_type {kind!r}: transformers cannot build a causal language model of this config ({error}). "
            "Check its config.json, or give another model."
        ) from error
    return model


def outline_of(config: PreTrainedConfig) -> Outline:
    """Raises ModelError as `build` and `layout_of`."""
    model = build(config)
    shapes = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    return Outline(config=config, shapes=shapes, layout=layout_of(model))


def sample_of(outline: Outline, stage: Stage, *, is_checkpointed: bool) -> Sample:
    """A sample of the model for a stage; the whole model where a smaller one would not do.

    Args:
        is_checkpointed: whether blocks are computed again for the gradient. transformers then lets the backward pass
            go down to the first block, whatever trains.

    Raises:
        PlanError: the stage names blocks that are not there, or nothing.
    """
    n_blocks = outline.layout.n_blocks
    trained = stage_blocks(stage.blocks, n_blocks)
    names = trainable_names(stage, outline.shapes, outline.layout)
    # The backward pass also goes all the way down where something trains below the blocks.
    goes_down = is_checkpointed or stage.other or outline.layout.embeddings in names
    lowest = 0 if goes_down else min(trained, default=n_blocks + 1)
    types = getattr(outline.config.get_text_config(), "layer_types", None) or [None] * n_blocks
    chosen: list[int] = []  # numbers of the blocks in the sample
    number_of: dict[Any, int] = {}  # kind of block -> its number in the sample
    alike: list[int] = []
    for number in range(1, n_blocks + 1):
        is_edge = number <= N_EDGE or number > n_blocks - N_EDGE
        is_above = (number > lowest) - (number < lowest)
        kind = (outline.shapes_of_block(number), types[number - 1], number in trained, is_above)
        if (number if is_edge else kind) not in number_of:
            chosen.append(number)
            number_of[number if is_edge else kind] = len(chosen)
        alike.append(number_of[number if is_edge else kind])
    if len(chosen) < n_blocks and (config := _shortened(outline, chosen)) is not None:
        numbers = tuple(number for number, of_whole in enumerate(chosen, 1) if of_whole in trained)
        return Sample(config=config, stage=replace(stage, blocks=numbers or "none"), sample_of=tuple(alike))
    return Sample(config=outline.config, stage=stage, sample_of=tuple(range(1, n_blocks + 1)))


def _shortened(outline: Outline, chosen: list[int]) -> PreTrainedConfig | None:
    """The config with the chosen blocks only; None where transformers does not build just those of it."""
    config = copy.deepcopy(outline.config)
    text = config.get_text_config()
    for name, value in list(vars(text).items()):
        if isinstance(value, list) and len(value) == outline.layout.n_blocks:  # an entry a block
            setattr(text, name, [value[number - 1] for number in chosen])
    text.num_hidden_layers = len(chosen)
    try:
        short = outline_of(config)
    except ModelError:
        return None
    wanted = [outline.shapes_of_block(number) for number in chosen]
    found = [short.shapes_of_block(number) for number in range(1, short.layout.n_blocks + 1)]
    return config if found == wanted else None


def to_cpu(model: nn.Module) -> None:
    """Put a model from the meta device on the CPU, inside FakeTensorMode: there operations choose the CPU's kernels.

    (A model built inside FakeTensorMode cannot be given adapters: peft moves them, which swaps tensors.)
    """
    moved: dict[int, Tensor] = {}

    def on_cpu(tensor: Tensor) -> Tensor:
        if id(tensor) not in moved:
            empty = torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu")
            is_parameter = isinstance(tensor, nn.Parameter)
            moved[id(tensor)] = nn.Parameter(empty, tensor.requires_grad) if is_parameter else empty
        return moved[id(tensor)]

    replace_tensors(model, on_cpu)

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

    def weight(self, number: int) -> int:
        """How many blocks of the whole model the sample's block stands for."""
        return self.sample_of.count(number)


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
    trainable_names(stage, outline.shapes, outline.layout)
    kinds = _kinds(outline, stage, trained, is_checkpointed)
    chosen = _representatives(kinds)
    if len(chosen) < n_blocks:
        config = _shortened(outline.config, chosen, n_blocks)
        if _fits(outline, config, chosen):
            own = {real: number for number, real in enumerate(chosen, 1) if _is_edge(real, n_blocks)}
            inner = {kinds[real]: number for number, real in enumerate(chosen, 1) if real not in own}
            told = tuple(own[real] if real in own else inner[kinds[real]] for real in range(n_blocks))
            numbers = tuple(number for number, real in enumerate(chosen, 1) if real + 1 in trained)
            stage = replace(stage, blocks=numbers or "none")
            return Sample(config=config, stage=stage, sample_of=told)
    return Sample(config=outline.config, stage=stage, sample_of=tuple(range(1, n_blocks + 1)))


def _kinds(outline: Outline, stage: Stage, trained: frozenset[int], is_checkpointed: bool) -> list[Any]:
    """What tells blocks apart, per block."""
    types = getattr(outline.config.get_text_config(), "layer_types", None)
    lowest = min(trained, default=outline.layout.n_blocks + 1)
    if is_checkpointed or _trains_below(outline, stage):
        lowest = 0
    numbers = range(1, outline.layout.n_blocks + 1)
    return [
        (outline.shapes_of_block(n), types[n - 1] if types else None, n in trained, (n > lowest) - (n < lowest))
        for n in numbers
    ]


def _trains_below(outline: Outline, stage: Stage) -> bool:
    """Whether the table that the first block's input comes from trains, or something else that may stand below."""
    names = trainable_names(stage, outline.shapes, outline.layout)
    return outline.layout.embeddings in names or stage.other


def _is_edge(index: int, n_blocks: int) -> bool:
    return index < N_EDGE or index >= n_blocks - N_EDGE


def _representatives(kinds: list[Any]) -> list[int]:
    """Indices of the blocks of the sample: the edges, and between them the first of each kind."""
    chosen, seen = [], set()
    for index, kind in enumerate(kinds):
        is_edge = _is_edge(index, len(kinds))
        if is_edge or kind not in seen:
            chosen.append(index)
        if not is_edge:
            seen.add(kind)
    return chosen


def _shortened(config: PreTrainedConfig, chosen: list[int], n_blocks: int) -> PreTrainedConfig:
    """The config with the chosen blocks only; lists with an entry a block follow."""
    short = copy.deepcopy(config)
    text = short.get_text_config()
    for name, value in list(vars(text).items()):
        if isinstance(value, list) and len(value) == n_blocks:
            setattr(text, name, [value[index] for index in chosen])
    text.num_hidden_layers = len(chosen)
    return short


def _fits(outline: Outline, config: PreTrainedConfig, chosen: list[int]) -> bool:
    """Whether the shortened config builds just the chosen blocks."""
    try:
        short = outline_of(config)
    except ModelError:
        return False
    return short.layout.n_blocks == len(chosen) and all(
        short.shapes_of_block(number) == outline.shapes_of_block(real + 1) for number, real in enumerate(chosen, 1)
    )


def blocks_of(model: nn.Module, layout: ModelLayout) -> list[nn.Module]:
    return list(model.get_submodule(layout.block_prefix.rstrip(".")).children())


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

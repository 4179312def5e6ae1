"""A model before and after a stage: exactly the stage's parameters train, and afterwards it is a plain model again.

hold_rows       rows that are to be afterwards what they were, bit for bit
prepare_stage   requires_grad as the stage says; new rows of a table as a parameter of their own; LoRA adapters
finish_stage    rows and adapters merged into the weights
narrow_frozen   on a GPU in bf16-mixed, frozen matrices in 16 bits while the stage trains

New rows train alone or at another learning rate than the table. A mask on the gradient is no freeze: weight decay and
the optimizer's momentum move masked rows. Here the old rows are not trained at all (rows "new"), or by an optimizer
group of their own.

Shapes: V rows of the table, N new rows, D the model's width (a head's bias has V and N only).
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn.utils import parametrize

from trainer.layout import ModelLayout
from trainer.plan import Stage, rows_of_table, stage_blocks, trainable_names
from trainer.stages.settings import Precision
from vocabopt.errors import PlanError

if TYPE_CHECKING:
    from peft import LoraModel
    from transformers import PreTrainedModel


# --- Rows that stay ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class HeldRows:
    """Rows of the tables by the names of these, on the CPU.

    While the stage trains they are rows as any other: in plain text they only ever are wrong answers, and what this and
    weight decay do to them is undone here.
    """

    ids: torch.Tensor
    rows: dict[str, torch.Tensor]

    def restore(self, model: "PreTrainedModel") -> None:
        """Write them into a model that is whole again."""
        for name, rows in self.rows.items():
            table = model.get_parameter(name).data
            table[self.ids.to(table.device)] = rows.to(table.device)


def hold_rows(model: "PreTrainedModel", layout: ModelLayout, ids: Sequence[int]) -> HeldRows:
    """The rows with these ids of the input table, the output table and the head's bias, as they are now."""
    held = torch.tensor(list(ids), dtype=torch.int64)
    names = [name for name in (layout.embeddings, layout.head, layout.head_bias) if name is not None and ids]
    tables = {name: model.get_parameter(name).detach() for name in names}
    return HeldRows(ids=held, rows={name: table[held.to(table.device)].cpu() for name, table in tables.items()})


# --- The stage --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class PreparedStage:
    """What `prepare_stage` did to a model, for `finish_stage` to undo."""

    model: "PreTrainedModel"
    tables: "tuple[SplitTable, ...]"
    tuner: "LoraModel | None"

    @property
    def trained(self) -> dict[str, nn.Parameter]:
        """Name -> parameter of what trains, a tied table once."""
        return {name: parameter for name, parameter in self.model.named_parameters() if parameter.requires_grad}

    @property
    def new_rows(self) -> frozenset[str]:
        """Names of the parameters that hold new rows apart."""
        ours = [table.rows.rows for table in self.tables]
        return frozenset(name for name, parameter in self.trained.items() if any(parameter is own for own in ours))

    @property
    def n_trainable(self) -> int:
        """Numbers that train. New rows count once, also where the table that they were taken from trains too."""
        twice = sum(table.rows.rows.numel() for table in self.tables if table.original.requires_grad)
        return sum(parameter.numel() for parameter in self.trained.values()) - twice


def prepare_stage(model: "PreTrainedModel", stage: Stage, layout: ModelLayout, new_ids: Sequence[int]) -> PreparedStage:
    """Make exactly the stage's parameters of a model train, in place.

    New rows become a parameter of their own where they train alone or at another learning rate. Adapters get random
    values from torch's global generator.

    Args:
        layout: of the model as it is now.
        new_ids: rows that the merged tokenizer added; none for a model with its own tokenizer.

    Raises:
        PlanError: the stage names no parameter of the model, or new rows where there are none.
    """
    rows_of = rows_of_table(stage, layout)
    if "new" in rows_of.values() and not new_ids:
        raise PlanError(
            f"stage {stage.name!r}: trains new rows, and the tokenizer adds none. With the model's own tokenizer use "
            'rows "all".'
        )
    names = trainable_names(stage, (name for name, _ in model.named_parameters()), layout)
    tuner = add_adapters(model, stage, layout) if stage.lora else None
    for name, parameter in model.named_parameters():
        is_adapter = tuner is not None and f".{tuner.prefix}" in name
        whole = name in names and rows_of.get(name) != "new"
        parameter.requires_grad_(is_adapter or whole)
    is_split = {name for name, rows in rows_of.items() if rows == "new" or (stage.new_rows_factor != 1 and new_ids)}
    tables = []
    for name in sorted(is_split):
        module, _, tensor_name = name.rpartition(".")
        holders = [model.get_submodule(module)]
        if name == layout.embeddings and layout.is_tied:
            holders.append(model.get_output_embeddings())  # type: ignore[no-untyped-call]
        rows = NewRows(getattr(holders[0], tensor_name), new_ids)
        for holder in holders:  # those that share the table go on to share it and its new rows
            # unsafe leaves out a check that would copy the whole table.
            parametrize.register_parametrization(holder, tensor_name, rows, unsafe=True)
        tables.append(SplitTable(modules=tuple(holders), tensor_name=tensor_name, rows=rows))
    return PreparedStage(model=model, tables=tuple(tables), tuner=tuner)


def finish_stage(prepared: PreparedStage) -> "PreTrainedModel":
    """Merge what the stage trained apart. The model is then as transformers made it, and all of it can train."""
    # Tables first: peft looks whether the two tables of a tied model are one, and unties its config if not.
    for table in prepared.tables:
        table.merge()
    if prepared.tuner is not None:
        merged = prepared.tuner.merge_and_unload()
        assert merged is prepared.model
    prepared.model.requires_grad_(True)
    return prepared.model


# --- New rows of a table ----------------------------------------------------------------------------------------------


class NewRows(nn.Module):
    """A table with some rows taken from `rows`: the gradient of those goes there, that of the others to the table."""

    ids: torch.Tensor

    def __init__(self, table: torch.Tensor, ids: Sequence[int]) -> None:
        super().__init__()
        # Not in the state: it is the tokenizer's, and says nothing that was trained.
        self.register_buffer("ids", torch.tensor(ids, dtype=torch.int64, device=table.device), persistent=False)
        self.rows = nn.Parameter(table.detach()[self.ids].clone())

    def forward(self, table: torch.Tensor) -> torch.Tensor:
        return table.index_copy(0, self.ids, self.rows)


@dataclass(frozen=True, kw_only=True)
class SplitTable:
    """A table whose new rows are apart. modules: those that hold it, two in a tied model."""

    modules: tuple[nn.Module, ...]
    tensor_name: str
    rows: NewRows

    @property
    def original(self) -> nn.Parameter:
        parameter = self.modules[0].parametrizations[self.tensor_name].original  # type: ignore[union-attr, index]
        assert isinstance(parameter, nn.Parameter)
        return parameter

    def merge(self) -> None:
        """Write the rows into the table and leave nothing behind."""
        with torch.no_grad():
            self.original.index_copy_(0, self.rows.ids, self.rows.rows)
        for module in self.modules:
            parametrize.remove_parametrizations(module, self.tensor_name, leave_parametrized=False)


# --- Adapters ---------------------------------------------------------------------------------------------------------


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


# --- Frozen matrices in 16 bits ---------------------------------------------------------------------------------------
#
# Autocast makes a 16-bit copy of a 32-bit matrix for every product, and the backward pass keeps it: 6 bytes a weight
# where 2 would do. Held in 16 bits from the start the products are the same, bit for bit. The 32-bit values wait in the
# CPU's memory, since later stages train them.


def narrows_frozen(precision: Precision, device_type: str, *, shard: bool) -> bool:
    """Not on a CPU, where the waiting values take what is saved; nor split: FSDP wants one type in what it gathers."""
    return precision == "bf16-mixed" and device_type == "cuda" and not shard


def frozen_matrices(model: nn.Module) -> dict[str, nn.Parameter]:
    """Frozen weights that are used in products of linear layers alone, by name: autocast casts these and no others.

    A table that is tied to the head is looked up too, and what comes out of it must stay in 32 bits.
    """
    from transformers.pytorch_utils import Conv1D

    looked_up = {
        id(parameter)
        for module in model.modules()
        if not isinstance(module, (nn.Linear, Conv1D))
        for parameter in module.parameters(recurse=False)
    }
    found = {}
    for name, module in model.named_modules():
        if isinstance(module, (nn.Linear, Conv1D)):
            # A weight whose new rows train apart is no parameter of the module.
            weight = dict(module.named_parameters(recurse=False)).get("weight")
            if weight is not None and not weight.requires_grad and id(weight) not in looked_up:
                found[f"{name}.weight"] = weight
    return found


@dataclass(frozen=True)
class NarrowedWeights:
    """Frozen matrices of a prepared model, and their 32-bit values on the CPU."""

    values: tuple[tuple[nn.Parameter, torch.Tensor], ...]

    def restore(self) -> None:
        """Give the weights their 32 bits back, on the device where they are."""
        for parameter, value in self.values:
            parameter.data = value.to(parameter.device)


def narrow_frozen(model: nn.Module) -> NarrowedWeights:
    """Hold a prepared model's frozen matrices in 16 bits, in place, until `restore`."""
    narrowed = NarrowedWeights(tuple((matrix, matrix.data.to("cpu")) for matrix in frozen_matrices(model).values()))
    for parameter, _ in narrowed.values:
        parameter.data = parameter.data.to(torch.bfloat16)
    return narrowed

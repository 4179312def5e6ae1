"""A model before and after a stage: exactly the stage's parameters train, and afterwards it is a plain model again."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import nn

from trainer.layout import ModelLayout
from trainer.plan import Stage, rows_of_table, trainable_names
from trainer.stages.adapters import add_adapters
from trainer.stages.new_rows import SplitTable, split_table
from vocabopt.errors import PlanError

if TYPE_CHECKING:
    from peft import LoraModel
    from transformers import PreTrainedModel


@dataclass(frozen=True, kw_only=True)
class PreparedStage:
    """What `prepare_stage` did to a model, for `finish_stage` to undo."""

    model: "PreTrainedModel"
    tables: tuple[SplitTable, ...]
    tuner: "LoraModel | None"

    @property
    def trained(self) -> dict[str, nn.Parameter]:
        """Name -> parameter of what trains, a tied table once."""
        return {name: parameter for name, parameter in self.model.named_parameters() if parameter.requires_grad}

    @property
    def new_rows(self) -> frozenset[str]:
        """Names of the parameters that hold new rows apart."""
        ours = {id(table.rows.rows) for table in self.tables}
        return frozenset(name for name, parameter in self.trained.items() if id(parameter) in ours)

    @property
    def n_trainable(self) -> int:
        """Numbers that train. New rows count once, also where the table that they were taken from trains too."""
        twice = sum(table.rows.rows.numel() for table in self.tables if _table(table).requires_grad)
        return sum(parameter.numel() for parameter in self.trained.values()) - twice


def _table(table: SplitTable) -> nn.Parameter:
    parameter = table.modules[0].parametrizations[table.tensor_name].original  # type: ignore[union-attr, index]
    assert isinstance(parameter, nn.Parameter)
    return parameter


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
    tables = [split_table(_holders(model, name, layout), name.rpartition(".")[2], new_ids) for name in sorted(is_split)]
    return PreparedStage(model=model, tables=tuple(tables), tuner=tuner)


def _holders(model: "PreTrainedModel", name: str, layout: ModelLayout) -> list[nn.Module]:
    """The modules that hold a table: the embedding and the head where they are tied."""
    if name == layout.embeddings and layout.is_tied:
        pair = (model.get_input_embeddings(), model.get_output_embeddings())  # type: ignore[no-untyped-call]
        return list(pair)
    return [model.get_submodule(name.rpartition(".")[0])]


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

"""New rows of a table as a parameter of their own, so that they train alone or faster than the others.

A mask on the gradient is no freeze: weight decay and the optimizer's momentum move masked rows. Here the old rows are
not trained at all (rows "new"), or by an optimizer group of their own.

Shapes: V rows of the table, N new rows, D the model's width (a head's bias has V and N only).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.utils import parametrize


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

    def merge(self) -> None:
        """Write the rows into the table and leave nothing behind."""
        table = self.modules[0].parametrizations[self.tensor_name].original  # type: ignore[union-attr, index]
        with torch.no_grad():
            table.index_copy_(0, self.rows.ids, self.rows.rows)
        for module in self.modules:
            parametrize.remove_parametrizations(module, self.tensor_name, leave_parametrized=False)


def split_table(modules: Sequence[nn.Module], tensor_name: str, ids: Sequence[int]) -> SplitTable:
    """Take the new rows of a table apart. Modules that share it go on to share the table and its new rows."""
    table = getattr(modules[0], tensor_name)
    assert all(getattr(module, tensor_name) is table for module in modules), "the modules hold different tables"
    rows = NewRows(table, ids)
    for module in modules:
        # unsafe leaves out a check that would copy the whole table.
        parametrize.register_parametrization(module, tensor_name, rows, unsafe=True)
    return SplitTable(modules=tuple(modules), tensor_name=tensor_name, rows=rows)

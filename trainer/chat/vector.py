"""adapted + scale x (instruct - base), tensor by tensor: no more than a file of the adapted weights is held.

    body        every tensor outside of the tables gets the difference
    old rows    of the base's tokens: the difference of their own rows (--rows old, all)
    new rows    the mean of the differences of the token's base ids (--rows all): what `decompose` would have made of
                the instruct model's table less what it made of the base's
    special     rows of special tokens of chat prompts are the instruct model's, bit for bit: a base has never trained
                them, and plain text does not hold them, so a difference would be added to noise

With --rows special no other row changes, which is how the authors of the chat vector treat an extended vocabulary
(arXiv 2310.04799, their --skip_embed with a map of special tokens).
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from trainer.chat.options import Rows
from trainer.init import Extension
from vocabopt.errors import ModelError
from vocabopt.model.weights import stored_tables, weight_files


class Weights:
    """The tensors of a model's folder by name, read when they are asked for.

    Names with and without the module that holds the body ("transformer.h.0", "h.0") are those of the same tensor.
    """

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self._places: dict[str, Any] = {}
        for path in weight_files(folder):
            opened: Any = stack.enter_context(safe_open(path, framework="pt"))
            self._places |= dict.fromkeys(opened.keys(), opened)
        if not self._places:
            raise ModelError(f"{folder}: holds no whole weights in safetensors. Write it anew with save_pretrained.")

    def _name(self, name: str) -> str | None:
        ends = (known for known in self._places if known.endswith(f".{name}"))
        found = (name, name.partition(".")[2], next(ends, name))
        return next((each for each in found if each in self._places), None)

    def shape(self, name: str) -> tuple[int, ...] | None:
        """None where there is no such tensor."""
        own = self._name(name)
        return None if own is None else tuple(self._places[own].get_slice(own).get_shape())

    def get(self, name: str) -> Tensor:
        own = self._name(name)
        assert own is not None, "checked before"
        found: Tensor = self._places[own].get_tensor(own)
        return found


@dataclass(frozen=True, kw_only=True)
class Added:
    """relative_norm: of what was added over what it was added to, outside of the tables."""

    n_params: int
    n_rows: int
    n_old_rows: int
    n_new_rows: int
    relative_norm: float


@dataclass(frozen=True, kw_only=True)
class ChatVector:
    """What is added to which rows. special_ids: rows taken from the instruct model whole."""

    adapted: Path
    base: Path
    instruct: Path
    extension: Extension
    special_ids: Sequence[int]
    rows: Rows
    scale: float

    def check(self) -> None:
        """Whether the three models have the same tensors, tables by their rows apart.

        Raises:
            ModelError: a model has a tensor of another shape or none.
        """
        with ExitStack() as stack:
            adapted, base, instruct = (Weights(path, stack) for path in (self.adapted, self.base, self.instruct))
            tables = _tables(self.adapted)
            for path in weight_files(self.adapted):
                for name in _names(path):
                    expected = adapted.shape(name)
                    assert expected is not None
                    n_rows = (base.shape(name) or (0,))[0]
                    expected = (n_rows, *expected[1:]) if name in tables else expected
                    for other in (base, instruct):
                        if (shape := other.shape(name)) != expected:
                            found = "does not have it" if shape is None else f"has {list(shape)}"
                            raise ModelError(
                                f"{other.folder}: is of another shape than {self.adapted}: {name} should have "
                                f"{list(expected)}, and this model {found}. Name the base that was adapted and an "
                                "instruct model that was trained from it."
                            )

    def write(self, partial: Path) -> Added:
        """Write the new weights into a folder, in files as the adapted model has them; `check` goes before."""
        from safetensors.torch import save_file

        tables = _tables(self.adapted)
        n_params = n_rows = 0
        squares = [0.0, 0.0]
        with ExitStack() as stack:
            base, instruct = Weights(self.base, stack), Weights(self.instruct, stack)
            for path in weight_files(self.adapted):
                made: dict[str, Tensor] = {}
                with safe_open(path, framework="pt") as file:
                    for name in file.keys():  # noqa: SIM118 - no mapping
                        old, of_base, of_instruct = file.get_tensor(name), base.get(name), instruct.get(name)
                        if name in tables:
                            made[name] = self._table(old, of_base, of_instruct)
                            n_rows = len(old)
                        else:
                            difference = (of_instruct.float() - of_base.float()) * self.scale
                            made[name] = (old.float() + difference).to(old.dtype)
                            squares[0] += float(difference.double().square().sum())
                            squares[1] += float(old.double().square().sum())
                        n_params += old.numel()
                save_file(made, partial / path.name, metadata={"format": "pt"})
        n_new = len(self.extension.new_ids) if self.rows == "all" else 0
        return Added(
            n_params=n_params,
            n_rows=n_rows,
            n_old_rows=0 if self.rows == "special" else len(self._old_ids()),
            n_new_rows=n_new,
            relative_norm=math.sqrt(squares[0] / squares[1]) if squares[1] else 0.0,
        )

    def _old_ids(self) -> list[int]:
        special = frozenset(self.special_ids)
        return [index for index in self.extension.kept_tokens if index not in special]

    def _table(self, old: Tensor, of_base: Tensor, of_instruct: Tensor) -> Tensor:
        """A table, or a bias by token, with its rows changed by id."""
        table, special = old.clone(), torch.tensor(list(self.special_ids), dtype=torch.long)
        if self.rows != "special":
            difference = (of_instruct.float() - of_base.float()) * self.scale
            kept = torch.tensor(self._old_ids(), dtype=torch.long)
            table[kept] = (old[kept].float() + difference[kept]).to(old.dtype)
            if self.rows == "all":
                for index, ids in zip(self.extension.new_ids, self.extension.base_ids, strict=True):
                    mean = difference[torch.tensor(ids)].mean(0)
                    table[index] = (old[index].float() + mean).to(old.dtype)
        table[special] = of_instruct[special].to(old.dtype)
        return table


def _tables(folder: Path) -> frozenset[str]:
    """Names of the input and output table, and of the output's bias."""
    stored = stored_tables(folder)
    names = [] if stored is None else [table.name for table in (stored.input, stored.output) if table is not None]
    return frozenset([*names, *(f"{name.removesuffix('.weight')}.bias" for name in names)])


def _names(path: Path) -> Iterator[str]:
    with safe_open(path, framework="pt") as file:
        yield from file.keys()

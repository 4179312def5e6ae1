"""New rows of a table from the rows of the base tokens: one rule at a time, in float32, by id.

Shapes: V rows of the table, B rows of base tokens, N new tokens (of a chunk), K base ids of one new token, D width.
Memory: a chunk of new rows in float32 at a time, never a second table.
"""

# ruff: noqa: N815 - the capitals are shapes.

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.init.methods import Rule

#: Rows made at a time. It is part of the result: random rows are drawn chunk by chunk.
CHUNK_ROWS = 1024


@dataclass(frozen=True, kw_only=True, eq=False)
class BaseRows:
    """What the rules need to know of the rows of a table that base tokens have (padding rows are none of them).

    mean_D: in float32. standard_deviation: of all entries about their mean. norms_B: the Euclidean norm of each row.
    norm: what the rule "base-ids-at-norm" gives a row: the median norm of the base rows in `norm_ids` of `measure`.
    """

    mean_D: Tensor
    standard_deviation: float
    norms_B: Tensor
    norm: float


@dataclass(frozen=True, kw_only=True)
class NewToken:
    """id: the row to make. base_ids: the base's encoding of the token's bytes. n_bytes: text of each base id."""

    id: int
    base_ids: Sequence[int]
    n_bytes: Sequence[int]


@torch.no_grad()
def measure(table_VD: Tensor, base_ids: Sequence[int], norm_ids: Sequence[int]) -> BaseRows:
    """The statistics of the base tokens' rows. Sums are float64, so that they do not depend on the size of a chunk."""
    width = table_VD.shape[1]
    sum_D = torch.zeros(width, dtype=torch.float64)
    sum_of_squares = 0.0
    norms: list[Tensor] = []
    for rows_ND in _rows_in_chunks(table_VD, base_ids):
        exact_ND = rows_ND.double()
        sum_D += exact_ND.sum(0).cpu()
        sum_of_squares += float(exact_ND.square().sum())
        norms.append(rows_ND.norm(dim=1).cpu())
    n_entries = len(base_ids) * width
    mean = float(sum_D.sum()) / n_entries
    norms_B = torch.cat(norms)
    return BaseRows(
        mean_D=(sum_D / len(base_ids)).float().to(table_VD.device),
        standard_deviation=max(0.0, sum_of_squares / n_entries - mean**2) ** 0.5,
        norms_B=norms_B,
        norm=median(norms_of(table_VD, norm_ids)),
    )


@torch.no_grad()
def make_rows(
    table_VD: Tensor,
    rule: Rule,
    tokens: Sequence[NewToken],
    base: BaseRows,
    generator: torch.Generator,
    *,
    match_norm: bool,
) -> None:
    """Write the new tokens' rows into the table, in place; no other row changes.

    Args:
        tokens: ordered by id, so that the order in which they were found moves nothing.
        generator: on the CPU, for the rule "normal": the same rows come out whatever device the table is on.
        match_norm: rescale each new row to the average norm of the rows of its base ids; averaged as the row itself is
            (by bytes, or the first alone). The rule "base-ids-at-norm" has set the norm already.
    """
    for start in range(0, len(tokens), CHUNK_ROWS):
        chunk = tokens[start : start + CHUNK_ROWS]
        # Step 1: each base id's share in the row. The rules that ignore base ids use it for the norm alone.
        ids_NK, weights_NK = _padded(chunk, rule, table_VD.device)
        # Step 2: the row.
        if rule == "normal":
            drawn_ND = torch.randn(len(chunk), table_VD.shape[1], generator=generator)
            rows_ND = drawn_ND.to(table_VD.device) * base.standard_deviation
        elif rule == "mean":
            rows_ND = base.mean_D.repeat(len(chunk), 1)
        else:
            rows_ND = _average(table_VD, ids_NK, weights_NK)
        # Step 3: its norm.
        if rule == "base-ids-at-norm":
            rows_ND = _rescaled(rows_ND, torch.full((len(chunk),), base.norm, device=table_VD.device))
        elif match_norm:
            rows_ND = _rescaled(rows_ND, _average_norm(table_VD, ids_NK, weights_NK))
        # Step 4: by id, never "the tail of the table".
        table_VD[torch.tensor([token.id for token in chunk], device=table_VD.device)] = rows_ND.to(table_VD.dtype)


def norms_of(table_VD: Tensor, ids: Sequence[int]) -> Tensor:
    """Euclidean norms of the rows with these ids, in float32, on the CPU."""
    norms = [rows_ND.norm(dim=1).cpu() for rows_ND in _rows_in_chunks(table_VD, ids)]
    return torch.cat(norms) if norms else torch.empty(0)


def median(values: Tensor) -> float:
    """The middle value, or the mean of the two middle ones (torch's own median takes the lower of them)."""
    ordered = values.double().sort().values
    n = len(ordered)
    return float((ordered[(n - 1) // 2] + ordered[n // 2]) / 2)


def _rows_in_chunks(table_VD: Tensor, ids: Sequence[int]) -> Iterator[Tensor]:
    for start in range(0, len(ids), CHUNK_ROWS):
        chunk = torch.tensor(list(ids[start : start + CHUNK_ROWS]), device=table_VD.device)
        yield table_VD.detach()[chunk].float()


def _weights(token: NewToken, rule: Rule) -> Sequence[int]:
    if rule == "first-base-id":
        return [1, *[0] * (len(token.base_ids) - 1)]
    if rule == "base-ids-by-bytes":
        # In lowest terms: a single base id has weight 1, whatever its length.
        shared = math.gcd(*token.n_bytes)
        return [n // shared for n in token.n_bytes]
    return [1] * len(token.base_ids)


def _padded(chunk: Sequence[NewToken], rule: Rule, device: torch.device) -> tuple[Tensor, Tensor]:
    """Base ids and whole-number weights of each token; behind its last base id, id 0 with weight 0."""
    width = max(len(token.base_ids) for token in chunk)
    ids = [[*token.base_ids, *[0] * (width - len(token.base_ids))] for token in chunk]
    weights = [[*_weights(token, rule), *[0] * (width - len(token.base_ids))] for token in chunk]
    return torch.tensor(ids, device=device), torch.tensor(weights, dtype=torch.float32, device=device)


def _average(table_VD: Tensor, ids_NK: Tensor, weights_NK: Tensor) -> Tensor:
    """Weighted mean of rows -> [N, D].

    Base ids are summed one after another, in the order of the text, so that a row does not depend on the tokens it is
    made beside; one row of weight 1 comes out as it is, bit for bit.
    """
    rows_ND = torch.zeros(len(ids_NK), table_VD.shape[1], device=table_VD.device)
    for ids_N, weights_N in zip(ids_NK.T, weights_NK.T, strict=True):
        has_weight = weights_N.nonzero()[:, 0]  # most tokens have few base ids
        addends = table_VD.detach()[ids_N[has_weight]].float() * weights_N[has_weight, None]
        rows_ND.index_add_(0, has_weight, addends)
    return rows_ND / weights_NK.sum(1, keepdim=True)


def _average_norm(table_VD: Tensor, ids_NK: Tensor, weights_NK: Tensor) -> Tensor:
    """Weighted mean of the norms of rows -> [N]."""
    norms_N = torch.zeros(len(ids_NK), device=table_VD.device)
    for ids_N, weights_N in zip(ids_NK.T, weights_NK.T, strict=True):
        has_weight = weights_N.nonzero()[:, 0]
        norms = table_VD.detach()[ids_N[has_weight]].float().norm(dim=1)
        norms_N.index_add_(0, has_weight, norms * weights_N[has_weight])
    return norms_N / weights_NK.sum(1)


def _rescaled(rows_ND: Tensor, norms_N: Tensor) -> Tensor:
    """Rows with these norms; a row of zeros has no direction and stays."""
    found_N = rows_ND.norm(dim=1)
    return rows_ND * torch.where(found_N > 0, norms_N / found_N, 1.0)[:, None]

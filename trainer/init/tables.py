"""New rows in a model's tables: tables grow where they must, and rows are set by id, one rule at a time, in float32.

Models that scale their embeddings (Gemma multiplies them with the square root of the width) need nothing special: the
factor is the same for every row and comes after the lookup, so the mean of stored rows is the mean of scaled ones.

Shapes: V rows of the table, B rows of base tokens, N new tokens (of a chunk), K base ids of one new token, D width.
Memory: a chunk of new rows in float32 at a time, never a second table.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import torch
from torch import Tensor

from trainer.init.extension import MIN_NORM_ROWS, Extension
from trainer.init.methods import RULE_WORDS, RULES, InitMethod, Rule
from trainer.layout import ModelLayout, layout_of
from trainer.out_of_memory import memory_guard
from vocabopt.errors import ModelError
from vocabopt.tables import PlainTable, shown

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel


# ruff: noqa: N815 - the capitals are shapes.


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


#: Whose rows: of the base's tokens, of the new ones, or of no token.
Kind = Literal["base", "new", "padding"]


@dataclass(frozen=True, kw_only=True)
class RowGroup:
    """Rows of a table that came about in the same way; norms are None where there is no row.

    made_by: the rule in words, "kept" for rows that stay as they were. norm_mean, norm_median: of the rows as they are
    stored now, Euclidean; of a bias its absolute values.
    """

    kind: Kind
    made_by: str
    n_rows: int
    norm_mean: float | None
    norm_median: float | None


def row_group(table: "Tensor", ids: Sequence[int], kind: Kind, made_by: str) -> RowGroup:
    norms = norms_of(table, ids)
    return RowGroup(
        kind=kind,
        made_by=made_by,
        n_rows=len(ids),
        norm_mean=float(norms.double().mean()) if ids else None,
        norm_median=median(norms) if ids else None,
    )


@dataclass(frozen=True, kw_only=True)
class NormLog:
    """What new rows were rescaled to: the median norm of n_rows base rows, of the target script or of base ids."""

    rows: Literal["target script", "base ids"]
    n_rows: int
    norm: float


@dataclass(frozen=True, kw_only=True)
class TableLog:
    """name: input, output, both (a tied model's one table) or bias (the output's). parameter: as the model names it.
    standard_deviation: of the base tokens' rows. norm: None where the rule sets none."""

    name: Literal["input", "output", "both", "bias"]
    parameter: str
    width: int
    n_rows_before: int
    n_rows: int
    standard_deviation: float
    norm: NormLog | None
    groups: tuple[RowGroup, ...]


@dataclass(frozen=True, kw_only=True)
class InitLog:
    """notes: sentences on what the method did otherwise than its name says."""

    method: InitMethod
    match_norm: bool
    seed: int
    n_new: int
    tables: tuple[TableLog, ...]
    notes: tuple[str, ...]

    def as_record(self) -> dict[str, Any]:
        return asdict(self)


_TOLD = {"both": "input and output"}


def log_table(log: InitLog) -> PlainTable:
    """A row per group of rows, by table."""
    first = log.tables[0]
    grown = (
        f"{first.n_rows_before:,} -> {first.n_rows:,}" if first.n_rows > first.n_rows_before else f"{first.n_rows:,}"
    )
    caption = f"{log.n_new:,} new rows by {log.method}{', norms matched' if log.match_norm else ''}; {grown} rows"
    rows = [
        [
            f"{_TOLD.get(table.name, table.name)}, {group.kind}: {group.made_by}",
            f"{group.n_rows:,}",
            *(shown(value, ".4f") for value in (group.norm_mean, group.norm_median)),
        ]
        for table in log.tables
        for group in table.groups
        if group.n_rows
    ]
    return PlainTable(
        caption=caption, headers=("table, whose rows: made by", "rows", "mean\nnorm", "median\nnorm"), rows=rows
    )


TableName: TypeAlias = Literal["input", "output", "both", "bias"]

#: A row that no token has must not be drawn when text is sampled, and servers do sample from such rows (vLLM 13175).
#: With the mean of all base rows (and biases) its logit is the mean of the base tokens' logits, so by Jensen's
#: inequality its probability is at most 1 / their number: never above that of a token of average probability. A row of
#: zeros has logit 0, which is the highest of all where a model's logits are negative.
PADDING_WORDS = "mean of all base rows"


@torch.no_grad()
@memory_guard(
    "the new rows are made",
    lambda: (
        "Tables that grow are there twice: 16-bit weights take half (--precision bf16; for init: --dtype bfloat16)."
    ),
)
def init_model(
    model: "PreTrainedModel", extension: Extension, *, method: InitMethod, match_norm: bool, seed: int
) -> InitLog:
    """Give the new tokens of `extension` their rows, in place.

    Input and output table apart, each by its rule (`methods.RULES`); the head's bias, where there is one, is made as
    one more column of the output table by the same rule: normal with the biases' own standard deviation, the mean of
    all, the (weighted) mean over the base ids, or that of the first. A tied model has one table, made by the input
    rule, and stays tied. Rows of base tokens and padding rows that were there stay bit for bit.

    Args:
        match_norm: rescale each new row (not its bias) to the average norm of its base ids' rows in the same table.
        seed: of the rule "normal"; input and output rows are drawn apart.

    Raises:
        ModelError: the tables do not fit the extension, or the model has tables by token of another kind.
    """
    layout = layout_of(model)
    n_rows_before = len(model.get_parameter(layout.embeddings))
    extension.check(n_rows_before, type(model).__name__)
    _refuse_other_tables(model)
    if (n_rows := extension.n_rows_of_table(n_rows_before)) > n_rows_before:
        _grow(model, n_rows, model.get_parameter(layout.embeddings).device)
    targets = _targets(layout, method, seed, match_norm=match_norm)
    in_order = sorted(zip(extension.new_ids, extension.base_ids, extension.base_n_bytes, strict=True))
    tokens = [NewToken(id=index, base_ids=base_ids, n_bytes=n_bytes) for index, base_ids, n_bytes in in_order]
    return InitLog(
        method=method,
        match_norm=match_norm,
        seed=seed,
        n_new=len(tokens),
        tables=tuple(
            _fill(model.get_parameter(target.parameter), target, extension, tokens, n_rows_before) for target in targets
        ),
        notes=tuple(_notes(extension, targets, method)),
    )


@dataclass(frozen=True, kw_only=True)
class _Target:
    """A table to fill; parameter: its name in the model."""

    name: TableName
    parameter: str
    rule: Rule
    seed: int
    match_norm: bool


def _targets(layout: ModelLayout, method: InitMethod, seed: int, *, match_norm: bool) -> list[_Target]:
    """Each table has random numbers of its own, so that no two share rows and none moves another."""
    rules = RULES[method]
    output = rules.input if layout.is_tied else rules.output
    # A bias has no norm to keep.
    of_bias: Rule = "base-ids" if output == "base-ids-at-norm" else output
    found: list[tuple[TableName, str | None, Rule, bool]] = [
        ("both" if layout.is_tied else "input", layout.embeddings, rules.input, match_norm),
        ("output", layout.head, output, match_norm),
        ("bias", layout.head_bias, of_bias, False),
    ]
    return [
        _Target(name=name, parameter=parameter, rule=rule, seed=3 * seed + number, match_norm=matches)
        for number, (name, parameter, rule, matches) in enumerate(found)
        if parameter is not None
    ]


def _fill(
    parameter: Tensor, target: _Target, extension: Extension, tokens: Sequence[NewToken], n_rows_before: int
) -> TableLog:
    # A bias is a table of width 1: a view of it, so that writing rows writes the bias.
    table = parameter.data if parameter.dim() == 2 else parameter.data[:, None]
    norm_ids, of_script = extension.norm_rows()
    base = measure(table, extension.base_tokens, norm_ids)
    generator = torch.Generator().manual_seed(target.seed)
    make_rows(table, target.rule, tokens, base, generator, match_norm=target.match_norm)
    new = [token.id for token in tokens]
    taken = {*new, *extension.base_tokens}
    kept = [index for index in range(n_rows_before) if index not in taken]
    padding = [index for index in range(n_rows_before, len(table)) if index not in taken]
    if padding:
        table[torch.tensor(padding, device=table.device)] = base.mean_D.to(table.dtype)
    return TableLog(
        name=target.name,
        parameter=target.parameter,
        width=table.shape[1],
        n_rows_before=n_rows_before,
        n_rows=len(table),
        standard_deviation=base.standard_deviation,
        norm=NormLog(rows="target script" if of_script else "base ids", n_rows=len(norm_ids), norm=base.norm)
        if target.rule == "base-ids-at-norm"
        else None,
        groups=(
            row_group(table, extension.base_tokens, "base", "kept"),
            row_group(table, new, "new", _in_words(target)),
            row_group(table, kept, "padding", "kept"),
            row_group(table, padding, "padding", PADDING_WORDS),
        ),
    )


def _in_words(target: _Target) -> str:
    words = RULE_WORDS[target.rule]
    return f"{words}, norm matched" if target.match_norm and target.rule != "base-ids-at-norm" else words


def _grow(model: "PreTrainedModel", n_rows: int, device: torch.device) -> None:
    """Make tables, bias and config of more rows; what stands in the new ones is overwritten."""
    # transformers fills new rows from the global generator, which a training after this must find as it was.
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        model.resize_token_embeddings(n_rows, mean_resizing=False)


def _refuse_other_tables(model: "PreTrainedModel") -> None:
    """Some models have a second input row per token, which no rule here makes."""
    config = model.config.get_text_config()
    if (n_rows := getattr(config, "vocab_size_per_layer_input", None)) is not None:
        raise ModelError(
            f"{type(model).__name__}: has per-layer embeddings (vocab_size_per_layer_input = {n_rows:,} in "
            "config.json), a second table by token that no method fills. Adapt a model without one."
        )


def _notes(extension: Extension, targets: Sequence[_Target], method: InitMethod) -> list[str]:
    notes = []
    rescales = any(target.rule == "base-ids-at-norm" or target.match_norm for target in targets)
    if targets[0].name == "both":
        if RULES[method].input != RULES[method].output:
            notes.append(
                f"The model is tied: its one table is made by the input rule of {method}; the output rule has no table."
            )
        if method == "decompose-head":
            notes.append("So all new rows are drawn at random; decompose makes them of their base ids' rows.")
        if rescales:
            notes.append(TIED_NORM_NOTE)
    if any(target.rule == "base-ids-at-norm" for target in targets):
        notes.append(_norm_note(extension))
    return notes


#: Korean bits per byte before training of SmolLM2-135M-Instruct, which is tied (docs/explanation/training.md).
TIED_NORM_NOTE = (
    "The model is tied, so rescaled rows are output rows too: longer ones give new tokens larger logits everywhere, "
    "and the model may start worse than with plain means. Compare them by a short run: vocabopt probe."
)


def _norm_note(extension: Extension) -> str:
    ids, of_script = extension.norm_rows()
    scripts = ", ".join(extension.scripts)
    if of_script:
        return f"Norm of the new rows: the median of {len(ids):,} base rows of {scripts}."
    why = "there is no target script"
    if scripts:
        why = f"of {scripts} there are {len(extension.script_ids):,} rows, and {MIN_NORM_ROWS} are needed"
    return f"Norm of the new rows: the median of the {len(ids):,} base rows that they are made of; {why}."

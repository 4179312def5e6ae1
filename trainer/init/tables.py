"""Giving new tokens their rows in a model's tables: the tables grow where they must, and rows are set by id.

Models that scale their embeddings (Gemma multiplies them with the square root of the width) need nothing special: the
factor is the same for every row and comes after the lookup, so the mean of stored rows is the mean of scaled ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import torch
from torch import Tensor

from trainer.init.extension import MIN_NORM_ROWS, Extension
from trainer.init.log import InitLog, NormLog, TableLog, row_group
from trainer.init.methods import RULE_WORDS, RULES, InitMethod, Rule
from trainer.init.rows import NewToken, make_rows, measure
from trainer.layout import ModelLayout, layout_of
from trainer.out_of_memory import memory_guard
from vocabopt.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

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


#: Korean bits per byte before training of SmolLM2-135M-Instruct, which is tied: docs/adapt.md has the table.
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

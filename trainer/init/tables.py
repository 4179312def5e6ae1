"""New rows in a model's tables: tables grow where they must, and rows are set by id, one rule at a time, in float32.

The methods are pairs of rules, one for the input table and one for the output table:

random, mean, decompose-embedding, decompose-head, decompose   RedWhale (arXiv 2408.11294); the last is its best
eeve                                                           EEVE (arXiv 2402.14714)
weighted                                                       Beyond Initialization Loss (arXiv 2608.03494)
distill                                                        begins with these rows; distill.py learns the input rows

Models that scale their embeddings (Gemma multiplies them with the square root of the width) need nothing special: the
factor is the same for every row and comes after the lookup, so the mean of stored rows is the mean of scaled ones.

A new token may have the id of a base token that it replaces (a swap). All new rows are made before the first is
written, since any may be made of rows that others replace.

Shapes: V rows of the table, N new tokens (of a chunk), K base ids of one new token, D width.
Memory: the new rows once more in the table's type, a chunk of them in float32; never a second table.
"""

import math
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor

from trainer.init.extension import MIN_NORM_ROWS, Extension
from trainer.init.norms import calibrated, calibration_of, rescaled, row_norms
from trainer.layout import ModelLayout, layout_of
from trainer.options import InitMethod
from trainer.out_of_memory import memory_guard
from trainer.row_options import CalibratedTables
from vocabopt.errors import ModelError
from vocabopt.training_record import InitLog, NormLog, RowGroup, TableLog

if TYPE_CHECKING:
    from transformers import PreTrainedModel


#: normal: drawn, mean 0, the standard deviation of the base tokens' rows. mean: of all base tokens' rows. base-ids:
#: mean of the rows of the token's base ids. first-base-id: the row of the first of them. base-ids-by-bytes: their
#: mean, each weighted with its bytes of text. base-ids-at-norm: their mean, rescaled to the median norm of base rows
#: of the target's text (`norm_rows`).
Rule: TypeAlias = Literal["normal", "mean", "base-ids", "first-base-id", "base-ids-by-bytes", "base-ids-at-norm"]
#: What a table of the log says of rows made by each rule.
_RULE_WORDS: Mapping[Rule, str] = {
    "normal": "drawn from a normal distribution",
    "mean": "mean of all base rows",
    "base-ids": "mean of their base ids' rows",
    "first-base-id": "row of their first base id",
    "base-ids-by-bytes": "mean of their base ids' rows, by bytes",
    "base-ids-at-norm": "mean of their base ids' rows, at the norm of the target's rows",
}
#: Of the input table, and of the output table with its bias. A tied model has one table: the input rule.
_RULES: Mapping[InitMethod, tuple[Rule, Rule]] = {
    "random": ("normal", "normal"),
    "mean": ("mean", "mean"),
    "decompose-embedding": ("base-ids", "normal"),
    "decompose-head": ("normal", "base-ids"),
    "decompose": ("base-ids", "base-ids"),
    "eeve": ("base-ids", "first-base-id"),
    "weighted": ("base-ids-at-norm", "base-ids-by-bytes"),
    "distill": ("base-ids-at-norm", "base-ids-by-bytes"),
}
#: Rows made at a time. It is part of the result: random rows are drawn chunk by chunk.
_CHUNK_ROWS = 1024
#: A row that no token has must not be drawn when text is sampled, and servers do sample from such rows (vLLM 13175).
#: With the mean of all base rows (and biases) its logit is the mean of the base tokens' logits, so by Jensen's
#: inequality its probability is at most 1 / their number: never above that of a token of average probability. A row of
#: zeros has logit 0, which is the highest of all where a model's logits are negative.
_PADDING_WORDS = "mean of all base rows"
#: Korean bits per byte before training of SmolLM2-135M-Instruct, which is tied (docs/explanation/training.md).
_TIED_NORM_NOTE = (
    "The model is tied, so rescaled rows are output rows too: longer ones give new tokens larger logits everywhere, "
    "and the model may start worse than with plain means. Compare them by a short run: vocabopt probe."
)


class _NewToken(NamedTuple):
    """id: the row to make. base_ids: the base's encoding of its text. n_bytes: text of each base id."""

    id: int
    base_ids: Sequence[int]
    n_bytes: Sequence[int]
    text: bytes


class _Target(NamedTuple):
    """A table to fill. match_norm, calibrates: what sets the norm of its new rows, behind the rule."""

    name: Literal["input", "output", "both", "bias"]
    parameter: str | None
    rule: Rule
    match_norm: bool
    calibrates: bool


@torch.no_grad()
@memory_guard(
    "the new rows are made",
    lambda: (
        "Tables that grow are there twice: 16-bit weights take half (--precision bf16; for init: --dtype bfloat16)."
    ),
)
def init_model(
    model: "PreTrainedModel",
    extension: Extension,
    *,
    method: InitMethod,
    match_norm: bool,
    calibrate_norms: CalibratedTables = "none",
    seed: int,
) -> InitLog:
    """Give the new tokens of `extension` their rows, in place.

    Input and output table apart, each by its rule; the head's bias, where there is one, is made as one more column of
    the output table by the same rule: normal with the biases' own standard deviation, the mean of all, the (weighted)
    mean over the base ids, or that of the first. A tied model has one table, made by the input rule, and stays tied.
    Rows of kept base tokens and padding rows that were there stay bit for bit. Where no new id lies behind the table,
    the model keeps its size, and its config stays as it is.

    Args:
        method: distill gives the rows that `learn_rows` begins with.
        match_norm: rescale each new row (not its bias) to the average norm of its base ids' rows in the same table.
        calibrate_norms: tables whose new rows get the norm of base rows with as long a text; any is the one table of a
            tied model.
        seed: of the rule "normal"; input and output rows are drawn apart.

    Raises:
        ModelError: the tables do not fit the extension, the model has tables by token of another kind, or its config
            names an id of a new token as bos, eos, pad or the like.
    """
    layout = layout_of(model)
    n_rows_before = len(model.get_parameter(layout.embeddings))
    extension.check(n_rows_before, type(model).__name__)
    per_layer = getattr(model.config.get_text_config(), "vocab_size_per_layer_input", None)
    if per_layer is not None:
        raise ModelError(
            f"{type(model).__name__}: has per-layer embeddings (vocab_size_per_layer_input = {per_layer:,} in "
            "config.json), a second table by token that no method fills. Adapt a model without one."
        )
    _check_named_ids(model, extension)
    if (n_rows := extension.n_rows_of_table(n_rows_before)) > n_rows_before:
        device = model.get_parameter(layout.embeddings).device
        # transformers fills new rows from the global generator, which a training after this must find as it was.
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            model.resize_token_embeddings(n_rows, mean_resizing=False)
    input_rule, output_rule = _RULES[method]
    if layout.is_tied:
        output_rule = input_rule
    of_input = calibrates_input(calibrate_norms, layout)
    bias_rule = "base-ids" if output_rule == "base-ids-at-norm" else output_rule
    targets = (
        _Target("both" if layout.is_tied else "input", layout.embeddings, input_rule, match_norm, of_input),
        _Target("output", layout.head, output_rule, match_norm, calibrate_norms in ("output", "both")),
        # A bias has no norm to keep.
        _Target("bias", layout.head_bias, bias_rule, False, False),
    )
    # Ordered by id, so that the order in which they were found moves nothing.
    in_order = sorted(zip(extension.new_ids, extension.base_ids, extension.base_n_bytes, extension.texts, strict=True))
    tokens = [_NewToken(*token) for token in in_order]
    logs = []
    for number, target in enumerate(targets):
        if target.parameter is not None:
            # Each table has random numbers of its own, so that no two share rows and none moves another.
            generator = torch.Generator().manual_seed(3 * seed + number)
            logs.append(
                _fill(model.get_parameter(target.parameter), target, extension, tokens, n_rows_before, generator)
            )
    return InitLog(
        method=method,
        match_norm=match_norm,
        seed=seed,
        n_new=len(tokens),
        n_reused=len(extension.base_tokens) - len(extension.kept_tokens),
        tables=tuple(logs),
        notes=tuple(
            _notes(
                extension,
                method,
                match_norm or of_input,
                {target.rule for target in targets if target.parameter and not target.calibrates},
                layout,
            )
        ),
    )


def calibrates_input(tables: CalibratedTables, layout: ModelLayout) -> bool:
    """Whether the input table's new rows are calibrated; it is the output table too where the model is tied."""
    return tables in ("input", "both") or (layout.is_tied and tables == "output")


def _check_named_ids(model: "PreTrainedModel", extension: Extension) -> None:
    """Refuse new tokens at ids that the model's settings use: generation would stop at one, or padding look like it."""
    new = dict(zip(extension.new_ids, extension.texts, strict=True))
    of_files: dict[str, Any] = {
        "config.json": model.config.get_text_config(),
        "generation_config.json": model.generation_config,
    }
    for file, settings in of_files.items():
        for name, value in {} if settings is None else settings.to_dict().items():
            ids = value if isinstance(value, list) else [value]
            if (
                name.endswith("_token_id")
                and (taken := next((index for index in ids if index in new), None)) is not None
            ):
                raise ModelError(
                    f"{extension.place}: gives the id {taken} to the new token {new[taken]!r}, and the model's {file} "
                    f"names it as {name}. Where the model was not trained with it, name another id there; else sweep "
                    "with a base tokenizer that has this token as a special one."
                )


def _fill(
    parameter: Tensor,
    target: _Target,
    extension: Extension,
    tokens: Sequence[_NewToken],
    n_rows_before: int,
    generator: torch.Generator,
) -> TableLog:
    """Write the new tokens' rows, and those of no token that the table gained, in place; no other row changes.

    Args:
        generator: on the CPU, for the rule "normal": the same rows come out whatever device the table is on.
    """
    # A bias is a table of width 1: a view of it, so that writing rows writes the bias.
    table_VD = parameter.data if parameter.dim() == 2 else parameter.data[:, None]
    width, device = table_VD.shape[1], table_VD.device
    # Step 1: the base tokens' rows. Sums are float64, so that they do not depend on the size of a chunk.
    sum_D = torch.zeros(width, dtype=torch.float64)
    sum_of_squares = 0.0
    for rows_ND in _rows_in_chunks(table_VD, extension.base_tokens):
        exact_ND = rows_ND.double()
        sum_D += exact_ND.sum(0).cpu()
        sum_of_squares += float(exact_ND.square().sum())
    n_entries = len(extension.base_tokens) * width
    mean_D = (sum_D / len(extension.base_tokens)).float().to(device)
    # Of all entries about their mean.
    standard_deviation = max(0.0, sum_of_squares / n_entries - (float(sum_D.sum()) / n_entries) ** 2) ** 0.5
    norm_ids, of_script = extension.norm_rows()
    norm = _median(row_norms(table_VD, norm_ids))
    calibration = calibration_of(table_VD, extension) if target.calibrates else None
    # Step 2: the new rows, all of them made of the table as it was.
    made: list[Tensor] = []
    for start in range(0, len(tokens), _CHUNK_ROWS):
        chunk = tokens[start : start + _CHUNK_ROWS]
        # Each base id's share in the row. The rules that ignore base ids use it for the norm alone.
        ids_NK, weights_NK = _shares(chunk, target.rule, device)
        if target.rule == "normal":
            rows_ND = torch.randn(len(chunk), width, generator=generator).to(device) * standard_deviation
        elif target.rule == "mean":
            rows_ND = mean_D.repeat(len(chunk), 1)
        else:
            rows_ND = _average(table_VD, ids_NK, weights_NK)
        if calibration is not None:
            rows_ND = calibrated(rows_ND, (len(token.text) for token in chunk), calibration)
        elif target.rule == "base-ids-at-norm":
            rows_ND = rescaled(rows_ND, torch.full((len(chunk), 1), norm, device=device))
        elif target.match_norm:
            # Averaged as the row itself is: by bytes, or the first alone.
            rows_ND = rescaled(rows_ND, _average(table_VD, ids_NK, weights_NK, of_norms=True))
        made.append(rows_ND.to(table_VD.dtype))
    # Step 3: they are written by id, never as "the tail of the table".
    new = [token.id for token in tokens]
    if made:
        table_VD[torch.tensor(new, device=device)] = torch.cat(made)
    # Step 4: rows of no token.
    taken = {*new, *extension.base_tokens}
    kept = [index for index in range(n_rows_before) if index not in taken]
    padding = [index for index in range(n_rows_before, len(table_VD)) if index not in taken]
    if padding:
        table_VD[torch.tensor(padding, device=device)] = mean_D.to(table_VD.dtype)
    at_norm = target.rule == "base-ids-at-norm" and calibration is None
    words = _RULE_WORDS["base-ids" if target.rule == "base-ids-at-norm" and calibration else target.rule]
    if calibration is not None:
        words += ", norm calibrated"
    elif target.match_norm and not at_norm:
        words += ", norm matched"
    rows_from: Literal["target script", "base ids"] = "target script" if of_script else "base ids"
    assert target.parameter is not None
    return TableLog(
        name=target.name,
        parameter=target.parameter,
        width=width,
        n_rows_before=n_rows_before,
        n_rows=len(table_VD),
        standard_deviation=standard_deviation,
        norm=NormLog(rows=rows_from, n_rows=len(norm_ids), norm=norm) if at_norm else None,
        calibration=calibration,
        groups=(
            row_group(table_VD, extension.kept_tokens, "base", "kept"),
            row_group(table_VD, new, "new", words),
            row_group(table_VD, kept, "padding", "kept"),
            row_group(table_VD, padding, "padding", _PADDING_WORDS),
        ),
    )


def _shares(chunk: Sequence[_NewToken], rule: Rule, device: torch.device) -> tuple[Tensor, Tensor]:
    """Base ids and whole-number weights of each token [N, K]; behind its last base id, id 0 with weight 0."""
    width = max(len(token.base_ids) for token in chunk)
    ids, weights = [], []
    for token in chunk:
        n_ids = len(token.base_ids)
        own: Sequence[int] = [1] * n_ids
        if rule == "first-base-id":
            own = [1] + [0] * (n_ids - 1)
        elif rule == "base-ids-by-bytes":
            # In lowest terms: a single base id has weight 1, whatever its length.
            own = [n // math.gcd(*token.n_bytes) for n in token.n_bytes]
        padding = [0] * (width - n_ids)
        ids.append([*token.base_ids, *padding])
        weights.append([*own, *padding])
    return torch.tensor(ids, device=device), torch.tensor(weights, dtype=torch.float32, device=device)


def _average(table_VD: Tensor, ids_NK: Tensor, weights_NK: Tensor, *, of_norms: bool = False) -> Tensor:
    """Weighted mean of rows -> [N, D], or of their norms -> [N, 1].

    Base ids are summed one after another, in the order of the text, so that a row does not depend on the tokens it is
    made beside; one row of weight 1 comes out as it is, bit for bit.
    """
    sums_ND = torch.zeros(len(ids_NK), 1 if of_norms else table_VD.shape[1], device=table_VD.device)
    for ids_N, weights_N in zip(ids_NK.T, weights_NK.T, strict=True):
        has_weight = weights_N.nonzero()[:, 0]  # most tokens have few base ids
        rows_ND = table_VD.detach()[ids_N[has_weight]].float()
        addends = rows_ND.norm(dim=1, keepdim=True) if of_norms else rows_ND
        sums_ND.index_add_(0, has_weight, addends * weights_N[has_weight, None])
    return sums_ND / weights_NK.sum(1, keepdim=True)


def _rows_in_chunks(table_VD: Tensor, ids: Sequence[int]) -> Iterator[Tensor]:
    for start in range(0, len(ids), _CHUNK_ROWS):
        chunk = torch.tensor(list(ids[start : start + _CHUNK_ROWS]), device=table_VD.device)
        yield table_VD.detach()[chunk].float()


def _median(values: Tensor) -> float:
    """The middle value, or the mean of the two middle ones (torch's own median takes the lower of them)."""
    ordered = values.double().sort().values
    n = len(ordered)
    return float((ordered[(n - 1) // 2] + ordered[n // 2]) / 2)


def row_group(table_VD: Tensor, ids: Sequence[int], kind: Literal["base", "new", "padding"], made_by: str) -> RowGroup:
    """The rows with these ids as they are now."""
    norms = row_norms(table_VD, ids)
    return RowGroup(
        kind=kind,
        made_by=made_by,
        n_rows=len(ids),
        norm_mean=float(norms.double().mean()) if ids else None,
        norm_median=_median(norms) if ids else None,
    )


def _notes(
    extension: Extension, method: InitMethod, sets_norm: bool, rules: Set[Rule], layout: ModelLayout
) -> Iterator[str]:
    """Args:
    sets_norm: an option does, of the input table.
    rules: of the tables that the model has, where nothing else sets the norm.
    """
    at_norm = "base-ids-at-norm" in rules
    if layout.is_tied:
        input_rule, output_rule = _RULES[method]
        if input_rule != output_rule:
            yield (
                f"The model is tied: its one table is made by the input rule of {method}; the output rule has no table."
            )
        if method == "decompose-head":
            yield "So all new rows are drawn at random; decompose makes them of their base ids' rows."
        if at_norm or sets_norm:
            yield _TIED_NORM_NOTE
    if not at_norm:
        return
    ids, of_script = extension.norm_rows()
    scripts = ", ".join(extension.scripts)
    if of_script:
        yield f"Norm of the new rows: the median of {len(ids):,} base rows of {scripts}."
        return
    why = "there is no target script"
    if scripts:
        why = f"of {scripts} there are {len(extension.script_ids):,} rows, and {MIN_NORM_ROWS} are needed"
    yield f"Norm of the new rows: the median of the {len(ids):,} base rows that they are made of; {why}."

"""Input and embedding complexity at a vocabulary size.

RedWhale (arXiv 2408.11294) compares vocabularies by a Ratio of Input Complexity (tokens) and a Ratio of Embedding
Complexity (embedding parameters) and gives no formula. Ours, with k the number of added tokens:

    ratio_input(k)     = n_tokens(k) / n_tokens(0)
    ratio_embedding(k) = embedding parameters(k) / embedding parameters(0)
    embedding parameters(k) = rows(k) x hidden size x (1 tied, 2 untied)

The embedding ratio does not depend on the hidden size or on tying. Left out: position embeddings and everything
between the embedding and the output head, which do not change with the vocabulary.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from vocabopt.errors import OptionError
from vocabopt.model.spec import ModelSpec, load_model_spec, preset_for_base, spec_of_folder, tell_unused
from vocabopt.options import MAX_ADDED
from vocabopt.records import Point, SetTokens, TextSet
from vocabopt.text.sets import HELDOUT, TRAIN

if TYPE_CHECKING:
    from vocabopt.tokenizer import Tokenizer

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]

#: The paper's grid, in added tokens.
PAPER_SIZES = range(8_000, 40_001, 4_000)
N_EVEN_STEPS = 9


@dataclass(frozen=True, kw_only=True)
class SizeCurve:
    """The growth curve over sizes 0..end, the base first.

    n_tokens, n_used (added tokens in use), entropy_bits (of the token distribution; NaN where a set is empty): per set,
    [end + 1]. n_occurrences: [end], how often the token with rank k + 1 occurs in training text when it is added.
    n_chars: per set. exhausted: the text ran dry at `end`.
    """

    n_tokens: Mapping[str, Integers]
    n_used: Mapping[str, Integers]
    entropy_bits: Mapping[str, Floats]
    n_occurrences: Integers
    n_chars: Mapping[str, int]
    exhausted: bool

    @property
    def end(self) -> int:
        return len(self.n_occurrences)

    @property
    def decisive_set(self) -> str:
        """Held-out text; training text where too little was held out to have tokens."""
        return HELDOUT if self.n_tokens[HELDOUT][0] else TRAIN

    def ratio_input(self, text_set: str) -> Floats:
        """n_tokens(k) / n_tokens(0) over all sizes; empty for a set without tokens."""
        n_tokens = self.n_tokens[text_set]
        return n_tokens / n_tokens[0] if n_tokens[0] else np.zeros(0)


def size_curve(curve: pl.DataFrame, sets: Mapping[str, TextSet], exhausted_at: int | None) -> SizeCurve:
    """From curve.parquet and the `sets` of sweep.json."""

    def columns(kind: str, base: Mapping[str, float | None]) -> dict[str, NDArray[Any]]:
        """Per set the column, with the base's value before it."""
        return {
            name: np.insert(curve[f"{kind}_{name}"].to_numpy(), 0, np.nan if start is None else float(start))
            for name, start in base.items()
        }

    return SizeCurve(
        n_tokens=columns("n_tokens", {name: given.n_tokens_base for name, given in sets.items()}),
        n_used=columns("n_used", dict.fromkeys(sets, 0)),
        entropy_bits=columns("entropy_bits", {name: given.entropy_bits_base for name, given in sets.items()}),
        n_occurrences=occurrences(curve),
        n_chars={name: given.n_chars for name, given in sets.items()},
        exhausted=exhausted_at is not None,
    )


def occurrences(curve: pl.DataFrame) -> Integers:
    """How often each added token occurs in training text when it is added: what it saves, per token saved each time.

    A merge saves one token each time; a character that the base spells in n bytes saves n - 1.
    """
    per_time = pl.when(pl.col("kind") == "char").then(pl.col("bytes").bin.size().cast(pl.Int64) - 1).otherwise(1)
    return curve.select(pl.col("saving") // per_time).to_series().to_numpy().astype(np.int64)


@dataclass(frozen=True, kw_only=True)
class EmbeddingTable:
    """Rows of the embedding table at every size; `model` is None where nothing is known of the model."""

    base_n_tokens: int
    base_n_rows: int
    model: ModelSpec | None

    def n_rows(self, n_added: int) -> int:
        """Rows with `n_added` new tokens, which fill padding rows first: Qwen2.5 has 151,936 rows, 151,665 tokens."""
        return max(self.base_n_rows, self.base_n_tokens + n_added)

    def all_rows(self, end: int) -> Integers:
        """Rows at every size 0..end."""
        rows: Integers = np.maximum(self.base_n_rows, self.base_n_tokens + np.arange(end + 1))
        return rows

    def ratio(self, n_added: int) -> float:
        return self.n_rows(n_added) / self.base_n_rows

    def n_params(self, n_added: int) -> int | None:
        return self.model.n_embedding_params(self.n_rows(n_added)) if self.model else None


def chosen_table(model: ModelSpec, base_name: str, base_n_tokens: int) -> EmbeddingTable:
    """The table of a base in the model chosen with --model.

    Raises:
        OptionError: the model has fewer rows than the base has tokens.
    """
    if (wrong := _too_few_rows(model, base_name, base_n_tokens)) is not None:
        raise OptionError(f"--model {model.name}: {wrong}. Pass the model that this tokenizer belongs to.")
    return EmbeddingTable(base_n_tokens=base_n_tokens, base_n_rows=model.n_rows, model=model)


def _too_few_rows(model: ModelSpec, base_name: str, base_n_tokens: int) -> str | None:
    if model.n_rows >= base_n_tokens:
        return None
    return f"its embedding has {model.n_rows:,} rows, but the base {base_name} has {base_n_tokens:,} tokens"


def embedding_table(base: "Tokenizer", model: ModelSpec | None, *, model_is_chosen: bool) -> EmbeddingTable:
    """The table of this base in this model.

    Raises:
        OptionError: as `chosen_table`, of a model chosen with --model.
    """
    if model is not None and model_is_chosen:
        return chosen_table(model, base.name, base.n_tokens)
    if model is not None and (wrong := _too_few_rows(model, base.name, base.n_tokens)) is not None:
        tell_unused(model, wrong)
        model = None
    n_rows = base.n_tokens
    if base.model_n_rows is not None and base.model_n_rows >= base.n_tokens:
        n_rows = base.model_n_rows
    elif model is not None:
        n_rows = model.n_rows
    return EmbeddingTable(base_n_tokens=base.n_tokens, base_n_rows=n_rows, model=model)


def table_of_base(base: "Tokenizer", model: str | None) -> EmbeddingTable:
    """The table of the model named, else of the base's own config.json, else of its preset, else of the base alone.

    Raises:
        OptionError, ModelSpecError: as `embedding_table` and `load_model_spec`.
    """
    beside = spec_of_folder(base.model_config) if model is None and base.model_config is not None else None
    if beside is not None:
        return embedding_table(base, beside, model_is_chosen=False)
    name = model or preset_for_base(base.name)
    return embedding_table(base, load_model_spec(name) if name else None, model_is_chosen=model is not None)


def parse_sizes(value: str | None) -> tuple[int, ...] | None:
    """`8000:40000:4000` (start:stop:step, stop included) or `0,1000,5000`; None for the default grid.

    Raises:
        OptionError: neither form, or a size below 0.
    """
    if value is None:
        return None
    try:
        if ":" in value:
            start, stop, step = (int(part) for part in value.split(":"))
            sizes = list(range(start, min(stop, MAX_ADDED + 1) + 1, step))
        else:
            sizes = [int(part) for part in value.split(",")]
    except ValueError as error:
        raise OptionError(
            f"--sizes {value}: write start:stop:step (8000:40000:4000) or a list (0,1000,5000) of added tokens."
        ) from error
    if not sizes or min(sizes) < 0 or max(sizes) > MAX_ADDED:
        raise OptionError(
            f"--sizes {value}: needs at least one size, start before stop, none below 0 or above {MAX_ADDED:,}."
        )
    return tuple(sorted(set(sizes)))


def grid(sizes: tuple[int, ...] | None, exhausted_at: int | None, max_added: int) -> tuple[int, ...]:
    """The sizes to show, 0 included: those asked for; else the paper's; else, on a dry text, nine even steps."""
    if sizes is not None:
        return tuple(sorted({0, *sizes}))
    end = max_added if exhausted_at is None else exhausted_at
    if end >= PAPER_SIZES[-1]:
        return (0, *PAPER_SIZES)
    return tuple(sorted({round(end * step / N_EVEN_STEPS) for step in range(N_EVEN_STEPS + 1)}))


def points(
    sizes: Sequence[int], n_tokens: Mapping[str, Sequence[int] | Integers], table: EmbeddingTable
) -> tuple[Point, ...]:
    """One record per size. Sizes beyond the curve repeat its end and are marked `dry`.

    Args:
        n_tokens: per text set over all sizes 0..end.
    """
    end = min(map(len, n_tokens.values())) - 1
    return tuple(
        Point(
            n_added=n_added,
            n_rows_total=table.n_rows(reached),
            n_embedding_params=table.n_params(reached),
            dry=n_added > reached,
            sets={name: SetTokens(n_tokens=int(column[reached])) for name, column in n_tokens.items()},
        )
        for n_added in sizes
        for reached in [min(n_added, end)]
    )


def ratio(n_tokens: int, n_tokens_base: int) -> float | None:
    """n_tokens / n_tokens_base; None, not a number, for a set without tokens."""
    return n_tokens / n_tokens_base if n_tokens_base else None

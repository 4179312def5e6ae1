"""A model's config.json held against its weights: where they differ, the weights are believed, or it is refused."""

from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoConfig, PreTrainedConfig

from vocabopt.errors import ModelError
from vocabopt.model.weights import StoredTables, stored_tables

CONFIG = "config.json"
_DTYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16, "F64": torch.float64}


@dataclass(frozen=True, kw_only=True)
class CheckedConfig:
    """config: with the tying that the weights have. dtype: of the weights; None where their files do not tell.

    notes: sentences on what the weights say otherwise than config.json, and which was believed.
    """

    config: PreTrainedConfig
    dtype: torch.dtype | None
    notes: tuple[str, ...]


def checked_config(folder: Path) -> CheckedConfig:
    """Read a model's config, and hold it against its weights where these are in safetensors.

    Raises:
        ModelError: no config.json, one that transformers cannot read, or one of other tables or blocks than the
            weights.
    """
    if not (folder / CONFIG).is_file():
        raise ModelError(f"{folder}: holds no config.json. Name the folder of a Hugging Face model.")
    try:
        config: PreTrainedConfig = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # transformers raises a dozen unrelated kinds
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise ModelError(f"{folder / CONFIG}: transformers cannot read it ({reason}).") from error
    tables = stored_tables(folder)
    if tables is None:
        return CheckedConfig(config=config, dtype=None, notes=())
    _check(config, tables, folder)
    notes = []
    if is_said_tied(config) and tables.is_untied():
        untie(config)
        assert tables.output is not None, "an untied model has one"
        notes.append(
            f"{folder}: config.json says tie_word_embeddings true; the weights hold an output table of their own "
            f"({tables.output.name}), which differs from the input table. The weights are believed: the model is "
            "untied, and what is written says tie_word_embeddings false."
        )
    dtype, said = _DTYPES.get(tables.dtype), getattr(config, "dtype", None)
    if dtype is not None and isinstance(said, torch.dtype) and dtype != said:
        notes.append(
            f"{folder}: config.json says {_name(said)}; the weights are {_name(dtype)}. The weights are believed."
        )
    return CheckedConfig(config=config, dtype=dtype, notes=tuple(notes))


def _check(config: PreTrainedConfig, tables: StoredTables, folder: Path) -> None:
    text = config.get_text_config()
    # Blocks that predict further tokens (DeepSeek V3) lie behind the model's own.
    counts_blocks = not getattr(text, "num_nextn_predict_layers", None)
    n_blocks = getattr(text, "num_hidden_layers", None) if counts_blocks else None
    if (wrong := tables.contradiction(n_rows=int(text.vocab_size), n_blocks=n_blocks)) is not None:
        raise ModelError(f"{folder}: {wrong}")


def refuse_quantized(config: PreTrainedConfig, folder: Path) -> None:
    """Rows cannot be added to packed weights, and transformers cannot write them.

    Raises:
        ModelError: config.json says that the weights are quantised.
    """
    settings = getattr(config, "quantization_config", None)
    if settings is not None:
        method = settings.get("quant_method") if isinstance(settings, dict) else None
        raise ModelError(
            f"{folder}: config.json says that its weights are quantised ({method or 'quantization_config'}), and new "
            "rows cannot be added to such weights. Name the model in 16 or 32 bits; where this one is, take "
            "quantization_config out of its config.json."
        )


def is_said_tied(config: PreTrainedConfig) -> bool:
    return bool(getattr(config, "tie_word_embeddings", False))


def untie(config: PreTrainedConfig) -> None:
    """In the config and, for a model of several parts, in that of its text."""
    config.tie_word_embeddings = False
    config.get_text_config().tie_word_embeddings = False


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")

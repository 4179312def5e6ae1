"""What is planned for: the model's config by preset or file, and the rows that its tables get."""

import copy
from pathlib import Path
from typing import Any

from transformers import AutoConfig, PreTrainedConfig

from trainer.init.models import CONFIG, checked_config
from trainer.options import DEFAULT_CONTEXT
from vocabopt.errors import ModelSpecError, OptionError
from vocabopt.merging.extension import read_extension
from vocabopt.model.spec import ModelSpec, load_model_spec
from vocabopt.run_directory import read_sweep
from vocabopt.swap.record import read_swap_record
from vocabopt.tokenizer import load_base

#: Model type of a preset by its name's first part, and what its config says besides the widths.
_FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "solar": ("llama", {}),
    "llama": ("llama", {}),
    "mistral": ("mistral", {"sliding_window": None}),
    "qwen2.5": ("qwen2", {}),
    "gpt2": ("gpt2", {}),
    "gemma": ("gemma2", {}),
}
#: Rotary positions have no end: a preset's context is not held against its config.
_NO_END = 1 << 20


def read_config(value: str) -> tuple[PreTrainedConfig, ModelSpec]:
    """MODEL: a preset, a config.json, or a folder that holds one.

    Weights in the folder of a config.json are believed where they say otherwise (`checked_config`).

    Raises:
        ModelSpecError: there is none, or transformers does not know its kind.
        ModelError: weights in its folder contradict it.
    """
    try:
        spec = load_model_spec(value)
    except ModelSpecError as error:
        raise ModelSpecError(str(error).replace("--model ", "MODEL ", 1)) from error
    if spec.source == "preset":
        return _preset_config(spec), spec
    if (path := Path(spec.source)).name == CONFIG:
        return checked_config(path.parent).config, spec
    try:
        config = AutoConfig.from_pretrained(spec.source, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelSpecError(f"{spec.source}: transformers cannot read this config ({reason}).") from error
    return config, spec


def _preset_config(spec: ModelSpec) -> PreTrainedConfig:
    shape = spec.architecture
    assert shape is not None, "presets have their architecture"
    model_type, extra = next(family for name, family in _FAMILIES.items() if spec.name.startswith(name))
    fields: dict[str, Any] = {
        "vocab_size": spec.n_rows,
        "hidden_size": spec.hidden_size,
        "num_hidden_layers": shape.n_layers,
        "num_attention_heads": shape.n_heads,
        "tie_word_embeddings": spec.tied_embeddings,
    }
    if model_type != "gpt2":
        fields |= {
            "num_key_value_heads": shape.n_kv_heads,
            "head_dim": shape.head_dim,
            "intermediate_size": shape.mlp_width,
            "max_position_embeddings": _NO_END,
        }
    config: PreTrainedConfig = AutoConfig.for_model(model_type, **fields, **extra)
    return config


def read_vocabulary(
    spec: ModelSpec, *, run: Path | None, tokenizer: Path | None, n_added: int | None
) -> tuple[int, int]:
    """Rows of the tables after adaptation, and how many of them are new.

    They are what a sweep chose, what a merged tokenizer needs, or what so many added tokens take.

    Raises:
        OptionError: not just one is named; the model has fewer rows than the tokenizer that is extended has tokens.
        RunDirectoryError, BaseTokenizerError: the folder holds no sweep (and its swap), or no tokenizer.
    """
    if sum(value is not None for value in (run, tokenizer, n_added)) != 1:
        raise OptionError(
            "Name what is added: --run DIR (a sweep's folder), --tokenizer TOK, or --added N; one of them."
        )
    if n_added is not None:
        if n_added < 0:
            raise OptionError(f"--added {n_added}: must be at least 0.")
        # How many of the model's rows are padding is not known here: all are taken as filled.
        return spec.n_rows + n_added, n_added
    folder = tokenizer or run
    assert folder is not None
    merged, pad_to = folder if run is None else folder / "tokenizer", 1
    if (merged / "extension.json").is_file():
        record = read_extension(merged, next_step="Run `vocabopt merge` again.")
        n_added, pad_to, source = record.n_added, record.pad_to or 1, str(merged)
        n_base, n_tokens = record.first_id, record.n_tokens
    elif run is not None:
        sweep = read_sweep(run)
        n_base, n_added, source = sweep.base.n_tokens, sweep.choice.n_added, f"the choice of {run}"
        n_tokens = n_base + n_added
        if sweep.method == "swap":
            n_added, n_tokens = read_swap_record(run, sweep.curve_sha256).choice.n_swapped, n_base
    else:
        # What the tokenizer has more than the model's own, or than the model has rows.
        n_tokens, beside = load_base(str(folder)).n_tokens, Path(spec.source).parent
        has_own = spec.source != "preset" and any(
            (beside / name).is_file() for name in ("tokenizer.json", "tokenizer.model", "tekken.json")
        )
        n_base = load_base(str(beside)).n_tokens if has_own else min(spec.n_rows, n_tokens)
        if n_tokens < n_base:
            raise OptionError(
                f"--tokenizer {folder}: has {n_tokens:,} tokens, the model's own {n_base:,}: it does not extend it. "
                "Name a tokenizer that `vocabopt merge` wrote."
            )
        n_added, source = n_tokens - n_base, str(folder)
    if spec.n_rows < n_base:
        raise OptionError(
            f"MODEL {spec.name}: its embedding has {spec.n_rows:,} rows, but the tokenizer that {source} extends has "
            f"{n_base:,} tokens. Give the model that this tokenizer belongs to."
        )
    n_rows = max(spec.n_rows, n_tokens)
    return -(-n_rows // pad_to) * pad_to, n_added


def with_rows(config: PreTrainedConfig, n_rows: int) -> PreTrainedConfig:
    """The config with tables of so many rows."""
    config = copy.deepcopy(config)
    config.get_text_config().vocab_size = n_rows
    config.vocab_size = n_rows
    return config


def checked_context(asked: int | None, config: PreTrainedConfig, model: str) -> int:
    """The length of a sequence: the default where none was asked for, and no more than the model's positions.

    Raises:
        OptionError: more was asked for.
    """
    positions = getattr(config.get_text_config(), "max_position_embeddings", None)
    positions = positions if isinstance(positions, int) else None  # None: the config does not say
    if asked is None:
        return DEFAULT_CONTEXT if positions is None else min(DEFAULT_CONTEXT, positions)
    if positions is not None and asked > positions:
        raise OptionError(
            f"--context {asked}: {model} has {positions:,} positions (max_position_embeddings in its config.json). "
            f"Give at most {positions}, or leave the option out."
        )
    return asked

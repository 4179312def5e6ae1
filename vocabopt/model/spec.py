"""The model whose embedding parameters are counted: a preset, or what its config.json says."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vocabopt.errors import ModelError, ModelSpecError, did_you_mean, tell
from vocabopt.failures import refusal
from vocabopt.model.architecture import Architecture, read_architecture
from vocabopt.model.weights import stored_tables
from vocabopt.text.utf8 import json_value, read_utf8


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """What the embedding parameters of a model depend on, and its architecture where that is known."""

    name: str
    hidden_size: int
    n_rows: int  # rows of the embedding table: the config's vocab_size, padding included
    tied_embeddings: bool  # one table for input and output
    source: str  # "preset", or the path of the config.json
    architecture: Architecture | None = None

    def n_embedding_params(self, n_rows: int) -> int:
        """Embedding parameters with `n_rows` rows: input table, and output table unless it is the same one."""
        return n_rows * self.hidden_size * (1 if self.tied_embeddings else 2)


def _preset(name: str, n_rows: int, *widths: int, tied: bool = False, n_mlp_matrices: int = 3) -> ModelSpec:
    """widths: hidden size, layers, heads, KV heads, head size, width of the feed-forward."""
    hidden_size, n_layers, n_heads, n_kv_heads, head_dim, mlp_width = widths
    architecture = Architecture(
        hidden_size=hidden_size,
        n_layers=n_layers,
        n_heads=n_heads,
        n_kv_heads=n_kv_heads,
        head_dim=head_dim,
        mlp_width=mlp_width,
        n_mlp_matrices=n_mlp_matrices,
        n_dense_layers=n_layers,
    )
    return ModelSpec(
        name=name,
        hidden_size=hidden_size,
        n_rows=n_rows,
        tied_embeddings=tied,
        source="preset",
        architecture=architecture,
    )


# From the config.json published with each model.
PRESETS = {
    spec.name: spec
    for spec in (
        _preset("solar-10.7b", 32_000, 4096, 48, 32, 8, 128, 14_336),
        _preset("llama-2-7b", 32_000, 4096, 32, 32, 32, 128, 11_008),
        _preset("llama-2-13b", 32_000, 5120, 40, 40, 40, 128, 13_824),
        _preset("mistral-7b", 32_000, 4096, 32, 32, 8, 128, 14_336),
        _preset("llama-3-8b", 128_256, 4096, 32, 32, 8, 128, 14_336),
        _preset("llama-3.2-1b", 128_256, 2048, 16, 32, 8, 64, 8192, tied=True),
        _preset("qwen2.5-0.5b", 151_936, 896, 24, 14, 2, 64, 4864, tied=True),
        _preset("qwen2.5-7b", 152_064, 3584, 28, 28, 4, 128, 18_944),
        _preset("gpt2", 50_257, 768, 12, 12, 12, 64, 3072, tied=True, n_mlp_matrices=2),
        _preset("gemma-2-2b", 256_000, 2304, 26, 8, 4, 256, 9216, tied=True),
    )
}

# Bases that go by another name than their preset, idle parts left out. Not Mistral v0.3: it has 32,768 rows.
_BASE_ALIASES = {
    "gpt-2": "gpt2",
    "llama-3.1-8b": "llama-3-8b",
    "mistral-7b-v0.1": "mistral-7b",
    "mistral-7b-v0.2": "mistral-7b",
    "mistral-7b-v1": "mistral-7b",
    "solar-10.7b-v1.0": "solar-10.7b",
}

# Parts of a model's name that leave its embeddings alone: Meta-Llama-3-8B-Instruct, Llama-2-7b-chat-hf, gemma-2-2b-it.
_IDLE_NAME_PARTS = {"base", "chat", "hf", "instruct", "it", "meta"}

_HIDDEN_SIZE_FIELDS = ("hidden_size", "n_embd", "d_model", "n_embed")

# The text models that tie when config.json does not say, as transformers 5 has it (config files of transformers 4 leave
# a true tie_word_embeddings out). All others, and those it does not know, are untied there.
_TIED_BY_DEFAULT = (
    "bloom", "cohere", "cohere2", "ernie4_5", "falcon", "gemma", "gemma2", "gemma3", "gemma3_text", "gemma3n",
    "gemma3n_text", "gemma4", "gemma4_text", "gpt2", "gpt_bigcode", "gpt_neo", "lfm2", "mpt", "opt", "smollm3",
    "starcoder2",
)  # fmt: skip


def preset_for_base(base_name: str) -> str | None:
    """The preset of a base tokenizer's model, by name, hub id or folder; None when the name says too little."""
    # The part of a hub id that names the model: "meta-llama/Meta-Llama-3-8B-Instruct" -> "llama-3-8b".
    parts = Path(base_name).name.lower().split("-")
    name = "-".join(part for part in parts if part not in _IDLE_NAME_PARTS)
    name = _BASE_ALIASES.get(name, name)
    return name if name in PRESETS else None


def load_model_spec(value: str) -> ModelSpec:
    """`--model`: a preset, a config.json, a folder that holds one, or a GGUF. A preset wins over a folder of its name.

    Raises:
        ModelSpecError, BaseTokenizerError: there is no such model, or its file cannot be used.
    """
    if value.lower() in PRESETS:
        return PRESETS[value.lower()]
    path = Path(value)
    if path.is_dir() and not (path / "config.json").is_file():
        raise ModelSpecError(f"--model {value}: the folder holds no config.json. {_what_works()}")
    path = path / "config.json" if path.is_dir() else path
    if not path.is_file():
        meant = preset_for_base(value)
        hint = f"Did you mean {meant}? " if meant else did_you_mean(value.lower(), PRESETS)
        raise ModelSpecError(f"--model {value}: no such preset and no such file. {hint}{_what_works()}")
    if path.suffix.lower() == ".gguf":
        # Loads what reads tokenizers; no other model needs that.
        from vocabopt.model.gguf_config import config_of_gguf

        return _spec_of_config(config_of_gguf(path), path)
    return _spec_of_config(_read_config(path), path)


def spec_of_folder(config: Path) -> ModelSpec | None:
    """The model whose config.json lies beside a tokenizer; None where that names no widths, as a tokenizer's own does.

    Weights beside it that are damaged, or of another model, are told in a note: nothing but the parameters shown
    depends on them.

    Raises:
        ModelSpecError: the file is no JSON object, or a field of it cannot be used.
    """
    value = _read_config(config)
    parts = _parts(value)
    has_width = any(part.get(name) is not None for part in parts for name in _HIDDEN_SIZE_FIELDS)
    has_rows = any(part.get("vocab_size") is not None for part in parts)
    if has_width != has_rows:
        missing = "vocab_size" if has_width else f"{_HIDDEN_SIZE_FIELDS[0]} (nor {', '.join(_HIDDEN_SIZE_FIELDS[1:])})"
        tell(f"model {config}", f"{config}: field {missing} is missing, so this config.json is not used. {_NAME_ONE}")
    return _spec_of_config(value, config, needs_weights=False) if has_width and has_rows else None


_NAME_ONE = "To count the parameters of a model, name it with --model."


def tell_unused(spec: ModelSpec, reason: str) -> None:
    """Say why the model that lies beside a tokenizer, or that its name means, is not used."""
    place = f"preset {spec.name}" if spec.source == "preset" else spec.source
    tell(f"model {spec.source}", f"{place}: {reason}, so this model is not used. {_NAME_ONE}")


def _what_works() -> str:
    return (
        f"Give a path to a config.json or a GGUF, a folder that holds a config.json, or a preset: {', '.join(PRESETS)}."
    )


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json_value(read_utf8(path))
    except OSError as error:
        raise ModelSpecError(refusal(error, path, what="cannot be read")) from error
    except ValueError as error:  # JSONDecodeError and UnicodeDecodeError
        raise ModelSpecError(f"{path}: not JSON: {error}. {_what_works()}") from error
    if not isinstance(config, dict):
        raise ModelSpecError(f"{path}: a model's config is a JSON object, this is a {type(config).__name__}")
    return config


def _parts(config: dict[str, Any]) -> list[dict[str, Any]]:
    """A multimodal model keeps its text model in text_config; older ones leave part of it outside."""
    text = config.get("text_config")
    return [text, config] if isinstance(text, dict) else [config]


def _spec_of_config(config: dict[str, Any], path: Path, *, needs_weights: bool = True) -> ModelSpec:
    parts = _parts(config)
    hidden_size = _positive_int(parts, _HIDDEN_SIZE_FIELDS, path)
    n_rows = _positive_int(parts, ("vocab_size",), path)
    # A config says what was meant; weights beside it say what was trained.
    try:
        tables = stored_tables(path.parent) if path.name == "config.json" else None
        if tables is not None and (wrong := tables.contradiction(n_rows=n_rows, n_blocks=None)) is not None:
            raise ModelSpecError(f"{path.parent}: {wrong}")
    except (ModelError, ModelSpecError) as error:
        if needs_weights:
            raise
        tables = None
        tell(f"weights {path.parent}", f"{error} Tokens are counted all the same, parameters as config.json says.")
    return ModelSpec(
        name=path.resolve().parent.name if path.name == "config.json" else path.stem,
        hidden_size=hidden_size,
        n_rows=n_rows,
        tied_embeddings=_is_tied(parts, path) and not (tables is not None and tables.is_untied()),
        source=str(path),
        architecture=read_architecture({**config, **parts[0]}, hidden_size),
    )


def _positive_int(parts: list[dict[str, Any]], fields: tuple[str, ...], path: Path) -> int:
    """The first of `fields` that is set in the first part that sets one."""
    for part in parts:
        for field in fields:
            value = part.get(field)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ModelSpecError(f"{path}: field {field} is {value!r}, not a positive integer")
            return value
    also = f" (nor {', '.join(fields[1:])})" if fields[1:] else ""
    raise ModelSpecError(f"{path}: field {fields[0]} is missing{also}. Add it, or give a preset: {', '.join(PRESETS)}.")


def _is_tied(parts: list[dict[str, Any]], path: Path) -> bool:
    """Tied when either part says so: transformers 4 wrote it into text_config, transformers 5 writes it outside."""
    said = [part["tie_word_embeddings"] for part in parts if part.get("tie_word_embeddings") is not None]
    for value in said:
        if not isinstance(value, bool):
            raise ModelSpecError(f"{path}: field tie_word_embeddings is {value!r}, not true or false")
    if said:
        return any(said)
    return next((part["model_type"] for part in parts if "model_type" in part), None) in _TIED_BY_DEFAULT

"""Models on disk: loaded through transformers, and written in shards of safetensors, whole or not at all."""

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import torch

from trainer.init.folders import model_folder
from trainer.out_of_memory import is_out_of_memory, memory_guard, of_weights
from vocabopt.artifacts import share
from vocabopt.errors import ModelError, RunDirectoryError, TrainingError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

DtypeName: TypeAlias = Literal["auto", "float32", "bfloat16", "float16"]
#: Bytes of a file of weights: what the hub's own models have.
MAX_SHARD_BYTES = 5_000_000_000
#: A folder inside the target, where a model lies until it is whole.
PARTIAL = ".partial"
CONFIG = "config.json"
_CAUSAL = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")
_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")


def load_model(path: str | Path, *, dtype: "DtypeName | torch.dtype" = "auto") -> "PreTrainedModel":
    """A causal language model from its folder (or hub id), on the CPU.

    Weights stay in the files until they are used or changed, so that loading takes about no memory of its own.

    Args:
        dtype: of the weights; "auto" for that of the files.

    Raises:
        ModelError: no config.json, no or not all weights, not a causal language model, or transformers cannot load it.
    """
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig, AutoModelForCausalLM

    folder = model_folder(path)
    if not (folder / CONFIG).is_file():
        raise ModelError(f"{folder}: holds no config.json. Name the folder of a Hugging Face model.")
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # transformers raises a dozen unrelated kinds
        raise ModelError(f"{folder / CONFIG}: cannot be read ({_first_line(error)}).") from error
    architectures = config.architectures or []
    if architectures and not any(name.endswith(_CAUSAL) for name in architectures):
        raise ModelError(f"{folder / CONFIG}: architectures {architectures}: is not a causal language model. {_NEXT}")
    if MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None) is None:
        raise ModelError(f"{folder / CONFIG}: model_type {config.model_type}: is not a causal language model. {_NEXT}")
    if not any(True for pattern in _WEIGHTS for _ in folder.glob(pattern)):
        raise ModelError(f"{folder}: holds no weights (model.safetensors, or shards with their index). Fetch them.")
    try:
        with _no_progress():
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                folder, config=config, dtype=dtype, trust_remote_code=False, output_loading_info=True
            )
    except Exception as error:
        if is_out_of_memory(error):
            raise TrainingError(
                f"{folder}: out of memory while the model is loaded. {of_weights(_n_params(config), _HALVED)}"
            ) from error
        raise ModelError(f"{folder}: transformers cannot load it ({_first_line(error)}). Fetch it again.") from error
    model: PreTrainedModel = loaded[0]
    info = loaded[1]
    if missing := sorted(info["missing_keys"]):
        raise ModelError(
            f"{folder}: lacks {len(missing):,} of the model's weights ({', '.join(missing[:3])}), which transformers "
            "would fill at random. Fetch it again."
        )
    return model


def place_model(model: "PreTrainedModel", device: torch.device) -> "PreTrainedModel":
    """The model, moved to a device in place.

    Raises:
        TrainingError: the device has no memory for it.
    """
    n_params = sum(parameter.numel() for parameter in model.parameters())
    with memory_guard(f"the model is moved to {device}", lambda: of_weights(n_params, _HALVED)):
        torch.nn.Module.to(model, device)
    return model


def _n_params(config: Any) -> int:
    from trainer.memory.build import outline_of

    return outline_of(config).n_params


#: What halves the weights, in the words of the commands that load a model.
_HALVED = "--precision bf16; for init: --dtype bfloat16"
_NEXT = "Adapt one that AutoModelForCausalLM loads, such as Llama, Mistral, Qwen, Gemma or GPT-2."


def save_model(
    model: "PreTrainedModel",
    folder: Path,
    *,
    max_shard_size: int = MAX_SHARD_BYTES,
    files: Mapping[str, bytes] | None = None,
) -> None:
    """Write a model's folder: weights in shards of safetensors, config.json, generation_config.json.

    All is written into a folder inside the target first, and moved when whole; config.json comes last, so that a
    folder that holds one holds a whole model. A model that is there already is replaced by the new one.

    Args:
        max_shard_size: bytes of a shard at most; a single tensor that is larger has a shard of its own.
        files: more files of the folder, by their path in it: the tokenizer's.

    Raises:
        RunDirectoryError: the folder cannot be written, or the disk has no room; what was there is still whole.
    """
    n_bytes = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    partial = folder / PARTIAL
    try:
        partial.mkdir(parents=True, exist_ok=True)
        # Left by a run that was killed: shards of another number would travel along.
        shutil.rmtree(partial)
        partial.mkdir()
        if (n_free := shutil.disk_usage(partial).free) < n_bytes:
            raise OSError(f"{n_bytes / 1e9:,.1f} GB to write, {n_free / 1e9:,.1f} GB free")
        with _no_progress():
            model.save_pretrained(partial, max_shard_size=max_shard_size)
        for name, data in (files or {}).items():
            (partial / name).parent.mkdir(parents=True, exist_ok=True)
            (partial / name).write_bytes(data)
        _move(partial, folder)
    except Exception as error:  # safetensors has an error of its own for a full disk
        shutil.rmtree(partial, ignore_errors=True)
        raise RunDirectoryError(
            f"{folder}: the model cannot be written ({_first_line(error)}). Free room, or choose another folder."
        ) from error


def _move(partial: Path, folder: Path) -> None:
    written = sorted(path.relative_to(partial) for path in partial.rglob("*") if path.is_file())
    for path in written:
        share(partial / path)
        with (partial / path).open("rb") as file:
            os.fsync(file.fileno())
    # From here on the old model is not whole any more, and the new one not yet.
    (folder / CONFIG).unlink(missing_ok=True)
    for old in folder.glob("model*.safetensors*"):
        if old.relative_to(folder) not in written:
            old.unlink()
    for path in sorted(written, key=lambda path: path == Path(CONFIG)):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        os.replace(partial / path, folder / path)
    shutil.rmtree(partial)


@contextmanager
def _no_progress() -> Iterator[None]:
    """transformers draws bars of its own for every file."""
    from transformers.utils import logging

    was_enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if was_enabled:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def _first_line(error: Exception) -> str:
    text: Any = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text).strip().splitlines()[0].rstrip(".")

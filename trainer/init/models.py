"""Models from disk, through transformers."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import torch

from trainer.init.folders import model_folder
from trainer.out_of_memory import is_out_of_memory, memory_guard, of_weights
from vocabopt.errors import ModelError, TrainingError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

DtypeName: TypeAlias = Literal["auto", "float32", "bfloat16", "float16"]
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
        raise ModelError(f"{folder / CONFIG}: cannot be read ({first_line(error)}).") from error
    architectures = config.architectures or []
    if architectures and not any(name.endswith(_CAUSAL) for name in architectures):
        raise ModelError(f"{folder / CONFIG}: architectures {architectures}: is not a causal language model. {_NEXT}")
    if MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None) is None:
        raise ModelError(f"{folder / CONFIG}: model_type {config.model_type}: is not a causal language model. {_NEXT}")
    if not any(True for pattern in _WEIGHTS for _ in folder.glob(pattern)):
        raise ModelError(f"{folder}: holds no weights (model.safetensors, or shards with their index). Fetch them.")
    try:
        with no_progress():
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                folder, config=config, dtype=dtype, trust_remote_code=False, output_loading_info=True
            )
    except Exception as error:
        if is_out_of_memory(error):
            raise TrainingError(
                f"{folder}: out of memory while the model is loaded. {of_weights(_n_params(config), _HALVED)}"
            ) from error
        raise ModelError(f"{folder}: transformers cannot load it ({first_line(error)}). Fetch it again.") from error
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


def dtype_of(path: str | Path) -> torch.dtype:
    """What a model's weights are in: by its config.json, else by the first of its weights, as transformers takes it."""
    from safetensors import safe_open
    from transformers import AutoConfig

    folder = model_folder(path)
    said = getattr(AutoConfig.from_pretrained(folder, trust_remote_code=False), "dtype", None)
    if isinstance(said, torch.dtype):
        return said
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as weights:
            names = weights.keys()
            for name in names:
                dtype: torch.dtype = weights.get_tensor(name).dtype
                if dtype.is_floating_point:
                    return dtype
    return torch.float32


def _n_params(config: Any) -> int:
    from trainer.memory.build import outline_of

    return outline_of(config).n_params


#: What halves the weights, in the words of the commands that load a model.
_HALVED = "--precision bf16; for init: --dtype bfloat16"
_NEXT = "Adapt one that AutoModelForCausalLM loads, such as Llama, Mistral, Qwen, Gemma or GPT-2."


@contextmanager
def no_progress() -> Iterator[None]:
    """transformers draws bars of its own for every file."""
    from transformers.utils import logging

    was_enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if was_enabled:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def first_line(error: BaseException) -> str:
    text: Any = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text).strip().splitlines()[0].rstrip(".")

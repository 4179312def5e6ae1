"""Models from disk, through transformers."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from trainer.init.configs import CONFIG, checked_config, is_said_tied
from trainer.init.folders import model_folder
from trainer.options import DtypeName
from trainer.out_of_memory import is_out_of_memory, memory_guard, of_weights
from vocabopt.errors import ModelError, TrainingError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_CAUSAL = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")
#: Constants that older versions of transformers stored with the weights.
_BUFFERS = ("rotary_emb.inv_freq", ".attn.bias", ".attn.masked_bias", ".attention.bias", ".attention.masked_bias")
_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")


def load_model(path: str | Path, *, dtype: "DtypeName | torch.dtype" = "auto") -> "PreTrainedModel":
    """A causal language model from its folder (or hub id), on the CPU.

    Weights stay in the files until they are used or changed, so that loading takes about no memory of its own.

    Args:
        dtype: of the weights; "auto" for that of the files.

    Raises:
        ModelError: no config.json, one that its weights contradict, no or not all weights, not a causal language model,
            or transformers cannot load it.
    """
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoModelForCausalLM

    folder = model_folder(path)
    checked = checked_config(folder)
    config = checked.config
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
                folder,
                config=config,
                dtype=checked.dtype or dtype if dtype == "auto" else dtype,
                trust_remote_code=False,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # they are refused below, by name
            )
    except Exception as error:
        if is_out_of_memory(error):
            raise TrainingError(
                f"{folder}: out of memory while the model is loaded. {of_weights(_n_params(config), _HALVED)}"
            ) from error
        raise ModelError(f"{folder}: transformers cannot load it ({first_line(error)}). Fetch it again.") from error
    model: PreTrainedModel = loaded[0]
    info = loaded[1]
    if mismatched := sorted(info["mismatched_keys"]):
        name, stored, expected = mismatched[0]
        raise ModelError(
            f"{folder}: {name} has the shape {list(stored)} in the weights and {list(expected)} by config.json. "
            "Correct the config, or fetch the weights that belong to it."
        )
    _check_keys(model, sorted(info["missing_keys"]), sorted(info["unexpected_keys"]), folder)
    _check_tying(model, folder)
    return model


def _check_keys(model: "PreTrainedModel", missing: list[str], unexpected: list[str], folder: Path) -> None:
    """Refuse weights that are not there or have no place: transformers would make up these and drop those."""
    head: Any = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    named = dict(model.named_parameters())
    if head is not None and [named.get(name) is head.weight for name in missing] == [True]:
        raise ModelError(
            f"{folder}: config.json says tie_word_embeddings false, and the weights hold no output table "
            f"({missing[0]}). Where the model is tied, write true there; else fetch the weights again."
        )
    if missing:
        raise ModelError(
            f"{folder}: lacks {len(missing):,} of the model's weights ({', '.join(missing[:3])}), which transformers "
            "would fill at random. Fetch it again."
        )
    if dropped := [name for name in unexpected if not name.endswith(_BUFFERS)]:
        raise ModelError(
            f"{folder}: holds {len(dropped):,} weights that a {type(model).__name__} of this config.json has no place "
            f"for ({', '.join(dropped[:3])}), which transformers would drop. Correct the config, merge adapters, or "
            "take these weights out."
        )


def _check_tying(model: "PreTrainedModel", folder: Path) -> None:
    """Where weights are no safetensors, or name their tables otherwise, transformers alone has compared them."""
    inputs: Any = model.get_input_embeddings()
    outputs: Any = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    if is_said_tied(model.config) and outputs is not None and outputs.weight is not inputs.weight:
        raise ModelError(
            f"{folder}: config.json says tie_word_embeddings true; the weights hold an output table of their own, "
            "which differs from the input table. Write false there."
        )


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
    """What a model's weights are in: most of them, else what config.json says."""
    checked = checked_config(model_folder(path))
    said = getattr(checked.config, "dtype", None)
    return checked.dtype or (said if isinstance(said, torch.dtype) else torch.float32)


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

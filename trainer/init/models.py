"""Model folders: found here or on the hub, config held against the weights, loaded by transformers, written whole.

Where config.json and the weights differ, the weights are believed, or the model is refused.
"""

import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoConfig, PreTrainedConfig

from trainer.options import MAX_SHARD_BYTES, DtypeName
from trainer.out_of_memory import is_out_of_memory, memory_guard, of_weights
from vocabopt.amounts import shown_bytes
from vocabopt.errors import ModelError, RunDirectoryError, TrainingError
from vocabopt.failures import hub_reason
from vocabopt.folder import share, sync
from vocabopt.merging.extension import EXTENSION_JSON
from vocabopt.model.weights import stored_tables
from vocabopt.tokenizer.load import COMPANION_FILES, TEMPLATE_FOLDER, files_with_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel


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
    text = config.get_text_config()
    # Blocks that predict further tokens (DeepSeek V3) lie behind the model's own.
    counts_blocks = not getattr(text, "num_nextn_predict_layers", None)
    n_blocks = getattr(text, "num_hidden_layers", None) if counts_blocks else None
    if (wrong := tables.contradiction(n_rows=int(text.vocab_size), n_blocks=n_blocks)) is not None:
        raise ModelError(f"{folder}: {wrong}")
    notes = []
    if getattr(config, "tie_word_embeddings", False) and tables.is_untied():
        # A model of several parts has a config of its text.
        config.tie_word_embeddings = text.tie_word_embeddings = False
        assert tables.output is not None, "an untied model has one"
        notes.append(
            f"{folder}: config.json says tie_word_embeddings true; the weights hold an output table of their own "
            f"({tables.output.name}), which differs from the input table. The weights are believed: the model is "
            "untied, and what is written says tie_word_embeddings false."
        )
    dtype, said = _DTYPES.get(tables.dtype), getattr(config, "dtype", None)
    if dtype is not None and isinstance(said, torch.dtype) and dtype != said:
        notes.append(
            f"{folder}: config.json says {dtype_name(said)}; the weights are {dtype_name(dtype)}. The weights are "
            "believed."
        )
    return CheckedConfig(config=config, dtype=dtype, notes=tuple(notes))


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


def dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


_TRAVELLING = (*COMPANION_FILES, "added_tokens.json", "vocab.json", "merges.txt", EXTENSION_JSON)
#: What of a hub repository is fetched: weights in safetensors, config and tokenizer; no code.
_PATTERNS = ("*.json", "*.safetensors", "*.model", "*.tiktoken", "*.jinja", "merges.txt")


def model_folder(value: str | Path) -> Path:
    """The folder of a model: a local one, or a hub id's, downloaded.

    Raises:
        ModelError: there is none, or the hub does not give it.
    """
    path, name = Path(value), str(value)
    if path.is_dir():
        return path
    if path.exists() or not re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", name):
        raise ModelError(f"{name}: is no model's folder. Name one that holds config.json, or a hub id.")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=list(_PATTERNS)))
    except Exception as error:  # the hub's client raises a dozen unrelated kinds
        raise ModelError(
            f"{name}: is no folder here, and not to be had from the Hugging Face hub: {hub_reason(error)} Or "
            "name a folder here."
        ) from error


def has_tokenizer(folder: Path) -> bool:
    return bool(files_with_tokenizer(folder))


def tokenizer_files(folder: Path) -> dict[str, bytes]:
    """The files of a tokenizer's folder that belong to it, by their path in it; not verify.json and the like."""
    found = [folder / name for name in _TRAVELLING] + files_with_tokenizer(folder)
    found += sorted((folder / TEMPLATE_FOLDER).glob("*.jinja"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in found if path.is_file()}


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
            from trainer.memory.build import outline_of

            n_params = outline_of(config).n_params
            raise TrainingError(
                f"{folder}: out of memory while the model is loaded. {of_weights(n_params, _HALVED)}"
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
    # Where weights are no safetensors, or name their tables otherwise, transformers alone has compared them.
    inputs: Any = model.get_input_embeddings()
    outputs: Any = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    says_tied = getattr(model.config, "tie_word_embeddings", False)
    if says_tied and outputs is not None and outputs.weight is not inputs.weight:
        raise ModelError(
            f"{folder}: config.json says tie_word_embeddings true; the weights hold an output table of their own, "
            "which differs from the input table. Write false there."
        )
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


def place_model(model: "PreTrainedModel", device: torch.device) -> "PreTrainedModel":
    """The model, moved to a device in place.

    Raises:
        TrainingError: the device has no memory for it.
    """
    n_params = sum(parameter.numel() for parameter in model.parameters())
    with memory_guard(f"the model is moved to {device}", lambda: of_weights(n_params, _HALVED)):
        torch.nn.Module.to(model, device)
    return model


@contextmanager
def eval_mode(model: "PreTrainedModel") -> Iterator[None]:
    """No dropout and no gradients; the model is left as it was."""
    was_training = model.training
    model.train(False)
    try:
        # Not inference_mode: what a model keeps from there, it could not train with.
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)


def dtype_of(path: str | Path) -> torch.dtype:
    """What a model's weights are in: most of them, else what config.json says."""
    checked = checked_config(model_folder(path))
    said = getattr(checked.config, "dtype", None)
    return checked.dtype or (said if isinstance(said, torch.dtype) else torch.float32)


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


#: A folder inside the target, where a model lies until it is whole; one of the names of `folder.is_own`.
_PARTIAL = ".model.partial"


def save_model(
    model: "PreTrainedModel",
    folder: Path,
    *,
    max_shard_size: int = MAX_SHARD_BYTES,
    files: Mapping[str, bytes] | None = None,
) -> None:
    """Write a model's folder: weights in shards of safetensors, config.json, generation_config.json.

    All is written into a folder inside the target first, and moved when whole and on the disk; config.json comes last,
    so that a folder that holds one holds a whole model. A model that is there already is replaced by the new one.

    Args:
        max_shard_size: bytes of a shard at most; a single tensor that is larger has a shard of its own.
        files: more files of the folder, by their path in it: the tokenizer's.

    Raises:
        RunDirectoryError: the folder cannot be written, or the disk has no room; what was there is still whole.
    """

    def write(partial: Path) -> None:
        with no_progress():
            model.save_pretrained(partial, max_shard_size=max_shard_size)

    write_whole(folder, write, files or {}, sum(parameter.nbytes for parameter in model.parameters()))


def link_model(source: Path, folder: Path, *, files: Mapping[str, bytes] | None = None) -> None:
    """The same for a model that lies in another folder: its files are linked where the file system can, else copied.

    Raises:
        RunDirectoryError: as `save_model`.
    """

    def write(partial: Path) -> None:
        for path in sorted(path for path in source.iterdir() if path.is_file()):
            target = partial / path.name
            # Weights take no room twice. The others are copied: whoever edits one must not change the source's.
            if path.suffix == ".safetensors":
                with suppress(OSError):  # another file system, or one without links
                    target.hardlink_to(path)
            if not target.exists():
                shutil.copyfile(path, target)

    write_whole(folder, write, files or {}, 0)


def write_whole(folder: Path, write: Callable[[Path], None], files: Mapping[str, bytes], n_bytes: int) -> None:
    """Let `write` fill a folder, add files that it has not written itself, and move it all into place.

    Args:
        n_bytes: that the disk must have room for.

    Raises:
        RunDirectoryError: as `save_model`.
    """
    partial = folder / _PARTIAL
    try:
        partial.mkdir(parents=True, exist_ok=True)
        # Left by a run that was killed: shards of another number would travel along.
        shutil.rmtree(partial)
        partial.mkdir()
        if (n_free := shutil.disk_usage(partial).free) < n_bytes:
            raise OSError(f"{shown_bytes(n_bytes)} to write, {shown_bytes(n_free)} free")
        write(partial)
        for name, data in files.items():
            if not (partial / name).exists():
                (partial / name).parent.mkdir(parents=True, exist_ok=True)
                (partial / name).write_bytes(data)
        _move(partial, folder)
    except Exception as error:  # safetensors has an error of its own for a full disk
        shutil.rmtree(partial, ignore_errors=True)
        if is_out_of_memory(error):
            raise
        raise RunDirectoryError(
            f"{folder}: the model cannot be written ({first_line(error)}). Free room, or choose another folder."
        ) from error


def _move(partial: Path, folder: Path) -> None:
    written = sorted(path.relative_to(partial) for path in partial.rglob("*") if path.is_file())
    for path in written:
        share(partial / path)
        sync(partial / path)
    # From here on the old model is not whole any more, and the new one not yet.
    (folder / CONFIG).unlink(missing_ok=True)
    for old in folder.glob("model*.safetensors*"):
        if old.relative_to(folder) not in written:
            old.unlink()
    for path in sorted(written, key=lambda path: path == Path(CONFIG)):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        if path == Path(CONFIG):
            sync(folder)
        (partial / path).replace(folder / path)
    shutil.rmtree(partial)
    sync(folder)

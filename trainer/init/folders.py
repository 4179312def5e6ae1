"""Model and tokenizer folders: what they hold, and where they are."""

import re
from pathlib import Path

from vocabopt.errors import ModelError
from vocabopt.failures import hub_reason
from vocabopt.merge.extension import EXTENSION_JSON
from vocabopt.tokenizer.folders import files_with_tokenizer
from vocabopt.tokenizer.load import COMPANION_FILES, TEMPLATE_FOLDER

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

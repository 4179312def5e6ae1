"""Model and tokenizer folders: what they hold, and where they are."""

import re
from pathlib import Path

from vocabopt.bases.load import COMPANION_FILES, TEMPLATE_FOLDER
from vocabopt.errors import ModelError
from vocabopt.merge.extension import EXTENSION_JSON

#: Files that any of transformers' tokenizers is read from, beside *.tiktoken.
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "tekken.json")
_TRAVELLING = (*COMPANION_FILES, "added_tokens.json", "vocab.json", "merges.txt", EXTENSION_JSON, *_TOKENIZER_FILES)
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
            f"{name}: is no folder here, and not to be had from the Hugging Face hub ({type(error).__name__}). Check "
            "the path, the id and the network."
        ) from error


def has_tokenizer(folder: Path) -> bool:
    return any((folder / name).is_file() for name in _TOKENIZER_FILES) or any(folder.glob("*.tiktoken"))


def tokenizer_files(folder: Path) -> dict[str, bytes]:
    """The files of a tokenizer's folder that belong to it, by their path in it; not verify.json and the like."""
    found = [folder / name for name in _TRAVELLING] + sorted(folder.glob("*.tiktoken"))
    found += sorted((folder / TEMPLATE_FOLDER).glob("*.jinja"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in found if path.is_file()}

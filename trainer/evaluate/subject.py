"""What is measured: a folder's tokenizer, and in which precision its model runs."""

from typing import TYPE_CHECKING

import torch
from tokenizers import Tokenizer

from trainer.init.folders import has_tokenizer, model_folder
from vocabopt.errors import ModelError
from vocabopt.tokenizer.hard_strings import hard_strings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def load_tokenizer(path: str) -> "PreTrainedTokenizerBase":
    """A folder's tokenizer, as transformers loads it.

    Raises:
        ModelError: the folder has none, or transformers cannot load it.
    """
    from transformers import AutoTokenizer

    folder = model_folder(path)
    if not has_tokenizer(folder) and not (folder / "vocab.json").is_file():
        raise ModelError(f"{folder}: holds no tokenizer (tokenizer.json). Name a folder that does with --tokenizer.")
    try:
        # Code that a folder brings along is not run.
        loaded: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # loading fails in a hundred ways
        raise ModelError(
            f"{folder}: transformers cannot load its tokenizer ({type(error).__name__}: {str(error)[:200]}). Name "
            "another folder with --tokenizer."
        ) from error
    return loaded


def n_reloaded_otherwise(path: str, tokenizer: "PreTrainedTokenizerBase") -> int | None:
    """On how many of the built-in hard lines transformers gives other ids than the folder's tokenizer.json.

    transformers builds some kinds of tokenizers anew, from their vocabulary and its own idea of their pipeline: what
    is measured then is not what the model was trained with. None where the folder has no tokenizer.json.
    """
    file = model_folder(path) / "tokenizer.json"
    if not file.is_file():
        return None
    lines = list(hard_strings())
    own = Tokenizer.from_file(str(file))
    # transformers encodes without what the file says of batches.
    own.no_truncation()
    own.no_padding()
    expected = [encoding.ids for encoding in own.encode_batch(lines, add_special_tokens=False)]
    found: list[list[int]] = tokenizer(lines, add_special_tokens=False, verbose=False)["input_ids"]
    return sum(ids != other for ids, other in zip(expected, found, strict=True))


def chosen_dtype(precision: str, device: torch.device) -> torch.dtype:
    """ "auto": bf16 on a GPU that computes in it, else fp32. The softmax is float32 either way."""
    if precision == "auto":
        has_bf16 = device.type == "cuda" and torch.cuda.is_bf16_supported()
        precision = "bf16" if has_bf16 else "fp32"
    return torch.bfloat16 if precision == "bf16" else torch.float32

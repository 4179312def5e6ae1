"""What classes of transformers add to tokenizer_config.json: a merged tokenizer has to state it.

A merged folder is loaded as a class that takes tokenizer.json as it is and has other defaults. The tables hold the
classes of BPE tokenizers; tests/test_class_defaults.py compares them with the transformers that is installed.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vocabopt.text.utf8 import json_value

_END = "<|endoftext|>"
_LLAMA = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
_GPT2 = {"bos_token": _END, "eos_token": _END, "unk_token": _END}
_GEMMA = {
    "bos_token": "<bos>",
    "eos_token": "<eos>",
    "unk_token": "<unk>",
    "pad_token": "<pad>",
    "mask_token": "<mask>",
}
_QWEN2 = {"eos_token": _END, "pad_token": _END, "unk_token": _END}
_ROBERTA = {
    "bos_token": "<s>",
    "eos_token": "</s>",
    "sep_token": "</s>",
    "cls_token": "<s>",
    "unk_token": "<unk>",
    "pad_token": "<pad>",
    "mask_token": "<mask>",
}
_COHERE = {
    "bos_token": "<BOS_TOKEN>",
    "eos_token": "<|END_OF_TURN_TOKEN|>",
    "unk_token": "<UNK>",
    "pad_token": "<PAD>",
    "cls_token": "<CLS>",
    "sep_token": "<SEP>",
    "mask_token": "<MASK_TOKEN>",
}
#: Special tokens that a class supplies where tokenizer_config.json does not name them.
TOKENS: Mapping[str, Mapping[str, str]] = {
    "GPT2Tokenizer": _GPT2,
    "CodeGenTokenizer": _GPT2,
    "WhisperTokenizer": _GPT2,
    "GPTNeoXTokenizer": {**_GPT2, "pad_token": "<|padding|>"},
    "Qwen2Tokenizer": _QWEN2,
    "Qwen3_5Tokenizer": _QWEN2,
    "GemmaTokenizer": _GEMMA,
    "LlamaTokenizer": _LLAMA,
    "CodeLlamaTokenizer": _LLAMA,
    "CohereTokenizer": _COHERE,
    "RobertaTokenizer": _ROBERTA,
    "BlenderbotTokenizer": _ROBERTA,
}
#: Classes that pad on the left where tokenizer_config.json names no side.
PADS_LEFT = frozenset({"LlamaTokenizer", "CodeLlamaTokenizer", "GemmaTokenizer", "CohereTokenizer"})
#: The class by the model_type of config.json, for folders whose tokenizer_config.json names none, as GPT-2's.
_CLASS_OF_MODEL_TYPE: Mapping[str, str] = {
    "gpt2": "GPT2Tokenizer",
    "gpt_neox": "GPTNeoXTokenizer",
    "qwen2": "Qwen2Tokenizer",
    "qwen3": "Qwen2Tokenizer",
    "gemma": "GemmaTokenizer",
    "gemma2": "GemmaTokenizer",
    "gemma3": "GemmaTokenizer",
    "gemma3_text": "GemmaTokenizer",
    "cohere": "CohereTokenizer",
}
#: What a class hands to a model. PreTrainedTokenizerFast of transformers 4 adds token_type_ids, which models refuse.
_INPUTS = ["input_ids", "attention_mask"]


def class_defaults(class_name: str) -> dict[str, Any]:
    """Fields of tokenizer_config.json that a class fills in by itself; {} for one that is not known here."""
    name = class_name.removesuffix("Fast")
    if name not in TOKENS:
        return {}
    side = {"padding_side": "left"} if name in PADS_LEFT else {}
    return {**TOKENS[name], **side, "model_input_names": list(_INPUTS)}


def class_of_model(config: Path | None) -> str | None:
    """The class that transformers takes for a model's config.json where tokenizer_config.json names none, if known."""
    try:
        model_type = None if config is None else json_value(config.read_bytes()).get("model_type")
    except (OSError, ValueError, AttributeError):
        return None
    return _CLASS_OF_MODEL_TYPE.get(model_type) if isinstance(model_type, str) else None

"""The files of a merged tokenizer: tokenizer.json, its config, and the publisher's own form of it where there is one.

Nothing of the base changes: its ids, merges, added tokens, normaliser, pre-tokenizer and template stay; new pieces get
the ids after its last, new merges come after its last. A swap is otherwise: swapped.py.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import tokenizers

from vocabopt.errors import BaseTokenizerError
from vocabopt.merging.extension import Addition
from vocabopt.merging.swapped import swapped_original, swapped_tokenizer_json
from vocabopt.text.utf8 import json_bytes, json_value
from vocabopt.tokenizer import Form, Tokenizer
from vocabopt.tokenizer.encoders import split_pattern
from vocabopt.tokenizer.families import spelled
from vocabopt.tokenizer.ranks import merges_of_ranks, parse_ranks, parse_tekken, rank_file
from vocabopt.tokenizer.sentencepiece_model import extended_model, merges_of, read_model
from vocabopt.tokenizer.widening import own_pattern

#: A class that takes tokenizer.json as it is. Named classes of transformers 5 (LlamaTokenizer, ...) rebuild the
#: pipeline, and drop spaces on some tokenizers; their defaults are written out instead.
TOKENIZER_CLASS = "PreTrainedTokenizerFast"
#: Names of Python code that would be run instead of tokenizer.json.
_CODE_FIELDS = ("auto_map", "tokenizer_file", "vocab_file", "merges_file")


def merged_base(base: Tokenizer, addition: Addition) -> Tokenizer:
    """The merged tokenizer as a base of its own: what encodes with it, and what it could be grown from further."""
    return replace(base, tokenizer_json=merged_tokenizer_json(base, addition))


def merged_files(base: Tokenizer, addition: Addition, merged: Tokenizer) -> dict[str, bytes]:
    """Every file of the merged tokenizer but extension.json, by its path in the folder; tokenizer.json comes last."""
    files = {name: data for name, data in base.companions.items() if name != "tokenizer_config.json"}
    files["tokenizer_config.json"] = json_bytes(tokenizer_config(base), indent=2) + b"\n"
    for original in base.originals:
        files[original.file_name] = extended_original(base, original, addition)
    # As the library itself writes it, with the base's own truncation and padding.
    is_cut = any(merged.tokenizer_json.get(key) for key in ("truncation", "padding"))
    tokenizer = tokenizers.Tokenizer.from_str(json.dumps(merged.tokenizer_json)) if is_cut else merged.full
    return {**files, "tokenizer.json": tokenizer.to_str(pretty=True).encode()}


def merged_tokenizer_json(base: Tokenizer, addition: Addition) -> dict[str, Any]:
    """tokenizer.json of the base with the addition merged in."""
    if addition.method == "swap":
        return swapped_tokenizer_json(base, addition)
    model = base.tokenizer_json["model"]
    vocab = dict(model["vocab"])
    # tokenizers numbers added tokens that the vocabulary lacks anew, after its last: so it is given them all.
    for token in base.added_tokens:
        vocab.setdefault(token["content"], token["id"])
    vocab |= {piece: base.n_tokens + i for i, piece in enumerate(addition.pieces)}
    old = [(left, right) for left, right in model["merges"]]
    merges = _merges_of_every_split(base, addition, old) if addition.merges is None else [*old, *addition.merges]
    return {**base.tokenizer_json, "model": {**model, "vocab": vocab, "merges": [list(pair) for pair in merges]}}


def _merges_of_every_split(base: Tokenizer, addition: Addition, merges: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Merges where any two pieces that spell a third become it, as sentencepiece and tiktoken have it.

    With the publisher's file at hand its own rules order all of them, if they are the base's merges; otherwise those
    stay first.
    """
    form = next(iter(base.originals), None)
    if form is not None and _merges_of(form, form.data) == merges:
        return _merges_of(form, extended_original(base, form, addition))
    known = {*base.tokenizer_json["model"]["vocab"], *addition.pieces}
    for piece in addition.pieces:
        cuts = ((piece[:cut], piece[cut:]) for cut in range(len(piece) - 1, 0, -1))
        merges += [(left, right) for left, right in cuts if left in known and right in known]
    return merges


def _merges_of(form: Form, data: bytes) -> list[tuple[str, str]]:
    """The merges, as tokenizer.json spells them, of a publisher's file of the kind of `form`."""
    if form.kind == "tokenizer.model":
        return merges_of(read_model(data))
    if form.kind == "tiktoken":
        ranks: Mapping[bytes, int] = parse_ranks(data, form.file_name)
    else:
        ranks = parse_tekken(json.loads(data), form.file_name).ranks
    return [(spelled(left), spelled(right)) for left, right in merges_of_ranks(ranks)]


def extended_original(base: Tokenizer, original: Form, addition: Addition) -> bytes:
    """The publisher's own form of the base with the addition merged in, with the ids of the merged tokenizer.json.

    Raises:
        BaseTokenizerError: it does not hold the base's tokens, so no form of it could have those ids.
    """
    if addition.method == "swap":
        return swapped_original(original, addition)
    first_id = base.n_tokens
    if original.kind == "tokenizer.model":
        zero, added = addition.scores == "zero", base.added_tokens
        return extended_model(original.data, addition.pieces, first_id=first_id, added_tokens=added, zero=zero)
    if original.kind == "tiktoken":
        ranks = parse_ranks(original.data, original.file_name)
        return rank_file(ranks | {text: first_id + i for i, text in enumerate(addition.texts)})
    tekken = parse_tekken(json.loads(original.data), original.file_name)
    if (n_tokens := len(tekken.ranks) + len(tekken.specials)) != first_id:
        raise BaseTokenizerError(
            f"{base.source}: its tekken.json has {n_tokens:,} tokens, its tokenizer.json {first_id:,}. Remove the one "
            "that is not the model's from the folder."
        )
    pattern = split_pattern(base.tokenizer_json)
    return tekken.extended(addition.texts, pattern=pattern if own_pattern(pattern) else tekken.pattern)


def tokenizer_config(base: Tokenizer) -> dict[str, Any]:
    """tokenizer_config.json of the merged tokenizer: the base's own, made to load tokenizer.json as it is.

    What the class that loads the base's folder fills in by itself is stated, so that AutoTokenizer gives the same
    special tokens and pads on the same side.
    """
    plain = {"clean_up_tokenization_spaces": False, "model_max_length": int(1e30), **base.special_names}
    file = base.companions.get("tokenizer_config.json")
    try:
        stored: dict[str, Any] = plain if file is None else dict(json_value(file))
    except (ValueError, TypeError) as error:
        raise BaseTokenizerError(
            f"{base.source}: its tokenizer_config.json is not a JSON object ({error}). Mend it, or remove it."
        ) from error
    config = {key: value for key, value in stored.items() if key not in _CODE_FIELDS}
    named = config.get("tokenizer_class") or class_of_model(base.model_config)
    if base.family == "byte-level-bpe" and str(named).removesuffix("Fast") == "LlamaTokenizer":
        # DeepSeek's. transformers 4 adds the BOS that add_bos_token asks for in this class alone; transformers 5 sees
        # that tokenizer.json is byte-level and takes it as it is.
        return config
    known = {*base.tokenizer_json["model"]["vocab"], *base.added_contents}
    defaults = {name: value for name, value in class_defaults(str(named)).items() if name not in config}
    supplied = {name: value for name, value in defaults.items() if not name.endswith("_token") or value in known}
    return {**config, **supplied, "tokenizer_class": TOKENIZER_CLASS}


# --- What classes of transformers fill in -----------------------------------------------------------------------------
# A merged folder is loaded as a class that takes tokenizer.json as it is and has other defaults, so it has to state
# what the class of the base adds to tokenizer_config.json. The tables hold the classes of BPE tokenizers;
# tests/training/test_verify_loaded.py compares them with the transformers that is installed.

_END = "<|endoftext|>"


def _tokens(**roles: str) -> dict[str, str]:
    """Special tokens by their roles: bos -> bos_token."""
    return {f"{role}_token": content for role, content in roles.items()}


_LLAMA = _tokens(bos="<s>", eos="</s>", unk="<unk>")
_GPT2 = _tokens(bos=_END, eos=_END, unk=_END)
_GEMMA = _tokens(bos="<bos>", eos="<eos>", unk="<unk>", pad="<pad>", mask="<mask>")
_QWEN2 = _tokens(eos=_END, pad=_END, unk=_END)
_ROBERTA = _tokens(bos="<s>", eos="</s>", sep="</s>", cls="<s>", unk="<unk>", pad="<pad>", mask="<mask>")
_COHERE = {
    **_tokens(bos="<BOS_TOKEN>", eos="<|END_OF_TURN_TOKEN|>", unk="<UNK>", pad="<PAD>"),
    **_tokens(cls="<CLS>", sep="<SEP>", mask="<MASK_TOKEN>"),
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
    "cohere": "CohereTokenizer",
    **dict.fromkeys(("qwen2", "qwen3"), "Qwen2Tokenizer"),
    **dict.fromkeys(("gemma", "gemma2", "gemma3", "gemma3_text"), "GemmaTokenizer"),
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

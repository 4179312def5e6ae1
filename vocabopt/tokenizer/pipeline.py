"""Parts of tokenizer.json that more than one kind of base is made of."""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from tokenizers import Tokenizer

#: What tokenizer.json says of batches; a text is counted as long as it is, and by itself.
BATCH_SETTINGS: Mapping[str, None] = {"truncation": None, "padding": None}


def without_batch_settings(tokenizer_json: Mapping[str, Any]) -> dict[str, Any]:
    """A tokenizer.json of text as long as it is."""
    return {**tokenizer_json, **BATCH_SETTINGS}


def counting_tokenizer(tokenizer_json: Mapping[str, Any], **parts: Any) -> Tokenizer:
    """The `tokenizers` encoder of a tokenizer.json, without the settings that belong to batches.

    Every encoder of this project is made here. `parts`: of the document, in place of its own.
    """
    return Tokenizer.from_str(json.dumps(without_batch_settings({**tokenizer_json, **parts})))


def added_token(index: int, content: str, *, special: bool) -> dict[str, Any]:
    """An added token that is taken out of the text exactly as it stands, before anything else happens to it."""
    plain = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": index, "content": content, **plain, "special": special}


def bos_first(bos: str, bos_id: int) -> dict[str, Any]:
    """The post-processor that puts the token `bos` first."""
    token = {"SpecialToken": {"id": bos, "type_id": 0}}
    first, second = {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}
    return {
        "type": "TemplateProcessing",
        "single": [token, first],
        "pair": [token, first, {"SpecialToken": {"id": bos, "type_id": 1}}, second],
        "special_tokens": {bos: {"id": bos, "ids": [bos_id], "tokens": [bos]}},
    }


def isolating(symbols: Iterable[str]) -> dict[str, Any]:
    """The pre-tokenizer step that cuts these strings out of text, from left to right, the longest at each place."""
    ordered = sorted(symbols, key=lambda symbol: (-len(symbol), symbol))
    return split_step("|".join(map(re.escape, ordered)))


def split_step(pattern: str) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


def isolated_symbols(value: Mapping[str, Any]) -> tuple[str, ...]:
    """The strings that a tokenizer.json made here cuts out in its pre-tokenizer (`isolating`); () for any other."""
    step = value.get("pre_tokenizer") or {}
    if step.get("type") == "Sequence":
        step = step["pretokenizers"][0] if step["pretokenizers"] else {}
    pattern = step.get("pattern", {}).get("Regex") if step.get("type") == "Split" else None
    if not pattern or not value["model"].get("ignore_merges"):
        return ()
    written = re.findall(r"(?:\\.|[^|\\])+", pattern, re.DOTALL)
    symbols = [re.sub(r"\\(.)", r"\1", symbol, flags=re.DOTALL) for symbol in written]
    if not value["model"]["vocab"].keys() >= set(symbols):
        return ()
    return tuple(symbols) if isolating(symbols) == step else ()


def bpe_model(vocab: Mapping[str, int], merges: Iterable[tuple[str, str]], **settings: Any) -> dict[str, Any]:
    """The model part: BPE without dropout, prefix or suffix; `settings` are those that tell the families apart."""
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": False,
        **settings,
        "vocab": dict(vocab),
        "merges": [list(pair) for pair in merges],
    }


def tokenizer_json(model: Mapping[str, Any], added_tokens: list[dict[str, Any]], **parts: Any) -> dict[str, Any]:
    """The whole document; `parts`: normalizer, pre_tokenizer, post_processor, decoder."""
    assert parts.keys() == {"normalizer", "pre_tokenizer", "post_processor", "decoder"}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added_tokens,
        **parts,
        "model": dict(model),
    }


def fast_tokenizer(value: Mapping[str, Any]) -> Any:
    """The gigatoken encoder of a tokenizer.json; None where it is not installed or does not know this tokenizer."""
    try:
        from gigatoken import BytesSource
        from gigatoken import Tokenizer as FastTokenizer

        made = FastTokenizer.from_json(json.dumps(value))
        # Its first call asks Python for numpy at the end; a Ctrl-C in a long one would be raised there, as a panic.
        made.encode_batch(BytesSource([b"a"], separator="\0"))
        return made
    except Exception:  # its errors are of many kinds
        return None

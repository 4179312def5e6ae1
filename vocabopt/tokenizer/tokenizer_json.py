"""tokenizer.json: reading it, what is refused in it, and the parts that the tokenizers made here consist of.

The `tokenizers` library is the judge of a file; what it would pass over in silence is refused.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, models

from vocabopt.errors import BaseTokenizerError
from vocabopt.failures import is_failure
from vocabopt.text.utf8 import json_value

#: What a BPE model in tokenizer.json has beside vocabulary and merges.
_BPE_SETTINGS = (
    "dropout",
    "unk_token",
    "continuing_subword_prefix",
    "end_of_word_suffix",
    "fuse_unk",
    "byte_fallback",
    "ignore_merges",
)


def without_batch_settings(tokenizer_json: Mapping[str, Any]) -> dict[str, Any]:
    """A tokenizer.json without what it says of batches: a text is counted as long as it is, and by itself."""
    return {**tokenizer_json, "truncation": None, "padding": None}


def counting_tokenizer(tokenizer_json: Mapping[str, Any], bpe: models.BPE | None = None, **parts: Any) -> Tokenizer:
    """The `tokenizers` encoder of a tokenizer.json, without the settings that belong to batches.

    Every encoder of this project is made here.

    Args:
        bpe: its model, as `bpe_of` made it: encoders share one, which takes most of the time to make.
        parts: of the document, in place of its own.
    """
    value = without_batch_settings({**tokenizer_json, **parts})
    if (bpe := bpe or bpe_of(value["model"])) is None:
        return Tokenizer.from_str(json.dumps(value))
    added = {token["content"]: token["id"] for token in value.get("added_tokens") or ()}
    tokenizer = Tokenizer.from_str(json.dumps({**value, "model": {**value["model"], "vocab": added, "merges": []}}))
    tokenizer.model = bpe
    return tokenizer


def bpe_of(model: Mapping[str, Any]) -> models.BPE | None:
    """The model of a tokenizer.json; None where it has no merges.

    A BPE model remembers what it encoded, per thread, and tokenizers 0.23 never gives that back, not even when the
    model is gone (pull request 2028 there). Its memory makes encoding no faster (reports/LOG.md), so it is off here.
    """
    if not model.get("merges"):
        return None
    settings = {name: model[name] for name in _BPE_SETTINGS if model.get(name) is not None}
    merges = [(left, right) for left, right in model["merges"]]
    return models.BPE(vocab=dict(model["vocab"]), merges=merges, cache_capacity=0, **settings)


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


def whole_json(model: Mapping[str, Any], added_tokens: list[dict[str, Any]], **parts: Any) -> dict[str, Any]:
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


# --- Reading --------------------------------------------------------------------------------------------------------


def refuse_added_tokens(value: Mapping[str, Any], path: Path) -> None:
    """Refuse added tokens of which the library, or a merged vocabulary, makes something by chance.

    Two that the library looks for as the same text: one that is `normalized` is looked for as the normaliser writes
    it. And one that counts as a whole word only and is no piece of the vocabulary: inside words the model sees its
    text, and a merged vocabulary, which holds all added tokens so that they keep their ids, could give it there.
    """
    vocab = value["model"].get("vocab", {})
    normalizer = without_model(value).normalizer
    found: dict[tuple[bool, str], str] = {}
    for token in value.get("added_tokens", []):
        content, is_normalized = token["content"], bool(token["normalized"])
        if token["single_word"] and content not in vocab:
            raise BaseTokenizerError(
                f"{path}: its added token {content!r} (id {token['id']}) is single_word and no piece of the "
                "vocabulary, so that merging could change text that holds it inside a word. Remove it, or add it to "
                "the vocabulary."
            )
        sought = normalizer.normalize_str(content) if is_normalized and normalizer is not None else content
        other = found.setdefault((is_normalized, sought), content)
        if other != content:
            raise BaseTokenizerError(
                f"{path}: its added tokens {other!r} and {content!r} (id {token['id']}) are one text to its "
                "normaliser, and the tokenizers library finds the one or the other by chance. Remove one of them."
            )


def parse_json(data: bytes, path: Path) -> Any:
    try:
        return json_value(data)
    except ValueError as error:
        raise _unreadable(path, error) from error


def parse_tokenizer_json(data: bytes, parsed: Any, path: Path) -> dict[str, Any]:
    """A tokenizer.json as the library has it. parsed: what its JSON says."""
    try:
        # The library's own reader is the judge, and turns old string-form merges into pairs.
        value: dict[str, Any] = json.loads(read_by_library(data.decode()).to_str())
        stored = parsed["model"]["vocab"]
    except (ValueError, TypeError, KeyError) as error:
        raise _unreadable(path, error) from error
    refuse_shared_ids(stored, path)
    return value


def read_by_library(text: str) -> Tokenizer:
    """What the library makes of a tokenizer.json. Raises ValueError, whatever the library raises."""
    try:
        return Tokenizer.from_str(text)
    except BaseException as error:  # bare Exception, or a panic
        if not is_failure(error):
            raise
        raise ValueError(str(error)) from error


def without_model(tokenizer_json: Mapping[str, Any], **parts: Any) -> Tokenizer:
    """The normaliser, pre-tokenizer, post-processor and decoder alone, as the library has them."""
    return counting_tokenizer({**tokenizer_json, **parts}, added_tokens=[], model=bpe_model({}, []))


def refuse_shared_ids(vocab: Any, path: Path) -> None:
    """Refuse a vocabulary, as the file has it, in which two pieces have one id: the library drops one of them."""
    if isinstance(vocab, dict) and len(set(vocab.values())) != len(vocab):
        index, n = Counter(vocab.values()).most_common(1)[0]
        pieces = [piece for piece, i in vocab.items() if i == index]
        raise BaseTokenizerError(
            f"{path}: {n} pieces have the id {index} ({', '.join(map(repr, pieces[:3]))}), and the tokenizers library "
            "keeps one of them by chance. Give each piece an id of its own."
        )


def _unreadable(path: Path, error: BaseException) -> BaseTokenizerError:
    return BaseTokenizerError(
        f"{path}: is not a tokenizer.json that the tokenizers library can read ({error}). Pass another, or fetch it "
        "again."
    )

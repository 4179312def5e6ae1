"""Reading tokenizer.json: the `tokenizers` library is the judge of it, and what it would pass over is refused."""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from vocabopt.errors import BaseTokenizerError
from vocabopt.failures import is_failure
from vocabopt.text.utf8 import json_value
from vocabopt.tokenizer.pipeline import bpe_model, counting_tokenizer


def refuse_words_that_are_tokens(value: Mapping[str, Any], path: Path) -> None:
    """Refuse an added token that counts as a whole word only and is no piece of the vocabulary.

    Inside words the model sees its text, and a merged vocabulary, which holds all added tokens so that they keep their
    ids, could give it there.
    """
    vocab = value["model"].get("vocab", {})
    for token in value.get("added_tokens", []):
        if token["single_word"] and token["content"] not in vocab:
            raise BaseTokenizerError(
                f"{path}: its added token {token['content']!r} (id {token['id']}) is single_word and no piece of the "
                "vocabulary, so that merging could change text that holds it inside a word. Remove it, or add it to "
                "the vocabulary."
            )


def refuse_tokens_that_look_alike(value: Mapping[str, Any], path: Path) -> None:
    """Refuse two added tokens that the library looks for as the same text: which of them it finds is by chance.

    One that is `normalized` is looked for as the normaliser writes it, so two contents can be one text.
    """
    normalizer = counting_tokenizer(value, added_tokens=[], model=bpe_model({}, [])).normalizer
    found: dict[tuple[bool, str], str] = {}
    for token in value.get("added_tokens", []):
        content, is_normalized = token["content"], bool(token["normalized"])
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


def parse_tokenizer_json(data: bytes, path: Path) -> dict[str, Any]:
    try:
        # The library's own reader is the judge, and turns old string-form merges into pairs.
        value = json.loads(Tokenizer.from_str(data.decode()).to_str())
        stored = json_value(data)["model"]["vocab"]
    except BaseException as error:  # tokenizers raises bare Exception, or panics
        if not is_failure(error):
            raise
        raise _unreadable(path, error) from error
    refuse_shared_ids(stored, path)
    assert isinstance(value, dict)
    return value


def refuse_shared_ids(vocab: Any, path: Path) -> None:
    """Refuse a vocabulary, as the file has it, in which two pieces have one id: the library drops one of them."""
    if isinstance(vocab, dict) and len(set(vocab.values())) != len(vocab):
        index, n = Counter(vocab.values()).most_common(1)[0]
        pieces = [piece for piece, i in vocab.items() if i == index]
        raise BaseTokenizerError(
            f"{path}: {n} pieces have the id {index} ({', '.join(map(repr, pieces[:3]))}), and the tokenizers library "
            "keeps one of them by chance. Give each piece an id of its own."
        )


def check_readable(value: dict[str, Any], place: str) -> None:
    try:
        Tokenizer.from_str(json.dumps(value))
    except BaseException as error:  # tokenizers raises bare Exception, or panics
        if not is_failure(error):
            raise
        raise BaseTokenizerError(
            f"{place}: makes no tokenizer that the tokenizers library can read ({error})."
        ) from error


def _unreadable(path: Path, error: BaseException) -> BaseTokenizerError:
    return BaseTokenizerError(
        f"{path}: is not a tokenizer.json that the tokenizers library can read ({error}). Pass another, or fetch it "
        "again."
    )

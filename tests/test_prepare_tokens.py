"""Tokens of the funnel: those that tokenizer.json gives, also of the few documents that a comparison passes by."""

import copy
import json
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from helpers import base_of, library_tokenizer, lines_of, train_byte_level
from settings_generated import FLAGS

from vocabopt.preparation.tokens import TokenCounter
from vocabopt.tokenizer import Tokenizer

pytest.importorskip("gigatoken")

PLAIN = dict.fromkeys(FLAGS, False)


@pytest.fixture(scope="module")
def trained() -> dict[str, Any]:
    return train_byte_level(lines_of("en") + lines_of("ko")[:100], 1_000)


def single_word(value: dict[str, Any]) -> None:
    value["model"]["vocab"]["한국"] = 1_000
    value["added_tokens"].append({"id": 1_000, "content": "한국", **PLAIN, "single_word": True})


def normalised(value: dict[str, Any]) -> None:
    value["normalizer"] = {"type": "NFC"}
    value["added_tokens"].append({"id": 1_000, "content": "가나", **PLAIN, "normalized": True})


def without_a_byte(value: dict[str, Any]) -> None:
    vocab = value["model"]["vocab"]
    del vocab["\u0101"]  # how byte 01 is spelled
    value["model"]["vocab"] = {piece: i for i, piece in enumerate(sorted(vocab, key=vocab.__getitem__))}
    value["added_tokens"] = []


def cut_after_bytes(value: dict[str, Any]) -> None:
    digits = {"type": "Digits", "individual_digits": False}
    value["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [value["pre_tokenizer"], digits]}


@pytest.mark.parametrize(
    ("change", "is_fast"), [(single_word, True), (normalised, True), (without_a_byte, False), (cut_after_bytes, False)]
)
def test_rare_documents_are_counted_as_tokenizer_json_has_them(
    change: Callable[[dict[str, Any]], None], is_fast: bool, trained: dict[str, Any], tmp_path: Path
) -> None:
    value = copy.deepcopy(trained)
    change(value)
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(value), encoding="utf-8")
    odd = ["한국어 한국 한국", "x한국 ", "가나다", unicodedata.normalize("NFD", "가나다"), "가\x01나", "²³ 한국¾"]
    texts = [*lines_of("ko")[:7], *odd, *lines_of("ko")[7:200]]
    counter = TokenCounter.load(str(path), None, None)
    found = counter.count(pl.Series(texts))
    encodings = library_tokenizer(path).encode_batch(texts, add_special_tokens=False)
    assert found.tolist() == [len(encoding.ids) for encoding in encodings]
    # Of the others the fast encoder still counts.
    assert (counter.fast is not None) == is_fast


def test_no_text_has_no_tokens(trained: dict[str, Any]) -> None:
    base: Tokenizer = base_of(trained)
    assert TokenCounter(base, None).count(pl.Series([], dtype=pl.String)).tolist() == []

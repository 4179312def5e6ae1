"""Whole documents encoded fast: the ids of `tokenizers`, for any text, whoever encodes and however it is cut."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import tokenizers
from conftest import Run
from helpers import all_ids, base_of, examples, library_tokenizer, lines_of, without_bytes
from hypothesis import given, settings
from hypothesis import strategies as st

from vocabopt.growth.counts import ChunkCounts
from vocabopt.text.documents import bytes_of_texts
from vocabopt.tokenizer import Tokenizer, load_base
from vocabopt.tokenizer.chunks import ChunkEncoder
from vocabopt.tokenizer.whole_documents import WholeEncoder

pytest.importorskip("gigatoken")

#: Where gigatoken and `tokenizers` could part: white space, contractions, digits, marks, jamo, symbols, characters that
#: Unicode has had for long, for some years and not at all, and strings of added tokens, whole and in part.
_PARTS = [
    *(" ", "  ", "\n", "\n\n", " \n ", "\t", "\r\n", "\u3000", "\xa0", "\u200b"),
    *("'s", "'LL", "12345", "½", "一二", "!?", "</", "ﬁ", "e\u0301", "\u0345\u0300"),
    *("한국어", "각\u11a8", "\u1100\u1161", "ㅋㅋ", "\u09fe\u0d4d", "\U00010949's", "\U0001e5d0", "\U00010f48"),
    *("😀", "👩\u200d🚀", "\U0001fae9", "\U0001fbf0", "\U000e0001", "▁", "▁▁"),
    *("<s>", "</s>", "<|im_start|>", "<|endoftext|>", "<|end", "<0x0A>"),
]  # fmt: skip
_TEXTS = st.lists(
    st.one_of(
        st.sampled_from(_PARTS), st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
    ),
    max_size=12,
).map("".join)


def assert_same(base: Tokenizer, texts: Sequence[str], encoder: WholeEncoder | None = None) -> None:
    """The ids of whole documents are those of tokenizer.json as `tokenizers` reads it."""
    encoder = WholeEncoder.of(base, ["가"]) if encoder is None else encoder
    assert encoder is not None
    ids, lengths = encoder.encode(*bytes_of_texts(pl.Series(texts, dtype=pl.String)))
    assert [row.tolist() for row in np.split(ids, np.cumsum(lengths)[:-1])] == all_ids(authority(base), texts)


_AUTHORITIES: dict[str, tokenizers.Tokenizer] = {}


def authority(base: Tokenizer) -> tokenizers.Tokenizer:
    """Made once for each base."""
    if base.sha256 not in _AUTHORITIES:
        _AUTHORITIES[base.sha256] = library_tokenizer(base.tokenizer_json)
    return _AUTHORITIES[base.sha256]


@pytest.fixture(scope="module", params=["mistral-7b-v1", "llama-like", "gpt2-like", "qwen2-like"])
def any_base(request: pytest.FixtureRequest, folders: Path) -> Tokenizer:
    return load_base(request.param if request.param == "mistral-7b-v1" else str(folders / request.param))


@pytest.fixture(scope="module")
def any_encoder(any_base: Tokenizer) -> WholeEncoder:
    encoder = WholeEncoder.of(any_base, lines_of("ko")[:20])
    assert encoder is not None
    return encoder


@settings(max_examples=examples(200))
@given(texts=st.lists(_TEXTS, min_size=1, max_size=6))
def test_any_documents_have_the_ids_of_tokenizers(
    any_base: Tokenizer, any_encoder: WholeEncoder, texts: list[str]
) -> None:
    assert_same(any_base, texts, any_encoder)


def test_every_character_has_the_ids_of_tokenizers(any_base: Tokenizer, any_encoder: WholeEncoder) -> None:
    """Of all blocks that hold letters of many kinds, and a sample of the large ones."""
    whole = (*range(1, 0x3400), *range(0xA000, 0xAC00), *range(0xD7B0, 0xD800), *range(0xF900, 0x12000))
    sample = (*range(0x3400, 0xD7B0, 61), *range(0x12000, 0x110000, 61))
    chars = [chr(point) for point in (*whole, *sample)]
    assert_same(any_base, [f"a{char} 1{char}{char}" for char in chars], any_encoder)


@pytest.mark.parametrize("name", ["mistral-7b-v1", "gpt2-like"])
def test_merged_tokenizers_too(name: str, run_of: Callable[[str], Run]) -> None:
    run = run_of(name)
    merged = load_base(str(run.exported(500)))
    texts = [*lines_of("ko")[:200], *lines_of("en")[:100], "", *_PARTS, "".join(_PARTS), "".join(reversed(_PARTS))]
    assert_same(merged, texts)


def test_a_document_may_be_very_long(any_base: Tokenizer, any_encoder: WholeEncoder) -> None:
    whole = " ".join(lines_of("ko")) * 4
    assert_same(any_base, [whole, "a", whole.replace(" ", ""), "", " " * 50_000, "가" * 50_000], any_encoder)


@pytest.mark.parametrize("scheme", ["always", "first", "never"])
def test_every_way_to_begin_a_document(scheme: str, llama_like: Tokenizer, gpt2_like: Tokenizer) -> None:
    """Metaspace puts a space before text unless there is one; ByteLevel does, or does not."""
    metaspace = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": False}
    texts = ["plain", " with a space", "  two", "", "\nline", "가나", "</s>after", "before</s>", "▁a"]
    assert_same(base_of({**llama_like.tokenizer_json, "normalizer": None, "pre_tokenizer": metaspace}), texts)
    byte_level = {**gpt2_like.tokenizer_json["pre_tokenizer"], "add_prefix_space": scheme == "always"}
    assert_same(base_of({**gpt2_like.tokenizer_json, "pre_tokenizer": byte_level}), texts)


def test_there_is_none_where_it_could_differ(gpt2_like: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A base that lacks bytes, and one whose texts come out otherwise than its tokenizer.json says."""
    assert WholeEncoder.of(base_of(without_bytes(gpt2_like, [0x01, 0xF1])), ["a"]) is None
    value: dict[str, Any] = json.loads(json.dumps(gpt2_like.tokenizer_json))
    other = base_of(value)
    other.__dict__["full"] = tokenizers.Tokenizer.from_str(json.dumps({**value, "normalizer": {"type": "Lowercase"}}))
    assert WholeEncoder.of(other, ["already small"]) is not None
    assert WholeEncoder.of(other, ["NOT SMALL"]) is None


def test_forgetting_what_was_encoded_changes_nothing(any_base: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it happens where gigatoken's memory has outgrown its limit: here after every call."""
    monkeypatch.setattr("vocabopt.tokenizer.whole_documents._CACHE_BYTES", -(1 << 60))
    encoder = WholeEncoder.of(any_base, ["가"])
    for texts in (lines_of("ko")[:20], lines_of("en")[:20], lines_of("ko")[:20]):
        assert_same(any_base, texts, encoder)


def test_chunks_with_newer_characters_have_the_ids_of_tokenizers(folders: Path) -> None:
    """Of two U+113C2 NFC makes one character since Unicode 16, which gigatoken knows."""
    base = load_base(str(folders / "qwen2-like"))
    texts = ["plain text", "\U000113c2\U000113c2", "한국 어", "x\U0001611e\U0001611e", "\U00016d67" * 2, " y"]
    encoder = ChunkEncoder.of(base.whole_chunk_tokenizer, base.fast_chunk_tokenizer, ChunkCounts.of_texts(["a"]))
    assert encoder.name == "gigatoken"
    assert [[*row] for row in base.fast_chunk_tokenizer.encode_batch_list(texts)] != all_ids(
        base.whole_chunk_tokenizer, texts
    )
    for chosen in (texts, texts[1:2], texts[:1]):
        ids, ends = encoder.encode("\0".join(chosen).encode())
        assert [row.tolist() for row in np.split(ids, ends[:-1])] == all_ids(base.whole_chunk_tokenizer, chosen)

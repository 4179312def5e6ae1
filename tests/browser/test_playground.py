"""The playground's JavaScript gives exactly the tokens of the exported tokenizer, in Chromium, at every size.

The authority is the `tokenizers` library with the tokenizer.json that `vocabopt merge` writes.
"""

import random
import time
from collections.abc import Callable

import polars as pl
import pytest
from conftest import Run
from helpers import base_of, grow_documents, lines_of, merged, toy_sentencepiece
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from browser.engine import Engine, assert_same_ids, changed
from vocabopt.tokenizer import Tokenizer
from vocabopt.tokenizer.hard_strings import hard_strings

pytestmark = pytest.mark.browser


def random_text(source: random.Random) -> str:
    """Characters of one or two blocks, or of all of Unicode, among spaces, digits and letters."""
    blocks = [source.randrange(0x1100) * 0x100 for _ in range(2)]
    pools: list[Callable[[], str]] = [
        lambda: chr(source.randrange(0x20, 0x7F)),
        lambda: chr(source.choice(blocks) + source.randrange(0x100)),
        lambda: chr(source.randrange(0x3000)),
        lambda: chr(source.randrange(0x110000)),
        lambda: source.choice(" \t\n\r\u3000\u00a0'0123sStTkK\u017f\u212a\u0301\u0308\u200d"),
        lambda: chr(source.randrange(0xAC00, 0xD7A4)),
        lambda: chr(source.randrange(0x1100, 0x1200)),
    ]
    chosen = source.sample(pools, 3)
    text = "".join(source.choice(chosen)() for _ in range(source.randrange(1, 40)))
    return "".join(char for char in text if not 0xD800 <= ord(char) < 0xE000)


def strings(base: Tokenizer) -> list[str]:
    """More than 1,000: hard ones, the sample corpus, added tokens inside text, and random Unicode."""
    source = random.Random(4)
    added = [content for content in base.added_contents for _ in range(8)][:60]
    before, behind = ("", "a", " ", "한 ", "\u3000"), ("", "b", "  x", "글", "\n")
    inside = [source.choice(before) + token + source.choice(behind) for token in added]
    scattered = [random_text(source) for _ in range(400)]
    together = ["".join(source.sample(inside + scattered, 4)) for _ in range(100)]
    hard = [*hard_strings()[:300], *source.sample(hard_strings()[300:], 300)]
    return [*hard, *lines_of("ko")[::7], *lines_of("en")[::11], *inside, *scattered, *together, ""]


def sizes_of(curve: pl.DataFrame) -> list[int]:
    return [0, 1, len(curve) // 7, len(curve) // 2, len(curve)]


def test_ids_are_those_of_the_exported_tokenizer_at_five_sizes(engine: Engine, run: Run) -> None:
    engine.load(run.base, run.curve)
    texts = strings(run.base)
    assert len(texts) > 1_000
    for size in sizes_of(run.curve):
        assert_same_ids(engine, run.base, run.curve, texts, size)


def test_any_text_at_any_size(engine: Engine, run: Run) -> None:
    engine.load(run.base, run.curve)
    tokenizers = {size: merged(run.base, run.curve, size) for size in sizes_of(run.curve)}
    texts = st.lists(st.text(), min_size=10, max_size=20)

    @settings(max_examples=60, suppress_health_check=list(HealthCheck))
    @given(texts=texts, size=st.sampled_from(sorted(tokenizers)))
    def check(texts: list[str], size: int) -> None:
        expected = [e.ids for e in tokenizers[size].encode_batch_fast(texts, add_special_tokens=False)]
        assert engine.encode(texts, size) == expected

    check()


def test_each_id_is_told_as_the_base_and_the_curve_have_it(engine: Engine, run: Run) -> None:
    engine.load(run.base, run.curve)
    base, curve = run.base, run.curve
    assert engine.page.evaluate("[tokenizer.nBaseTokens, tokenizer.nAdded]") == [base.n_tokens, len(curve)]
    found = engine.page.evaluate(
        """() => Array.from({length: tokenizer.nBaseTokens + tokenizer.nAdded}, (_, id) => {
          const {piece, bytes, rank, isSpecial} = tokenizer.token(id);
          return [piece, Array.from(bytes), rank, isSpecial];
        })"""
    )
    special = {token["id"] for token in base.tokenizer_json["added_tokens"] if token["special"]}
    spelled = merged(base, curve, len(curve))
    for index, (piece, numbers, rank, is_special) in enumerate(found):
        assert piece == spelled.id_to_token(index)
        assert is_special == (index in special)
        assert rank == max(0, index - base.n_tokens + 1)
        if index >= base.n_tokens:
            assert bytes(numbers) == curve["bytes"][rank - 1]
        elif index in base.added:
            assert bytes(numbers).decode() == piece
        else:
            byte = base.byte_values[index]
            assert bytes(numbers) == (bytes([byte]) if byte >= 0 else base.pieces[index])


def test_pieces_that_a_new_one_opens_come_with_it(engine: Engine) -> None:
    base = base_of(toy_sentencepiece("가나다라마", "가나다", "▁가나", "나다라마"))
    texts = ["가나다라마 가나다 나다라마", "가나 가나 다라 다라마", "마라다나가"] * 5
    curve = grow_documents(base, {"train": texts}).curve
    assert any(len(opened) for opened in curve["opened"])
    engine.load(base, curve)
    for size in range(len(curve) + 1):
        assert_same_ids(engine, base, curve, texts, size)


def test_each_half_of_a_surrogate_pair_alone_is_the_replacement_character(engine: Engine, gpt2_like: Tokenizer) -> None:
    engine.load(gpt2_like)
    script = "tokenizer.encode('a\\ud83d b\\ude00\\ud83d\\ude00', 0)"
    assert engine.page.evaluate(script) == engine.encode(["a\ufffd b\ufffd😀"])[0]


def test_a_size_that_is_not_there_is_refused(engine: Engine, gpt2_like: Tokenizer) -> None:
    engine.load(gpt2_like)
    message = "() => { try { tokenizer.encode('a', 1) } catch (error) { return error.message } }"
    assert engine.page.evaluate(message) == "size 1: not in 0..0"


LONG = ("가나다라" * 25_000, "ab" * 50_000, " " * 100_000, "=" * 100_000 + "\n", "é\u0301" * 30_000)


@pytest.mark.parametrize("text", LONG, ids=range(len(LONG)))
def test_long_words_take_no_longer_than_long_texts(engine: Engine, run: Run, text: str) -> None:
    engine.load(run.base, run.curve)
    start = time.perf_counter()
    found = engine.encode([text], len(run.curve))
    assert time.perf_counter() - start < 5
    assert found[0] == merged(run.base, run.curve, len(run.curve)).encode(text, add_special_tokens=False).ids


# --- Added tokens and pipelines -------------------------------------------------------------------------------------


def added(index: int, content: str, *flags: str) -> dict[str, object]:
    names = ("single_word", "lstrip", "rstrip", "normalized", "special")
    return {"id": index, "content": content, **{name: name in flags for name in names}}


METASPACE = {"type": "Metaspace", "replacement": "▁", "split": False}
REPLACE = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
IDLE = {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False}
#: Pipelines of SentencePiece-style bases: normaliser and pre-tokenizer.
PIPELINES = {
    "always": (None, {**METASPACE, "prepend_scheme": "always"}),
    "first": (None, {**METASPACE, "prepend_scheme": "first"}),
    "never": (None, {**METASPACE, "prepend_scheme": "never"}),
    "gemma": (REPLACE, IDLE),
    "llama": ({"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, REPLACE]}, None),
}


def around(source: random.Random, tokens: list[str]) -> list[str]:
    """Texts in which the tokens stand among words, spaces and each other."""
    words = ["a", "é", "e\u0301", " a ", "한", "▁", "_", "1", "\U0001d7d8", "\u0301", "🙂"]
    parts = [*tokens, *words, "", "", " ", "  ", "\n", "\x85", "\u3000"]
    return ["".join(source.choice(parts) for _ in range(source.randrange(1, 9))) for _ in range(1_500)]


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_added_tokens_and_prefixes_of_sentencepiece_pipelines(
    engine: Engine, llama_like: Tokenizer, pipeline: str
) -> None:
    n = llama_like.n_tokens
    tokens = [
        *llama_like.tokenizer_json["added_tokens"],
        *(added(n, "<a>", "special"), added(n + 1, "<a>b"), added(n + 2, "<n>", "normalized"), added(n + 3, " <s p>")),
        *(added(n + 4, "<l>", "lstrip", "special"), added(n + 5, "<r>", "rstrip"), added(n + 6, "🙂🙂")),
        *(added(n + 7, "a n", "normalized", "rstrip"), added(n + 8, "<nl>", "normalized", "lstrip")),
        added(n + 9, "<lr>", "lstrip", "rstrip"),
    ]
    normalizer, pre_tokenizer = PIPELINES[pipeline]
    base = changed(llama_like, normalizer=normalizer, pre_tokenizer=pre_tokenizer, added_tokens=tokens)
    curve = grow_documents(base, {"train": lines_of("ko")[:300]}, max_added=200).curve
    engine.load(base, curve)
    texts = around(random.Random(1), [token["content"] for token in tokens])
    for size in (0, 200):
        assert_same_ids(engine, base, curve, texts + strings(base), size)


def test_added_tokens_of_byte_level_pipelines(engine: Engine, qwen2_like: Tokenizer) -> None:
    n = qwen2_like.n_tokens
    vocab = qwen2_like.tokenizer_json["model"]["vocab"]
    words = [piece for piece in vocab if len(piece) > 1 and piece.isascii() and piece.isalpha()]
    tokens = [
        *qwen2_like.tokenizer_json["added_tokens"],
        *(added(n, "é", "normalized"), added(n + 1, "e\u0301x", "normalized"), added(n + 2, "e\u0302y")),
        *(added(n + 3, "<|l|>", "lstrip"), added(n + 4, "<|r|>", "rstrip"), added(n + 5, "<|r|>>", "special")),
        *(added(vocab[word], word, "single_word") for word in words[:3]),
        added(vocab[words[3]], words[3], "single_word", "normalized", "lstrip"),
    ]
    base = changed(qwen2_like, added_tokens=tokens)
    curve = grow_documents(base, {"train": lines_of("ko")[:300]}, max_added=200).curve
    engine.load(base, curve)
    contents = [token["content"] for token in tokens]
    for size in (0, 200):
        assert_same_ids(engine, base, curve, around(random.Random(2), contents) + strings(base), size)

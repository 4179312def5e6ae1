"""Every code point, alone and among others: the page splits, normalises and encodes it as `tokenizers` does."""

import numpy as np
import pytest
import tokenizers
from helpers import LLAMA3_PATTERN, grow_documents, lines_of, merged

from browser.engine import BLOCKS, Engine, changed, filled, split_base, split_step
from vocabopt.tokenizer import Tokenizer
from vocabopt.tokenizer.patterns import CL100K_PATTERN, GPT2_PATTERN, O200K_PATTERN, QWEN_PATTERN, TEKKEN_PATTERN

pytestmark = pytest.mark.browser
#: Planes to which Unicode has assigned nothing.
UNASSIGNED = BLOCKS[4:14]
DIGITS = {"type": "Digits", "individual_digits": True}
#: Patterns of published tokenizers, and one for each construction that the translation knows.
PATTERNS = {
    "gpt2": [split_step(GPT2_PATTERN)],
    "cl100k": [split_step(CL100K_PATTERN)],
    # As tiktoken has it since 0.6, with possessive parts, and $ for the end.
    "cl100k-possessive": [
        split_step(
            r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+"
            r"|\s++$|\s*[\r\n]|\s+(?!\S)|\s"
        )
    ],
    "o200k": [split_step(O200K_PATTERN)],
    "tekken": [split_step(TEKKEN_PATTERN)],
    "qwen-removed": [split_step(QWEN_PATTERN, "Removed", invert=True)],
    "deepseek": [
        split_step(r"\p{N}{1,3}"),
        split_step(r"[一-龥\u3040-ゟ゠-ヿ]+"),
        split_step(
            r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
            r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        ),
    ],
    "sets": [split_step(r"[\p{L}&&[^\p{Han}]]+|\p{Han}|[[:punct:]]+?|(?>\d+)|[^\w\s]{2,3}|(?=\s)\s{1,2}|\h")],
    "letters": [split_step(r"(?i:k|sk|[a-f]x)+?|\p{Lu}\p{Ll}*|(?:\p{M}+)?\p{Nd}{1,2}+|(?:\p{M}|\p{^L}){1,2}")],
    "digits": [DIGITS, split_step(r" ?\p{L}+", "MergedWithPrevious")],
    "contiguous": [{"type": "Digits", "individual_digits": False}, split_step(r"\p{L}", "MergedWithNext")],
    "signs": [{"type": "Punctuation", "behavior": "Contiguous"}, split_step(r"\s+", "Contiguous")],
    "one-sign": [
        {"type": "Punctuation", "behavior": "MergedWithPrevious"},
        {"type": "Split", "pattern": {"String": "a."}, "behavior": "Isolated", "invert": False},
    ],
}


def splits_of_the_library(tokenizer: tokenizers.Tokenizer, text: str) -> tuple[list[int], str]:
    """Lengths of the pre-tokens in UTF-16, and the pre-tokens in a row."""
    if tokenizer.normalizer is not None:
        text = tokenizer.normalizer.normalize_str(text)
    pieces = tokenizer.pre_tokenizer.pre_tokenize_str(text)
    widths = 1 + (np.frombuffer(text.encode("utf-32-le"), np.uint32) > 0xFFFF)
    until = np.concatenate([[0], np.cumsum(widths)])
    starts, ends = np.asarray([offsets for _, offsets in pieces]).T
    return (until[ends] - until[starts]).tolist(), "".join(text[start:end] for _, (start, end) in pieces)


def assert_same_splits(engine: Engine, base: Tokenizer, block: tuple[int, int], template: str) -> None:
    text = engine.fill(block, template)
    lengths, together = splits_of_the_library(base.full, text)
    found, joined = engine.words_of_filled()
    assert joined == together
    first = next((i for i, (a, b) in enumerate(zip(found, lengths, strict=False)) if a != b), -1)
    assert found == lengths, (hex(block[0]), joined[sum(lengths[:first]) :][:20])


@pytest.mark.parametrize("name", ["gpt2", "cl100k", "o200k", "deepseek", "sets", "digits", "one-sign"])
def test_every_code_point_is_split_as_the_library_does(engine: Engine, qwen2_like: Tokenizer, name: str) -> None:
    base = split_base(qwen2_like, *PATTERNS[name])
    engine.load(base)
    for block in BLOCKS:
        assert_same_splits(engine, base, block, "a{}1" if block in UNASSIGNED else "a{}1 {}'s")


@pytest.mark.parametrize("name", PATTERNS)
def test_characters_among_others_are_split_as_the_library_does(
    engine: Engine, qwen2_like: Tokenizer, name: str
) -> None:
    base = split_base(qwen2_like, *PATTERNS[name], normalizer={"type": "NFC"})
    engine.load(base)
    for first in (*range(0, 0x3400, 0x400), *range(0xA000, 0xB000, 0x400), 0xF800, *range(0x10000, 0x20000, 0x1000)):
        assert_same_splits(engine, base, (first, first + 0x400), "{}b '{}{next}2\n{}\r\n\t {}{} 's{}.\u3000{}")


def test_every_code_point_alone_is_one_word_or_nothing(engine: Engine, qwen2_like: Tokenizer) -> None:
    """That it is encoded at all: as its own bytes, whatever its class."""
    base = split_base(qwen2_like, split_step(LLAMA3_PATTERN))
    engine.load(base)
    script = """([first, last]) => {
      for (let code = first; code < last; code++) {
        if ((code & 0x1ff800) === 0xd800) continue;
        const words = tokenizer.words(String.fromCodePoint(code));
        if (words.length !== 1 || words[0].codePointAt(0) !== code) return code;
      }
      return -1;
    }"""
    assert [engine.page.evaluate(script, list(block)) for block in BLOCKS] == [-1] * len(BLOCKS)


@pytest.mark.parametrize("form", ["NFC", "NFD", "NFKC", "NFKD"])
def test_every_code_point_is_normalised_as_the_library_does(engine: Engine, gpt2_like: Tokenizer, form: str) -> None:
    """Marks of low and high classes around it, letters that compose, the next code point."""
    to_bytes = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    base = changed(gpt2_like, normalizer={"type": form}, pre_tokenizer=to_bytes)
    engine.load(base)
    for block in BLOCKS:
        among = "e{}\u0301{}\u0334a\u0315{}\u0323 {}{next}\u1161{}\u11a8ᄀ{}\n"
        for template in ("{}\u0301",) if block in UNASSIGNED else ("{}", among):
            text = engine.fill(block, template)
            assert engine.words_of_filled()[1] == base.full.normalizer.normalize_str(text), hex(block[0])


def test_every_code_point_has_the_ids_of_the_library_in_a_base_with_byte_fallback(
    engine: Engine, mistral: Tokenizer
) -> None:
    curve = grow_documents(mistral, {"train": lines_of("ko")}, max_added=1_000).curve
    engine.load(mistral, curve)
    for size in (0, len(curve)):
        tokenizer = merged(mistral, curve, size)
        for block in BLOCKS:
            text = engine.fill(block, "{}" if block in UNASSIGNED else "{}a {}{} ")
            assert engine.encode_filled(size) == tokenizer.encode(text, add_special_tokens=False).ids


def test_every_code_point_beside_an_added_token_with_flags(engine: Engine, qwen2_like: Tokenizer) -> None:
    vocab = qwen2_like.tokenizer_json["model"]["vocab"]
    token = {"special": False, "normalized": False, "lstrip": False, "rstrip": False, "single_word": False}
    words = [piece for piece in vocab if len(piece) > 1 and piece.isascii() and piece.isalpha()][:2]
    base = changed(
        split_base(qwen2_like, split_step(LLAMA3_PATTERN)),
        added_tokens=[
            {**token, "id": vocab[words[0]], "content": words[0], "single_word": True},
            {**token, "id": vocab[words[1]], "content": words[1], "lstrip": True, "rstrip": True},
        ],
    )
    engine.load(base)
    for block in sorted({*BLOCKS}.difference(UNASSIGNED)):
        texts = filled(block, f"{words[0]}{{}}{words[0]}{{}}{words[1]}{{}}\n").split("\n")
        found = engine.encode(texts)
        encodings = base.full.encode_batch_fast(texts, add_special_tokens=False)
        assert found == [encoding.ids for encoding in encodings], hex(block[0])

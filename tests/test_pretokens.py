"""Chunks are cut into the pre-tokens that the `tokenizers` library makes of them, whichever way they are cut."""

import copy
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from helpers import Counted, base_of, lines_of
from hypothesis import given
from hypothesis import strategies as st

from vocabopt.tokenizer import Tokenizer
from vocabopt.tokenizer.families import bytes_spelled
from vocabopt.tokenizer.patterns import PATTERNS_CUT_AT_SPACES
from vocabopt.tokenizer.pretokens import Pretokenizer
from vocabopt.tokenizer.split_patterns import points
from vocabopt.tokenizer.tokenizer_json import split_step

#: As newer files of OpenAI's and Meta's patterns have them: with possessive quantifiers.
POSSESSIVE = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$"
    r"|\s*[\r\n]|\s+(?!\S)|\s"
)
#: DeepSeek V3's last step, and all three.
_SIGNS_AND_WORDS = (
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
DEEPSEEK = (r"\p{N}{1,3}", r"[一-龥぀-ゟ゠-ヿ]+", _SIGNS_AND_WORDS)
CHAINS: Sequence[tuple[str, ...]] = (
    *((pattern,) for pattern in sorted(PATTERNS_CUT_AT_SPACES)),
    (POSSESSIVE,),
    DEEPSEEK,
    # Places where nothing matches, and an atomic group that a match must not enter anew.
    (r"(?>a|ab)c|[가-힣]{2}",),
    (r"\p{L}+?(?=\p{N})", r"  ?"),
    # One character back: of the same chunk alone.
    (r"(?<=a)b|(?<=[^\p{L}])\p{L}+",),
)
#: What patterns tell apart, letters in several writing systems, and characters that a normal form composes.
ALPHABET = " \t\n\r\u00a0\u3000'sSſKtldab가각ᄀ\u1161\u11a8あ一é\u0301\u0345ßǅ१12９²-_!<|>\u200b\x01\U0001f600"
ANY = st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1)
TEXTS = st.one_of(ANY, st.text(ALPHABET, min_size=1))


def with_steps(base: Tokenizer, steps: Sequence[dict[str, Any]], form: str | None = None) -> Tokenizer:
    value = copy.deepcopy(dict(base.tokenizer_json))
    to_bytes = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    value["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [*steps, to_bytes]}
    value["normalizer"] = form and {"type": form}
    return base_of(value)


def by_library(base: Tokenizer, chunks: Sequence[str]) -> list[tuple[bytes, int]]:
    """Each pre-token and the number of its chunk, by the tokenizer as it is published."""
    normalizer, splitter = base.full.normalizer, base.full.pre_tokenizer
    assert splitter is not None
    normal = [chunk if normalizer is None else normalizer.normalize_str(chunk) for chunk in chunks]
    cut = [(bytes_spelled(piece), i) for i, text in enumerate(normal) for piece, _ in splitter.pre_tokenize_str(text)]
    return [(piece, i) for piece, i in cut if piece is not None]


def here(pretokenizer: Pretokenizer, chunks: Sequence[str], *, is_fast: bool = True) -> list[tuple[bytes, int]]:
    assert (pretokenizer.searches is not None) == is_fast
    pieces, numbers = pretokenizer.cut("\0".join(chunks))
    return list(zip((piece.encode() for piece in pieces), numbers.tolist(), strict=True))


@pytest.mark.parametrize(
    ("chain", "form"), [*((chain, None) for chain in CHAINS), (DEEPSEEK, "NFC"), (DEEPSEEK, "NFKD")]
)
def test_any_chunks_are_cut_as_by_the_library(chain: tuple[str, ...], form: str | None, gpt2_like: Tokenizer) -> None:
    base = with_steps(gpt2_like, [split_step(pattern) for pattern in chain], form)
    pretokenizer = Pretokenizer.of(base)

    @given(st.lists(TEXTS, min_size=1, max_size=5))
    def check(chunks: list[str]) -> None:
        assert here(pretokenizer, chunks) == by_library(base, chunks)

    check()


@pytest.mark.slow
@pytest.mark.parametrize("chain", CHAINS)
def test_every_code_point_is_cut_as_by_the_library(chain: tuple[str, ...], gpt2_like: Tokenizer) -> None:
    base = with_steps(gpt2_like, [split_step(pattern) for pattern in chain])
    every = [chr(point) for point in points()[1:].tolist()]
    chunks = ["".join(f"a{char} {char}1{char}가" for char in every[i : i + 2_000]) for i in range(0, len(every), 2_000)]
    assert here(Pretokenizer.of(base), chunks) == by_library(base, chunks)


@pytest.mark.parametrize(
    "step",
    [
        {"type": "Digits", "individual_digits": False},
        {"type": "Punctuation", "behavior": "Contiguous"},
        {**split_step(r"\s+"), "behavior": "MergedWithNext"},
        {**split_step(r"\S+"), "invert": True},
        split_step(r"\A\s+|\S+"),
        split_step(r"(?<=aa)b"),
    ],
)
def test_steps_of_other_kinds_are_left_to_the_library(step: dict[str, Any], gpt2_like: Tokenizer) -> None:
    base = with_steps(gpt2_like, [step])
    chunks = ["  가나 12, ab!!", "\t1a  ", "b"]
    assert here(Pretokenizer.of(base), chunks, is_fast=False) == by_library(base, chunks)


@pytest.mark.parametrize("name", ["gpt2_like", "qwen2_like"])
def test_counted_text_holds_each_pre_token_as_often_as_the_library_makes_it(
    name: str, request: pytest.FixtureRequest
) -> None:
    base: Tokenizer = request.getfixturevalue(name)
    documents = lines_of("ko")
    counts = Counted.of(base, {"train": documents}).counts
    texts = counts.texts().to_list()
    assert len(set(texts)) == len(texts)
    total = Counter(piece for piece, _ in by_library(base, documents))
    assert {text.encode(): n for text, n in zip(texts, counts.weights()[:, 0].tolist(), strict=True)} == total

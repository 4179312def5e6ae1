"""What travels in the report for the playground: how much it weighs, that it is the same each time, what it refuses.

That the page encodes with it as `tokenizers` does is for the browser: tests/browser.
"""

import gzip
import json
import re
import time
from typing import Any

import numpy as np
import polars as pl
import pytest
from helpers import base_of, grow_documents, lines_of, merged
from tokenizers import Regex, normalizers

from vocabopt.errors import PlaygroundError
from vocabopt.report.playground import engine_script, pack_tokenizer
from vocabopt.tokenizer import Tokenizer
from vocabopt.tokenizer.patterns import CL100K_PATTERN, GPT2_PATTERN, O200K_PATTERN, QWEN_PATTERN, TEKKEN_PATTERN
from vocabopt.tokenizer.split_patterns import (
    FIRST_SYMBOL,
    matched_by,
    parse,
    partition,
    points,
)


def every_point() -> list[int]:
    return [code for code in range(0x110000) if not 0xD800 <= code < 0xE000]


@pytest.fixture(scope="module")
def curve(mistral: Tokenizer) -> pl.DataFrame:
    return grow_documents(mistral, {"train": lines_of("ko")}, max_added=2_000).curve


def with_pattern(base: Tokenizer, pattern: str) -> Tokenizer:
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    return with_step(base, split)


def with_step(base: Tokenizer, step: dict[str, Any]) -> Tokenizer:
    to_bytes = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    pre_tokenizer = {"type": "Sequence", "pretokenizers": [step, to_bytes]}
    return base_of({**base.tokenizer_json, "pre_tokenizer": pre_tokenizer})


# --- The pack --------------------------------------------------------------------------------------------------------


def test_the_same_base_and_curve_give_the_same_bytes(mistral: Tokenizer, curve: pl.DataFrame) -> None:
    assert pack_tokenizer(mistral, curve) == pack_tokenizer(mistral, curve)


def test_a_base_of_32_000_tokens_and_2_000_added_weigh_less_than_200_kb(
    mistral: Tokenizer, curve: pl.DataFrame
) -> None:
    start = time.perf_counter()
    pack = pack_tokenizer(mistral, curve)
    assert time.perf_counter() - start < 3
    assert len(pack) < 200_000
    assert len(engine_script()) < 30_000


@pytest.mark.data
@pytest.mark.parametrize("name", ["tok_llama3/tokenizer.model", "tok_qwen/qwen.tiktoken"])
@pytest.mark.slow
def test_the_largest_bases_leave_room_in_a_page_of_4_mb(data: Any, name: str) -> None:
    from vocabopt.tokenizer import load_base

    base = load_base(str(data / name))
    curve = grow_documents(base, {"train": lines_of("ko")}, max_added=2_000).curve
    assert len(pack_tokenizer(base, curve)) < 900_000


def test_tokens_and_merges_of_every_size_are_in_it(mistral: Tokenizer, curve: pl.DataFrame) -> None:
    """Read back, as the page reads it: the vocabulary and merges of the largest size, and how many each row brings."""
    data = gzip.decompress(pack_tokenizer(mistral, curve))
    line, _, rest = data.partition(b"\n")
    head = json.loads(line)
    sections = {}
    for name, length in head["sections"].items():
        sections[name], rest = rest[:length], rest[length:]
    assert rest == b""
    lengths, results, cuts = (leb128_read(sections[name]) for name in ("lengths", "results", "cuts"))
    ends = np.cumsum(lengths)
    texts = [sections["text"][end - length : end].decode() for end, length in zip(ends, lengths, strict=True)]
    whole = json.loads(merged(mistral, curve, len(curve)).to_str())["model"]
    assert {texts[index]: index for index in whole["vocab"].values()} == whole["vocab"]
    steps = [-(step + 1) // 2 if step % 2 else step // 2 for step in results]
    spelled = [texts[index].encode() for index in np.cumsum(steps)]
    pairs = [[text[:cut].decode(), text[cut:].decode()] for text, cut in zip(spelled, cuts, strict=True)]
    assert pairs == whole["merges"]
    rows = leb128_read(sections["merges_of_row"])
    assert len(pairs) - sum(rows) == len(mistral.tokenizer_json["model"]["merges"])
    assert rows == [0 if left < 0 else 1 for left in curve["left"]]


def leb128_read(data: bytes) -> list[int]:
    values, value, shift = [], 0, 0
    for byte in data:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            values.append(value)
            value, shift = 0, 0
    return values


# --- Characters ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", [r"\s", r"\p{L}", r"\p{N}", r"\p{M}", r"[^\s\p{L}\p{N}]", "(?i:s)", "(?i:k)", r"\w"])
def test_a_set_of_characters_is_the_library_s_for_every_code_point(source: str) -> None:
    """Also of the planes of which one code point is asked."""
    text = "".join(map(chr, every_point()))
    left = normalizers.Replace(Regex(f"(?:{source})+"), "").normalize_str(text)
    (starts, classes), (members,) = partition([matched_by(source)])
    table = np.repeat(classes, np.diff([*np.cumsum(starts), 0x110000]))
    assert {chr(code) for code in every_point() if table[code] not in members} == set(left)


def test_letters_without_regard_to_case_are_those_of_the_library() -> None:
    """The long s and the Kelvin sign are an s and a k to Oniguruma; browsers say so only with the flag u."""
    folded = {chr(letter): points()[matched_by(f"(?i:{chr(letter)})")].tolist() for letter in range(0x61, 0x7B)}
    extra = {letter: found for letter, found in folded.items() if found != [ord(letter) - 32, ord(letter)]}
    assert extra == {"s": [0x53, 0x73, 0x17F], "k": [0x4B, 0x6B, 0x212A]}


# --- Split patterns --------------------------------------------------------------------------------------------------


#: As bases with user-defined symbols have it: at the start, and up to the end.
ENDS = r"\A[A-Z가-힣]+(?=\s)|[\s\S]{2}(?=\z)|[\s\S]"


@pytest.mark.parametrize("pattern", [GPT2_PATTERN, CL100K_PATTERN, QWEN_PATTERN, O200K_PATTERN, TEKKEN_PATTERN, ENDS])
def test_a_pattern_over_symbols_splits_as_the_library_splits(gpt2_like: Tokenizer, pattern: str) -> None:
    """Symbols are letters, and what is left of a pattern means the same to Python: so no browser is needed here."""
    read = parse(pattern)
    ones = list(dict.fromkeys(read.ones))
    (starts, classes), sets = partition([one.members() for one in ones])
    written = read.in_javascript(dict(zip(ones, sets, strict=True)).__getitem__)
    table = np.repeat(classes, np.diff([*np.cumsum(starts), 0x110000]))
    splitter = with_pattern(gpt2_like, pattern).full.pre_tokenizer
    for text in (
        *lines_of("ko")[:50],
        *lines_of("en")[:50],
        "It\u2019s I'LL 'ſ 'S x's \u212a 12345 ½ \t\r\n\n  a   b  ",
    ):
        symbols = "".join(chr(FIRST_SYMBOL + table[ord(char)]) for char in text)
        found = [match.span() for match in re.finditer(written, symbols)]
        assert found == [span for _, span in splitter.pre_tokenize_str(text)]


REFUSED = {
    r"\bword": r"holds \\b at character 0",
    r"^a": r"holds \^a at character 0",
    r"(?<!a)b": r"holds \(\?<! at",
    r"(?<=ab)b": r"a lookbehind for more than one character",
    r"(?<=a?)b": r"a lookbehind for more than one character",
    r"(?<name>a)": r"holds \(\?<n at",
    r"(?i)abc": r"holds \(\?i\) at",
    r"(a)\1": r"holds \\1 at character 3",
    r"\Ra": r"holds \\R at character 0",
    r"a*": r"holds a match of nothing",
    r"(?:a*)*b": r"a repetition of what can match nothing",
    r"(?=a)*b": r"a repeated lookahead",
    r"a{2}?b": r"holds \{2\}\? at",
    r"a+*b": r"a quantifier behind another",
    r"(?:a+?)+b": r"a quantifier behind another",
    r"a{1,2}*b": r"a quantifier behind another",
    r"(?i:straße)": r"without regard to case",
    r"(?i:ss)": r"ss without regard to case",
    r"(?i:s+)": r"ss without regard to case",
    r"(?i:[fx]f?i)x": r"f[fi] without regard to case",
    r"(?i:\p{L})": r"\\p\{L\} without regard to case",
    r"[]a]": r"an empty \[\] or one with \] first",
    r"\p{Nonsense}": r"holds \\p\{Nonsense\} \(",
}


@pytest.mark.parametrize("pattern", REFUSED)
def test_a_pattern_that_could_mean_something_else_is_refused(pattern: str) -> None:
    with pytest.raises(PlaygroundError, match=REFUSED[pattern]):
        parse(pattern)


def test_the_error_names_the_pattern_and_the_place(gpt2_like: Tokenizer) -> None:
    base = with_pattern(gpt2_like, r"\p{L}+\b|\s")
    with pytest.raises(
        PlaygroundError, match=r"The split pattern '.*' holds \\b at character 6, which the page cannot"
    ):
        pack_tokenizer(base, pl.DataFrame(schema=NO_ROWS))


def test_a_step_that_the_page_does_not_know_is_refused_by_its_name(gpt2_like: Tokenizer) -> None:
    base = with_step(gpt2_like, {"type": "UnicodeScripts"})
    with pytest.raises(PlaygroundError, match="The pre-tokenizer has a step UnicodeScripts, which the page"):
        pack_tokenizer(base, pl.DataFrame(schema=NO_ROWS))


NO_ROWS: dict[str, Any] = {
    "piece": pl.String,
    "left": pl.Int64,
    "right": pl.Int64,
    "opened": pl.List(pl.List(pl.Int64)),
}

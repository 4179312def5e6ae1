"""Base tokenizers whose added tokens, normal forms, bytes or cuts change what a chunk is are counted as they encode."""

import copy
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from conftest import Run
from helpers import (
    all_ids,
    base_of,
    grow_documents,
    has_hangul,
    lines_of,
    merged,
    n_tokens,
    without_bytes,
)

from vocabopt.errors import BaseTokenizerError
from vocabopt.run_directory import read_sweep
from vocabopt.tokenizer import Tokenizer
from vocabopt.wording import sweep_notes

# --- Added tokens and normal forms that change what a chunk is -------------------------------------------------------


def added(content: str, **options: bool) -> dict[str, Any]:
    plain = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False)
    return {"content": content, **plain, **options}


@pytest.mark.parametrize("name", ["llama_like", "gpt2_like", "qwen2_like"])
@pytest.mark.parametrize("options", [{}, {"normalized": True}, {"lstrip": True}, {"rstrip": True}, {"special": True}])
def test_added_tokens_are_counted_as_they_encode(
    name: str, options: dict[str, bool], request: pytest.FixtureRequest
) -> None:
    base = request.getfixturevalue(name)
    value = copy.deepcopy(dict(base.tokenizer_json))
    value["added_tokens"].append({"id": base.n_tokens, **added("한국", **options)})
    value["added_tokens"].append({"id": base.n_tokens + 1, **added("▁가", **options)})
    # The second spelling of 한국 is in jamo: a normaliser may compose it.
    documents = [
        "한국 가나",
        "나 한국 가",
        "가 한국한국",
        "a \u1112\u1161\u11ab\u1100\u116e\u11a8 b",
        "x▁가",
        "x 가",
    ] * 3
    try:
        base = base_of(value)
    except BaseTokenizerError:
        return
    grown = grow_documents(base, {"train": documents})
    tokenizer = merged(base, grown.curve, len(grown.curve))
    assert n_tokens(tokenizer, documents) == grown.curve["n_tokens_train"][-1]
    assert [tokenizer.token_to_id(token) for token in ("한국", "▁가")] == [base.n_tokens - 2, base.n_tokens - 1]


@pytest.mark.parametrize("form", ["NFC", "NFD", "NFKC", "NFKD"])
@pytest.mark.parametrize("add_prefix_space", [False, True])
def test_normal_forms_are_counted_as_they_encode_or_refused(
    form: str, add_prefix_space: bool, gpt2_like: Tokenizer
) -> None:
    value = copy.deepcopy(dict(gpt2_like.tokenizer_json))
    value["normalizer"] = {"type": form}
    value["pre_tokenizer"]["add_prefix_space"] = add_prefix_space
    try:
        base = base_of(value)
    except BaseTokenizerError:
        return
    # U+00A0, U+3000 and U+00A8 are spaces, or begin with one, once NFKC or NFKD has seen them.
    documents = [
        "\u00a0가나 다",
        "\u3000가나",
        "가나\u00a0가나",
        "\u00a8가",
        "각 \u1100\u1161\u11a8 ㈀ ﾡ",
        "x\u3000 가나",
    ] * 3
    grown = grow_documents(base, {"train": documents})
    for size in (1, len(grown.curve)):
        assert n_tokens(merged(base, grown.curve, size), documents) == grown.curve["n_tokens_train"][size - 1]


def test_a_nested_pre_tokenizer_is_split_like_a_flat_one(gpt2_like: Tokenizer) -> None:
    value = copy.deepcopy(dict(gpt2_like.tokenizer_json))
    split = {"type": "Split", "pattern": {"Regex": "\\p{N}{1,3}"}, "behavior": "Isolated", "invert": False}
    to_bytes = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    inner = {"type": "Sequence", "pretokenizers": [split, to_bytes]}
    value["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [inner]}
    documents = ["don't 12345 가나다", "가나다 가나 1234"] * 3
    base = base_of(value)
    grown = grow_documents(base, {"train": documents})
    tokenizer = merged(base, grown.curve, len(grown.curve))
    assert n_tokens(tokenizer, documents) == grown.curve["n_tokens_train"][-1]


# --- Byte-level vocabularies that lack bytes, hold foreign pieces, or cut bytes ---------------------------------------


def assert_counted_as_encoded(
    base: Tokenizer, documents: Sequence[str], *, sizes: Sequence[int] = (1, 20)
) -> pl.DataFrame:
    """P1 against `tokenizers` on whole documents, at a few sizes and the last; returns the curve."""
    curve = grow_documents(base, {"train": documents}).curve
    for size in (*sizes, len(curve)):
        assert n_tokens(merged(base, curve, size), documents) == curve["n_tokens_train"][size - 1], size
    return curve


NEVER_IN_TEXT = [0xC0, 0xC1, *range(0xF5, 0x100)]
LOSING = [
    "가\x01나 " * 9,
    "가나다 가나다라",
    "\x01",
    "x\x04y\x01z",
    "가\U00041234나",
    "\U00081234가나\x04",
    "a \x01b",
] * 3


def test_bytes_that_occur_in_no_text_are_not_missed(gpt2_like: Tokenizer) -> None:
    """GPT-NeoX, Pythia, OLMo 1, MPT, StarCoder and Refact have no tokens for them."""
    base = base_of(without_bytes(gpt2_like, NEVER_IN_TEXT))
    assert base.missing_bytes == b""
    text = lines_of("ko")[:300]
    assert all_ids(base.full, text) == all_ids(gpt2_like.full, text)
    assert_counted_as_encoded(base, text)


@pytest.mark.parametrize("unknown", [None, "<unk>", "<|endoftext|>"])
@pytest.mark.parametrize("fuse", [False, True])
def test_what_the_base_has_no_token_for_is_counted_as_it_encodes(
    unknown: str | None, fuse: bool, gpt2_like: Tokenizer
) -> None:
    """SmolLM2 lacks six control characters, F1 and F2: `tokenizers` drops them, or gives an unknown token."""
    value = without_bytes(gpt2_like, [0x01, 0x04, 0xF1, 0xF2, *NEVER_IN_TEXT])
    if unknown == "<unk>":
        value["model"]["vocab"]["<unk>"] = 2_500
    value["model"] |= {"unk_token": unknown, "fuse_unk": fuse}
    base = base_of(value)
    assert base.missing_bytes == b"\x01\x04\xf1\xf2"
    assert_counted_as_encoded(base, [*LOSING, *lines_of("ko")[:200]])
    assert base.full.decode(base.full.encode("가\x01나").ids, skip_special_tokens=True) in ("가나", "가<unk>나")
    assert_counted_as_encoded(base, LOSING, sizes=(1,))
    # 가 and 나 are neighbours where `tokenizers` dropped what was between them; no other text has them so.
    assert grow_documents(base, {"train": ["가\x01나"] * 50 + ["가", "나"]}).curve["bytes"].to_list() == []
    curve = assert_counted_as_encoded(base, ["가\x01나"] * 50 + ["가나"] * 2, sizes=(1,))
    assert curve["bytes"].to_list() == ["가나".encode()]


def test_lost_characters_are_counted_in_each_set_and_shown(
    gpt2_like: Tokenizer, tmp_path: Path, run_on: Callable[..., Run]
) -> None:
    base = tmp_path / "tokenizer.json"
    base.write_text(json.dumps(without_bytes(gpt2_like, [0x01, 0x04, 0xF1])), encoding="utf-8")
    (tmp_path / "ko.txt").write_text("\n".join([*lines_of("ko")[:100], *LOSING]), encoding="utf-8")
    (tmp_path / "en.txt").write_text("a\x01b\x04c\n\U00041234", encoding="utf-8")
    (tmp_path / "fine.txt").write_text("none is lost here", encoding="utf-8")
    evals = {name: str(tmp_path / f"{name}.txt") for name in ("en", "fine")}
    run = run_on(tmp_path / "run", str(base), tmp_path / "ko.txt", evals=evals, heldout=0.0)
    lost = {name: stats["n_lost_chars"] for name, stats in run.sweep["sets"].items()}
    in_training = sum(text.count(char) for text in LOSING for char in ("\x01", "\x04", "\U00041234"))
    assert lost == {"train": in_training, "heldout": 0, "en": 3, "fine": 0}
    notes = [note for note in sweep_notes(read_sweep(run.out)) if "no token for" in note]
    assert notes[0].startswith(f"Characters that the base has no token for: train {in_training:,}, en 3. They are left")
    page = (run.out / "report.html").read_text(encoding="utf-8")
    told = [re.sub(r"<[^>]*>", "", note) for note in re.findall(r'<p class="note lost">.*?</p>', page)]
    assert [note.split(" no token")[0] for note in told] == [
        f"train: {in_training} characters have",
        "en: 3 characters have",
    ]
    run.exported(len(run.curve))


def test_pieces_that_are_no_bytes_are_kept_and_never_reached(gpt2_like: Tokenizer, tmp_path: Path) -> None:
    """Command-R holds 1,403 emoji and joiners that are not spelled in bytes."""
    value = copy.deepcopy(dict(gpt2_like.tokenizer_json))
    foreign = {"\u200d": 2_000, "‼": 2_001, "가": 2_002, "가나": 2_003, "👨\u200d": 2_004}
    value["model"]["vocab"] |= foreign
    value["model"]["merges"] += [["👨", "\u200d"]] if "👨" in value["model"]["vocab"] else []
    base = base_of(value)
    assert [base.pieces[index] for index in foreign.values()] == [b""] * 5
    documents = ["가나 👨\u200d👩 가나‼ 가", "가나다 👨\u200d👩"] * 5
    assert not {*foreign.values()} & {index for ids in all_ids(base.full, documents) for index in ids}
    curve = assert_counted_as_encoded(base, documents, sizes=(1,))
    tokenizer = merged(base, curve, len(curve))
    vocab = tokenizer.get_vocab()
    assert {piece: vocab[piece] for piece in foreign} == foreign
    assert "가나다".encode() in curve["bytes"].to_list()
    assert sorted(vocab.values()) == list(range(2_005 + len(curve)))


FALCON = [
    {"type": "Punctuation", "behavior": "Contiguous"},
    {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
    {"type": "Digits", "individual_digits": False},
    {"type": "Split", "pattern": {"Regex": "[0-9][0-9][0-9]"}, "behavior": "Isolated", "invert": False},
]


@pytest.mark.parametrize("missing", [[], [0x01, 0x04, 0xF1]], ids=["whole", "losing"])
def test_cuts_after_byte_level_are_counted_as_they_encode(
    missing: list[int], gpt2_like: Tokenizer, tmp_path: Path
) -> None:
    """Falcon cuts at digits after ByteLevel, where the characters that stand for B2, B3, B9 and BC to BE are digits."""
    value = without_bytes(gpt2_like, missing)
    value["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": FALCON}
    base = base_of(value)
    assert base.cuts_bytes
    assert "²" in [piece for piece, _ in base.full.pre_tokenizer.pre_tokenize_str("겨")]  # EA B2 A8, cut inside
    documents = [*lines_of("ko")[:200], "겨울 1234567, 겨울 (12)3. 겨울!", *LOSING]
    curve = assert_counted_as_encoded(base, documents)
    tokenizer = merged(base, curve, len(curve))
    english = [text for text in lines_of("en") if not has_hangul(text)]
    assert all_ids(tokenizer, english) == all_ids(base.full, english)
    # A protected set is judged by what it is, also where a cut left a part of a character.
    grown = grow_documents(base, {"train": documents, "en": [*english, "겨울 신라"]}, protected=["en"])
    assert len(grown.curve) == len(curve)

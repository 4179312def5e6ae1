"""Base tokenizers: as loaded they encode as the original library does, and what cannot be grown is refused."""

import copy
import json
import re
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import sentencepiece
from conftest import N_PADDING_ROWS, Run
from helpers import (
    all_ids,
    base_of,
    grow_documents,
    has_hangul,
    lines_of,
    merged,
    n_tokens,
    train_sentencepiece,
    without_bytes,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from sentencepiece import sentencepiece_model_pb2

from vocabopt.choice.complexity import embedding_table, table_of_base
from vocabopt.errors import BaseTokenizerError, ModelSpecError, listen
from vocabopt.run_directory import read_sweep
from vocabopt.tokenizer import Tokenizer, load_base, load_tokenizer
from vocabopt.wording import sweep_notes

# --- Exactness against sentencepiece ---------------------------------------------------------------------------------

ODD_PARTS = [" ", "  ", "   ", "        ", "▁", "▁▁", "\t", "\n", "\r", " \n", "x  y", "the", " def", "한국", "뷁"]
ODD_PARTS += [
    "é",
    "e\u0301",
    "\u1112\u1161\u11ab",
    "😀",
    "👨‍👩‍👧‍👦",
    "🇰🇷",
    "\x01",
    "\x7f",
    "\u00a0",
    "\u3000",
    "\u200b",
    "\ufeff",
]
ODD_PARTS += ["<0x41>", "<s", "//", "{}", "0x1F"]
any_text = st.one_of(
    st.text(), st.lists(st.one_of(st.sampled_from(ODD_PARTS), st.text(max_size=3)), max_size=20).map("".join)
)


def model_file(name: str) -> Path:
    """A .model file: of the package mistral-common, or of the development data."""
    spec = find_spec("mistral_common")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return Path(next(iter(spec.submodule_search_locations))) / "data" / name


def differing(base: Tokenizer, original: sentencepiece.SentencePieceProcessor, documents: list[str]) -> list[str]:
    """Documents without special-token strings that the base encodes otherwise than sentencepiece."""
    plain = [text for text in documents if not any(content in text for content in base.added_contents)]
    assert len(plain) > 0.5 * len(documents)
    pairs = zip(plain, all_ids(base.full, plain), original.encode(plain), strict=True)
    return [text for text, found, expected in pairs if found != expected]


def code_lines(n_lines: int) -> list[str]:
    """Whitespace-heavy lines of Python's own library."""
    lines: list[str] = []
    for path in sorted(Path(json.__file__).parent.parent.glob("*.py")):
        lines += [line for line in path.read_text(encoding="utf-8", errors="ignore").split("\n") if "    " in line]
        if len(lines) >= n_lines:
            return lines[:n_lines]
    raise AssertionError("Python's library is shorter than that")


@pytest.fixture(scope="module", params=["tokenizer.model.v1", "mistral_instruct_tokenizer_240323.model.v3", "small"])
def original(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Tokenizer, Any]:
    """A base loaded from a .model file, and sentencepiece with the same file."""
    path = tmp_path_factory.mktemp("original") / "tokenizer.model"
    if request.param == "small":
        path.write_bytes(train_sentencepiece(lines_of("en")[:300] + lines_of("ko")[:60] + ["a  b   c    d"], 600))
    else:
        path.write_bytes(model_file(request.param).read_bytes())
    return load_base(str(path)), sentencepiece.SentencePieceProcessor(model_file=str(path))


def test_a_base_from_a_model_file_encodes_the_sample_corpus_as_sentencepiece_does(
    original: tuple[Tokenizer, Any],
) -> None:
    assert differing(*original, lines_of("ko") + lines_of("en")) == []


def test_a_base_from_a_model_file_encodes_code_as_sentencepiece_does(original: tuple[Tokenizer, Any]) -> None:
    lines = code_lines(5_000)
    assert differing(*original, lines + ["\n".join(lines[i : i + 40]) for i in range(0, len(lines), 40)]) == []


@settings(max_examples=150, deadline=None)
@given(texts=st.lists(any_text, min_size=20, max_size=40))
@pytest.mark.slow
def test_a_base_from_a_model_file_encodes_any_text_as_sentencepiece_does(
    original: tuple[Tokenizer, Any], texts: list[str]
) -> None:
    assert differing(*original, texts + [f" {text}" for text in texts]) == []


@pytest.mark.data
def test_llama_2_encodes_as_sentencepiece_does(llama2: Tokenizer, data: Path) -> None:
    original = sentencepiece.SentencePieceProcessor(model_file=str(data / "tok_llama2" / "tokenizer.model"))
    spaces = ["".join(" " * (seed * k % 17) + "x" for k in range(1, 9)) for seed in range(1, 200)]
    assert differing(llama2, original, lines_of("ko") + lines_of("en") + code_lines(5_000) + spaces) == []


@pytest.mark.parametrize(
    "options",
    [
        {"add_dummy_prefix": False},
        {"split_by_whitespace": False},
        {"split_by_unicode_script": False, "split_by_number": False},
        {"control_symbols": ["[INST]"]},
        {"bos_id": -1, "eos_id": -1},
    ],
    ids=lambda options: next(iter(options)),
)
def test_other_settings_of_sentencepiece_are_followed(options: dict[str, Any]) -> None:
    lines = lines_of("en")[:300] + lines_of("ko")[:60]
    model = train_sentencepiece(lines, 600, **options)
    original = sentencepiece.SentencePieceProcessor(model_proto=model)
    documents = [*lines_of("ko"), *lines_of("en"), *code_lines(500), "a   b", "   a", "a   "]
    assert differing(base_of(model), original, documents) == []


# --- Refusals --------------------------------------------------------------------------------------------------------


def refusal(path: Path | str) -> str:
    """The message with which a base is refused; it names the base."""
    with pytest.raises(BaseTokenizerError) as caught:
        load_base(str(path))
    assert str(caught.value).startswith(f"{path}")
    return str(caught.value)


def written(path: Path, data: bytes | dict[str, Any]) -> Path:
    path.write_bytes(data if isinstance(data, bytes) else json.dumps(data).encode())
    return path


def tokenizer_json(model: dict[str, Any]) -> dict[str, Any]:
    return {"version": "1.0", "added_tokens": [], "pre_tokenizer": {"type": "Whitespace"}, "model": model}


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ({"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0.0], ["a", -1.0]]}, "its model is Unigram. Only BPE"),
        (
            {
                "type": "WordPiece",
                "vocab": {"[UNK]": 0, "a": 1},
                "unk_token": "[UNK]",
                "continuing_subword_prefix": "##",
                "max_input_chars_per_word": 100,
            },
            "its model is WordPiece. Only BPE",
        ),
        ({"type": "WordLevel", "vocab": {"[UNK]": 0}, "unk_token": "[UNK]"}, "its model is WordLevel. Only BPE"),
        (
            {"type": "BPE", "vocab": {"<unk>": 0, "a": 1}, "merges": [], "unk_token": "<unk>"},
            "neither byte-level nor has byte fallback, so plain text can become <unk>",
        ),
    ],
    ids=["unigram", "wordpiece", "wordlevel", "bpe without byte fallback"],
)
def test_a_tokenizer_json_of_another_kind_is_refused(model: dict[str, Any], reason: str, tmp_path: Path) -> None:
    path = written(tmp_path / "tokenizer.json", tokenizer_json(model))
    assert reason in refusal(path)
    loaded = load_tokenizer(str(path))
    assert (loaded.can_grow, loaded.family, loaded.refusal) == (False, None, refusal(path))
    assert loaded.vocab == loaded.full.get_vocab(with_added_tokens=True)


@pytest.mark.parametrize("name", ["llama_like", "gpt2_like", "qwen2_like"])
def test_a_vocabulary_is_that_of_the_library(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    value = copy.deepcopy(dict(request.getfixturevalue(name).tokenizer_json))
    plain = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    # The library numbers anew what the vocabulary lacks.
    value["added_tokens"] += [{"id": 99_999 + i, "content": f"<new{i}>", **plain, "special": False} for i in range(2)]
    base = load_base(str(written(tmp_path / "tokenizer.json", value)))
    assert base.vocab == base.full.get_vocab(with_added_tokens=True)
    assert {"<new0>", "<new1>"} <= {*base.added_contents}
    assert base.n_tokens == base.full.get_vocab_size(with_added_tokens=True)


def test_byte_fallback_that_lacks_a_byte_is_refused(llama_like: Tokenizer, tmp_path: Path) -> None:
    value = copy.deepcopy(dict(llama_like.tokenizer_json))
    value["model"]["vocab"]["instead"] = value["model"]["vocab"].pop("<0xEA>")
    assert "nor has byte fallback" in refusal(written(tmp_path / "tokenizer.json", value))


def test_a_byte_level_base_that_would_tear_characters_is_refused(gpt2_like: Tokenizer, tmp_path: Path) -> None:
    value = without_bytes(gpt2_like, [0x01, 0x9F])
    told = refusal(written(tmp_path / "tokenizer.json", value))
    assert "lacks 2 of the 243 bytes of UTF-8 text, 1 of them inside characters (9F, ...)" in told
    value = without_bytes(gpt2_like, [0x01])
    value["model"]["byte_fallback"] = True
    told = refusal(written(tmp_path / "tokenizer.json", value))
    assert "its byte-level BPE lacks the bytes 01 and has byte_fallback set" in told


@pytest.mark.parametrize("kind", ["Metaspace", "ByteLevel"])
def test_a_step_after_byte_level_that_does_more_than_cut_is_refused(
    kind: str, gpt2_like: Tokenizer, tmp_path: Path
) -> None:
    first = dict(gpt2_like.tokenizer_json["pre_tokenizer"])
    step = first if kind == "ByteLevel" else {"type": kind, "replacement": "_", "prepend_scheme": "never"}
    value = {**gpt2_like.tokenizer_json, "pre_tokenizer": {"type": "Sequence", "pretokenizers": [first, step]}}
    told = refusal(written(tmp_path / "tokenizer.json", value))
    assert f"its pre-tokenizer has the step {kind} after ByteLevel" in told


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"model_type": "unigram"}, "is a SentencePiece unigram model. Only BPE can be grown by merges"),
        ({"model_type": "char"}, "is a SentencePiece char model. Only BPE can be grown by merges"),
        ({"byte_fallback": False}, "has no byte fallback, so text outside its alphabet becomes <unk>"),
        ({"normalization_rule_name": "nfkc"}, "normalises text (nfkc;"),
        ({"remove_extra_whitespaces": True}, "extra white space removed: True"),
        ({"treat_whitespace_as_suffix": True}, "writes white space as a suffix of words"),
    ],
    ids=lambda value: next(iter(value.values())) if isinstance(value, dict) else "",
)
def test_a_sentencepiece_model_of_another_kind_is_refused(options: dict[str, Any], reason: str, tmp_path: Path) -> None:
    model = train_sentencepiece(lines_of("en")[:300], 400, **{"hard_vocab_limit": False, **options})
    assert reason in refusal(written(tmp_path / "tokenizer.model", model))


@pytest.mark.parametrize(
    ("file", "data", "reason"),
    [
        ("tokenizer.json", b"{", "is not a tokenizer.json that the tokenizers library can read"),
        ("tokenizer.json", b"{}", "is not a tokenizer.json that the tokenizers library can read"),
        (
            "tokenizer.json",
            b'{"model": {"type": "BPE"}}',
            "is not a tokenizer.json that the tokenizers library can read",
        ),
        (
            "tokenizer.json",
            b"\xff{",
            "is not a SentencePiece model, nor a tokenizer of another kind. Pass mistral-7b-v1 (built in), a ",
        ),
        ("tokenizer.model", b"\x00\x01nonsense", "is not a SentencePiece model, nor"),
        ("tokenizer.model", b"", "holds no pieces"),
        ("qwen.tiktoken", b"IQ== 0\nIg== 1\nIw== 2\n", "is a tiktoken rank file of 3 ranks, and neither"),
    ],
)
def test_a_file_that_is_no_tokenizer_is_refused(file: str, data: bytes, reason: str, tmp_path: Path) -> None:
    assert reason in refusal(written(tmp_path / file, data))


def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    assert "no tokenizer.json or tokenizer.model in this folder" in refusal(tmp_path)


@pytest.mark.parametrize("name", ["mistral-7b-v9", "./nowhere/tokenizer.json", "/nowhere"])
def test_an_unknown_name_is_refused_without_the_network(name: str) -> None:
    assert "no such base tokenizer. Pass mistral-7b-v1 (built in)" in refusal(name)


@pytest.mark.data
def test_real_tokenizers_of_other_kinds_are_refused(data: Path) -> None:
    assert "is a SentencePiece unigram model" in refusal(data / "tok_t5" / "sentencepiece.model")


# --- Forms of input --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_folder_a_model_file_and_the_built_in_base_are_one_base(mistral: Tokenizer, tmp_path: Path) -> None:
    folder = tmp_path / "Mistral-7B-v0.1"
    folder.mkdir()
    (folder / "tokenizer.model").write_bytes(model_file("tokenizer.model.v1").read_bytes())
    (tmp_path / "renamed.model").write_bytes(model_file("tokenizer.model.v1").read_bytes())
    for path, name in [
        (folder, "Mistral-7B-v0.1"),
        (folder / "tokenizer.model", "Mistral-7B-v0.1"),
        (tmp_path / "renamed.model", "renamed"),
    ]:
        base = load_base(str(path))
        assert (base.name, base.family, base.n_tokens) == (name, "sentencepiece-bpe", 32_000)
        assert base.tokenizer_json == mistral.tokenizer_json
        assert base.sha256 == mistral.sha256
        assert load_base(base.source).sha256 == base.sha256


def test_tokenizer_json_wins_over_tokenizer_model_in_one_folder(folders: Path, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_bytes((folders / "gpt2-like" / "tokenizer.json").read_bytes())
    (tmp_path / "tokenizer.model").write_bytes(b"not looked at")
    assert load_base(str(tmp_path)).family == "byte-level-bpe"


def test_a_folder_brings_its_template_its_config_and_its_padding_rows(folders: Path) -> None:
    base = load_base(str(folders / "qwen2-like"))
    assert set(base.companions) == {"tokenizer_config.json", "chat_template.jinja"}
    assert base.n_tokens == 2_000
    table = embedding_table(base, None, model_is_chosen=False)
    assert (table.base_n_tokens, table.base_n_rows) == (2_000, 2_000 + N_PADDING_ROWS)
    assert table.n_rows(N_PADDING_ROWS) == 2_000 + N_PADDING_ROWS
    assert table.n_rows(N_PADDING_ROWS + 1) == 2_000 + N_PADDING_ROWS + 1


def test_merges_may_be_written_as_strings(gpt2_like: Tokenizer) -> None:
    value = copy.deepcopy(dict(gpt2_like.tokenizer_json))
    value["model"]["merges"] = [" ".join(pair) for pair in value["model"]["merges"]]
    assert base_of(value).tokenizer_json == gpt2_like.tokenizer_json


def test_pieces_and_their_bytes_are_told_apart_and_back(
    mistral: Tokenizer, gpt2_like: Tokenizer, llama_like: Tokenizer, qwen2_like: Tokenizer
) -> None:
    for base in (mistral, gpt2_like, llama_like, qwen2_like):
        pieces = {piece: i for piece, i in base.tokenizer_json["model"]["vocab"].items() if base.pieces[i]}
        assert len(pieces) > 1_500
        assert {base.piece_string(base.pieces[i]): i for i in pieces.values()} == pieces
        assert sorted(value for value in base.byte_values if value >= 0) in ([], list(range(256)))


@pytest.mark.parametrize(
    ("normalizer", "pre_tokenizer", "prefix"),
    [
        ("replace", {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious"}, "never"),
        (None, {"type": "Metaspace", "prepend_scheme": "always"}, "always"),
        (None, {"type": "Metaspace", "prepend_scheme": "first"}, "first"),
        (None, {"type": "Metaspace", "prepend_scheme": "never"}, "never"),
    ],
    ids=["gemma", "metaspace-always", "metaspace-first", "metaspace-never"],
)
def test_other_ways_to_write_spaces_are_counted_as_they_encode(
    normalizer: str | None, pre_tokenizer: dict[str, Any], prefix: str, llama_like: Tokenizer
) -> None:
    settings_of = {"Split": {"invert": False}, "Metaspace": {"replacement": "▁", "split": False}}
    value = {
        **llama_like.tokenizer_json,
        "normalizer": normalizer and {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        "pre_tokenizer": {**pre_tokenizer, **settings_of[pre_tokenizer["type"]]},
    }
    base = base_of(value)
    assert base.prefix == prefix
    documents = ["가나", " 가나", "  가나", "▁가나", "가나</s>가나", "</s> 가나", "</s>▁가나", "a\n 가나", "\n가나"] * 3
    grown = grow_documents(base, {"train": documents})
    for size in range(1, len(grown.curve) + 1):
        assert n_tokens(merged(base, grown.curve, size), documents) == grown.curve["n_tokens_train"][size - 1]


def test_a_base_whose_model_is_not_known_is_swept_to_its_report(
    folders: Path, tmp_path: Path, run_on: Callable[..., Run]
) -> None:
    (tmp_path / "ko.txt").write_text("\n".join(lines_of("ko")[:100]), encoding="utf-8")
    run = run_on(tmp_path / "run", str(folders / "gpt2-like" / "tokenizer.json"), tmp_path / "ko.txt")
    assert run.sweep["model"] is None
    assert (run.out / "report.html").is_file()


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


def test_two_pieces_with_one_id_are_refused(gpt2_like: Tokenizer, tmp_path: Path) -> None:
    value = copy.deepcopy(dict(gpt2_like.tokenizer_json))
    value["model"]["vocab"]["Ġof"] = value["model"]["vocab"]["Ġthe"]
    assert re.search(
        r"2 pieces have the id \d+ \('Ġ\w+', 'Ġ\w+'\)", refusal(written(tmp_path / "tokenizer.json", value))
    )


def test_a_tokenizer_model_beside_tokenizer_json_is_an_original_where_the_ids_agree(tmp_path: Path) -> None:
    """Also one whose own scores could not be grown from: tokenizer.json is what is grown."""
    model = sentencepiece_model_pb2.ModelProto()
    model.ParseFromString(train_sentencepiece(lines_of("en")[:300], 500))
    base = base_of(model.SerializeToString())
    (tmp_path / "tokenizer.json").write_text(json.dumps(dict(base.tokenizer_json)), encoding="utf-8")
    for piece in model.pieces[400:440]:
        piece.score = 0.0
    (tmp_path / "tokenizer.model").write_bytes(model.SerializeToString())
    assert [original.kind for original in load_base(str(tmp_path)).originals] == ["tokenizer.model"]
    model.pieces[400].piece, model.pieces[401].piece = model.pieces[401].piece, model.pieces[400].piece
    (tmp_path / "tokenizer.model").write_bytes(model.SerializeToString())
    assert load_base(str(tmp_path)).originals == ()


def test_a_file_beside_tokenizer_json_that_is_another_tokenizer_is_left_alone(folders: Path, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_bytes((folders / "gpt2-like" / "tokenizer.json").read_bytes())
    (tmp_path / "other.tiktoken").write_bytes(b"IQ== 0\nIg== 1\nIw== 2\n")
    (tmp_path / "tekken.json").write_bytes(b"{")
    assert load_base(str(tmp_path)).originals == ()


def test_an_added_token_that_is_a_whole_word_only_and_no_piece_is_refused(
    llama_like: Tokenizer, tmp_path: Path
) -> None:
    value = copy.deepcopy(dict(llama_like.tokenizer_json))
    value["added_tokens"].append({"id": llama_like.n_tokens, **added("☃", single_word=True)})
    told = refusal(written(tmp_path / "tokenizer.json", value))
    assert "its added token '☃' (id 2000) is single_word and no piece of the vocabulary" in told


def test_the_beginning_of_a_document_is_the_model_s_own(tmp_path: Path) -> None:
    model = train_sentencepiece(lines_of("en")[:300], 500, bos_piece="<bos>", eos_piece="<eos>")
    base = base_of(model)
    assert base.full.encode("a").ids[0] == base.full.token_to_id("<bos>")


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("added_tokens.json", '{"<pad>": 5}', r"the folder adds '<pad>' with the id 5, which the model gives to"),
        ("added_tokens.json", "[1]", r"added_tokens\.json: its added tokens cannot be read"),
    ],
)
def test_added_tokens_that_do_not_fit_the_model_are_refused(
    name: str, content: str, reason: str, tmp_path: Path
) -> None:
    (tmp_path / "tokenizer.model").write_bytes(train_sentencepiece(lines_of("en")[:300], 500))
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(BaseTokenizerError, match=reason):
        load_base(str(tmp_path))


def test_the_models_own_config_beside_a_tokenizer_gives_its_width_without_being_asked(
    folders: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "gpt2"  # a preset's name: what lies in the folder wins
    folder.mkdir()
    (folder / "tokenizer.json").write_bytes((folders / "gpt2-like" / "tokenizer.json").read_bytes())
    config = {"vocab_size": 2_048, "n_embd": 24, "n_layer": 2, "n_head": 2, "model_type": "gpt2"}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    table = table_of_base(load_base(str(folder)), None)
    assert (table.base_n_rows, table.n_params(0)) == (2_048, 2_048 * 24)  # GPT-2 ties its two tables
    assert table_of_base(load_base(str(folder)), "mistral-7b").n_params(0) == 32_000 * 4_096 * 2


def test_a_config_that_names_no_widths_says_nothing_of_the_model(folders: Path, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_bytes((folders / "gpt2-like" / "tokenizer.json").read_bytes())
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}', encoding="utf-8")
    assert table_of_base(load_base(str(tmp_path)), None).model is None


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (
            {"vocab_size": 1_000, "hidden_size": 24},
            r"config\.json: its embedding has 1,000 rows, but the base .* tokens",
        ),
        ({"hidden_size": 24}, r"config\.json: field vocab_size is missing"),
        ({"vocab_size": 2_048}, r"config\.json: field hidden_size \(nor n_embd, d_model, n_embed\) is missing"),
        ({"model_type": "gpt2"}, None),  # as tokenizers are saved: it is no model's
    ],
)
def test_a_config_that_is_not_used_is_told_with_its_reason(
    folders: Path, tmp_path: Path, config: dict[str, object], reason: str | None
) -> None:
    (tmp_path / "tokenizer.json").write_bytes((folders / "gpt2-like" / "tokenizer.json").read_bytes())
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    told: list[str] = []
    listen(told.append)
    table = table_of_base(load_base(str(tmp_path)), None)
    listen(None)
    assert table.model is None
    assert [bool(re.search(reason or "", sentence)) for sentence in told] == ([] if reason is None else [True]), told


def test_a_broken_config_beside_a_tokenizer_is_told(folders: Path, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_bytes((folders / "gpt2-like" / "tokenizer.json").read_bytes())
    (tmp_path / "config.json").write_text('{"vocab_size": 2048, "hidden_size"', encoding="utf-8")
    with pytest.raises(ModelSpecError, match=r"config\.json: not JSON"):
        table_of_base(load_base(str(tmp_path)), None)


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
    base = written(tmp_path / "tokenizer.json", without_bytes(gpt2_like, [0x01, 0x04, 0xF1]))
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

"""Base tokenizers: as loaded they encode as the original library does, and what cannot be grown is refused."""

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
import tokenizers
from conftest import N_PADDING_ROWS, Run
from helpers import (
    all_ids,
    base_of,
    examples,
    grow_documents,
    library_tokenizer,
    lines_of,
    merged,
    model_file,
    n_tokens,
    train_sentencepiece,
    without_bytes,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from sentencepiece import sentencepiece_model_pb2

from vocabopt.choice.complexity import embedding_table, table_of_base
from vocabopt.errors import BaseTokenizerError, ModelSpecError, listen
from vocabopt.tokenizer import Tokenizer, load_base, load_tokenizer

# --- The loader of these tests ---------------------------------------------------------------------------------------


def test_a_tokenizer_without_the_library_s_memory_is_what_the_library_reads(
    mistral: Tokenizer, llama_like: Tokenizer, gpt2_like: Tokenizer, qwen2_like: Tokenizer
) -> None:
    """`library_tokenizer` changes no part of a tokenizer.json and no id."""
    texts = lines_of("ko")[:200] + lines_of("en")[:200] + ODD_PARTS
    for base in (mistral, llama_like, gpt2_like, qwen2_like):
        read = tokenizers.Tokenizer.from_str(json.dumps(dict(base.tokenizer_json)))
        found = library_tokenizer(base.tokenizer_json)
        assert json.loads(found.to_str()) == json.loads(read.to_str())
        assert all_ids(found, texts) == all_ids(read, texts)


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


@settings(max_examples=examples(150), deadline=None)
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
    plain = dict.fromkeys(("lstrip", "rstrip", "normalized", "special"), False)
    token = {"id": llama_like.n_tokens, "content": "☃", **plain, "single_word": True}
    value["added_tokens"].append(token)
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

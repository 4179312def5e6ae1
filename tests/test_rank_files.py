"""tiktoken rank files and Tekken: as loaded they encode as their own libraries do; what they leave out is told."""

import base64
import hashlib
import json
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
import tiktoken
import tiktoken_ext.openai_public
import tokenizers
from command_line import assert_refused, vocabopt
from conftest import Run
from helpers import (
    all_ids,
    examples,
    grow_documents,
    lines_of,
    merged,
    model_file,
    n_tokens,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from test_bases import code_lines, refusal
from test_promises import any_text

from vocabopt.errors import BaseTokenizerError, OptionError
from vocabopt.merging.export import extended_original
from vocabopt.merging.extension import grown
from vocabopt.tokenizer import Tokenizer, load_base
from vocabopt.tokenizer.families import byte_of_char
from vocabopt.tokenizer.patterns import CL100K_PATTERN, GPT2_PATTERN, QWEN35_PATTERN, QWEN_PATTERN
from vocabopt.tokenizer.published import KNOWN
from vocabopt.tokenizer.ranks import byte_level_json, complete, merges_of_ranks, parse_ranks, rank_file

ODD = [
    "",
    " ",
    "   a",
    "a   ",
    "\n\n \n",
    "\t\tx",
    "12345678",
    "don't I'LL",
    "한국어는",
    "ㅋㅋㅋㅋ",
    "\u1112\u1161\u11ab",
    "é",
]
ODD += [
    "e\u0301",
    "👨‍👩‍👧‍👦",
    "\u3000가",
    "<|endoftext|",
    "[INST]x",
    "x" * 300,
    "가" * 300,
    "\x00\x01",
    "\ufeff",
    "  가\n 나",
]


def ranks_by_hand(*tokens: str) -> dict[bytes, int]:
    """The 256 bytes, then `tokens`."""
    return {bytes([i]): i for i in range(256)} | {token.encode(): 256 + i for i, token in enumerate(tokens)}


def written(path: Path, ranks: dict[bytes, int]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(rank_file(ranks))
    return path


# --- The form --------------------------------------------------------------------------------------------------------


def test_a_rank_file_is_read_as_tiktoken_reads_it(tmp_path: Path) -> None:
    from tiktoken.load import load_tiktoken_bpe

    path = written(tmp_path / "a.tiktoken", ranks_by_hand("ab", "abc", " 가"))
    assert parse_ranks(path.read_bytes(), "") == load_tiktoken_bpe(str(path)) == ranks_by_hand("ab", "abc", " 가")


def test_every_split_of_a_token_into_two_is_a_merge() -> None:
    """By hand: abc is a + bc and ab + c, the lower-ranked left part first; abcd has no split into two tokens."""
    ranks = {b"a": 0, b"b": 1, b"c": 2, b"d": 3, b"ab": 4, b"bc": 5, b"abc": 6, b"dabcd": 7}
    assert merges_of_ranks(ranks) == [(b"a", b"b"), (b"b", b"c"), (b"a", b"bc"), (b"ab", b"c")]


@settings(max_examples=examples(200))
@given(
    text=st.text("abc", max_size=30), tokens=st.lists(st.text("abc", min_size=2, max_size=5), unique=True, max_size=12)
)
def test_any_ranks_encode_as_tiktoken_does_where_merges_can_reach_them(text: str, tokens: list[str]) -> None:
    """Tokens that no merge reaches are taken as whole pre-tokens only, by both."""
    ranks = ranks_by_hand(*tokens)
    encoding = tiktoken.Encoding(name="a", pat_str=CL100K_PATTERN, mergeable_ranks=ranks, special_tokens={})
    reachable = {
        token for token in tokens if encoding.encode_ordinary(f"{token}{token}") == [ranks[token.encode()]] * 2
    }
    if reachable != {*tokens}:
        return
    tokenizer = tokenizers.Tokenizer.from_str(json.dumps(byte_level_json(ranks, {}, pattern=CL100K_PATTERN)))
    assert tokenizer.encode(text, add_special_tokens=False).ids == encoding.encode_ordinary(text)


@pytest.mark.parametrize(
    ("line", "match"),
    [
        ("IQ== x", r"line 3: b'IQ== x' is not a token in base64 and its rank"),
        ("I 7", r"line 3: b'I 7' is not a token in base64 and its rank"),
        ("IQ== 9", r"line 3: the token b'!' or its rank 9 comes twice"),
        ("Iw== 1", r"line 3: the token b'#' or its rank 1 comes twice"),
    ],
)
def test_a_broken_rank_file_is_refused(line: str, match: str, tmp_path: Path) -> None:
    path = tmp_path / "a.tiktoken"
    path.write_text(f"IQ== 0\nIg== 1\n{line}\n", encoding="ascii")
    with pytest.raises(BaseTokenizerError, match=match):
        load_base(str(path))


def test_a_rank_file_without_all_bytes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tiktoken"
    path.write_text("IQ== 0\nIg== 1\n", encoding="ascii")
    with pytest.raises(BaseTokenizerError, match="lacks 241 of the 243 bytes of UTF-8 text, 64 of them inside"):
        load_base(str(path), pattern="llama3", specials="none")


# --- What a rank file leaves out -------------------------------------------------------------------------------------


def test_neither_pattern_nor_special_tokens_known_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "mine.tiktoken", ranks_by_hand())
    told = refusal(path)
    assert "neither its name, its content nor the options tell its split pattern (--pattern NAME or REGEX) and" in told
    assert "Names known: llama3.1, llama3, llama4, qwen3.5, qwen," in told


def test_special_tokens_alone_or_a_pattern_alone_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "mine.tiktoken", ranks_by_hand())
    with pytest.raises(BaseTokenizerError, match=r"the options tell its split pattern \(--pattern NAME or REGEX\)\."):
        load_base(str(path), specials="none")
    with pytest.raises(
        BaseTokenizerError, match=r"the options tell its special tokens \(--specials NAME, FILE or none\)"
    ):
        load_base(str(path), pattern=r"\p{L}+|\P{L}+")
    with pytest.raises(BaseTokenizerError, match="special tokens"):
        load_base(str(path), pattern="llama3")  # the pattern is known; 256 ranks are not Llama 3's, nor its specials


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("<|a|>\n<|b|>\n", {"<|a|>": 256, "<|b|>": 257}),
        ('{"<|a|>": 300, "<|b|>": 260}', {"<|a|>": 300, "<|b|>": 260}),
        ('{"added_tokens_decoder": {"256": {"content": "<|a|>", "special": true}}}', {"<|a|>": 256}),
    ],
)
def test_special_tokens_from_a_file(content: str, expected: dict[str, int], tmp_path: Path) -> None:
    path = written(tmp_path / "mine.tiktoken", ranks_by_hand())
    (tmp_path / "specials").write_text(content, encoding="utf-8")
    base = load_base(str(path), pattern="qwen", specials=str(tmp_path / "specials"))
    assert {token["content"]: token["id"] for token in base.tokenizer_json["added_tokens"]} == expected
    assert base.n_tokens == max(expected.values()) + 1
    assert {content: base.full.token_to_id(content) for content in expected} == expected
    assert base.full.encode("x<|a|>", add_special_tokens=False).ids[-1] == expected["<|a|>"]


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ('{"<|a|>": 7}', r"'<\|a\|>' has the id 7, which is a rank of .* Special tokens of this file come after 255"),
        ('{"<|a|>": "x"}', r"'<\|a\|>' has no id of its own"),
        ('{"<|a|>": 300, "<|b|>": 300}', r"an id comes twice"),
        ("{", r"is not JSON of the form"),
        ("[1, 2]", r"is a list. Write a JSON object"),
    ],
)
def test_a_file_of_special_tokens_that_cannot_be_used_is_refused(content: str, match: str, tmp_path: Path) -> None:
    path = written(tmp_path / "mine.tiktoken", ranks_by_hand())
    (tmp_path / "specials").write_text(content, encoding="utf-8")
    with pytest.raises(OptionError, match=match):
        load_base(str(path), pattern="qwen", specials=str(tmp_path / "specials"))


def test_the_options_of_rank_files_are_refused_with_other_bases(tmp_path: Path) -> None:
    result = vocabopt("sweep", "corpus", "--pattern", "qwen", "--out", tmp_path / "out")
    assert_refused(result, r"--pattern: is for tiktoken rank files, and mistral-7b-v1 is not one", tmp_path)


def test_a_regular_expression_that_is_none_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "mine.tiktoken", ranks_by_hand())
    with pytest.raises(
        BaseTokenizerError, match=r"with the pattern '\(' : makes no tokenizer|with the pattern '\(': makes"
    ):
        load_base(str(path), pattern="(", specials="none")


@pytest.mark.parametrize("token", [b"=", b""])
def test_a_token_of_no_bytes_is_read_and_written_as_whisper_has_it(token: bytes, tmp_path: Path) -> None:
    ranks = {**ranks_by_hand("가", "나"), b"": 258}
    path = written(tmp_path / "a.tiktoken", ranks)
    assert path.read_bytes().endswith(b"\n= 258\n")
    if token == b"":
        path.write_bytes(path.read_bytes().replace(b"= 258", b" 258"))
        assert "line 259: b' 258' is not a token in base64" in refusal(path)
        return
    from tiktoken.load import load_tiktoken_bpe

    assert parse_ranks(path.read_bytes(), "") == load_tiktoken_bpe(str(path)) == ranks
    base = load_base(str(path), pattern="r50k_base", specials="none")
    encoding = tiktoken.Encoding("a", pat_str=GPT2_PATTERN, mergeable_ranks=ranks, special_tokens={})
    texts = [text for text in (*lines_of("ko")[:200], *ODD) if text.strip() and "\0" not in text]
    assert all_ids(base.full, texts) == encoding.encode_ordinary_batch(texts)
    curve = grow_documents(base, {"train": texts}).curve
    assert n_tokens(merged(base, curve, len(curve)), texts) == curve["n_tokens_train"][-1]
    original = next(iter(base.originals))
    extended = parse_ranks(extended_original(base, original, grown(base, curve, 5)), "")
    assert list(extended.items())[258:] == [(b"", 258), *((text, 259 + i) for i, text in enumerate(curve["bytes"][:5]))]


def test_a_byte_order_mark_before_a_rank_file_is_none_of_it(tmp_path: Path) -> None:
    path = written(tmp_path / "a.tiktoken", ranks_by_hand("가"))
    plain = load_base(str(path), pattern="qwen", specials="none")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert load_base(str(path), pattern="qwen", specials="none").tokenizer_json == plain.tokenizer_json


@pytest.mark.parametrize(
    ("name", "data", "match"),
    [
        ("merges.txt", b"#version: 0.2\n\xc4\xa0 t\n", r"merges\.txt: is a list of merges, which is one half of a"),
        ("vocab.json", b'{"!": 0, "a": 1}', r"vocab\.json: is a list of pieces with their ids, which is one half of a"),
    ],
)
def test_files_that_are_no_tokenizer_are_called_by_their_name(
    name: str, data: bytes, match: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(BaseTokenizerError, match=match):
        load_base(str(tmp_path / name))


def test_what_is_known_by_name_is_as_published() -> None:
    """Ids as the publishers' files and cards give them."""
    assert len(KNOWN["llama3"].specials) == len(KNOWN["llama3.1"].specials) == 256
    assert [*KNOWN["llama3"].specials.values()] == [*KNOWN["llama3.1"].specials.values()] == [*range(128_000, 128_256)]
    for content, index in {"<|begin_of_text|>": 128_000, "<|end_of_text|>": 128_001, "<|eot_id|>": 128_009}.items():
        assert KNOWN["llama3"].specials[content] == KNOWN["llama3.1"].specials[content] == index
    assert KNOWN["llama3"].specials["<|reserved_special_token_250|>"] == 128_255
    assert KNOWN["llama3.1"].specials["<|finetune_right_pad_id|>"] == 128_004
    assert KNOWN["llama3.1"].specials["<|python_tag|>"] == 128_010
    assert KNOWN["llama3.1"].specials["<|reserved_special_token_247|>"] == 128_255
    assert KNOWN["qwen"].specials["<|im_end|>"] == 151_645
    assert KNOWN["qwen"].specials["<|extra_204|>"] == 151_850
    # llama_models/llama4/tokenizer.py: comments beside its lists, and their ends.
    llama4 = KNOWN["llama4"].specials
    assert [*llama4.values()] == [*range(200_000, 202_048)]
    named = {"<|eot|>": 200_008, "<|finetune_right_pad|>": 200_018, "<|image_start|>": 200_080, "<|patch|>": 200_092}
    named |= {"<|vision_reserved_special_token_1047|>": 201_133, "<|reasoning_thinking_end|>": 201_143}
    assert {content: llama4[content] for content in named} == named
    # Whisper's vocabularies have 51,864, 51,865 and 51,866 tokens, as their config.json says.
    for name, n_tokens_in_all in (("whisper-en", 51_864), ("whisper", 51_865), ("whisper-v3", 51_866)):
        assert max(KNOWN[name].specials.values()) + 1 == n_tokens_in_all
    assert KNOWN["whisper"].specials["<|notimestamps|>"] == 50_363
    assert KNOWN["whisper-v3"].specials["<|yue|>"] == 50_358


def test_a_name_is_believed_only_with_its_number_of_ranks(tmp_path: Path) -> None:
    for name in ("qwen/qwen.tiktoken", "Qwen3.5-9B/qwen3.5.tiktoken", "cl100k_base.tiktoken"):
        with pytest.raises(BaseTokenizerError, match="neither its name, its content nor the options tell"):
            complete(tmp_path / name, ranks_by_hand(), None, None)
    # As many ranks as cl100k_base has, and others.
    others = {index.to_bytes(3, "big"): index for index in range(100_256)}
    with pytest.raises(BaseTokenizerError, match="neither its name, its content nor the options tell"):
        complete(tmp_path / "cl100k_base.tiktoken", others, None, None)


def test_qwen_3_5_is_known_by_its_name_and_its_number_of_ranks(tmp_path: Path) -> None:
    """No rank file of it is published; ids of its special tokens are those of its tokenizer_config.json."""
    ranks = {index.to_bytes(3, "big"): index for index in range(248_044)}
    for name in ("qwen3.5.tiktoken", "Qwen3.6-27B/tokenizer.tiktoken"):
        found = complete(tmp_path / name, ranks, None, None)
        assert (found.name, found.normalizer, found.pattern) == ("qwen3.5", "NFC", QWEN35_PATTERN)
        ids = [found.specials[content] for content in ("<|endoftext|>", "<|im_end|>", "<think>", "<|audio_pad|>")]
        assert ids == [248_044, 248_046, 248_068, 248_076]
    with pytest.raises(BaseTokenizerError, match="neither its name"):
        complete(tmp_path / "a" / "vocab.tiktoken", ranks, None, None)


def test_marks_are_letters_in_the_pattern_of_qwen_3_5() -> None:
    """Otherwise it is Qwen's, so it cuts where that does."""
    from tokenizers import Regex, pre_tokenizers

    cut = {
        pattern: pre_tokenizers.Split(Regex(pattern), behavior="isolated").pre_tokenize_str
        for pattern in (QWEN_PATTERN, QWEN35_PATTERN)
    }
    assert [piece for piece, _ in cut[QWEN35_PATTERN]("हिन्दी में 12")] == ["हिन्दी", " में", " ", "1", "2"]
    for text in [*lines_of("en"), *code_lines(500), "don't I'LL 123", " \n x", "!?\n\n"]:
        if not any(unicodedata.category(char).startswith("M") for char in text):
            assert cut[QWEN35_PATTERN](text) == cut[QWEN_PATTERN](text)


@pytest.mark.parametrize("name", sorted(tiktoken_ext.openai_public.ENCODING_CONSTRUCTORS))
def test_what_is_known_of_openai_s_files_is_what_tiktoken_has(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    hashes = []

    def fetched(url: str, expected_hash: str = "") -> dict[bytes, int]:
        hashes.append(expected_hash)
        return {}

    monkeypatch.setattr(tiktoken_ext.openai_public, "load_tiktoken_bpe", fetched)
    monkeypatch.setattr(tiktoken_ext.openai_public, "data_gym_to_mergeable_bpe_ranks", lambda **files: {})
    published = tiktoken_ext.openai_public.ENCODING_CONSTRUCTORS[name]()
    known = KNOWN["r50k_base" if name == "gpt2" else name]
    assert hashes in ([known.sha256], [])
    specials = dict(published["special_tokens"])
    if name == "o200k_harmony":
        assert specials.pop("<|reserved_200018|>") == specials["<|endofprompt|>"]
    assert known.specials == specials
    ranks = {bytes([byte]): byte for byte in range(256)}
    theirs = tiktoken.Encoding("theirs", pat_str=published["pat_str"], mergeable_ranks=ranks, special_tokens={})
    ours = tiktoken.Encoding("ours", pat_str=known.pattern, mergeable_ranks=ranks, special_tokens={})
    for text in tekken_texts():
        assert theirs._encode_only_native_bpe(text) == ours._encode_only_native_bpe(text)


@pytest.mark.slow
def test_a_sweep_remembers_how_its_rank_file_was_completed(
    tmp_path: Path, qwen2_like: Tokenizer, run_on: Callable[..., Run]
) -> None:
    tokens = [qwen2_like.pieces[i] for i in range(qwen2_like.n_tokens) if qwen2_like.pieces[i]]
    path = written(tmp_path / "mine.tiktoken", {token: i for i, token in enumerate(tokens)})
    (tmp_path / "ko.txt").write_text("\n".join(lines_of("ko")[:100]), encoding="utf-8")
    run = run_on(tmp_path / "run", str(path), tmp_path / "ko.txt", pattern="llama3", specials="none")
    assert (run.sweep["base"]["pattern"], run.sweep["base"]["specials"]) == ("llama3", "none")
    assert run.tokenizer(10).get_vocab_size() == run.base.n_tokens + 10


# --- Real ones -------------------------------------------------------------------------------------------------------


def tekken_texts() -> list[str]:
    return [*lines_of("ko"), *lines_of("en"), *code_lines(1_000), *ODD]


@pytest.mark.parametrize("name", ["tekken_240718.json", "tekken_240911.json"])
@pytest.mark.slow
def test_tekken_encodes_as_mistral_common_does(name: str) -> None:
    from mistral_common.tokens.tokenizers.tekken import Tekkenizer

    path = model_file(name)
    base, original = load_base(str(path)), Tekkenizer.from_file(path)
    texts = [text for text in tekken_texts() if not any(content in text for content in base.added_contents)]
    assert all_ids(base.full, texts) == [original.encode(text, bos=False, eos=False) for text in texts]
    assert (base.n_tokens, base.special_names["bos_token"]) == (131_072, "<s>")
    assert base.full.encode("a").ids[0] == original.bos_id
    contents = {token["content"]: token["id"] for token in base.tokenizer_json["added_tokens"]}
    assert contents == {content: original.get_special_token(content) for content in contents}


def test_a_tekken_file_whose_sizes_do_not_fit_is_refused(tmp_path: Path) -> None:
    document = json.loads(model_file("tekken_240911.json").read_bytes())
    document["vocab"] = document["vocab"][:1_000]
    (tmp_path / "tekken.json").write_text(json.dumps(document), encoding="utf-8")
    assert "whose sizes do not fit: 1,000 ranks and 1,000 special tokens" in refusal(tmp_path / "tekken.json")
    del document["config"]["pattern"]
    (tmp_path / "tekken.json").write_text(json.dumps(document), encoding="utf-8")
    assert "is not a whole Tekken file (KeyError: 'pattern')" in refusal(tmp_path / "tekken.json")


@pytest.fixture(scope="module", params=["tok_llama3/tokenizer.model", "tok_qwen/qwen.tiktoken"])
def real(request: pytest.FixtureRequest, data: Path) -> tuple[Tokenizer, tiktoken.Encoding]:
    """A base of the development data, and tiktoken with the same ranks and what is known of them."""
    base = load_base(str(data / request.param))
    known = KNOWN["llama3" if "llama3" in request.param else "qwen"]
    lines = (line.split() for line in (data / request.param).read_bytes().splitlines())
    ranks = {base64.b64decode(token): int(rank) for token, rank in lines}
    return base, tiktoken.Encoding(
        name=known.name, pat_str=known.pattern, mergeable_ranks=ranks, special_tokens=dict(known.specials)
    )


@pytest.mark.data
def test_real_rank_files_encode_as_tiktoken_does(real: tuple[Tokenizer, tiktoken.Encoding]) -> None:
    base, encoding = real
    assert base.n_tokens == encoding.n_vocab
    texts = [text for text in tekken_texts() if not any(content in text for content in base.added_contents)]
    normalizer = base.full.normalizer
    normal = texts if normalizer is None else [normalizer.normalize_str(text) for text in texts]
    assert all_ids(base.full, texts) == encoding.encode_ordinary_batch(normal)


@pytest.mark.data
@settings(max_examples=examples(150))
@given(text=any_text)
def test_real_rank_files_encode_any_text_as_tiktoken_does(real: tuple[Tokenizer, tiktoken.Encoding], text: str) -> None:
    base, encoding = real
    if any(content in text for content in base.added_contents):
        return
    normalizer = base.full.normalizer
    normal = text if normalizer is None else normalizer.normalize_str(text)
    assert all_ids(base.full, [text]) == [encoding.encode_ordinary(normal)]


@pytest.mark.data
@pytest.mark.parametrize(
    ("base", "name"),
    [
        ("tok_llama2/tokenizer.model", "llama-spm"),
        ("tok_llama3/tokenizer.model", "llama-bpe"),
        ("tok_gpt2/tokenizer.json", "gpt-2"),
        ("tok_qwen/qwen.tiktoken", "qwen2"),
    ],
)
def test_the_test_cases_of_llama_cpp(base: str, name: str, data: Path) -> None:
    """Inputs with the ids that llama.cpp expects; a separator follows each, so there are 46."""
    files = data / "tok_llamacpp_vocab"
    inputs = (files / f"ggml-vocab-{name}.gguf.inp").read_text("utf-8").split("\n__ggml_vocab_test__\n")[:-1]
    rows = (files / f"ggml-vocab-{name}.gguf.out").read_text("utf-8").splitlines()
    expected = [[int(index) for index in row.split()] for row in rows]
    assert len(inputs) == len(expected) == 46
    assert all_ids(load_base(str(data / base)).full, inputs) == expected


# --- Slips of the user -----------------------------------------------------------------------------------------------


def test_a_mistyped_name_is_not_taken_for_a_regular_expression(tmp_path: Path) -> None:
    path = written(tmp_path / "mine.tiktoken", ranks_by_hand())
    for pattern, meant in (("lama3", "llama3"), ("gpt2", "r50k_base"), ("GPT-oss", "o200k_harmony")):
        with pytest.raises(
            OptionError, match=rf"--pattern {pattern}: is no known name, .*Did you mean {meant}\? Names"
        ):
            load_base(str(path), pattern=pattern, specials="none")


def test_special_tokens_that_are_ordinary_ones_or_come_twice_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "mine.tiktoken", ranks_by_hand("the"))
    for content, match in (("the\n", r"'the' is an ordinary token of"), ("<a>\n<a>\n", r"a special token comes twice")):
        (tmp_path / "specials").write_text(content, encoding="utf-8")
        with pytest.raises(OptionError, match=match):
            load_base(str(path), pattern="qwen", specials=str(tmp_path / "specials"))
    (tmp_path / "specials").write_text("\ufeff<a>\n", encoding="utf-8")
    base = load_base(str(path), pattern="qwen", specials=str(tmp_path / "specials"))
    assert base.added_contents == ("<a>",)


@pytest.mark.data
def test_a_link_without_a_telling_name_is_known_by_the_link_s(data: Path, tmp_path: Path) -> None:
    """As the hub's cache has it: snapshots/.../tokenizer.model is a link into blobs/."""
    (tmp_path / "Meta-Llama-3-8B").mkdir()
    (tmp_path / "Meta-Llama-3-8B" / "tokenizer.model").symlink_to(data / "tok_llama3" / "tokenizer.model")
    assert load_base(str(tmp_path / "Meta-Llama-3-8B")).n_tokens == 128_256


@pytest.fixture(scope="module")
def published(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """OpenAI's rank files, from the tokenizer.json that others made of them; their hashes are those published."""
    root = tmp_path_factory.mktemp("published")
    files = {"o200k_base": "tok_more/gpt4o/tokenizer.json", "r50k_base": "tok_gpt2/tokenizer.json"}
    paths = {}
    for name, file in files.items():
        value = json.loads((data / file).read_text(encoding="utf-8"))
        added = {token["content"] for token in value["added_tokens"]}
        byte_of = byte_of_char()
        vocab = {piece: i for piece, i in value["model"]["vocab"].items() if piece not in added}
        ranks = {bytes(byte_of[char] for char in piece): i for piece, i in sorted(vocab.items(), key=lambda x: x[1])}
        paths[name] = written(root / f"{name}.tiktoken", ranks)
        assert hashlib.sha256(paths[name].read_bytes()).hexdigest() == KNOWN[name].sha256
    paths["llama3"] = data / "tok_llama3" / "tokenizer.model"
    paths["qwen"] = data / "tok_qwen" / "qwen.tiktoken"
    return paths


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "file", "found"),
    [
        ("o200k_base", "gpt-oss-20b/vocab.tiktoken", "o200k_harmony"),
        ("r50k_base", "gpt2.tiktoken", "r50k_base"),
        ("r50k_base", "whisper/gpt2.tiktoken", "whisper-en"),
        ("llama3", "Llama-3.2-1B/tokenizer.model", "llama3.1"),
        ("qwen", "a/b.tiktoken", "qwen"),
    ],
)
@pytest.mark.slow
def test_published_ranks_are_known_by_name_and_content(
    name: str, file: str, found: str, published: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).symlink_to(published[name].resolve())
    base = load_base(str(tmp_path / file))
    known = KNOWN[found]
    assert {token["content"]: token["id"] for token in base.tokenizer_json["added_tokens"]} == known.specials
    ranks = parse_ranks(published[name].read_bytes(), "")
    encoding = tiktoken.Encoding("a", pat_str=known.pattern, mergeable_ranks=ranks, special_tokens=dict(known.specials))
    assert base.n_tokens == encoding.n_vocab
    texts = [text for text in tekken_texts() if not any(content in text for content in base.added_contents)]
    if base.full.normalizer is not None:
        texts = [base.full.normalizer.normalize_str(text) for text in texts]
    assert all_ids(base.full, texts) == encoding.encode_ordinary_batch(texts)


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "candidates"),
    [
        ("o200k_base", "o200k_harmony and o200k_base"),
        ("r50k_base", "whisper-en and r50k_base"),
        ("llama3", "llama3.1 and llama3"),
    ],
)
def test_special_tokens_are_not_guessed_where_ranks_have_several(
    name: str, candidates: str, published: dict[str, Path], tmp_path: Path
) -> None:
    path = tmp_path / "vocab.tiktoken"
    path.write_bytes(published[name].read_bytes())
    ranks = parse_ranks(path.read_bytes(), str(path))
    with pytest.raises(BaseTokenizerError) as caught:
        complete(path, ranks, None, None)
    assert "tell its special tokens (--specials NAME, FILE or none)." in str(caught.value)
    assert str(caught.value).endswith(f"These are the ranks of {candidates}: say which.")
    for chosen in candidates.split(" and "):
        found = complete(path, ranks, None, chosen)
        assert (found.specials, found.pattern) == (KNOWN[chosen].specials, KNOWN[chosen].pattern)

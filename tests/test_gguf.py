"""GGUF files as bases, against the tokenizers that they were written of and the ids that llama.cpp expects."""

import gzip
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentencepiece
from conftest import Run
from gguf_files import CONTROL, NORMAL, gguf_of_json, gguf_of_model, write_gguf
from helpers import all_ids, has_hangul, library_tokenizer, lines_of, train_sentencepiece
from test_bases import model_file

from vocabopt.console import Console
from vocabopt.errors import BaseTokenizerError, ModelSpecError, OptionError, listen
from vocabopt.model.spec import load_model_spec
from vocabopt.tokenizer import Tokenizer, load_base
from vocabopt.tokenizer.hard_strings import hard_strings
from vocabopt.verification import VerifyOptions, verify

LINES = [*lines_of("en")[:300], *lines_of("ko")[:60], "a  b   c    d  123 \n 45"]
TEXTS = [*lines_of("en")[:200], *lines_of("ko")[:200], *hard_strings()]


@pytest.fixture(scope="module")
def tekken(tmp_path_factory: pytest.TempPathFactory) -> tuple[Tokenizer, Tokenizer]:
    """Tekken from mistral-common, and from a GGUF that was padded to 131,075 rows."""
    base = load_base(str(model_file("tekken_240911.json")))
    path = tmp_path_factory.mktemp("gguf") / "nemo.gguf"
    special = {"bos_token_id": 1, "eos_token_id": 2, "unknown_token_id": 0}
    gguf_of_json(path, base, "tekken", n_rows=131_075, chat_template="{{ a }}", **special)
    return base, load_base(str(path))


# --- SentencePiece ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("symbols", [(), ("▁▁", "▁▁▁", "<h1>")])
@pytest.mark.parametrize("add_dummy_prefix", [True, False])
def test_a_gguf_of_a_sentencepiece_model_is_that_model(
    symbols: tuple[str, ...], add_dummy_prefix: bool, tmp_path: Path
) -> None:
    data = train_sentencepiece(LINES, 900, user_defined_symbols=[*symbols], add_dummy_prefix=add_dummy_prefix)
    base = load_base(str(gguf_of_model(tmp_path / "small.gguf", data, n_rows=1024)))
    texts = [*TEXTS, *(f"{a}<h1>  {b}" for a, b in zip(TEXTS, TEXTS[5:], strict=False))]
    # Names of control pieces are text to sentencepiece.
    base.full.encode_special_tokens = True
    assert all_ids(base.full, texts) == sentencepiece.SentencePieceProcessor(model_proto=data).encode(texts)
    assert (base.family, base.n_tokens, base.model_n_rows) == ("sentencepiece-bpe", 900, 1024)
    assert base.special_names == {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    assert base.full.encode("a").tokens[0] == "<s>"


def test_weights_and_other_metadata_do_not_make_another_base(tmp_path: Path) -> None:
    data = train_sentencepiece(LINES, 700)
    first, second, third = (tmp_path / f"{name}.gguf" for name in "abc")
    gguf_of_model(first, data)
    gguf_of_model(second, data, n_rows=704, chat_template="{{ a }}")
    gguf_of_model(third, data, bos_token_id=2)
    assert load_base(str(first)).sha256 == load_base(str(first)).sha256 != load_base(str(third)).sha256
    assert load_base(str(second)).companions["chat_template.jinja"] == b"{{ a }}"


def test_a_file_that_says_nothing_of_a_space_before_text_is_told(tmp_path: Path) -> None:
    data, told = train_sentencepiece(LINES, 700), list[str]()
    path = gguf_of_model(tmp_path / "old.gguf", data, add_space_prefix=None)
    listen(told.append)
    try:
        assert load_base(str(path)).prefix == "always"
    finally:
        listen(None)
    assert told[0].startswith(f"{path}: does not say whether a space is put before text")
    assert told[0].endswith("the publisher's tokenizer.model would say.")


def test_from_sweep_to_verify_a_gguf_is_a_base_as_its_model_is(tmp_path: Path, run_on: Callable[..., Run]) -> None:
    data = train_sentencepiece(LINES, 900, user_defined_symbols=["▁▁"])
    (tmp_path / "base").mkdir()
    template = "{{ bos_token }}{% for m in messages %}{{ m['content'] }}{{ eos_token }}{% endfor %}"
    path = gguf_of_model(tmp_path / "base" / "small.gguf", data, n_rows=1024, chat_template=template)
    documents = [line[:80] for line in lines_of("ko")[:300]]
    (tmp_path / "ko.txt").write_text("\n".join(documents) + "\n", encoding="utf-8")
    # A folder that holds nothing else is its base, too.
    run = run_on(tmp_path / "run", str(tmp_path / "base"), tmp_path / "ko.txt", heldout=0.0, max_added=200)
    run.assert_exact({"train": documents, "heldout": []}, [0, 1, 200])
    folder = run.exported(200)
    new = sentencepiece.SentencePieceProcessor(model_proto=(folder / "tokenizer.model").read_bytes())
    assert all_ids(library_tokenizer(folder), documents) == new.encode(documents)
    other = [text for text in TEXTS if not has_hangul(text)]
    assert new.encode(other) == sentencepiece.SentencePieceProcessor(model_proto=data).encode(other)
    texts = {"ko": str(tmp_path / "ko.txt")}
    report = verify(str(path), str(folder), VerifyOptions(texts=texts), Console(quiet=True))
    assert report.passed, [check.summary for check in report.checks if check.status == "fail"]
    assert report.check("Chat templates render the same").status == "pass"
    # The 124 rows of padding are filled first.
    assert json.loads((folder / "extension.json").read_text("utf-8"))["n_rows"] == 1100


# --- Byte-level -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_gguf_of_a_byte_level_tokenizer_is_that_tokenizer(tekken: tuple[Tokenizer, Tokenizer]) -> None:
    """Its split pattern is proved by the hash that llama.cpp's converter has of Mistral NeMo's ids."""
    base, read = tekken
    assert all_ids(read.full, TEXTS) == all_ids(base.full, TEXTS)
    assert read.full.encode("a").ids == base.full.encode("a").ids
    assert (read.n_tokens, read.model_n_rows) == (131_072, 131_075)
    assert read.vocab == base.vocab
    assert read.companions["chat_template.jinja"] == b"{{ a }}"


def test_a_split_pattern_is_not_believed_for_its_name(gpt2_like: Tokenizer, tmp_path: Path) -> None:
    path = gguf_of_json(tmp_path / "mine.gguf", gpt2_like, "gpt-2")
    with pytest.raises(BaseTokenizerError, match=r"mine\.gguf: names the split pattern 'gpt-2', but its ids of"):
        load_base(str(path))


@pytest.mark.parametrize(("pre", "named"), [("kimi-k2", "the split pattern 'kimi-k2'"), (None, "no split pattern")])
def test_a_split_pattern_that_is_not_known_is_refused_with_its_name(
    pre: str | None, named: str, gpt2_like: Tokenizer, tmp_path: Path
) -> None:
    path = gguf_of_json(tmp_path / "mine.gguf", gpt2_like, pre)
    with pytest.raises(BaseTokenizerError, match=rf"mine\.gguf: a GGUF that names {named} .* Known here: command-r, "):
        load_base(str(path))


# --- Refused ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "fields", "match"),
    [
        ("bert", {}, r"its tokenizer is of the kind 'bert' .* Only BPE can be grown by merges: llama, gpt2, gemma4\."),
        ("gpt2", {"pre": "gpt-2"}, r"a GGUF without tokenizer\.ggml\.merges\. Convert the model again"),
        ("llama", {"scores": [0.0]}, r"a GGUF with 2 tokens, 2 types and 1 scores\. Convert the model again"),
    ],
)
def test_a_gguf_without_what_growing_needs_is_refused(
    kind: str, fields: dict[str, Any], match: str, tmp_path: Path
) -> None:
    path = write_gguf(tmp_path / "a.gguf", kind, ["<s>", "a"], [CONTROL, NORMAL], **fields)
    with pytest.raises(BaseTokenizerError, match=rf"a\.gguf: {match}"):
        load_base(str(path))


def test_a_broken_gguf_is_refused(tmp_path: Path) -> None:
    path = gguf_of_model(tmp_path / "a.gguf", train_sentencepiece(LINES, 700))
    whole = path.read_bytes()
    for data in (b"GGUF\x03\0\0\0", whole[: len(whole) // 2]):
        path.write_bytes(data)
        with pytest.raises(BaseTokenizerError, match=rf"a\.gguf: is no whole GGUF file: its {len(data):,} bytes end"):
            load_base(str(path))
        with pytest.raises(BaseTokenizerError, match=r"is no whole GGUF file"):
            load_base(str(tmp_path))


def test_a_gguf_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    from gguf import GGUFWriter

    writer = GGUFWriter(tmp_path / "part-00002-of-00002.gguf", "llama")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    with pytest.raises(BaseTokenizerError, match=r"this GGUF holds no tokenizer\. .* in the first \(-00001-of-\)"):
        load_base(str(tmp_path))


def test_of_several_gguf_files_in_a_folder_none_is_guessed(tmp_path: Path) -> None:
    path = gguf_of_model(tmp_path / "b.gguf", train_sentencepiece(LINES, 700))
    (tmp_path / "a.gguf").write_bytes(b"GGUF of pictures")
    with pytest.raises(BaseTokenizerError, match=r"holds a\.gguf, b\.gguf\. Name one of these files"):
        load_base(str(tmp_path))
    (tmp_path / "a.gguf").rename(tmp_path / "b-00002-of-00002.gguf")
    assert load_base(str(tmp_path)).pieces == load_base(str(path)).pieces


def test_without_the_package_the_message_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = gguf_of_model(tmp_path / "a.gguf", train_sentencepiece(LINES, 700))
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(BaseTokenizerError, match=r"needs gguf to be read\. .* -e '\.\[gguf\]'"):
        load_base(str(path))


def test_a_pattern_is_not_for_a_gguf(tmp_path: Path) -> None:
    path = gguf_of_model(tmp_path / "a.gguf", train_sentencepiece(LINES, 700))
    with pytest.raises(OptionError, match=r"--pattern: is for tiktoken rank files"):
        load_base(str(path), pattern="llama3")


# --- Published files --------------------------------------------------------------------------------------------------


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "other"), [("gpt-2", "tok_gpt2/tokenizer.json"), ("llama-spm", "tok_llama2/tokenizer.model")]
)
def test_a_published_gguf_gives_the_ids_of_its_family(name: str, other: str, data: Path) -> None:
    """On llama.cpp's cases, of which a separator follows each, and on the first megabyte of two encyclopedias."""
    stem = data / "tok_llamacpp_vocab" / f"ggml-vocab-{name}.gguf"
    base = load_base(str(stem))
    inputs = stem.with_suffix(".gguf.inp").read_text("utf-8").split("\n__ggml_vocab_test__\n")[:-1]
    rows = stem.with_suffix(".gguf.out").read_text("utf-8").splitlines()
    assert all_ids(base.full, inputs) == [[int(index) for index in row.split()] for row in rows]
    documents: list[str] = []
    for file in ("ko_wiki/kowiki.jsonl.gz", "en_wiki/enwiki.jsonl.gz"):
        with gzip.open(data / file, "rt", encoding="utf-8") as lines:
            documents += [json.loads(line)["text"] for line, _ in zip(lines, range(300), strict=False)]
    assert all_ids(base.full, documents) == all_ids(load_base(str(data / other)).full, documents)


# --- Sizes of the model -----------------------------------------------------------------------------------------------


def model_gguf(path: Path, *, arch: str = "llama", head: bool = True, **fields: int) -> Path:
    """A GGUF with a table of 300 rows of 64, as llama.cpp's converter names it."""
    from gguf import GGUFWriter

    writer = GGUFWriter(path, arch)
    for name, value in fields.items():
        writer.add_uint32(f"{arch}.{name.replace('__', '.')}", value)
    table = np.zeros((300, 64), np.float16)
    for name in ("token_embd.weight", "output.weight") if head else ("token_embd.weight",):
        writer.add_tensor(name, table)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


WIDTHS = {
    "embedding_length": 64,
    "block_count": 3,
    "feed_forward_length": 160,
    "attention__head_count": 4,
    "attention__head_count_kv": 2,
}


@pytest.mark.parametrize(("arch", "head"), [("llama", True), ("qwen3", False)])
def test_the_sizes_of_a_model_are_those_that_its_config_json_would_say(arch: str, head: bool, tmp_path: Path) -> None:
    config = {
        "model_type": arch,
        "vocab_size": 300,
        "hidden_size": 64,
        "num_hidden_layers": 3,
        "intermediate_size": 160,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "tie_word_embeddings": not head,
    }
    (tmp_path / "config.json").write_text(json.dumps(config), "utf-8")
    told = load_model_spec(str(tmp_path / "config.json"))
    found = load_model_spec(str(model_gguf(tmp_path / "m.gguf", arch=arch, head=head, **WIDTHS)))
    assert replace(found, name="", source="") == replace(told, name="", source="")
    assert found.architecture is not None
    assert found.name == "m"


def test_a_gguf_that_tells_no_sizes_is_refused(tmp_path: Path) -> None:
    vocabulary = write_gguf(tmp_path / "v.gguf", "gpt2", ["<s>", "a"], [CONTROL, NORMAL])
    with pytest.raises(ModelSpecError, match=r"v\.gguf: holds no embedding table \(token_embd\.weight\)"):
        load_model_spec(str(vocabulary))
    without = model_gguf(tmp_path / "w.gguf", block_count=3)
    with pytest.raises(ModelSpecError, match=r"w\.gguf: a GGUF without llama\.embedding_length"):
        load_model_spec(str(without))
    without.write_bytes(b"GGUF\x03\0\0\0")
    with pytest.raises(BaseTokenizerError, match=r"w\.gguf: is no whole GGUF file: its 8 bytes"):
        load_model_spec(str(without))

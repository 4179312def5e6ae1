"""Panics of libraries written in Rust, which are no `Exception`: one message with the text or the file, exit code 2."""

import json
import re
from pathlib import Path

import polars as pl
import pytest
from command_line import vocabopt, written
from helpers import lines_of, train_byte_level
from tokenizers import Tokenizer

from vocabopt.errors import BaseTokenizerError
from vocabopt.failures import TRACEBACK, encoded, is_panic
from vocabopt.text.documents import bytes_of_texts

TEXT = "a<x>     b"
FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of its two added tokens one takes in the white space that the other is."""
    value = train_byte_level(lines_of("en")[:200], 500)
    for i, (content, flag) in enumerate((("<x>", "rstrip"), ("   ", "lstrip"))):
        value["added_tokens"].append({"id": 500 + i, "content": content, **dict.fromkeys(FLAGS, False), flag: True})
    return written(tmp_path_factory.mktemp("panics") / "base" / "tokenizer.json", json.dumps(value)).parent


@pytest.fixture
def text(tmp_path: Path) -> Path:
    return written(tmp_path / "text.txt", "".join(f"{line}\n" for line in [*lines_of("en")[:30], TEXT]))


def test_the_library_itself_panics(base: Path) -> None:
    tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
    with pytest.raises(BaseException, match="bad split") as caught:
        tokenizer.encode_batch_fast(["plain", TEXT])
    assert is_panic(caught.value)
    assert not isinstance(caught.value, Exception)
    assert len(encoded(tokenizer, ["plain"], "base")) == 1
    with pytest.raises(BaseTokenizerError, match=re.escape(repr(TEXT))):
        encoded(tokenizer, ["plain", TEXT, "more"], "base")


def test_every_command_that_encodes_names_the_text(base: Path, text: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    # Two shards, so that workers have the text; and many times, so that a fast encoder is checked on it too.
    large = written(tmp_path / "large.txt", "".join(f"{line}\n" for line in [*lines_of("en")[:1_000], *[TEXT] * 200]))
    assert large.stat().st_size > 64_000
    for command in (
        ["sweep", text, "--base", base, "--script", "none", "--out", out],
        ["verify", base, base, "--text", f"en={text}"],
        ["analyze", base, "--text", f"en={text}"],
        ["prepare", text, "--base", base, "--out", out / "one", "--workers", 1],
        ["prepare", large, "--base", base, "--out", out / "two", "--workers", 2, "--shard", "64KB"],
    ):
        result = vocabopt(*command, "--quiet")
        assert (command[0], result.exit_code, result.stdout) == (command[0], 2, ""), result.stderr
        found = re.fullmatch(
            r"Error: (.*): with it the tokenizers library cannot encode the text (.*) \(.*\n", result.stderr
        )
        assert found is not None, (command, result.stderr)
        assert (Path(found[1]).name, found[2]) == ("base", repr(TEXT)), command


def test_training_names_the_text(base: Path) -> None:
    encoder = pytest.importorskip("trainer.data.encoder")
    transformers = pytest.importorskip("transformers")
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=str(base / "tokenizer.json"), eos_token="<x>")
    with pytest.raises(BaseTokenizerError, match=re.escape(f"cannot encode the text {TEXT!r}")):
        encoder.DocumentEncoder.of(tokenizer).encode(*bytes_of_texts(pl.Series(["plain", TEXT])))


@pytest.mark.parametrize("broken", ["normalizer", "model"])
def test_a_tokenizer_json_on_which_the_library_panics_is_named(broken: str, base: Path, tmp_path: Path) -> None:
    value = json.loads((base / "tokenizer.json").read_text(encoding="utf-8"))
    if broken == "normalizer":
        value["normalizer"] = {"type": "Precompiled", "precompiled_charsmap": "YWJj"}
    else:
        value["model"]["continuing_subword_prefix"] = "#" * 9
    with pytest.raises(BaseException, match=r"Precompiled|out of range") as caught:
        Tokenizer.from_str(json.dumps(value))
    assert is_panic(caught.value)
    bad = written(tmp_path / "bad" / "tokenizer.json", json.dumps(value))
    text = written(tmp_path / "text.txt", "a b\n")
    for command in (
        ["sweep", text, "--base", bad.parent, "--out", tmp_path / "out"],
        ["verify", base, bad.parent],
        ["verify", bad, base],
        ["analyze", bad.parent, "--text", f"en={text}"],
        ["prepare", text, "--base", bad, "--out", tmp_path / "out"],
    ):
        result = vocabopt(*command, "--quiet")
        assert (command[0], result.exit_code) == (command[0], 2), result.stderr
        assert re.match(rf"Error: {bad}: is not a tokenizer\.json that the tokenizers library can read", result.stderr)


def damaged_parquet(path: Path) -> Path:
    """A file whose footer has one wrong bit, on which polars panics."""
    pl.DataFrame({"text": [f"line {i} of a text" for i in range(40)]}).write_parquet(path, compression="uncompressed")
    data = path.read_bytes()
    for at in range(len(data) - 340, len(data) - 8):
        written(path, data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        try:
            pl.read_parquet(path)
        except pl.exceptions.PolarsError:
            pass
        except BaseException:  # no PolarsError: a panic
            return path
    raise AssertionError("polars panics on none of them any more")


def test_a_parquet_file_on_which_polars_panics_is_named(base: Path, tmp_path: Path) -> None:
    bad = damaged_parquet(tmp_path / "bad.parquet")
    result = vocabopt("sweep", bad, "--base", base, "--out", tmp_path / "run", "--quiet")
    assert result.exit_code == 2
    assert re.fullmatch(rf"Error: {bad}: is damaged \(.*\); fetch it again\n", result.stderr)
    good = written(tmp_path / "good.txt", "".join(f"{line}\n" for line in lines_of("en")[:30]))
    result = vocabopt("prepare", bad, good, "--base", base, "--out", tmp_path / "clean", "--workers", 1)
    assert result.exit_code == 0, result.stderr
    assert re.search(r"Left out from there on: .*bad\.parquet: is damaged", " ".join(result.stderr.split()))
    assert vocabopt("prepare", bad, good, "--strict", "--base", base, "--out", tmp_path / "strict").exit_code == 2


def test_a_panic_that_nobody_expects_is_told_in_one_sentence(
    base: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from click.testing import CliRunner

    from vocabopt.cli import main

    monkeypatch.setenv("TMPDIR", str(tmp_path))
    tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
    monkeypatch.setattr("vocabopt.pipeline.run_sweep", lambda *_: tokenizer.encode(TEXT))
    result = CliRunner(env={TRACEBACK: ""}).invoke(main, ["sweep", "x", "--out", str(tmp_path / "out"), "--quiet"])
    assert result.exit_code == 1
    assert re.match(r"Error: PanicException: .*bad split.* This is a fault of vocabopt", result.stderr), result.output

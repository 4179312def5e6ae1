"""The command line: every bad input with its message and exit code, and the folder a sweep writes to.

The library behind it is real throughout; only the network is not there.
"""

import errno
import gzip
import json
import os
import re
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import polars as pl
import pytest
from command_line import assert_refused, vocabopt, written
from tokenizers import Tokenizer, models, pre_tokenizers

ROOT = Path(__file__).parents[1]
CORPUS = ROOT / "corpus"
KOREAN = CORPUS / "ko" / "news.txt"
LINE = "나는 오늘도 학교에 갔다.\n"


# --- Bad text --------------------------------------------------------------------------------------------------------

KOREAN_LINES = LINE * 50
BAD_TEXT = {
    "only blank lines": ("a.txt", b"\n \n\t\n\xe3\x80\x80\n", r"a\.txt: only blank lines \(4\); nothing to learn from"),
    "cp949": (
        "a.txt",
        KOREAN_LINES.encode("cp949"),
        r"a\.txt: byte 0 \(B3\) is not utf-8 .*; it looks like cp949: try --encoding cp949",
    ),
    "cp949 after good lines": (
        "a.txt",
        LINE.encode() * 3 + KOREAN_LINES.encode("cp949"),
        rf"a\.txt: byte {3 * len(LINE.encode())} .* is not utf-8 .*; it looks like cp949: try --encoding cp949",
    ),
    "utf-16": (
        "a.txt",
        KOREAN_LINES.encode("utf-16"),
        r"a\.txt: byte 0 \(F[EF]\) is not utf-8 .*try --encoding utf-16",
    ),
    "utf-16 without a byte order mark": (
        "a.txt",
        KOREAN_LINES.encode("utf-16-le"),
        r"a\.txt: byte \d+ .* it looks like utf-16-le: try --encoding utf-16-le",
    ),
    "NUL": ("a.txt", LINE.encode() * 3 + b"a\0b\n", r"a\.txt, line 4: a NUL character: probably a binary file"),
    "truncated gzip": (
        "a.txt.gz",
        gzip.compress(np.random.default_rng(0).bytes(9_000).hex().encode())[:-2_000],
        r"a\.txt\.gz: the compressed file ended early or is damaged .*; fetch it again",
    ),
    "not gzip": ("a.txt.gz", LINE.encode(), r"a\.txt\.gz: is not gzip, though its name ends so\. Rename it"),
    "empty": ("a.txt", b"", r"a\.txt: is empty; nothing to learn from"),
    "broken JSON": (
        "a.jsonl",
        b'{"text": "\xea\xb0\x80"}\n{"text": \n',
        r"a\.jsonl, line 2: broken JSON .*column \d+\); mend it, or leave such documents out with --on-error skip",
    ),
    "a record that is no object": ("a.jsonl", b"[1]\n", r"a\.jsonl, line 1: broken record \(not a JSON object\)"),
    "no text column": (
        "a.jsonl",
        b'{"id": 1, "body": "\xea\xb0\x80"}\n',
        r"a\.jsonl: no column 'text'; name the text with --column: id, body",
    ),
}


@pytest.mark.parametrize("name", BAD_TEXT)
def test_bad_text_is_refused(name: str, tmp_path: Path) -> None:
    file_name, data, match = BAD_TEXT[name]
    path = written(tmp_path / file_name, data)
    assert_refused(vocabopt("sweep", path, "--out", tmp_path / "out"), match, tmp_path)


def test_parquet_without_the_text_column_is_refused(tmp_path: Path) -> None:
    pl.DataFrame({"id": [1], "body": ["가나다"]}).write_parquet(tmp_path / "a.parquet")
    result = vocabopt("sweep", tmp_path / "a.parquet", "--out", tmp_path / "out")
    assert_refused(result, r"a\.parquet: no column 'text'; name the text with --column: id, body", tmp_path)


def test_missing_path_is_refused(tmp_path: Path) -> None:
    result = vocabopt("sweep", tmp_path / "missing", "--out", tmp_path / "out")
    assert_refused(result, r"missing: no such file or folder", tmp_path)
    assert not (tmp_path / "out").exists()


def test_empty_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    result = vocabopt("sweep", tmp_path / "empty", "--out", tmp_path / "out")
    assert_refused(result, r"empty: no text in this folder; looked for \.txt, \.jsonl", tmp_path)
    assert not (tmp_path / "out").exists()


def test_no_path_at_all_is_refused(tmp_path: Path) -> None:
    assert_refused(vocabopt("sweep"), r"No text given\. .* vocabopt sweep corpus/", tmp_path)


def test_text_that_is_all_held_out_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "a.txt", LINE)
    result = vocabopt("sweep", path, "--heldout", "0.999999999", "--out", tmp_path / "out")
    assert_refused(result, r"all 1 documents were held out, none is left to learn from\. Lower --heldout", tmp_path)


def test_broken_records_can_be_skipped_and_are_counted(tmp_path: Path) -> None:
    lines = [json.dumps({"text": line}, ensure_ascii=False) for line in KOREAN.read_text("utf-8").splitlines()]
    path = written(tmp_path / "a.jsonl", "\n".join([*lines, '{"text": ', "[]"]))
    result = vocabopt("sweep", path, "--on-error", "skip", "--heldout", 0, "--out", tmp_path / "out")
    assert json.loads((tmp_path / "out" / "sweep.json").read_text("utf-8"))["sets"]["train"]["n_skipped"] == 2
    assert "Unreadable documents left out (--on-error skip): train 2." in result.stdout


@pytest.mark.parametrize("name", ["cp949", "broken JSON"])
@pytest.mark.slow
def test_the_remedy_a_message_names_works_in_the_same_folder(name: str, tmp_path: Path) -> None:
    """The default folder of a corpus must not be lost to a first try that failed."""
    file_name, data, match = BAD_TEXT[name]
    path = written(tmp_path / file_name, data)
    assert_refused(vocabopt("sweep", path, "--out", tmp_path / "out"), match, tmp_path)
    remedy = ["--encoding", "cp949"] if name == "cp949" else ["--on-error", "skip", "--heldout", "0"]
    result = vocabopt("sweep", path, "--out", tmp_path / "out", *remedy)
    assert result.exit_code == 0, result.stderr


# --- Bad options -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (["--sizes", "many"], r"--sizes many: write start:stop:step \(8000:40000:4000\) or a list"),
        (["--sizes", "-5"], r"--sizes -5: needs at least one size, start before stop, none below 0 or above 2,000,000"),
        (["--sizes", "10:5:1"], r"--sizes 10:5:1: needs at least one size"),
        (["--heldout", "1"], r"--heldout 1\.0: must be at least 0 and below 1"),
        (["--heldout", "-0.1"], r"--heldout -0\.1: must be at least 0 and below 1"),
        (["--heldout", "nan"], r"--heldout nan: must be at least 0 and below 1"),
        (["--heldout", "some"], r"Invalid value for '--heldout': 'some'"),
        (["--max-added", "0"], r"--max-added 0: must be between 1 and 2,000,000"),
        (["--min-saving", "0"], r"--min-saving 0: must be at least 1 token"),
        (["--seed", "-1"], r"--seed -1: must be between 0 and 2\*\*64 - 1"),
        (["--script", "Hangle"], r"--script 'Hangle': 'Hangle' is not a Unicode script\. Did you mean Hangul\?"),
        (["--model", "no-such"], r"--model no-such: no such preset and no such file\. Give .* a preset: solar-10\.7b"),
        (["--model", "qwen2.5-0.5b", "--base", "BYTES", "--max-added", "0"], r"--max-added 0"),
        (["--encoding", "klingon"], r"--encoding klingon: unknown text encoding; try utf-8, cp949, utf-16"),
        (["--unit", "page"], r"Invalid value for '--unit': 'page' is not one of 'line', 'file'"),
        (["--on-error", "cry"], r"Invalid value for '--on-error': 'cry' is not one of 'fail', 'skip'"),
        (["--target", "fi"], r"--target fi: no such text set; the only one is text\. A sub-folder that is named by"),
        (["--eval", "news"], r"--eval news: write NAME=PATH, for example --eval news=news\.txt"),
        (["--eval", "=a.txt"], r"--eval =a\.txt: write NAME=PATH"),
        (["--eval", "a=x.txt", "--eval", "a=y.txt"], r"--eval a=y\.txt: the name 'a' is given twice"),
        (["--eval", "heldout=x.txt"], r"--eval heldout=x\.txt: the name heldout is kept"),
        (["--eval", "more=missing.txt"], r"missing\.txt: no such file or folder"),
        (["--protect", "en"], r"--protect en: write NAME=PATH"),
        (["--protect", "en=missing.txt"], r"missing\.txt: no such file or folder"),
        (["--protect", "a b=x.txt"], r"--protect a b=x\.txt: a name is made of A-Z a-z"),
        (["--nonsense"], r"No such option:? '?--nonsense"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_option_is_refused(options: list[str], match: str, tmp_path: Path) -> None:
    result = vocabopt("sweep", KOREAN, "--out", tmp_path / "out", *options)
    assert_refused(result, match, tmp_path)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("out", ["s3://bucket/run", "memory://run"])
def test_a_remote_output_is_refused(out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a path of this machine it would be a folder "s3:"."""
    monkeypatch.chdir(tmp_path)
    result = vocabopt("sweep", KOREAN, "--out", out)
    assert_refused(result, rf"--out {out}: is not on this machine, and results are written to a folder of it", tmp_path)
    assert not [*tmp_path.iterdir()]


def test_a_target_set_that_does_not_exist_lists_those_that_do(tmp_path: Path) -> None:
    result = vocabopt("sweep", CORPUS, "--target", "fi", "--out", tmp_path / "out")
    assert_refused(result, r"--target fi: no such text set; there are en, ko", tmp_path)


def test_a_target_that_is_not_clear_lists_the_sets(tmp_path: Path) -> None:
    for language in ("en", "fi"):
        written(tmp_path / "corpus" / language / "a.txt", "plain letters\n")
    result = vocabopt("sweep", tmp_path / "corpus", "--out", tmp_path / "out")
    assert_refused(result, r"which text set to learn from: en \(Latin\), fi \(Latin\); name it with --target", tmp_path)


# --- Bad bases -------------------------------------------------------------------------------------------------------


def save_tokenizer(folder: Path, model: Any) -> Path:
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@pytest.mark.parametrize(
    ("model", "match"),
    [
        (models.Unigram([("<unk>", 0.0), ("가", -1.0)], unk_id=0), r"its model is Unigram\. Only BPE can be grown"),
        (models.WordPiece({"[UNK]": 0, "가": 1}, unk_token="[UNK]"), r"its model is WordPiece\. Only BPE can be grown"),
        (models.WordLevel({"[UNK]": 0, "가": 1}, unk_token="[UNK]"), r"its model is WordLevel\. Only BPE can be grown"),
        (
            models.BPE({"<unk>": 0, "가": 1}, [], unk_token="<unk>"),
            r"neither byte-level nor has byte fallback, so plain text can become <unk>",
        ),
    ],
    ids=["Unigram", "WordPiece", "WordLevel", "BPE with <unk>"],
)
def test_base_of_another_kind_is_refused(model: Any, match: str, tmp_path: Path) -> None:
    base = save_tokenizer(tmp_path / "base", model)
    result = vocabopt("sweep", KOREAN, "--base", base, "--out", tmp_path / "out")
    assert_refused(result, rf"base/tokenizer\.json: .*{match}", tmp_path)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("file_name", "data", "match"),
    [
        ("config.json", b"{}", r"base: no tokenizer\.json or tokenizer\.model in this folder"),
        ("tokenizer.json", b"{", r"tokenizer\.json: is not a tokenizer\.json that the tokenizers library can read"),
        ("tokenizer.model", b"SSBhbQ== 0\nYQ== 1\n", r"tokenizer\.model: is a tiktoken rank file"),
        ("tokenizer.model", b"\x00\x01nonsense", r"tokenizer\.model"),
    ],
    ids=["folder without tokenizer", "broken tokenizer.json", "tiktoken file", "broken .model"],
)
def test_base_that_cannot_be_read_is_refused(file_name: str, data: bytes, match: str, tmp_path: Path) -> None:
    written(tmp_path / "base" / file_name, data)
    assert_refused(vocabopt("sweep", KOREAN, "--base", tmp_path / "base", "--out", tmp_path / "out"), match, tmp_path)


def test_unknown_base_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*arguments: object, **options: object) -> NoReturn:
        raise ConnectionError("no network in tests")

    monkeypatch.setattr("huggingface_hub.snapshot_download", no_network)
    result = vocabopt("sweep", KOREAN, "--base", "no-such/base", "--out", tmp_path / "out")
    assert_refused(result, r"no-such/base: not a local path, and not to be had from the Hugging Face hub", tmp_path)


def test_base_whose_model_is_not_known_gives_a_report_without_parameters(tmp_path: Path) -> None:
    """Only the embedding's size in parameters is unknown; all counts are there."""
    alphabet = {char: index for index, char in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(alphabet, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    (tmp_path / "base").mkdir()
    tokenizer.save(str(tmp_path / "base" / "tokenizer.json"))
    result = vocabopt("sweep", KOREAN, "--base", tmp_path / "base", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    assert "no model known: pass --model for parameters" in result.stdout
    sweep = json.loads((tmp_path / "out" / "sweep.json").read_text("utf-8"))
    assert sweep["model"] is None
    assert {point["n_embedding_params"] for point in sweep["points"]} == {None}
    assert (tmp_path / "out" / "report.html").is_file()


# --- The output folder -----------------------------------------------------------------------------------------------


def test_the_same_inputs_again_reuse_the_counts_and_give_the_same_curve(swept: Path) -> None:
    curve = (swept / "curve.parquet").read_bytes()
    counted_at = (swept / "counts.parquet").stat().st_mtime_ns
    result = vocabopt("sweep", KOREAN, "--out", swept)
    assert result.exit_code == 0
    assert "count: " not in result.stderr
    assert json.loads((swept / "run.json").read_text("utf-8"))["counts_reused"] is True
    assert (swept / "counts.parquet").stat().st_mtime_ns == counted_at
    assert (swept / "curve.parquet").read_bytes() == curve


def test_other_sizes_reuse_the_counts_too(swept: Path) -> None:
    result = vocabopt("sweep", KOREAN, "--sizes", "0,10", "--json", "--out", swept)
    assert [point["n_added"] for point in json.loads(result.stdout)["points"]] == [0, 10]
    assert json.loads((swept / "run.json").read_text("utf-8"))["counts_reused"] is True


@pytest.mark.parametrize("options", [["--heldout", "0.5"], ["--seed", "7"], ["--unit", "file"]], ids=" ".join)
def test_a_folder_that_holds_a_run_with_other_options_is_refused(options: list[str], swept: Path) -> None:
    before = (swept / "run.json").read_bytes()
    result = vocabopt("sweep", KOREAN, *options, "--out", swept)
    assert result.exit_code == 2
    assert re.search(r"run: holds another run .* Choose another folder with --out", result.stderr)
    assert (swept / "run.json").read_bytes() == before


def test_a_folder_that_holds_a_run_on_other_text_is_refused(swept: Path, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in swept.rglob("*") if path.is_file()}
    result = vocabopt("sweep", written(tmp_path / "other.txt", KOREAN_LINES), "--out", swept)
    assert result.exit_code == 2
    assert re.search(r"run: holds another run \(other text, base or reading options", result.stderr)
    assert {path: path.read_bytes() for path in swept.rglob("*") if path.is_file()} == before


def test_a_folder_that_holds_other_files_is_refused(tmp_path: Path) -> None:
    written(tmp_path / "out" / "thesis.txt", "mine")
    result = vocabopt("sweep", KOREAN, "--out", tmp_path / "out")
    assert_refused(result, r"out: is not empty and holds no run\.json \(found thesis\.txt\)", tmp_path)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    ("out", "match"),
    [("file", r"file: is a file, not a folder"), ("file/run", r"file/run: cannot be written \(Not a directory\)")],
)
def test_a_file_in_the_way_of_the_output_is_refused(out: str, match: str, tmp_path: Path) -> None:
    written(tmp_path / "file", "mine")
    assert_refused(vocabopt("sweep", KOREAN, "--out", tmp_path / out), match, tmp_path)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_output_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir(mode=0o500)
    result = vocabopt("sweep", KOREAN, "--out", tmp_path / "out")
    assert_refused(result, r"out: cannot be written \(Permission denied\)", tmp_path)


@pytest.mark.parametrize("n_written", [0, 1, 3])
def test_a_full_disk_leaves_nothing_half_written(
    n_written: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def fsync(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) > n_written:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fsync)
    result = vocabopt("sweep", KOREAN, "--out", tmp_path / "out", "--quiet")
    assert_refused(result, r"cannot be written \(No space left on device\)", tmp_path)

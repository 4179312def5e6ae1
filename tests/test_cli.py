"""The command line: what each command prints and writes, and every bad input with its message and exit code.

The library behind it is real throughout; only the network is not there.
"""

import ast
import codecs
import errno
import gzip
import json
import os
import pkgutil
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import MISSING
from pathlib import Path
from typing import Any, NoReturn

import click
import numpy as np
import polars as pl
import pytest
from command_line import assert_refused, command_of, half_written, process, read_terminal, started, vocabopt, written
from tokenizers import Tokenizer, models, pre_tokenizers

from vocabopt import console
from vocabopt.cli import main
from vocabopt.folder import FORMAT_VERSION
from vocabopt.growth import chunk_kernel, proof_kernel, symbols
from vocabopt.growth import grow as growth
from vocabopt.growth import kernel as growth_kernel
from vocabopt.option_fields import specs

ROOT = Path(__file__).parents[1]
CORPUS = ROOT / "corpus"
KOREAN = CORPUS / "ko" / "news.txt"
LINE = "나는 오늘도 학교에 갔다.\n"
SECONDS_FOR_100_MB = 60


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
    result = vocabopt("sweep", path, "--on-error", "skip", "--heldout", 0, "--json", "--out", tmp_path / "out")
    assert json.loads(result.stdout)["sets"]["train"]["n_skipped"] == 2


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


# --- What is printed -------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_table_shows_every_size_and_the_choice_with_its_reason(swept: Path) -> None:
    result = vocabopt("sweep", KOREAN, "--out", swept)
    sweep = json.loads((swept / "sweep.json").read_text("utf-8"))
    rows = [line.split() for line in result.stdout.splitlines() if re.match(r" *[\d,]+ +[\d,]+ +[\d,]+ ", line)]
    shown = sorted({point["n_added"] for point in [*sweep["points"], sweep["choice"]["point"]]})
    assert [row[0] for row in rows] == [f"{size:,}" for size in shown]
    last = sweep["points"][-1]
    heldout = sweep["sets"]["heldout"]
    n_tokens = last["sets"]["heldout"]["n_tokens"]
    assert rows[-1] == [
        f"{last['n_added']:,}",
        f"{last['n_rows_total']:,}",
        f"{n_tokens:,}",
        f"{n_tokens / heldout['n_tokens_base']:.4f}",
        f"{last['sets']['train']['n_tokens'] / sweep['sets']['train']['n_tokens_base']:.4f}",
        f"{last['n_rows_total'] / 32_000:.3f}",
        f"{n_tokens / heldout['n_words']:.3f}",
        f"{heldout['n_bytes'] / n_tokens:.3f}",
        f"{last['n_rows_total'] * 4096 * 2 / 1e6:,.1f}",
    ]
    assert f"Add {sweep['choice']['n_added']:,} tokens: the knee" in result.stdout
    assert f"Report: {swept / 'report.html'}" in result.stdout
    assert max(map(len, result.stdout.splitlines()[:5])) <= 100


def test_sizes_beyond_a_dry_text_are_marked(swept: Path) -> None:
    result = vocabopt("sweep", KOREAN, "--sizes", "0,10,99999,100000", "--out", swept)
    sweep = json.loads((swept / "sweep.json").read_text("utf-8"))
    assert [point["dry"] for point in sweep["points"]] == [False, False, True, True]
    assert re.search(r"^ *99,999\*", result.stdout, re.MULTILINE)
    assert re.search(r"^ *100,000\*", result.stdout, re.MULTILINE)
    assert f"The text ran dry at {sweep['exhausted_at']:,} added tokens; larger sizes are marked *" in result.stdout


def test_no_mark_is_announced_where_none_is_shown(swept: Path) -> None:
    result = vocabopt("sweep", KOREAN, "--out", swept)
    assert "The text ran dry at" in result.stdout
    assert "*" not in result.stdout


def test_without_held_out_text_the_table_shows_dashes_not_zeros(tmp_path: Path) -> None:
    result = vocabopt("sweep", KOREAN, "--heldout", "0", "--out", tmp_path / "out")
    assert re.search(r"^ *0 +32,000 +- +- +1\.0000 ", result.stdout, re.MULTILINE)
    assert "the knee of the training input ratio" in result.stdout


@pytest.mark.slow
def test_json_prints_sweep_json_and_nothing_else_in_utf_8_whatever_the_terminal_s_encoding(tmp_path: Path) -> None:
    path = written(tmp_path / "한국어.txt", KOREAN.read_bytes())
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    command = command_of("sweep", path, "--json", "--out", tmp_path / "out")
    done = subprocess.run(command, capture_output=True, env=environment, check=True)
    assert done.stderr == b""
    assert done.stdout == (tmp_path / "out" / "sweep.json").read_bytes()
    printed = json.loads(done.stdout.decode())
    assert printed["options"]["paths"] == [str(path)]
    assert printed["format_version"] == FORMAT_VERSION


@pytest.mark.slow
def test_quiet_prints_nothing(swept: Path, tmp_path: Path) -> None:
    done = process("sweep", KOREAN, "--quiet", "--out", tmp_path / "out")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    merged = vocabopt("merge", swept, "--quiet", "--out", tmp_path / "tokenizer")
    assert (merged.exit_code, merged.output) == (0, "")


def test_lines_are_plain_where_there_is_no_terminal(tmp_path: Path) -> None:
    done = process("sweep", KOREAN, "--out", tmp_path / "out")
    assert done.returncode == 0
    assert "\x1b" not in done.stdout + done.stderr
    assert "\r" not in done.stdout + done.stderr
    steps = [line.partition(":")[0] for line in done.stderr.splitlines()]
    notes = "Target script, of the letters in the text"
    assert list(dict.fromkeys(steps)) == ["count", "prove", notes, "encode", "grow", "write", "report"]
    told = [line for line in done.stderr.splitlines() if not line.startswith(notes)]
    # A slow machine also sees how far a step is.
    assert all(re.match(r"\w+: (done in \d+\.\d s$|.*%)", line) for line in told)


def test_progress_tells_share_time_left_and_rate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "_PLAIN_EVERY_SECONDS", 0.0)
    result = vocabopt("sweep", CORPUS, "--out", tmp_path / "out")
    amount = r"[\d.,]+ [kM]B"
    assert re.search(rf"^count: {amount} of [\d.]+ kB \(\d+%\), \d+ s left, {amount}/s$", result.stderr, re.MULTILINE)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
@pytest.mark.slow
def test_a_terminal_gets_progress_bars(tmp_path: Path) -> None:
    import pty

    leader, follower = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
    command = command_of("sweep", KOREAN, "--out", tmp_path / "out")
    output = b""
    with started(command, stdout=follower, stderr=follower, env=environment) as running:
        os.close(follower)
        while data := read_terminal(leader):
            output += data
        assert running.wait(timeout=60) == 0
    os.close(leader)
    text = output.decode()
    assert "\x1b[" in text
    assert "grow" in text
    assert "ratio_" in text
    assert "done in" not in text


@pytest.mark.slow
def test_text_from_standard_input_gives_the_curve_of_the_same_file(swept: Path, tmp_path: Path) -> None:
    done = process("sweep", "-", "--out", tmp_path / "out", input=KOREAN.read_text("utf-8"), encoding="utf-8")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "curve.parquet").read_bytes() == (swept / "curve.parquet").read_bytes()


def test_the_default_folder_is_named_by_corpus_and_base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "corpus" / "ko" / "a.txt", KOREAN.read_bytes())
    assert vocabopt("sweep", "corpus/", "--quiet").exit_code == 0
    assert (tmp_path / "reports" / "corpus-mistral-7b-v1" / "report.html").is_file()


@pytest.mark.slow
def test_a_single_line_of_100_mb_takes_bounded_time(tmp_path: Path) -> None:
    line = KOREAN.read_text("utf-8").replace("\n", " ").encode()
    path = written(tmp_path / "long.txt", line * (100_000_000 // len(line) + 1))
    start = time.monotonic()
    result = vocabopt("sweep", path, "--json", "--heldout", "0", "--out", tmp_path / "out")
    assert time.monotonic() - start < SECONDS_FOR_100_MB
    train = json.loads(result.stdout)["sets"]["train"]
    assert (train["n_documents"], train["n_bytes"]) == (1, path.stat().st_size)


@pytest.mark.slow
def test_a_long_line_without_a_single_space_takes_bounded_time(tmp_path: Path) -> None:
    path = written(tmp_path / "solid.txt", "".join(KOREAN.read_text("utf-8").split()) * 200)
    start = time.monotonic()
    assert vocabopt("sweep", path, "--quiet", "--heldout", "0", "--out", tmp_path / "out").exit_code == 0
    assert time.monotonic() - start < SECONDS_FOR_100_MB


@pytest.mark.slow
def test_after_the_warm_up_a_sweep_compiles_nothing(tmp_path: Path) -> None:
    """Neither a first run, one that reuses the counts, nor one of text that outgrows tables: set-up has done it."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    warm_up = [sys.executable, "-m", "vocabopt.warmup"]
    done = subprocess.run(warm_up, capture_output=True, text=True, env=environment, cwd=ROOT, check=True)
    assert done.stdout + done.stderr == ""
    compiled = {path.name for path in (tmp_path / "cache").rglob("*.nbc")}
    assert compiled
    for _ in range(2):
        assert process("sweep", CORPUS, "--out", tmp_path / "out", "--quiet", env=environment).returncode == 0
        assert {path.name for path in (tmp_path / "cache").rglob("*.nbc")} == compiled
    # Also those that only gigabytes of text call.
    modules = (chunk_kernel, growth, growth_kernel, proof_kernel, symbols)
    kernels = {
        f"{module.__name__.rpartition('.')[2]}.{name}-"
        for module in modules
        for name, value in vars(module).items()
        if hasattr(value, "py_func") and value.__module__ == module.__name__
    }
    assert len(kernels) > 30
    assert {kernel for kernel in kernels if not any(name.startswith(kernel) for name in compiled)} == set()


# --- Ctrl-C ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def wide_text(tmp_path: Path) -> Path:
    """Text of so many different words that growing takes seconds."""
    syllables = np.random.default_rng(0).integers(0xAC00, 0xAC00 + 1_500, size=(400_000, 5), dtype="<u4")
    words = codecs.decode(np.insert(syllables, 5, ord(" "), axis=1).tobytes(), "utf-32-le")
    return written(
        tmp_path / "wide.txt", "\n".join(words[start : start + 6_000] for start in range(0, len(words), 6_000))
    )


def interrupted(arguments: Sequence[object], is_time: Callable[[str], bool]) -> tuple[int, str]:
    """Send SIGINT when a line of standard error says that it is time; exit code and standard error."""
    lines: list[str] = []
    with started(command_of(*arguments), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as running:
        for line in running.stderr or ():
            lines.append(line)
            if is_time(line):
                time.sleep(0.3)
                running.send_signal(signal.SIGINT)
                break
        lines.append(running.communicate(timeout=120)[1])
    return running.returncode, "".join(lines)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.slow
def test_ctrl_c_while_growing_leaves_nothing_half_written_and_the_run_can_be_taken_up(
    wide_text: Path, tmp_path: Path
) -> None:
    arguments = ["sweep", wide_text, "--out", tmp_path / "out"]
    code, errors = interrupted(arguments, lambda line: line.startswith("encode: done"))
    assert "grow: done" not in errors, "the text is too small for this test"
    assert code == 130, errors
    assert errors.endswith("Interrupted. Finished files are kept; nothing half-written is left.\n")
    assert "Traceback" not in errors
    assert half_written(tmp_path) == []
    again = process(*arguments, "--max-added", "100")
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "out" / "sweep.json").is_file()


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_ctrl_c_while_waiting_for_standard_input(tmp_path: Path) -> None:
    command = command_of("sweep", "-", "--out", tmp_path / "out")
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with started(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as running:
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob("vocabopt-stdin-*")) and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.3)
        running.send_signal(signal.SIGINT)
        assert running.wait(timeout=60) == 130
        assert running.stderr is not None
        errors = running.stderr.read()
    assert errors == "Interrupted. Finished files are kept; nothing half-written is left.\n"
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


# --- What the commands rest on ---------------------------------------------------------------------------------------


def commands() -> Iterator[str]:
    yield from main.list_commands(click.Context(main))


@pytest.mark.parametrize(
    "command", [[], *([name] for name in commands())], ids=lambda command: " ".join(["help", *command])
)
def test_every_help_has_examples(command: list[str]) -> None:
    result = vocabopt(*command, "--help")
    assert result.exit_code == 0
    examples = result.stdout.partition("Examples:\n")[2].partition("\n\n")[0].splitlines()
    assert len(examples) >= 2
    assert all(example.startswith("    vocabopt ") for example in examples)


def test_version_is_that_of_the_package() -> None:
    from vocabopt import __version__

    assert vocabopt("--version").stdout == f"vocabopt, version {__version__}\n"


HELPS = ([], ["--help"], *([name, "--help"] for name in ("sweep", "prepare", "plan", "adapt", "eval")))


@pytest.mark.parametrize("arguments", HELPS, ids=[" ".join(["import", *arguments]) for arguments in HELPS])
def test_importing_the_command_line_imports_nothing_heavy(arguments: list[str]) -> None:
    heavy = "torch transformers peft accelerate numba polars matplotlib tokenizers huggingface_hub"
    if arguments in ([], ["--help"], ["sweep", "--help"]):
        heavy += " trainer"
    code = (
        "import sys; from vocabopt.cli import main\n"
        f"if {arguments}: main({arguments}, standalone_mode=False)\n"
        f"print('heavy:', *sorted(set({heavy.split()}) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "heavy:"


#: Commands that run the trainer, and import it when they are called.
TRAINER_COMMANDS = {"training.py"}


def test_no_module_of_vocabopt_imports_the_trainer_or_its_libraries() -> None:
    for path in sorted((ROOT / "vocabopt").rglob("*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
        when_called = {id(node) for function in functions for node in ast.walk(function)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path}, line {node.lineno}: imports are absolute"
                names = [node.module or ""]
            else:
                continue
            roots = {name.partition(".")[0] for name in names}
            may_load = (ROOT / "vocabopt" / "verification" / "checks_transformers.py", ROOT / "vocabopt" / "api.py")
            allowed = {"transformers"} if path in may_load else set()
            if path.name in TRAINER_COMMANDS and id(node) in when_called:
                allowed = {"trainer"}
            forbidden = {"torch", "trainer", "transformers", "peft", "accelerate"} - allowed
            assert not roots & forbidden, f"{path}, line {node.lineno}"


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """sweep.json of the sample corpus."""
    out = tmp_path_factory.mktemp("sample") / "run"
    assert vocabopt("sweep", CORPUS, "--out", out, "--quiet").exit_code == 0
    record: dict[str, Any] = json.loads((out / "sweep.json").read_text("utf-8"))
    return record


def test_sweep_json_holds_the_base_and_the_sets(sample: dict[str, Any]) -> None:
    assert sample["format_version"] == FORMAT_VERSION
    assert {key: sample["base"][key] for key in ("name", "family", "n_tokens", "n_rows")} == {
        "name": "mistral-7b-v1",
        "family": "sentencepiece-bpe",
        "n_tokens": 32_000,
        "n_rows": 32_000,
    }
    assert re.fullmatch(r"[0-9a-f]{64}", sample["base"]["sha256"])
    assert {name: given["role"] for name, given in sample["sets"].items()} == {
        "train": "train",
        "heldout": "heldout",
        "en": "protected",
    }
    for language, names in (("ko", ["train", "heldout"]), ("en", ["en"])):
        lines = [
            line for path in sorted((CORPUS / language).glob("*.txt")) for line in path.read_text("utf-8").split("\n")
        ]
        documents = [line for line in lines if line.strip()]
        counted = {
            field: sum(sample["sets"][name][field] for name in names)
            for field in ("n_documents", "n_bytes", "n_chars", "n_words")
        }
        assert counted == {
            "n_documents": len(documents),
            "n_bytes": sum(len(document.encode()) for document in documents),
            "n_chars": sum(map(len, documents)),
            "n_words": sum(len(document.split()) for document in documents),
        }
    assert all(given["n_tokens_base"] > 0 for given in sample["sets"].values())


def test_sweep_json_holds_the_points(sample: dict[str, Any]) -> None:
    points = sample["points"]
    sizes = [point["n_added"] for point in points]
    assert sizes[0] == 0
    assert sizes == sorted(set(sizes))
    assert sizes[-1] == sample["exhausted_at"] < 40_000
    assert len(sizes) == 10  # nine even steps
    for point in points:
        assert point["n_rows_total"] == 32_000 + point["n_added"]
        assert point["n_embedding_params"] == point["n_rows_total"] * 4096 * 2
        assert point["sets"].keys() == sample["sets"].keys()
        assert point["sets"]["en"]["n_tokens"] == sample["sets"]["en"]["n_tokens_base"]
    tokens = [point["sets"]["train"]["n_tokens"] for point in points]
    assert tokens == sorted(tokens, reverse=True)


def test_sweep_json_holds_the_choice(sample: dict[str, Any]) -> None:
    choice = sample["choice"]
    assert choice["rule"] == "knee"
    assert 0 < choice["n_added"] < sample["exhausted_at"]
    assert (32_000 + choice["n_added"]) % 128 == 0
    first, last = choice["window"]
    assert first < choice["knee"] < last == sample["exhausted_at"]
    assert (choice["limit"], choice["clipped_by"]) == (sample["exhausted_at"], None)
    assert choice["named"] == choice["knee"]


# --- Options stand once ----------------------------------------------------------------------------------------------

#: A command's options record, and the shortest command line that it takes.
RECORDS = {
    "prepare": ("vocabopt.preparation.options:PrepareOptions", "text --out out"),
    "sweep": ("vocabopt.options:SweepOptions", "text"),
    "choose": ("vocabopt.choice.options:ChoiceOptions", "run"),
    "merge": ("vocabopt.options:MergeOptions", "run"),
    "verify": ("vocabopt.options:VerifyOptions", "base new"),
    "sensitivity": ("vocabopt.options:SensitivityOptions", "one two --out out"),
    "analyze": ("vocabopt.options:AnalyzeOptions", "tokenizer"),
    "init": ("trainer.options:InitOptions", "model --tokenizer tokenizer --out out"),
    "plan": ("trainer.options:PlanOptions", "model --budget 1Mtok"),
    "probe": ("trainer.options:ProbeTrainingOptions", "model --out out"),
    "adapt": ("trainer.options:AdaptOptions", "model"),
    "eval": ("trainer.measuring_options:EvalOptions", "model"),
}


def test_no_default_or_check_of_an_option_stands_in_the_command_line() -> None:
    """A decorator may add an argument, a switch or a path to write: nothing that has a default, a range or a choice."""
    for path in sorted((ROOT / "vocabopt").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "option":
                assert "default" not in {word.arg for word in node.keywords}, f"{path}, line {node.lineno}"
            if isinstance(node, ast.Attribute) and node.attr in ("IntRange", "FloatRange", "Choice"):
                assert path.name == "fields.py", f"{path}, line {node.lineno}"


@pytest.mark.parametrize("name", sorted(RECORDS))
def test_every_option_of_a_command_is_a_field_with_its_help_and_default(name: str) -> None:
    record, arguments = RECORDS[name]
    given = main.commands[name].make_context(name, arguments.split())
    parameters = {parameter.name: parameter for parameter in main.commands[name].parameters()}
    for field, spec in specs(pkgutil.resolve_name(record)):
        parameter = parameters[field.name]
        if field.default is not MISSING and f"--{field.name}" not in arguments and spec.flag is not None:
            assert given.params[field.name] == field.default
        if spec.flag is not None:
            assert isinstance(parameter, click.Option)
            assert spec.help
            assert (parameter.help or "").startswith(spec.help)


@pytest.mark.parametrize("name", sorted(RECORDS))
def test_help_shows_the_daily_options_first(name: str) -> None:
    page = vocabopt(name, "--help").stdout
    daily, _, advanced = page.partition("\nOptions:\n")[2].partition("\nAdvanced")
    shown = re.findall(r"^  (?:-h, )?(--[a-z-]+)", daily, re.MULTILINE)
    assert len(shown) <= 15, shown
    assert "--help" in shown
    assert advanced
    for given, spec in specs(pkgutil.resolve_name(RECORDS[name][0])):
        if spec.flag is not None:
            flag = spec.flag or "--" + given.name.replace("_", "-")
            assert (flag in shown) == spec.daily, flag

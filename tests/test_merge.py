"""`vocabopt merge`: the files it writes, each read by the library it is for; the proof it carries; what it refuses."""

import base64
import copy
import hashlib
import json
import os
import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import sentencepiece
import tiktoken
from command_line import assert_refused, command_of, process, vocabopt, written
from conftest import Run
from helpers import (
    CORPUS,
    all_ids,
    base_of,
    grow_documents,
    library_tokenizer,
    lines_of,
    model_file,
    toy_sentencepiece,
    train_sentencepiece,
)
from sentencepiece import sentencepiece_model_pb2

from vocabopt.errors import PromiseError
from vocabopt.folder import FORMAT_VERSION
from vocabopt.merging import proof
from vocabopt.merging.export import merged_tokenizer_json, tokenizer_config
from vocabopt.merging.extension import grown
from vocabopt.merging.run import merge_run
from vocabopt.tokenizer import Tokenizer, load_base
from vocabopt.tokenizer.sentencepiece_model import scores_below

RunOn = Callable[..., Run]


# --- The files, each read by its own library -------------------------------------------------------------------------


@pytest.mark.slow
def test_merge_writes_the_choice_and_the_proof_and_says_how_to_load_it(swept: Path, tmp_path: Path) -> None:
    n_added = json.loads((swept / "sweep.json").read_text("utf-8"))["choice"]["n_added"]
    result = vocabopt("merge", swept, "--out", tmp_path / "tokenizer")
    assert result.exit_code == 0
    assert f"mistral-7b-v1 with {n_added:,} added tokens" in result.stdout
    assert f"AutoTokenizer.from_pretrained('{tmp_path / 'tokenizer'}')" in result.stdout
    assert "FAIL" not in result.stdout
    assert result.stdout.count("PASS") > 8
    assert library_tokenizer(tmp_path / "tokenizer").get_vocab_size() == 32_000 + n_added
    assert json.loads((tmp_path / "tokenizer" / "verify.json").read_text("utf-8"))["passed"] is True


def test_a_merge_that_fails_leaves_nothing_of_its_own(swept: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    kept = written(out / "mine.txt", "mine")
    # The tokenizer.json is larger than a file may be.
    limited = ["sh", "-c", 'ulimit -f 200; exec "$@"', "sh", *command_of("merge", swept, "--out", out, "--quiet")]
    done = subprocess.run(limited, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith(f"Error: {out}/")
    assert list(out.iterdir()) == [kept]


@pytest.mark.slow
def test_a_folder_whose_name_is_not_utf_8_is_to_be_renamed_first(swept: Path, tmp_path: Path) -> None:
    out = tmp_path / os.fsdecode("합".encode("cp949"))
    done = process("merge", swept, "--size", "5", "--out", out)
    assert done.returncode == 0, done.stderr
    assert "from_pretrained" not in done.stdout
    assert done.stdout.splitlines()[-1].endswith(rf"Rename it first: {tmp_path}/\xc7\xd5")


@pytest.mark.slow
def test_quiet_merge_prints_nothing(swept: Path, tmp_path: Path) -> None:
    result = vocabopt("merge", swept, "--size", 5, "--out", tmp_path / "tokenizer", "--quiet")
    assert (result.exit_code, result.output) == (0, "")


@pytest.mark.parametrize("size", [0, 1, 300, -1], ids=["none", "one", "some", "all"])
def test_tokenizer_model_gives_the_ids_of_tokenizer_json(
    mistral: Tokenizer, size: int, run_of: Callable[[str], Run]
) -> None:
    run = run_of("mistral-7b-v1")
    size = len(run.curve) if size < 0 else size
    processor = sentencepiece.SentencePieceProcessor(model_file=str(run.exported(size) / "tokenizer.model"))
    lines = lines_of("ko") + lines_of("en") + ["  가나  다", "\t", "▁한국", " ".join("한국" * 3), "x" * 50 + "   \n 뷁"]
    assert processor.vocab_size() == mistral.n_tokens + size
    assert processor.encode(lines) == all_ids(run.tokenizer(size), lines)


def test_a_tokenizer_model_keeps_ids_that_tokenizer_json_adds_behind_it(tmp_path: Path, run_on: RunOn) -> None:
    """Folders add <pad> and the like after the model's last id: new pieces come after those in both files."""
    folder = tmp_path / "padded"
    folder.mkdir()
    model = train_sentencepiece(lines_of("en")[:300] + lines_of("ko")[:60], 600)
    (folder / "tokenizer.model").write_bytes(model)
    (folder / "added_tokens.json").write_text(json.dumps({"<pad>": 602}), encoding="utf-8")
    base = load_base(str(folder))
    assert (base.n_tokens, base.full.token_to_id("<pad>")) == (603, 602)
    run = run_on(tmp_path / "run", str(folder), CORPUS)
    size = len(run.curve)
    processor = sentencepiece.SentencePieceProcessor(model_file=str(run.exported(size) / "tokenizer.model"))
    assert [processor.id_to_piece(i) for i in (602, 603)] == ["<pad>", run.curve["piece"][0]]
    assert processor.is_control(600)
    assert processor.is_control(602)
    lines = lines_of("ko") + lines_of("en")
    assert processor.encode(lines) == all_ids(run.tokenizer(size), lines)


@pytest.mark.parametrize(("lowest", "step"), [(0.0, 1), (-259.0, 1), (-1e9, 64), (-(2.0**30), 128)])
def test_scores_fall_below_the_lowest_in_steps_that_float32_holds(lowest: float, step: int) -> None:
    scores = scores_below(lowest, 1_000)
    assert scores == [lowest - step * (i + 1) for i in range(1_000)]
    assert np.array_equal(np.array(scores, np.float32), np.array(scores))


def test_a_rank_file_gives_the_ids_of_tokenizer_json_in_tiktoken(
    rank_base: list[str], run_on: RunOn, tmp_path: Path
) -> None:
    path, pattern, specials = rank_base
    run = run_on(tmp_path / "run", path, CORPUS, pattern=pattern, specials=specials)
    base = load_base(path, pattern=pattern, specials=specials)
    size = len(run.curve)
    value = json.loads((run.exported(size) / "tokenizer.json").read_bytes())
    lines = (line.split() for line in (run.exported(size) / "small.tiktoken").read_text("ascii").splitlines())
    encoding = tiktoken.Encoding(
        name="small",
        pat_str=value["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"],
        mergeable_ranks={base64.b64decode(token): int(rank) for token, rank in lines},
        special_tokens={token["content"]: token["id"] for token in value["added_tokens"]},
    )
    assert encoding.n_vocab == base.n_tokens + size
    assert encoding.encode_single_token("<|end|>") == base.n_tokens - 2
    texts = [*lines_of("ko"), *lines_of("en"), "  가나  다\n\n 1234567", "한국" * 40]
    assert encoding.encode_ordinary_batch(texts) == all_ids(run.tokenizer(size), texts)


def test_a_tekken_file_gives_the_ids_of_tokenizer_json_in_mistral_common(
    tekken_base: str, run_on: RunOn, tmp_path: Path
) -> None:
    from mistral_common.tokens.tokenizers.tekken import Tekkenizer

    run = run_on(tmp_path / "run", tekken_base, CORPUS)
    size = len(run.curve)
    original, merged = Tekkenizer.from_file(tekken_base), Tekkenizer.from_file(run.exported(size) / "tekken.json")
    assert merged.n_words == original.n_words + size == run.base.n_tokens + size
    texts = [*lines_of("ko"), *lines_of("en"), "  가나  다\n\n 1234567"]
    assert [original.encode(text, bos=False, eos=False) for text in texts] == all_ids(run.base.full, texts)
    assert [merged.encode(text, bos=False, eos=False) for text in texts] == all_ids(run.tokenizer(size), texts)


def test_special_tokens_that_a_named_class_supplies_are_carried_over(folders: Path) -> None:
    base = load_base(str(folders / "qwen2-like"))
    config = {"tokenizer_class": "Qwen2TokenizerFast", "eos_token": "<|im_end|>"}
    bare = replace(base, companions={"tokenizer_config.json": json.dumps(config).encode()})
    assert tokenizer_config(bare) == {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "unk_token": "<|endoftext|>",
        "model_input_names": ["input_ids", "attention_mask"],
    }


# --- extension.json and its proof ------------------------------------------------------------------------------------


def test_extension_json_tells_what_each_token_is_and_replaces(run: Run) -> None:
    size = len(run.curve) // 2
    record = json.loads((run.exported(size) / "extension.json").read_bytes())
    assert (record["n_added"], record["first_id"], record["n_tokens"]) == (
        size,
        run.base.n_tokens,
        run.base.n_tokens + size,
    )
    assert record["base"]["sha256"] == run.base.sha256
    bare = run.base.merging_tokenizer
    for row, token in zip(run.curve.head(size).iter_rows(named=True), record["tokens"], strict=True):
        assert token["id"] == run.base.n_tokens + row["rank"] - 1
        assert (token["piece"], bytes.fromhex(token["bytes"])) == (row["piece"], row["bytes"])
        assert token["base_ids"] == bare.encode(token["piece"]).ids
        spelled = b"".join(
            run.base.pieces[i] if run.base.byte_values[i] < 0 else bytes([run.base.byte_values[i]])
            for i in token["base_ids"]
        )
        assert spelled == row["bytes"]
        assert len(token["base_ids"]) > 1


def test_extension_json_counts_are_those_of_the_exported_tokenizer(run: Run) -> None:
    size = len(run.curve)
    record = json.loads((run.exported(size) / "extension.json").read_bytes())
    for name, found in run.token_counts(size).items():
        assert [token["counts"][name] for token in record["tokens"]] == found[record["first_id"] :].tolist()
    assert record["n_unused"]["train"] == run.sweep["n_scaffold"][str(size)]
    assert record["proof"]["n_tokens"] == record["proof"]["n_tokens_promised"]
    assert record["proof"]["n_protected_chunks"] > 1_000
    assert record["proof"]["n_changed_chunks"] == 0


@pytest.mark.slow
def test_padding_is_recorded_and_makes_no_token(swept: Path, tmp_path: Path) -> None:
    result = vocabopt("merge", swept, "--size", 5, "--pad-to", 128, "--out", tmp_path / "tokenizer", "--quiet")
    assert result.exit_code == 0
    record = json.loads((tmp_path / "tokenizer" / "extension.json").read_bytes())
    assert (record["n_tokens"], record["pad_to"], record["n_rows_padded"]) == (32_005, 128, 32_128)
    assert library_tokenizer(tmp_path / "tokenizer").get_vocab_size() == 32_005


def test_a_curve_whose_counts_are_wrong_is_not_merged(swept: Path, tmp_path: Path) -> None:
    """The counts are made again by encoding: a fault in the growth pass would show."""
    run = tmp_path / "run"
    run.mkdir()
    for path in swept.glob("*.*"):
        (run / path.name).write_bytes(path.read_bytes())
    sweep = json.loads((run / "sweep.json").read_text("utf-8"))
    curve = pl.read_parquet(run / "curve.parquet").with_columns(pl.col("n_tokens_train") + 1)
    curve.write_parquet(run / "curve.parquet")
    sweep["curve_sha256"] = hashlib.sha256((run / "curve.parquet").read_bytes()).hexdigest()
    (run / "sweep.json").write_text(json.dumps(sweep), encoding="utf-8")
    result = vocabopt("merge", run, "--size", 5, "--out", tmp_path / "tokenizer")
    assert result.exit_code == 1
    assert re.search(r"the sweep counted .*, the merged tokenizer gives", result.stderr)
    assert not (tmp_path / "tokenizer").exists()


def test_a_merge_that_moved_an_id_of_the_base_would_be_found(mistral: Tokenizer) -> None:
    value = copy.deepcopy(dict(mistral.tokenizer_json))
    vocab = value["model"]["vocab"]
    vocab["▁the"], vocab["▁of"] = vocab["▁of"], vocab["▁the"]
    with pytest.raises(PromiseError, match=r"2 ids of the base changed"):
        proof.check_ids(mistral, replace(mistral, tokenizer_json=value), 0)


# --- Refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [-1, 99_999])
def test_a_size_outside_the_curve_is_refused(size: int, swept: Path, tmp_path: Path) -> None:
    result = vocabopt("merge", swept, "--size", size, "--out", tmp_path / "tokenizer")
    match = rf"--size {size}: outside the curve of .*: the text ran dry at [\d,]+\. Choose 0 to"
    assert_refused(result, match, tmp_path)
    assert not (tmp_path / "tokenizer").exists()


def test_a_folder_without_a_sweep_is_refused(tmp_path: Path) -> None:
    result = vocabopt("merge", tmp_path / "nothing", "--out", tmp_path / "tokenizer")
    assert_refused(result, r"nothing: no such folder\. Name the one that", tmp_path)


def test_another_version_s_run_is_refused(tmp_path: Path) -> None:
    written(tmp_path / "run" / "sweep.json", '{"format_version": 999}')
    result = vocabopt("merge", tmp_path / "run", "--out", tmp_path / "tokenizer")
    assert result.exit_code == 2
    assert re.search(rf"format_version is not {FORMAT_VERSION}, so another version", result.stderr)


@pytest.mark.slow
def test_another_tokenizer_in_the_way_is_refused_and_kept(swept: Path, tmp_path: Path) -> None:
    out = tmp_path / "tokenizer"
    assert vocabopt("merge", swept, "--size", 5, "--out", out, "--quiet").exit_code == 0
    before = (out / "tokenizer.json").read_bytes()
    assert vocabopt("merge", swept, "--size", 5, "--out", out, "--quiet").exit_code == 0
    assert_refused(
        vocabopt("merge", swept, "--size", 6, "--out", out, "--quiet"), r"is there already and differs", tmp_path
    )
    assert (out / "tokenizer.json").read_bytes() == before


def test_the_run_directory_itself_is_refused(swept: Path) -> None:
    result = vocabopt("merge", swept, "--out", swept)
    assert result.exit_code == 2
    assert "is the run directory itself" in result.stderr
    assert not (swept / "tokenizer.json").exists()


def test_a_run_of_another_base_is_refused(swept: Path, folders: Path, tmp_path: Path) -> None:
    result = vocabopt("merge", swept, "--base", folders / "llama-like", "--out", tmp_path / "tokenizer")
    assert_refused(result, r"is a sweep of mistral-7b-v1 .*, not of .*llama-like\. Leave --base out", tmp_path)


def test_a_base_that_changed_since_the_sweep_is_refused(folders: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    data = (folders / "gpt2-like" / "tokenizer.json").read_bytes()
    (base / "tokenizer.json").write_bytes(data)
    (tmp_path / "ko.txt").write_text("\n".join(lines_of("ko")[:50]), encoding="utf-8")
    run = tmp_path / "run"
    assert vocabopt("sweep", tmp_path / "ko.txt", "--base", base, "--out", run, "--quiet").exit_code == 0
    (base / "tokenizer.json").write_bytes(data + b"\n")
    result = vocabopt("merge", run, "--out", tmp_path / "tokenizer")
    assert result.exit_code == 2
    assert re.search(
        r"changed since the sweep in .* \(sha256 \w{12}\.\.\., then \w{12}\.\.\.\)\. Sweep again", result.stderr
    )
    assert not (tmp_path / "tokenizer").exists()


def test_a_rank_file_s_special_tokens_that_changed_since_the_sweep_are_noticed(
    rank_base: list[str], tmp_path: Path
) -> None:
    path, pattern, specials = rank_base
    copied = tmp_path / "specials.txt"
    copied.write_bytes(Path(specials).read_bytes())
    (tmp_path / "ko.txt").write_text("\n".join(lines_of("ko")[:50]), encoding="utf-8")
    options = ("--base", path, "--pattern", pattern, "--specials", copied, "--quiet")
    assert vocabopt("sweep", tmp_path / "ko.txt", *options, "--out", tmp_path / "run").exit_code == 0
    assert vocabopt("merge", tmp_path / "run", "--size", 3, "--out", tmp_path / "t", "--quiet").exit_code == 0
    copied.write_text("<|other|>\n<|pad|>\n", encoding="utf-8")
    result = vocabopt("merge", tmp_path / "run", "--size", 3, "--out", tmp_path / "tokenizer")
    assert result.exit_code == 2
    assert "changed since the sweep" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ([], r"Nothing to merge\. Name the folder of a sweep, or --base and --vocab"),
        (["--base", "mistral-7b-v1"], r"Nothing to merge"),
        (["RUN", "--vocab", "x.model"], r"--vocab x\.model: a sweep has its own"),
        (["RUN", "--method", "union"], r"union\.json: not found\. Sweep into this folder with --method union"),
        (
            ["--base", "mistral-7b-v1", "--vocab", "x.model"],
            r"--vocab x\.model: no SentencePiece \.model could be read",
        ),
        (["--base", "mistral-7b-v1", "--vocab", "x.model", "--size", "5"], r"--size 5: is for a sweep's folder"),
        (["RUN", "--pad-to", "0"], r"--pad-to 0: must be at least 1"),
    ],
)
def test_arguments_that_do_not_go_together_are_refused(
    arguments: list[str], match: str, swept: Path, tmp_path: Path
) -> None:
    given = [str(swept) if argument == "RUN" else argument for argument in arguments]
    result = vocabopt("merge", *given, "--out", tmp_path / "tokenizer")
    assert_refused(result, match, tmp_path)
    assert not (tmp_path / "tokenizer").exists()


def trained_with(pieces: list[str]) -> Any:
    """A trained vocabulary with some pieces renamed."""
    model = sentencepiece_model_pb2.ModelProto()  # type: ignore[attr-defined]
    model.ParseFromString(train_sentencepiece(lines_of("ko")[:300], 900, byte_fallback=False))
    for i, piece in enumerate(pieces):
        model.pieces[300 + i].piece = piece
    return model


def test_a_piece_spelled_like_a_special_token_is_refused(folders: Path, tmp_path: Path) -> None:
    (tmp_path / "v.model").write_bytes(trained_with(["<s>x", "<|im_start|>"]).SerializeToString())
    options = ("--base", folders / "qwen2-like", "--vocab", tmp_path / "v.model", "--out", tmp_path / "t")
    result = vocabopt("merge", *options)
    assert_refused(
        result, r"1 pieces are spelled like special tokens of qwen2-like \('<\|im_start\|>', \.\.\.\)", tmp_path
    )


def test_zero_scores_need_a_sentencepiece_base(folders: Path, tmp_path: Path) -> None:
    (tmp_path / "v.model").write_bytes(trained_with([]).SerializeToString())
    options = ("--base", folders / "qwen2-like", "--vocab", tmp_path / "v.model", "--scores", "zero")
    result = vocabopt("merge", *options, "--out", tmp_path / "t")
    assert_refused(result, r"--scores zero: is about the scores of a SentencePiece model", tmp_path)


def test_a_vocabulary_without_anything_new_is_refused(tmp_path: Path) -> None:
    path = model_file("tokenizer.model.v1")
    result = vocabopt("merge", "--base", "mistral-7b-v1", "--vocab", path, "--out", tmp_path / "t")
    assert_refused(result, r"mistral-7b-v1 has all of its pieces already; nothing to add", tmp_path)


def test_merging_twice_from_one_run_gives_the_same_bytes(swept: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        merge_run(swept, tmp_path / name, n_added=20)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_a_merge_of_the_base_that_a_new_token_makes_possible_keeps_its_place() -> None:
    """The base has 가나다 + 라 but no way to 가나다. A new piece opens it; the base's merge is not written twice."""
    value = toy_sentencepiece("가나다라마", "가나다", "가나다라")
    value["model"]["merges"] = [["가나다", "라"]]
    base = base_of(value)
    curve = grow_documents(base, {"train": ["가나다라", "마나다", "라나다"] * 9}).curve
    assert curve["piece"][0] == "나다"
    opened = [pair for row in curve["opened"].to_list() for pair in row]
    assert len(opened) > 1
    merges = [tuple(pair) for pair in merged_tokenizer_json(base, grown(base, curve, len(curve)))["model"]["merges"]]
    assert merges[0] == ("가나다", "라")
    assert len(set(merges)) == len(merges)


# --- What is there already stays -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tokenizer.model alone, and a sweep with it in `run` beside."""
    folder = tmp_path_factory.mktemp("own") / "base"
    folder.mkdir()
    model = train_sentencepiece(lines_of("en")[:300] + lines_of("ko")[:60], 600)
    (folder / "tokenizer.model").write_bytes(model)
    text = folder.parent / "ko.txt"
    text.write_text("\n".join(lines_of("ko")[:200]), encoding="utf-8")
    assert vocabopt("sweep", text, "--base", folder, "--out", folder.parent / "run", "--quiet").exit_code == 0
    return folder


def test_the_folder_of_the_base_is_never_written_to(model_folder: Path) -> None:
    before = (model_folder / "tokenizer.model").read_bytes()
    result = vocabopt("merge", model_folder.parent / "run", "--size", 20, "--out", model_folder)
    assert result.exit_code == 2
    assert "is the folder of the base itself" in result.stderr
    assert [path.name for path in model_folder.iterdir()] == ["tokenizer.model"]
    assert (model_folder / "tokenizer.model").read_bytes() == before


def test_another_tokenizer_model_in_the_way_is_refused(model_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "tokenizer.model").write_bytes(b"mine")
    result = vocabopt("merge", model_folder.parent / "run", "--size", 20, "--out", tmp_path / "t")
    assert_refused(result, r"tokenizer\.model: is there already and differs", tmp_path / "t")
    assert (tmp_path / "t" / "tokenizer.model").read_bytes() == b"mine"


def test_without_the_counts_nothing_can_be_proved_and_nothing_is_merged(swept: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    for path in swept.glob("*.*"):
        if path.name != "counts.parquet":
            (run / path.name).write_bytes(path.read_bytes())
    result = vocabopt("merge", run, "--size", 5, "--out", tmp_path / "t")
    assert result.exit_code == 2
    assert re.search(
        r"counts\.parquet: is missing, broken or of another run, so nothing could be proved", result.stderr
    )
    assert not (tmp_path / "t").exists()


def test_added_tokens_of_a_folder_are_part_of_the_base_s_hash(model_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_bytes((model_folder / "tokenizer.model").read_bytes())
    hashes = {load_base(str(tmp_path)).sha256}
    for content in ('{"<pad>": 600}', '{"<pad>": 600, "<sep>": 601}'):
        (tmp_path / "added_tokens.json").write_text(content, encoding="utf-8")
        hashes.add(load_base(str(tmp_path)).sha256)
    assert len(hashes) == 3


def test_flags_of_a_folder_s_added_tokens_are_kept(model_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_bytes((model_folder / "tokenizer.model").read_bytes())
    token = {"content": "<|end|>", "rstrip": True, "lstrip": False, "special": False}
    config = {"added_tokens_decoder": {"600": token}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    found = load_base(str(tmp_path)).tokenizer_json["added_tokens"][-1]
    assert {key: found[key] for key in token} == token
    assert found["id"] == 600


def test_rows_of_a_chosen_model_are_those_of_the_extension(model_folder: Path, tmp_path: Path) -> None:
    config = {"vocab_size": 900, "hidden_size": 8, "tie_word_embeddings": True}
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    text, run = model_folder.parent / "ko.txt", tmp_path / "run"
    options = ("--base", model_folder, "--model", tmp_path / "config.json", "--quiet", "--out", run)
    assert vocabopt("sweep", text, *options).exit_code == 0
    record = merge_run(run, tmp_path / "t", n_added=20, pad_to=64).record
    assert (record.n_tokens, record.n_rows, record.n_rows_padded) == (620, 900, 960)


def test_truncation_of_the_base_is_kept_and_cuts_no_count(folders: Path, tmp_path: Path, run_on: RunOn) -> None:
    value = json.loads((folders / "llama-like" / "tokenizer.json").read_text("utf-8"))
    value["truncation"] = {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0}
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "tokenizer.json").write_text(json.dumps(value), encoding="utf-8")
    lines = [f"{line} <unk> 가나다" for line in lines_of("ko")[:50]]
    (tmp_path / "ko.txt").write_text("\n".join(lines), encoding="utf-8")
    run = run_on(tmp_path / "run", str(tmp_path / "base"), tmp_path / "ko.txt", heldout=0.0)
    assert run.sweep["sets"]["train"]["n_special_tokens"] == 50
    written_json = json.loads((run.exported(5) / "tokenizer.json").read_text("utf-8"))
    assert written_json["truncation"] == value["truncation"]


@pytest.mark.slow
def test_a_folder_whose_name_looks_like_a_pattern_is_a_folder(tmp_path: Path) -> None:
    run = tmp_path / "a [b] *c? [/red]"
    text = CORPUS / "ko" / "news.txt"
    options = ("--method", "union", "--sizes", "1500", "--out", run)
    assert vocabopt("sweep", text, *options).exit_code == 0
    assert vocabopt("sweep", text, *options, "--quiet").exit_code == 0
    assert json.loads((run / "run.json").read_text("utf-8"))["counts_reused"] is True
    result = vocabopt("merge", run, "--size", 3, "--method", "grow", "--out", run / "tok")
    assert result.exit_code == 0
    assert "FAIL" not in result.stdout

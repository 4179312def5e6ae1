"""`vocabopt init` and what it is made of: real merged tokenizers, model folders on disk, memory."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from command_line import vocabopt, written
from conftest import CONFIGS, Run
from helpers import all_ids, library_tokenizer, lines_of
from limits import full_disk
from model_folders import N_ADDED, config_for, contents, with_tokenizer, write_model
from swapped import swapped
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
)

from trainer.init import init_model, load_model, read_extension, save_model
from trainer.init.run import InitOptions, run_init
from vocabopt.errors import ModelError, RunDirectoryError
from vocabopt.tokenizer import load_base

N_SWAPPED = 60
SMALL_BASES = pytest.mark.parametrize("run", list(CONFIGS), indirect=True)


# --- Merged tokenizers -----------------------------------------------------------------------------------------------


@SMALL_BASES
def test_an_extension_worked_out_from_bytes_is_that_of_extension_json(run: Run, tmp_path: Path) -> None:
    """For a base of each kind; and its parts spell the new tokens, as the `tokenizers` library decodes them."""
    tokenizer = run.exported(N_ADDED)
    base = Path(run.base.source)
    given = read_extension(tokenizer, base)
    (tmp_path / "bare").mkdir()
    for path in tokenizer.iterdir():
        if path.name not in ("extension.json", "verify.json"):
            shutil.copy(path, tmp_path / "bare" / path.name)
    found = read_extension(tmp_path / "bare", base)
    assert (given.source, found.source) == ("extension.json", "bytes")
    for name in ("new_ids", "base_ids", "base_n_bytes", "texts", "n_tokens", "base_tokens", "scripts", "script_ids"):
        assert getattr(given, name) == getattr(found, name), name
    n_base = run.base.n_tokens
    assert given.new_ids == tuple(range(n_base, n_base + N_ADDED))
    assert list(given.texts) == run.curve["bytes"].head(N_ADDED).to_list()
    assert [sum(lengths) for lengths in given.base_n_bytes] == [len(text) for text in given.texts]
    assert given.scripts == ("Hangul",)
    whole = {index: text.decode() for index, text in zip(given.new_ids, given.texts, strict=True) if _is_text(text)}
    assert len(whole) > 50
    spelled = [run.base.merging_tokenizer.decode(list(given.base_ids[index - n_base])) for index in whole]
    assert [text.lstrip(" ") for text in spelled] == [text.lstrip(" ") for text in whole.values()]


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def test_base_rows_of_the_script_are_those_whose_token_holds_a_whole_character_of_it(
    llama_merged: Path, llama_model: Path
) -> None:
    found = set(read_extension(llama_merged, llama_model).script_ids)
    pieces = load_base(str(llama_model)).pieces
    hangul = {i for i, piece in enumerate(pieces) if any("가" <= char <= "힣" for char in piece.decode())}
    assert hangul
    assert hangul <= found


def test_tokens_added_elsewhere_are_worked_out_wherever_their_ids_lie(llama_model: Path, tmp_path: Path) -> None:
    """A tokenizer extended by another program: added tokens, plain and special, behind the base's last id."""
    tokenizer = AutoTokenizer.from_pretrained(llama_model)
    tokenizer.add_tokens(["대한민국", "xyzzy plugh"])
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|tool|>"]})
    tokenizer.save_pretrained(tmp_path / "tok")
    found = read_extension(tmp_path / "tok", llama_model)
    base = load_base(str(llama_model))
    assert found.texts == ("대한민국".encode(), b"xyzzy plugh", b"<|tool|>")
    assert found.new_ids == (2_000, 2_001, 2_002)
    assert [base.merging_tokenizer.decode(list(ids)) for ids in found.base_ids] == [
        "대한민국",
        "xyzzy plugh",
        "<|tool|>",
    ]
    assert [sum(lengths) for lengths in found.base_n_bytes] == [12, 11, 8]


# --- The command -----------------------------------------------------------------------------------------------------


@SMALL_BASES
def test_init_writes_a_model_that_speaks_the_new_tokens(run: Run, tmp_path: Path) -> None:
    """For a base of each kind: loaded by transformers alone, which gives the ids of the llama_merged tokenizer."""
    name = run.base.name
    model = write_model(tmp_path / "model", config_for(name))
    tokenizer = run.exported(N_ADDED)
    result = vocabopt("init", model, "--tokenizer", tokenizer, "--out", tmp_path / "out", "--max-shard-size", "100kB")
    assert result.exit_code == 0, result.output
    assert f"{N_ADDED} new rows by decompose" in result.stdout
    out = tmp_path / "out"
    assert len(list(out.glob("model-*.safetensors"))) > 1
    loaded = AutoModelForCausalLM.from_pretrained(out)
    n_rows = max(config_for(name).vocab_size, run.base.n_tokens + N_ADDED)
    assert loaded.config.vocab_size == n_rows == len(loaded.get_input_embeddings().weight)
    same = ("bos_token_id", "eos_token_id", "pad_token_id", "tie_word_embeddings", "hidden_size", "architectures")
    before = load_model(model)
    assert all(getattr(loaded.config, field) == getattr(before.config, field) for field in same)
    assert loaded.dtype == before.dtype
    lines = lines_of("ko")[:5]
    ids = AutoTokenizer.from_pretrained(out)(lines, add_special_tokens=False)["input_ids"]
    assert ids == all_ids(library_tokenizer(tokenizer), lines)
    assert max(map(max, ids)) >= run.base.n_tokens
    with torch.no_grad():
        assert loaded(torch.tensor([ids[0]])).logits.isfinite().all()
    record = json.loads((out / "init.json").read_text("utf-8"))
    assert (record["n_added"], record["n_rows"]) == (N_ADDED, n_rows)
    assert record["n_params"] == sum(parameter.numel() for parameter in loaded.parameters())
    assert [table["name"] for table in record["log"]["tables"]] == (
        ["both"] if loaded.config.tie_word_embeddings else ["input", "output"]
    )
    assert all(sum(group["n_rows"] for group in table["groups"]) == n_rows for table in record["log"]["tables"])
    assert {path.name for path in tokenizer.iterdir()} - {"verify.json"} <= {path.name for path in out.iterdir()}


def test_every_row_is_that_of_init_model_and_two_runs_write_the_same_bytes(
    llama_merged: Path, llama_model: Path, tmp_path: Path
) -> None:
    arguments = (
        "init",
        llama_model,
        "--tokenizer",
        llama_merged,
        "--method",
        "weighted",
        "--match-norm",
        "--seed",
        5,
        "--quiet",
    )
    for name in ("one", "two"):
        result = vocabopt(*arguments, "--out", tmp_path / name)
        assert (result.exit_code, result.output) == (0, "")
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    model = load_model(llama_model)
    init_model(model, read_extension(llama_merged, llama_model), method="weighted", match_norm=True, seed=5)
    written_model = load_model(tmp_path / "one").state_dict()
    assert all(torch.equal(tensor, written_model[name]) for name, tensor in model.state_dict().items())


def test_pad_to_of_merge_pads_the_tables(folders: Path, llama_model: Path, llama_merged: Path, tmp_path: Path) -> None:
    base = folders / "llama-like"
    shutil.copytree(llama_merged.parent, tmp_path / "run")
    padded = tmp_path / "padded"
    assert vocabopt("merge", tmp_path / "run", "--size", N_ADDED, "--pad-to", 128, "--out", padded).exit_code == 0
    assert load_base(str(base)).n_tokens == 2_000
    done = run_init(InitOptions(model=str(llama_model), tokenizer=padded, out=tmp_path / "out"))
    assert done.n_rows == 2_176
    groups = {(group.kind, group.made_by): group.n_rows for group in done.log.tables[0].groups}
    assert groups["padding", "mean of all base rows"] == 2_176 - 2_150


def test_dtype_and_json(llama_merged: Path, llama_model: Path, tmp_path: Path) -> None:
    result = vocabopt(
        "init", llama_model, "--tokenizer", llama_merged, "--dtype", "bfloat16", "--json", "--out", tmp_path / "out"
    )
    assert json.loads(result.stdout) == json.loads((tmp_path / "out" / "init.json").read_text("utf-8"))
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "out").dtype == torch.bfloat16


def test_a_model_s_generation_config_stays_as_it_is(llama_merged: Path, llama_model: Path, tmp_path: Path) -> None:
    """Also one that transformers would not write anew: published models have such."""
    model = shutil.copytree(llama_model, tmp_path / "model")
    settings = {"temperature": 0.6, "do_sample": False, "max_length": 77, "eos_token_id": [2, 5], "bos_token_id": 1}
    written(model / "generation_config.json", json.dumps(settings))
    run_init(InitOptions(model=str(model), tokenizer=llama_merged, out=tmp_path / "out"))
    stored = json.loads((tmp_path / "out" / "generation_config.json").read_text("utf-8"))
    assert {name: stored[name] for name in settings if name != "do_sample"} == {
        name: value for name, value in settings.items() if name != "do_sample"
    }


def test_the_same_command_finishes_what_a_killed_run_left(
    llama_merged: Path, llama_model: Path, tmp_path: Path
) -> None:
    """Killed while it moved files: config.json is not there yet, and shards of another number lie about."""
    options = InitOptions(model=str(llama_model), tokenizer=llama_merged, out=tmp_path / "out", max_shard_bytes=100_000)
    run_init(options)
    whole = contents(tmp_path / "out")
    (tmp_path / "out" / "config.json").unlink()
    written(tmp_path / "out" / "model-00001-of-00099.safetensors", b"old")
    written(tmp_path / "out" / ".model.partial" / "model-00001-of-00077.safetensors", b"half")
    with pytest.raises(ModelError, match=r"out: holds no config\.json"):
        load_model(tmp_path / "out")
    run_init(options)
    assert contents(tmp_path / "out") == whole


def test_a_full_disk_leaves_the_model_that_was_there(llama_model: Path, tmp_path: Path) -> None:
    model = load_model(llama_model)
    save_model(model, tmp_path / "model")
    whole = contents(tmp_path / "model")
    with full_disk(50_000), pytest.raises(RunDirectoryError, match=r"model: the model cannot be written \(.*\)"):
        save_model(model, tmp_path / "model")
    assert contents(tmp_path / "model") == whole


# The kernel's own high-water mark of the process: that of getrusage begins with the parent's.
_MEASURE = """
import re, sys
from pathlib import Path
import torch
from transformers import AutoModelForCausalLM, LlamaForCausalLM
from trainer.init.run import InitOptions, run_init
def peak():
    return 1024 * int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
before = peak()
run_init(InitOptions(model=sys.argv[1], tokenizer=Path(sys.argv[2]), out=Path(sys.argv[3])))
print(peak() - before)
"""


@pytest.mark.slow
def test_init_holds_no_second_copy_of_the_model(llama_merged: Path, folders: Path, tmp_path: Path) -> None:
    """Peak resident memory of a process of its own, files mapped into it included, against the bytes of the weights."""
    widths = {"hidden_size": 768, "intermediate_size": 2_048, "num_hidden_layers": 5, "num_attention_heads": 4}
    model = write_model(tmp_path / "model", LlamaConfig(vocab_size=2_048, **widths))
    with_tokenizer(model, folders / "llama-like")
    out = tmp_path / "out"
    command = [sys.executable, "-c", _MEASURE, model, llama_merged, out]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    n_bytes = sum(path.stat().st_size for path in out.glob("*.safetensors"))
    assert n_bytes > 150e6
    assert int(done.stdout) < 1.6 * n_bytes, int(done.stdout) / n_bytes


# --- A tokenizer with as many rows -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name == "qwen2-like" else []) for name in CONFIGS]
)
def test_init_of_a_swap_writes_the_reused_rows_in_place(name: str, folders: Path, tmp_path: Path) -> None:
    """For a base of each kind: config.json and every other row as they were, and the base's rows make the new ones."""
    model = with_tokenizer(write_model(tmp_path / "model", config_for(name)), folders / name)
    tokenizer = swapped(folders / name, N_SWAPPED, tmp_path)
    result = vocabopt("init", model, "--tokenizer", tokenizer, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert f"{N_SWAPPED} new rows by decompose; {config_for(name).vocab_size:,} rows" in result.stdout
    settings = [json.loads((folder / "config.json").read_text("utf-8")) for folder in (model, tmp_path / "out")]
    assert settings[0] == settings[1]
    record = json.loads((tmp_path / "out" / "init.json").read_text("utf-8"))
    assert (record["n_added"], record["log"]["n_reused"]) == (N_SWAPPED, N_SWAPPED)
    tokens = json.loads((tokenizer / "extension.json").read_text("utf-8"))["tokens"]
    texts = {token["id"]: bytes.fromhex(token["bytes"]) for token in tokens}
    parts = {token["id"]: token["base_ids"] for token in tokens}
    assert len({*texts}) == N_SWAPPED
    # What each row is made of is the base's encoding, by its own tokenizer, of the new token's text.
    encoder = load_base(str(folders / name)).merging_tokenizer
    whole = {index: text.decode() for index, text in texts.items() if _is_text(text)}
    assert [encoder.decode(parts[index]).lstrip(" ") for index in whole] == [
        text.lstrip(" ") for text in whole.values()
    ]
    before, after = (load_model(folder).state_dict() for folder in (model, tmp_path / "out"))
    assert before.keys() == after.keys()
    n_tables = 0
    for key, tensor in after.items():
        if len(tensor) != config_for(name).vocab_size:
            assert torch.equal(tensor, before[key]), key
            continue
        n_tables += 1
        kept = [index for index in range(len(tensor)) if index not in texts]
        assert torch.equal(tensor[kept], before[key][kept])
        for index, ids in parts.items():
            torch.testing.assert_close(tensor[index], before[key][ids].double().mean(0).float())
    assert n_tables == 2


def test_a_swap_is_told_from_tokens_that_have_moved(folders: Path, llama_merged: Path, tmp_path: Path) -> None:
    """Only what extension.json says was taken out may be gone; the model's folder may have no tokenizer."""
    base = folders / "llama-like"
    tokenizer = swapped(base, N_SWAPPED, tmp_path)
    given = read_extension(tokenizer, base)
    bare = write_model(tmp_path / "bare", config_for("llama-like"))
    assert read_extension(tokenizer, bare) == given
    assert (given.n_tokens, given.n_base_tokens, len(given.kept_tokens)) == (2_000, 2_000, 2_000 - N_SWAPPED)
    assert given.n_rows_of_table(2_048) == 2_048
    # Bytes of base ids add up to the new token's, as the base spells them.
    assert [sum(lengths) for lengths in given.base_n_bytes] == [len(text) for text in given.texts]
    # A norm is taken of the base's own rows of Hangul, those that went among them.
    assert given.script_ids == read_extension(llama_merged, base).script_ids
    value = json.loads((tokenizer / "extension.json").read_text("utf-8"))
    value["reused"][0]["old_piece"] = "another"
    written(tokenizer / "extension.json", json.dumps(value))
    with pytest.raises(ModelError, match=r"does not extend the tokenizer of .*: 1 of its 2,000 tokens have another id"):
        read_extension(tokenizer, base)

"""`vocabopt init` and what it is made of: real merged tokenizers, model folders on disk, memory, refusals."""

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import assert_refused, vocabopt, written
from conftest import CONFIGS, Run
from helpers import CORPUS, all_ids, lines_of
from tokenizers import Tokenizer
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    GPT2Config,
    LlamaConfig,
    PreTrainedConfig,
    Qwen2Config,
    T5Config,
    T5ForConditionalGeneration,
)

from trainer.init import init_model, load_model, read_extension, save_model
from trainer.init.run import InitOptions, run_init
from vocabopt.bases import load_base
from vocabopt.errors import ModelError, OptionError, RunDirectoryError

N_ADDED = 150
_WIDTHS: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}


SMALL_BASES = pytest.mark.parametrize("run", list(CONFIGS), indirect=True)


def config_for(base: str) -> PreTrainedConfig:
    """A small model of the kind that has such a tokenizer; the small bases leave padding rows, as Qwen2.5 does."""
    if base == "llama-like":
        return LlamaConfig(vocab_size=2_048, bos_token_id=1, eos_token_id=2, **_WIDTHS)
    if base == "qwen2-like":
        return Qwen2Config(
            vocab_size=2_048, tie_word_embeddings=True, bos_token_id=1_997, eos_token_id=1_999, **_WIDTHS
        )
    return GPT2Config(vocab_size=2_000, n_embd=32, n_layer=2, n_head=4, bos_token_id=0, eos_token_id=0)


def write_model(folder: Path, config: PreTrainedConfig) -> Path:
    torch.manual_seed(0)
    save_model(AutoModelForCausalLM.from_config(config), folder)
    return folder


def with_tokenizer(folder: Path, base: Path) -> Path:
    """The base's own tokenizer beside the weights."""
    for path in base.iterdir():
        if path.name != "config.json":
            shutil.copy(path, folder / path.name)
    return folder


@pytest.fixture(scope="module")
def llama(folders: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Llama with its tokenizer: 2,000 tokens in 2,048 rows."""
    folder = tmp_path_factory.mktemp("models") / "llama"
    return with_tokenizer(write_model(folder, config_for("llama-like")), folders / "llama-like")


@pytest.fixture(scope="module")
def merged(folders: Path, tmp_path_factory: pytest.TempPathFactory, run_on: Callable[..., Run]) -> Path:
    """A merged tokenizer of the small Llama's base."""
    out = tmp_path_factory.mktemp("runs") / "llama"
    return run_on(out, str(folders / "llama-like"), CORPUS, model=str(folders / "llama-like")).exported(N_ADDED)


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


def test_base_rows_of_the_script_are_those_whose_token_holds_a_whole_character_of_it(merged: Path, llama: Path) -> None:
    found = set(read_extension(merged, llama).script_ids)
    pieces = load_base(str(llama)).pieces
    hangul = {i for i, piece in enumerate(pieces) if any("가" <= char <= "힣" for char in piece.decode())}
    assert hangul
    assert hangul <= found


def test_tokens_added_elsewhere_are_worked_out_wherever_their_ids_lie(llama: Path, tmp_path: Path) -> None:
    """A tokenizer extended by another program: added tokens, plain and special, behind the base's last id."""
    tokenizer = AutoTokenizer.from_pretrained(llama)
    tokenizer.add_tokens(["대한민국", "xyzzy plugh"])
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|tool|>"]})
    tokenizer.save_pretrained(tmp_path / "tok")
    found = read_extension(tmp_path / "tok", llama)
    base = load_base(str(llama))
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
    """For a base of each kind: loaded by transformers alone, which gives the ids of the merged tokenizer."""
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
    assert ids == all_ids(Tokenizer.from_file(str(tokenizer / "tokenizer.json")), lines)
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
    merged: Path, llama: Path, tmp_path: Path
) -> None:
    arguments = ("init", llama, "--tokenizer", merged, "--method", "weighted", "--match-norm", "--seed", 5, "--quiet")
    for name in ("one", "two"):
        result = vocabopt(*arguments, "--out", tmp_path / name)
        assert (result.exit_code, result.output) == (0, "")
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    model = load_model(llama)
    init_model(model, read_extension(merged, llama), method="weighted", match_norm=True, seed=5)
    written_model = load_model(tmp_path / "one").state_dict()
    assert all(torch.equal(tensor, written_model[name]) for name, tensor in model.state_dict().items())


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_pad_to_of_merge_pads_the_tables(folders: Path, llama: Path, merged: Path, tmp_path: Path) -> None:
    base = folders / "llama-like"
    shutil.copytree(merged.parent, tmp_path / "run")
    padded = tmp_path / "padded"
    assert vocabopt("merge", tmp_path / "run", "--size", N_ADDED, "--pad-to", 128, "--out", padded).exit_code == 0
    assert load_base(str(base)).n_tokens == 2_000
    done = run_init(InitOptions(model=str(llama), tokenizer=padded, out=tmp_path / "out"))
    assert done.record["n_rows"] == 2_176
    groups = {(group.kind, group.made_by): group.n_rows for group in done.log.tables[0].groups}
    assert groups["padding", "mean of all base rows"] == 2_176 - 2_150


def test_dtype_and_json(merged: Path, llama: Path, tmp_path: Path) -> None:
    result = vocabopt("init", llama, "--tokenizer", merged, "--dtype", "bfloat16", "--json", "--out", tmp_path / "out")
    assert json.loads(result.stdout) == json.loads((tmp_path / "out" / "init.json").read_text("utf-8"))
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "out").dtype == torch.bfloat16


def test_a_model_s_generation_config_stays_as_it_is(merged: Path, llama: Path, tmp_path: Path) -> None:
    """Also one that transformers would not write anew: published models have such."""
    model = shutil.copytree(llama, tmp_path / "model")
    settings = {"temperature": 0.6, "do_sample": False, "max_length": 77, "eos_token_id": [2, 5], "bos_token_id": 1}
    written(model / "generation_config.json", json.dumps(settings))
    run_init(InitOptions(model=str(model), tokenizer=merged, out=tmp_path / "out"))
    stored = json.loads((tmp_path / "out" / "generation_config.json").read_text("utf-8"))
    assert {name: stored[name] for name in settings if name != "do_sample"} == {
        name: value for name, value in settings.items() if name != "do_sample"
    }


def test_the_same_command_finishes_what_a_killed_run_left(merged: Path, llama: Path, tmp_path: Path) -> None:
    """Killed while it moved files: config.json is not there yet, and shards of another number lie about."""
    options = InitOptions(model=str(llama), tokenizer=merged, out=tmp_path / "out", max_shard_bytes=100_000)
    run_init(options)
    whole = contents(tmp_path / "out")
    (tmp_path / "out" / "config.json").unlink()
    written(tmp_path / "out" / "model-00001-of-00099.safetensors", b"old")
    written(tmp_path / "out" / ".partial" / "model-00001-of-00077.safetensors", b"half")
    with pytest.raises(ModelError, match=r"out: holds no config\.json"):
        load_model(tmp_path / "out")
    run_init(options)
    assert contents(tmp_path / "out") == whole


@contextmanager
def largest_file(n_bytes: int) -> Iterator[None]:
    """Writing fails beyond this size, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_the_model_that_was_there(llama: Path, tmp_path: Path) -> None:
    model = load_model(llama)
    save_model(model, tmp_path / "model")
    whole = contents(tmp_path / "model")
    with largest_file(50_000), pytest.raises(RunDirectoryError, match=r"model: the model cannot be written \(.*\)"):
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


def test_init_holds_no_second_copy_of_the_model(merged: Path, folders: Path, tmp_path: Path) -> None:
    """Peak resident memory of a process of its own, files mapped into it included, against the bytes of the weights."""
    widths = {"hidden_size": 768, "intermediate_size": 2_048, "num_hidden_layers": 5, "num_attention_heads": 4}
    model = write_model(tmp_path / "model", LlamaConfig(vocab_size=2_048, **widths))
    with_tokenizer(model, folders / "llama-like")
    out = tmp_path / "out"
    command = [sys.executable, "-c", _MEASURE, model, merged, out]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    n_bytes = sum(path.stat().st_size for path in out.glob("*.safetensors"))
    assert n_bytes > 150e6
    assert int(done.stdout) < 1.6 * n_bytes, int(done.stdout) / n_bytes


# --- Refused ---------------------------------------------------------------------------------------------------------


def test_a_folder_that_holds_another_model_is_refused(merged: Path, llama: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ("init", llama, "--tokenizer", merged, "--out", out)
    assert vocabopt(*arguments, "--quiet").exit_code == 0
    whole = contents(out)
    assert vocabopt(*arguments, "--quiet").exit_code == 0
    assert contents(out) == whole
    told = vocabopt(*arguments, "--method", "mean")
    assert_refused(told, r"out: holds another model, made with method decompose, not mean\. Choose another folder", out)
    other = tmp_path / "other"
    written(other / "notes.txt", "mine")
    told = vocabopt("init", llama, "--tokenizer", merged, "--out", other)
    assert_refused(told, r"other: is not empty and holds no init\.json \(found notes\.txt\)", other)
    told = vocabopt("init", llama, "--tokenizer", merged, "--out", llama)
    assert_refused(told, r"llama: is the model's own folder\. Name a folder of its own", out)
    told = vocabopt("init", llama, "--tokenizer", merged, "--out", merged)
    assert_refused(told, r": is the tokenizer's own folder", out)


def test_model_folders_that_hold_no_causal_model_are_refused(llama: Path, tmp_path: Path) -> None:
    small = {"hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1, "intermediate_size": 8}
    BertForMaskedLM(BertConfig(vocab_size=50, **small)).save_pretrained(tmp_path / "bert")
    T5ForConditionalGeneration(
        T5Config(vocab_size=50, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2, decoder_start_token_id=0)
    ).save_pretrained(tmp_path / "t5")
    (tmp_path / "empty").mkdir()
    shutil.copytree(llama, tmp_path / "weightless", ignore=shutil.ignore_patterns("*.safetensors"))
    shutil.copytree(llama, tmp_path / "broken")
    written(tmp_path / "broken" / "model.safetensors", b"no weights")
    shutil.copytree(llama, tmp_path / "unknown")
    written(tmp_path / "unknown" / "config.json", '{"model_type": "nonesuch"}')
    for name, match in {
        "nowhere": "nowhere: is no model's folder",
        "empty": r"empty: holds no config\.json",
        "weightless": r"weightless: holds no weights \(model\.safetensors",
        "broken": r"broken: transformers cannot load it \(",
        "unknown": r"unknown/config\.json: cannot be read \(.*nonesuch",
        "bert": r"bert/config\.json: architectures \['BertForMaskedLM'\]: is not a causal language model",
        "t5": r"t5/config\.json: model_type t5: is not a causal language model",
    }.items():
        with pytest.raises(ModelError, match=match):
            load_model(tmp_path / name)


def test_a_model_that_lacks_weights_is_not_filled_at_random(llama: Path, tmp_path: Path) -> None:
    model = load_model(llama)
    folder = shutil.copytree(llama, tmp_path / "model")
    state = {name: tensor for name, tensor in model.state_dict().items() if "layers.1.mlp" not in name}
    model.save_pretrained(folder, state_dict=state)
    with pytest.raises(
        ModelError, match=r"lacks 3 of the model's weights \(model\.layers\.1\.mlp\.down_proj\.weight, "
    ):
        load_model(folder)


def test_a_hub_id_without_network_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(
        ModelError, match="no-such/model: is no folder here, and not to be had from the Hugging Face hub"
    ):
        load_model("no-such/model")


def test_tokenizers_that_do_not_extend_the_model_s_own_are_refused(
    merged: Path, llama: Path, folders: Path, tmp_path: Path
) -> None:
    gpt2 = folders / "gpt2-like"
    with pytest.raises(
        ModelError, match=r"does not extend the tokenizer of .*gpt2-like: [\d,]+ of its 2,000 tokens have"
    ):
        read_extension(merged, gpt2)
    with pytest.raises(ModelError, match=rf"--tokenizer {tmp_path}: holds no tokenizer\. Name the folder that"):
        read_extension(tmp_path, llama)
    shutil.copytree(merged, tmp_path / "run" / "tokenizer")
    with pytest.raises(ModelError, match=r"holds no tokenizer\. Its tokenizer is in .*run/tokenizer"):
        read_extension(tmp_path / "run", llama)
    bare = shutil.copytree(merged, tmp_path / "bare", ignore=shutil.ignore_patterns("extension.json"))
    weights = write_model(tmp_path / "weights", config_for("llama-like"))
    with pytest.raises(ModelError, match=r"bare: has no extension\.json, and .*weights no tokenizer"):
        read_extension(bare, weights)
    # The model's own tokenizer has grown since the merge: its newest token would share an id with a new one.
    grown = AutoTokenizer.from_pretrained(llama)
    grown.add_tokens(["xyzzy"])
    grown.save_pretrained(tmp_path / "grown")
    with pytest.raises(
        ModelError, match=r"1 of its 2,001 tokens have another id or none \('xyzzy' is 2000 and becomes N"
    ):
        read_extension(merged, tmp_path / "grown")
    # And one that is shorter than what was merged into.
    mended = changed(merged, tmp_path / "late", first_id=2_010, n_tokens=2_150)
    with pytest.raises(
        ModelError, match=r"field first_id: new ids begin at 2,010; the tokenizer of .* has 2,000 tokens"
    ):
        read_extension(mended, llama)


def changed(tokenizer: Path, folder: Path, **fields: Any) -> Path:
    """A merged tokenizer whose extension.json says something else."""
    shutil.copytree(tokenizer, folder)
    record = json.loads((folder / "extension.json").read_text("utf-8"))
    kept = {name: value for name, value in {**record, **fields}.items() if value is not None}
    written(folder / "extension.json", json.dumps(kept))
    return folder


def test_an_extension_json_that_is_not_of_its_tokenizer_is_refused(merged: Path, llama: Path, tmp_path: Path) -> None:
    tokens = json.loads((merged / "extension.json").read_text("utf-8"))["tokens"]
    swapped = [{**tokens[0], "piece": tokens[1]["piece"]}, *tokens[1:]]
    bare = [{name: value for name, value in token.items() if name != "base_ids"} for token in tokens]
    for number, (fields, match) in enumerate(
        (
            ({"n_tokens": 2_151}, r"field n_tokens: says 2,151; the tokenizer beside it has 2,150"),
            ({"tokens": tokens[1:]}, r"field tokens: their ids are not 2,000 to 2,149"),
            ({"tokens": swapped}, r"field tokens: 2000 is '.*'; the tokenizer beside it says '.*'"),
            ({"n_rows_padded": None}, r"field n_rows_padded is missing\. Merge again"),
            ({"tokens": bare}, r"field tokens\.base_ids is missing\. Merge again"),
        )
    ):
        with pytest.raises(ModelError, match=match):
            read_extension(changed(merged, tmp_path / str(number), **fields), llama)
    wrong = [{**tokens[0], "base_ids": [5, 2_100]}, *tokens[1:]]
    given = read_extension(changed(merged, tmp_path / "outside", tokens=wrong), llama)
    with pytest.raises(
        ModelError, match=r"token 2000 replaces the base ids \[5, 2100\]; they must be ids of the base's"
    ):
        init_model(load_model(llama), given, method="decompose", match_norm=False, seed=0)


def test_a_base_with_more_tokens_than_the_model_has_rows_is_refused(merged: Path, tmp_path: Path) -> None:
    model = write_model(tmp_path / "model", LlamaConfig(vocab_size=1_000, **_WIDTHS))
    result = vocabopt("init", model, "--tokenizer", merged, "--out", tmp_path / "out", "--quiet")
    assert_refused(result, r"extends a base of 2,000 tokens; LlamaForCausalLM has 1,000 rows", tmp_path / "out")


def test_options_out_of_range_are_refused(merged: Path, llama: Path, tmp_path: Path) -> None:
    for fields, match in (
        ({"method": "best"}, r"--method best: no such method\. Choose random, mean"),
        ({"dtype": "int8"}, r"--dtype int8: no such type"),
        ({"seed": 2**31}, r"--seed 2147483648: must be from 0"),
    ):
        with pytest.raises(OptionError, match=match):
            InitOptions(model=str(llama), tokenizer=merged, out=tmp_path / "out", **fields)
    result = vocabopt("init", llama, "--tokenizer", merged, "--out", tmp_path / "out", "--max-shard-size", "huge")
    assert_refused(result, r"--max-shard-size huge: write a number", tmp_path)

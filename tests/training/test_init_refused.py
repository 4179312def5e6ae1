"""What `vocabopt init` refuses: folders, models and tokenizers that do not fit, each with what to do."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from command_line import assert_refused, vocabopt, written
from model_folders import WIDTHS, config_for, contents, write_model
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    LlamaConfig,
    T5Config,
    T5ForConditionalGeneration,
)

from trainer.init import init_model, load_model, read_extension
from trainer.init.run import InitOptions
from vocabopt.errors import ModelError, OptionError, RunDirectoryError


def test_a_folder_that_holds_another_model_is_refused(llama_merged: Path, llama_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ("init", llama_model, "--tokenizer", llama_merged, "--out", out)
    assert vocabopt(*arguments, "--quiet").exit_code == 0
    whole = contents(out)
    assert vocabopt(*arguments, "--quiet").exit_code == 0
    assert contents(out) == whole
    told = vocabopt(*arguments, "--method", "mean")
    assert_refused(told, r"out: holds another model, made with method decompose, not mean\. Choose another folder", out)
    other = tmp_path / "other"
    written(other / "notes.txt", "mine")
    told = vocabopt("init", llama_model, "--tokenizer", llama_merged, "--out", other)
    assert_refused(told, r"other: is not empty and holds no init\.json \(found notes\.txt\)", other)
    told = vocabopt("init", llama_model, "--tokenizer", llama_merged, "--out", llama_model)
    assert_refused(told, r"llama: is the model's own folder\. Name a folder of its own", out)
    told = vocabopt("init", llama_model, "--tokenizer", llama_merged, "--out", llama_merged)
    assert_refused(told, r": is the tokenizer's own folder", out)


def test_model_folders_that_hold_no_causal_model_are_refused(llama_model: Path, tmp_path: Path) -> None:
    small = {"hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1, "intermediate_size": 8}
    BertForMaskedLM(BertConfig(vocab_size=50, **small)).save_pretrained(tmp_path / "bert")
    T5ForConditionalGeneration(
        T5Config(vocab_size=50, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2, decoder_start_token_id=0)
    ).save_pretrained(tmp_path / "t5")
    (tmp_path / "empty").mkdir()
    shutil.copytree(llama_model, tmp_path / "weightless", ignore=shutil.ignore_patterns("*.safetensors"))
    shutil.copytree(llama_model, tmp_path / "broken")
    written(tmp_path / "broken" / "model.safetensors", b"no weights")
    shutil.copytree(llama_model, tmp_path / "unknown")
    written(tmp_path / "unknown" / "config.json", '{"model_type": "nonesuch"}')
    for name, match in {
        "nowhere": "nowhere: is no model's folder",
        "empty": r"empty: holds no config\.json",
        "weightless": r"weightless: holds no weights \(model\.safetensors",
        "broken": r"broken/model\.safetensors: is no whole safetensors file \(its head has no length\)",
        "unknown": r"unknown/config\.json: transformers cannot read it \(.*nonesuch",
        "bert": r"bert/config\.json: architectures \['BertForMaskedLM'\]: is not a causal language model",
        "t5": r"t5/config\.json: model_type t5: is not a causal language model",
    }.items():
        with pytest.raises(ModelError, match=match):
            load_model(tmp_path / name)


def test_a_model_that_lacks_weights_is_not_filled_at_random(llama_model: Path, tmp_path: Path) -> None:
    model = load_model(llama_model)
    folder = shutil.copytree(llama_model, tmp_path / "model")
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
    llama_merged: Path, llama_model: Path, folders: Path, tmp_path: Path
) -> None:
    gpt2 = folders / "gpt2-like"
    with pytest.raises(
        ModelError, match=r"does not extend the tokenizer of .*gpt2-like: [\d,]+ of its 2,000 tokens have"
    ):
        read_extension(llama_merged, gpt2)
    with pytest.raises(ModelError, match=rf"--tokenizer {tmp_path}: holds no tokenizer\. Name the folder that"):
        read_extension(tmp_path, llama_model)
    shutil.copytree(llama_merged, tmp_path / "run" / "tokenizer")
    with pytest.raises(ModelError, match=r"holds no tokenizer\. Its tokenizer is in .*run/tokenizer"):
        read_extension(tmp_path / "run", llama_model)
    bare = shutil.copytree(llama_merged, tmp_path / "bare", ignore=shutil.ignore_patterns("extension.json"))
    weights = write_model(tmp_path / "weights", config_for("llama-like"))
    with pytest.raises(ModelError, match=r"bare: has no extension\.json, and .*weights no tokenizer"):
        read_extension(bare, weights)
    # The model's own tokenizer has grown since the merge: its newest token would share an id with a new one.
    grown = AutoTokenizer.from_pretrained(llama_model)
    grown.add_tokens(["xyzzy"])
    grown.save_pretrained(tmp_path / "grown")
    with pytest.raises(
        ModelError, match=r"1 of its 2,001 tokens have another id or none \('xyzzy' is 2000 and becomes N"
    ):
        read_extension(llama_merged, tmp_path / "grown")
    # And one that is shorter than what was llama_merged into.
    tokens = json.loads((llama_merged / "extension.json").read_text("utf-8"))["tokens"][10:]
    mended = changed(llama_merged, tmp_path / "late", first_id=2_010, n_added=140, tokens=tokens)
    with pytest.raises(
        ModelError, match=r"field first_id: new ids begin at 2,010; the tokenizer of .* has 2,000 tokens"
    ):
        read_extension(mended, llama_model)


def changed(tokenizer: Path, folder: Path, **fields: Any) -> Path:
    """A llama_merged tokenizer whose extension.json says something else."""
    shutil.copytree(tokenizer, folder)
    record = json.loads((folder / "extension.json").read_text("utf-8"))
    kept = {name: value for name, value in {**record, **fields}.items() if value is not None}
    written(folder / "extension.json", json.dumps(kept))
    return folder


def test_an_extension_json_that_is_not_of_its_tokenizer_is_refused(
    llama_merged: Path, llama_model: Path, tmp_path: Path
) -> None:
    tokens = json.loads((llama_merged / "extension.json").read_text("utf-8"))["tokens"]
    swapped = [{**tokens[0], "piece": tokens[1]["piece"]}, *tokens[1:]]
    bare = [{name: value for name, value in token.items() if name != "base_ids"} for token in tokens]
    for number, (fields, match) in enumerate(
        (
            ({"n_tokens": 2_151}, r"field n_tokens is 2,151, not first_id and n_added together \(2,150\)"),
            (
                {"n_tokens": 2_149, "n_added": 149, "tokens": tokens[:-1]},
                r"field n_tokens: says 2,149; the tokenizer beside it has 2,150",
            ),
            ({"tokens": tokens[1:]}, r"field tokens: their ids are not 2,000 to 2,149"),
            ({"tokens": swapped}, r"field tokens: 2000 is '.*'; the tokenizer beside it says '.*'"),
            ({"n_rows_padded": None}, r"field n_rows_padded is missing\. Merge again"),
            ({"tokens": bare}, r"field tokens\.0\.base_ids is missing\. Merge again"),
        )
    ):
        with pytest.raises((ModelError, RunDirectoryError), match=match):
            read_extension(changed(llama_merged, tmp_path / str(number), **fields), llama_model)
    wrong = [{**tokens[0], "base_ids": [5, 2_100]}, *tokens[1:]]
    given = read_extension(changed(llama_merged, tmp_path / "outside", tokens=wrong), llama_model)
    with pytest.raises(
        ModelError, match=r"token 2000 replaces the base ids \[5, 2100\]; they must be ids of the base's"
    ):
        init_model(load_model(llama_model), given, method="decompose", match_norm=False, seed=0)


def test_a_base_with_more_tokens_than_the_model_has_rows_is_refused(llama_merged: Path, tmp_path: Path) -> None:
    model = write_model(tmp_path / "model", LlamaConfig(vocab_size=1_000, **WIDTHS))
    result = vocabopt("init", model, "--tokenizer", llama_merged, "--out", tmp_path / "out", "--quiet")
    assert_refused(result, r"extends a base of 2,000 tokens; LlamaForCausalLM has 1,000 rows", tmp_path / "out")


def test_options_out_of_range_are_refused(llama_merged: Path, llama_model: Path, tmp_path: Path) -> None:
    for fields, match in (
        ({"method": "best"}, r"--method best: no such method\. Choose random, mean"),
        ({"dtype": "int8"}, r"--dtype int8: no such type"),
        ({"seed": 2**31}, r"--seed 2147483648: must be from 0"),
    ):
        with pytest.raises(OptionError, match=match):
            InitOptions(model=str(llama_model), tokenizer=llama_merged, out=tmp_path / "out", **fields)
    result = vocabopt(
        "init", llama_model, "--tokenizer", llama_merged, "--out", tmp_path / "out", "--max-shard-size", "huge"
    )
    assert_refused(result, r"--max-shard-size huge: write a number", tmp_path)

"""config.json against the weights: which is believed, which is refused, in every command that reads a model."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import assert_refused, vocabopt, written
from evaluation import bits, nats_alone, one_thread  # noqa: F401
from helpers import library_tokenizer, lines_of
from model_folders import WIDTHS, with_tokenizer
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3Config,
    GPT2Config,
    LlamaConfig,
    PreTrainedConfig,
    PreTrainedModel,
)

from trainer.init import dtype_of, load_model, save_model
from trainer.init.models import checked_config
from trainer.layout import layout_of
from vocabopt.errors import ModelError, ModelSpecError
from vocabopt.model.spec import load_model_spec
from vocabopt.model.weights import stored_tables

pytestmark = pytest.mark.usefixtures("one_thread")
N_ROWS = 2_048
_ALL = {**WIDTHS, "vocab_size": N_ROWS, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
_VISION = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}
#: Shapes of tied models: the plain one, one with Conv1D, one that caps its logits, one with its text in a part.
TIED: dict[str, PreTrainedConfig] = {
    "llama": LlamaConfig(**_ALL, tie_word_embeddings=True),
    "gpt2": GPT2Config(vocab_size=N_ROWS, n_embd=32, n_layer=2, n_head=4, bos_token_id=1, eos_token_id=2),
    "gemma2": Gemma2Config(**_ALL, head_dim=8),
    "gemma3": Gemma3Config(text_config={**_ALL, "head_dim": 8, "model_type": "gemma3_text"}, vision_config=_VISION),
}
NOTE = r"tie_word_embeddings true; the weights hold an output table of their own \(lm_head\.weight\)"


def with_head(folder: Path, config: PreTrainedConfig, *, differs: bool = True) -> Path:
    """A tied model's folder whose weights hold a head as well: another one, as merged adapters leave it, or a copy."""
    torch.manual_seed(0)
    save_model(AutoModelForCausalLM.from_config(config), folder)
    edit(folder, lambda state: state | {"lm_head.weight": _head(state, differs=differs)})
    return folder


def _head(state: dict[str, torch.Tensor], *, differs: bool) -> torch.Tensor:
    (name,) = (name for name in state if name.endswith(("embed_tokens.weight", "wte.weight")))
    head = state[name].clone()
    if differs:
        head[7] += 0.01  # one row is enough
    return head


def edit(folder: Path, change: Any) -> None:
    """Change the weights and leave config.json as it is."""
    path = folder / "model.safetensors"
    save_file(change(load_file(path)), path, metadata={"format": "pt"})


def edit_config(folder: Path, **fields: Any) -> None:
    path = folder / "config.json"
    written(path, json.dumps(json.loads(path.read_text()) | fields))


def plain_model(folder: Path, **fields: Any) -> Path:
    torch.manual_seed(0)
    save_model(AutoModelForCausalLM.from_config(LlamaConfig(**_ALL | fields)), folder)
    return folder


def tables(model: PreTrainedModel) -> tuple[torch.Tensor, torch.Tensor]:
    layout = layout_of(model)
    return model.get_parameter(layout.embeddings).data, model.get_parameter(layout.head or layout.embeddings).data


# --- A head of its own ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", TIED)
def test_a_head_of_its_own_is_kept_through_load_growth_and_save(kind: str, tmp_path: Path) -> None:
    folder = with_head(tmp_path / "model", TIED[kind])
    stored = load_file(folder / "model.safetensors")
    checked = checked_config(folder)
    assert [bool(re.search(NOTE, note)) for note in checked.notes] == [True]
    model = load_model(folder)
    assert torch.equal(tables(model)[1], stored["lm_head.weight"])
    assert not torch.equal(*tables(model))
    model.resize_token_embeddings(N_ROWS + 10, mean_resizing=False)
    save_model(model, tmp_path / "grown")
    # As anyone loads it: without this project, by what its config says.
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "grown")
    assert again.config.tie_word_embeddings is False
    assert again.config.get_text_config().tie_word_embeddings is False
    assert torch.equal(tables(again)[1][:N_ROWS], stored["lm_head.weight"])
    assert checked_config(tmp_path / "grown").notes == ()


@pytest.mark.parametrize("kind", TIED)
def test_a_head_that_equals_the_input_table_bit_for_bit_stays_tied(kind: str, tmp_path: Path) -> None:
    folder = with_head(tmp_path / "model", TIED[kind], differs=False)
    assert checked_config(folder).notes == ()
    assert layout_of(load_model(folder)).is_tied
    assert load_model_spec(str(folder)).tied_embeddings


def test_what_is_counted_follows_the_weights(tmp_path: Path) -> None:
    tied, untied = (with_head(tmp_path / name, TIED["llama"], differs=name == "own") for name in ("copy", "own"))
    found = [load_model_spec(str(folder)).n_embedding_params(N_ROWS) for folder in (tied, untied)]
    assert found == [N_ROWS * 32, 2 * N_ROWS * 32]
    counts = [
        json.loads(vocabopt("plan", folder, "--added", "10", "--budget", "1Mtok", "--json").stdout)["n_params"]
        for folder in (tied, untied)
    ]
    grown = (N_ROWS + 10) * 32
    assert counts[1] - counts[0] == grown
    assert counts[0] == sum(p.numel() for p in load_model(tied).parameters()) + 10 * 32


def test_init_and_eval_use_the_head_and_say_so(llama_merged: Path, folders: Path, tmp_path: Path) -> None:
    folder = with_tokenizer(with_head(tmp_path / "model", TIED["llama"]), folders / "llama-like")
    text = written(tmp_path / "en.txt", lines_of("en")[0])
    done = vocabopt("eval", folder, "--text", f"en={text}", "--context", 128, "--json")
    record = json.loads(done.stdout)
    library = library_tokenizer(folder)
    ids = library.encode(lines_of("en")[0], add_special_tokens=False).ids[:127]
    assert record["texts"]["en"]["n_tokens"] == len(ids)
    by_hand = load_model(folder).eval()
    assert record["texts"]["en"]["nll_nats"] == pytest.approx(nats_alone(by_hand, 1, ids), rel=1e-5)
    tied = AutoModelForCausalLM.from_pretrained(folder)
    tied.config.tie_word_embeddings = True
    tied.tie_weights()
    assert abs(bits(nats_alone(tied.eval(), 1, ids)) - bits(nats_alone(by_hand, 1, ids))) > 1e-6
    out = tmp_path / "out"
    made = vocabopt("init", folder, "--tokenizer", llama_merged, "--out", out)
    assert made.exit_code == 0, made.output
    assert "The weights are believed: the model is untied" in made.stdout
    assert "The weights are believed: the model is untied" in record["model_notes"][0]
    written_record = json.loads((out / "init.json").read_text())
    assert written_record["model_notes"] == record["model_notes"]
    assert [table["name"] for table in written_record["log"]["tables"]] == ["input", "output"]
    head = load_file(folder / "model.safetensors")["lm_head.weight"]
    assert torch.equal(load_file(out / "model.safetensors")["lm_head.weight"][:2_000], head[:2_000])


# --- Other things that config.json says -------------------------------------------------------------------------------


def test_what_the_weights_contradict_is_refused(tmp_path: Path) -> None:
    folder = plain_model(tmp_path / "model")
    whole = load_file(folder / "model.safetensors")
    config = (folder / "config.json").read_text()
    block = {name.replace(".1.", ".2."): tensor.clone() for name, tensor in whole.items() if ".layers.1." in name}
    cases: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
        "rows": ({}, {"vocab_size": 2_000}, r"vocab_size 2,000; model\.embed_tokens\.weight has 2,048 rows"),
        "head": (
            {"lm_head.weight": torch.zeros(2_000, 32)},
            {},
            r"vocab_size 2,048; lm_head\.weight has 2,000 rows in model\.safetensors",
        ),
        "fewer blocks": ({}, {"num_hidden_layers": 1}, "num_hidden_layers 1; the weights hold 2 blocks"),
        "more blocks": ({}, {"num_hidden_layers": 3}, "num_hidden_layers 3; the weights hold 2 blocks"),
        "a block more": (block, {}, "num_hidden_layers 2; the weights hold 3 blocks"),
        "head's bias": ({"lm_head.bias": torch.zeros(N_ROWS)}, {}, r"no place for \(lm_head\.bias\)"),
        "an adapter": (
            {"model.layers.0.mlp.up_proj.lora_A.weight": torch.zeros(4, 32)},
            {},
            r"holds 1 weights .* no place for \(model\.layers\.0\.mlp\.up_proj\.lora_A\.weight\).* merge adapters",
        ),
        "width": (
            {},
            {"intermediate_size": 64},
            r"mlp\.down_proj\.weight has the shape \[32, 48\] in the weights and \[32, 64\] by config\.json",
        ),
    }
    for more, fields, match in cases.values():
        edit(folder, lambda _, more=more: whole | more)
        written(folder / "config.json", config)
        edit_config(folder, **fields)
        with pytest.raises(ModelError, match=match):
            load_model(folder)


def test_a_head_that_is_not_there_is_refused_with_what_to_write(tmp_path: Path) -> None:
    folder = plain_model(tmp_path / "model")
    edit(folder, lambda state: {name: t for name, t in state.items() if name != "lm_head.weight"})
    with pytest.raises(ModelError, match=r"tie_word_embeddings false, and the weights hold no output table \(lm_head"):
        load_model(folder)
    edit_config(folder, tie_word_embeddings=True)
    assert layout_of(load_model(folder)).is_tied


def test_weights_in_bin_files_are_compared_by_transformers_and_refused_where_they_differ(tmp_path: Path) -> None:
    folder = with_head(tmp_path / "model", TIED["llama"])
    state = load_file(folder / "model.safetensors")
    torch.save(state, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"tie_word_embeddings true; .* differs from the input table\. Write false"):
        load_model(folder)
    state["lm_head.weight"] = state["model.embed_tokens.weight"]
    torch.save(state, folder / "pytorch_model.bin")
    assert layout_of(load_model(folder)).is_tied


@pytest.mark.parametrize(("stored", "said"), [(torch.bfloat16, "float32"), (torch.float32, "bfloat16")])
def test_the_type_is_that_of_the_weights(stored: torch.dtype, said: str, tmp_path: Path) -> None:
    folder = plain_model(tmp_path / "model")
    edit(folder, lambda state: {name: tensor.to(stored) for name, tensor in state.items()})
    edit_config(folder, dtype=said)
    whole = load_file(folder / "model.safetensors")
    assert dtype_of(folder) == stored
    model = load_model(folder)
    assert model.dtype == stored
    assert torch.equal(model.get_input_embeddings().weight, whole["model.embed_tokens.weight"])
    (note,) = checked_config(folder).notes
    assert f"config.json says {said}; the weights are {str(stored).removeprefix('torch.')}" in note


def test_quantised_weights_are_refused_before_the_long_work(
    llama_merged: Path, llama_model: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(llama_model, tmp_path / "model")
    edit_config(folder, quantization_config={"quant_method": "gptq", "bits": 4})
    match = r"config\.json says that its weights are quantised \(gptq\), .* Name the model in 16 or 32 bits"
    out = tmp_path / "out"
    assert_refused(vocabopt("init", folder, "--tokenizer", llama_merged, "--out", out), match, tmp_path)
    text = written(tmp_path / "ko.txt", "\n".join(lines_of("ko")[:5]))
    options = ("--tokenizer", llama_merged, "--text", f"ko={text}", "--out", out)
    assert_refused(vocabopt("adapt", folder, *options), match, tmp_path)


def test_constants_that_older_versions_stored_are_no_error(tmp_path: Path) -> None:
    folder = plain_model(tmp_path / "model")
    edit(folder, lambda state: state | {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)})
    load_model(folder)


def test_weights_that_are_in_part_there_or_beside_others_are_not_asked(tmp_path: Path) -> None:
    """A folder with the index of weights that were not fetched; adapters and Mistral's own form beside a model."""
    folder = with_head(tmp_path / "model", TIED["llama"])
    (folder / "model.safetensors").rename(folder / "consolidated.safetensors")
    assert stored_tables(folder) is None
    index = {"weight_map": {"a": "consolidated.safetensors", "b": "model-00002-of-00002.safetensors"}}
    written(folder / "model.safetensors.index.json", json.dumps(index))
    assert stored_tables(folder) is None
    assert load_model_spec(str(folder)).tied_embeddings
    written(folder / "model.safetensors.index.json", json.dumps({"weight_map": {"a": "consolidated.safetensors"}}))
    assert not load_model_spec(str(folder)).tied_embeddings


def test_files_that_are_broken_are_refused_by_name(tmp_path: Path) -> None:
    folder = plain_model(tmp_path / "model")
    path = folder / "model.safetensors"
    data = path.read_bytes()
    for content, match in (
        (data[:-100], r"model\.safetensors: is cut short: it has [\d,]+ bytes of [\d,]+\. Fetch it again"),
        (b"", "is no whole safetensors file"),
        (data[:8] + b"}" + data[9:], "is no whole safetensors file"),
        (data[:8] + b'{"a": 1}'.ljust(int.from_bytes(data[:8], "little")), "is no whole safetensors file"),
    ):
        written(path, content)
        assert_refused(vocabopt("plan", folder, "--added", "10", "--budget", "1Mtok"), match, tmp_path)
    written(path, data)
    edit_config(folder, vocab_size=999)
    with pytest.raises(ModelSpecError, match=r"vocab_size 999; .* has 2,048 rows"):
        load_model_spec(str(folder))

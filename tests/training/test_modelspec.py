"""Model specs: presets against published parameter counts, config files against transformers' own config classes."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import assert_refused, vocabopt, written
from helpers import CORPUS
from safetensors.numpy import save_file
from transformers import (
    AutoConfig,
    Gemma3Config,
    GemmaConfig,
    GPT2Config,
    LlamaConfig,
    LlavaConfig,
    MptConfig,
    Qwen2Config,
)

from vocabopt.errors import ModelSpecError, listen
from vocabopt.model import spec as modelspec
from vocabopt.model.spec import PRESETS, ModelSpec, load_model_spec, preset_for_base, spec_of_folder

WriteConfig = Callable[[Any], Path]


@pytest.fixture
def write_config(tmp_path: Path) -> WriteConfig:
    """Writes tmp_path/my-model/config.json and gives its path."""

    def write(config: Any) -> Path:
        path = tmp_path / "my-model" / "config.json"
        path.parent.mkdir()
        path.write_text(config if isinstance(config, str) else json.dumps(config), encoding="utf-8")
        return path

    return write


# --- Presets ---------------------------------------------------------------------------------------------------------


def n_body_params(
    width: int, n_layers: int, kv_width: int, inner: int, *, q_width: int = 0, n_norms: int = 2, qkv_bias: bool = False
) -> int:
    """All parameters but the embeddings of a Llama-like model: attention, gated feed-forward, norms, final norm."""
    q_width = q_width or width
    attention = 2 * width * (q_width + kv_width) + (q_width + 2 * kv_width if qkv_bias else 0)
    return n_layers * (attention + 3 * width * inner + n_norms * width) + width


N_GPT2_BODY_PARAMS = 12 * (12 * 768 * 768 + 13 * 768) + 2 * 768 + 1024 * 768


@pytest.mark.parametrize(
    ("preset", "n_published", "n_body"),
    [
        ("solar-10.7b", 10_731_524_096, n_body_params(4096, 48, 1024, 14336)),
        ("llama-2-7b", 6_738_415_616, n_body_params(4096, 32, 4096, 11008)),
        ("llama-2-13b", 13_015_864_320, n_body_params(5120, 40, 5120, 13824)),
        ("mistral-7b", 7_241_732_096, n_body_params(4096, 32, 1024, 14336)),
        ("llama-3-8b", 8_030_261_248, n_body_params(4096, 32, 1024, 14336)),
        ("llama-3.2-1b", 1_235_814_400, n_body_params(2048, 16, 512, 8192)),
        ("qwen2.5-0.5b", 494_032_768, n_body_params(896, 24, 128, 4864, qkv_bias=True)),
        ("qwen2.5-7b", 7_615_616_512, n_body_params(3584, 28, 512, 18944, qkv_bias=True)),
        ("gpt2", 124_439_808, N_GPT2_BODY_PARAMS),
        ("gemma-2-2b", 2_614_341_888, n_body_params(2304, 26, 1024, 9216, q_width=2048, n_norms=4)),
    ],
)
def test_embedding_and_body_make_the_published_size_of_each_preset(preset: str, n_published: int, n_body: int) -> None:
    spec = load_model_spec(preset)
    assert spec.n_embedding_params(spec.n_rows) == n_published - n_body
    assert (spec.name, spec.source) == (preset, "preset")


def test_the_paper_grows_solar_from_32000_to_49072_rows() -> None:
    spec = load_model_spec("SOLAR-10.7B")
    assert spec.n_embedding_params(49_072) - spec.n_embedding_params(32_000) == 17_072 * 4096 * 2


def test_a_tied_model_has_one_table() -> None:
    spec = ModelSpec(name="x", hidden_size=10, n_rows=100, tied_embeddings=True, source="preset")
    assert spec.n_embedding_params(7) == 70


@pytest.mark.parametrize(
    ("base", "preset"),
    [
        ("mistral-7b-v1", "mistral-7b"),
        ("mistralai/Mistral-7B-Instruct-v0.2", "mistral-7b"),
        ("mistralai/Mistral-7B-v0.3", None),  # 32,768 rows
        ("GPT-2", "gpt2"),
        ("openai-community/gpt2", "gpt2"),
        ("openai-community/gpt2-xl", None),  # another width
        ("meta-llama/Llama-2-7b-chat-hf", "llama-2-7b"),
        ("meta-llama/Llama-2-13b-hf", "llama-2-13b"),
        ("meta-llama/Meta-Llama-3-8B-Instruct", "llama-3-8b"),
        ("meta-llama/Llama-3.1-8B", "llama-3-8b"),
        ("meta-llama/Llama-3.2-1B", "llama-3.2-1b"),
        ("Qwen/Qwen2.5-0.5B-Instruct", "qwen2.5-0.5b"),
        ("./bases/Qwen2.5-7B/", "qwen2.5-7b"),
        ("upstage/SOLAR-10.7B-Instruct-v1.0", "solar-10.7b"),
        ("google/gemma-2-2b-it", "gemma-2-2b"),
        ("EleutherAI/pythia-1b", None),
        ("", None),
    ],
)
def test_preset_for_base(base: str, preset: str | None) -> None:
    assert preset_for_base(base) == preset


def test_every_base_alias_and_preset_leads_to_a_preset() -> None:
    assert all(preset_for_base(name) in PRESETS for name in [*modelspec._BASE_ALIASES, *PRESETS])


# --- config.json -----------------------------------------------------------------------------------------------------

SMALL: dict[str, Any] = {
    "vocab_size": 320,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 128,
}
SMALL |= {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(
    "config_class",
    [LlamaConfig, Qwen2Config, GemmaConfig, GPT2Config, MptConfig],
)
def test_configs_saved_by_transformers(tmp_path: Path, config_class: Any, tied: bool) -> None:
    config = config_class(**SMALL, tie_word_embeddings=tied)
    folder = tmp_path / "tiny-model"
    config.save_pretrained(folder)
    spec = load_model_spec(str(folder))
    assert spec == load_model_spec(str(folder / "config.json"))
    assert replace(spec, architecture=None) == ModelSpec(
        name="tiny-model", hidden_size=64, n_rows=320, tied_embeddings=tied, source=str(folder / "config.json")
    )


def test_gpt2_names_its_width_n_embd(tmp_path: Path) -> None:
    GPT2Config(n_embd=48, n_head=4).save_pretrained(tmp_path)
    assert "hidden_size" not in json.loads((tmp_path / "config.json").read_text())
    assert load_model_spec(str(tmp_path)).hidden_size == 48


@pytest.mark.parametrize("tied", [True, False])
def test_multimodal_configs_nest_the_text_model(tmp_path: Path, tied: bool) -> None:
    for config in (
        Gemma3Config(text_config=SMALL | {"tie_word_embeddings": tied}, tie_word_embeddings=tied),
        LlavaConfig(text_config=LlamaConfig(**SMALL, tie_word_embeddings=tied)),
    ):
        config.save_pretrained(tmp_path / config.model_type)
        spec = load_model_spec(str(tmp_path / config.model_type))
        assert (spec.hidden_size, spec.n_rows, spec.tied_embeddings) == (64, 320, tied)


def test_parts_of_the_text_model_may_lie_outside(write_config: WriteConfig) -> None:
    path = write_config({"model_type": "llava", "hidden_size": 64, "text_config": {"vocab_size": 320}})
    assert load_model_spec(str(path)).n_embedding_params(320) == 320 * 64 * 2


def test_a_config_that_does_not_say_ties_as_transformers_does() -> None:
    untied = (
        "llama",
        "mistral",
        "mixtral",
        "qwen2",
        "qwen3",
        "gpt_neox",
        "gptj",
        "phi3",
        "olmo2",
        "exaone4",
        "solar_open",
    )
    for model_type in modelspec._TIED_BY_DEFAULT + untied:
        default = AutoConfig.for_model(model_type).tie_word_embeddings
        assert default == (model_type in modelspec._TIED_BY_DEFAULT), model_type


@pytest.mark.parametrize(
    ("said", "tied"),
    [
        ({"model_type": "llama"}, False),
        ({"model_type": "gemma2"}, True),
        ({"model_type": "gemma2", "tie_word_embeddings": None}, True),
        ({"model_type": "gemma2", "tie_word_embeddings": False}, False),
        ({"model_type": "not-in-transformers"}, False),
        ({}, False),
        ({"model_type": "mistral3", "text_config": {"model_type": "mistral"}}, False),
        ({"model_type": "gemma3", "text_config": {"model_type": "gemma3_text"}}, True),
        ({"model_type": "gemma3", "text_config": {}}, True),
        ({"tie_word_embeddings": False, "text_config": {"tie_word_embeddings": True}}, True),
        ({"tie_word_embeddings": True, "text_config": {"tie_word_embeddings": False}}, True),
    ],
)
def test_tied_embeddings(write_config: WriteConfig, said: dict[str, Any], tied: bool) -> None:
    path = write_config({"vocab_size": 320, "hidden_size": 64, **said})
    assert load_model_spec(str(path)).tied_embeddings is tied


def test_a_config_of_another_name_gives_the_model_its_name(tmp_path: Path) -> None:
    path = tmp_path / "tiny.json"
    path.write_text('{"vocab_size": 320, "hidden_size": 64}')
    assert load_model_spec(str(path)).name == "tiny"


# --- Bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ("no-such", ""),
        ("mistral-7b-v1", r"Did you mean mistral-7b\? "),  # the base's name
        ("Qwen2.5-7B-Instruct", r"Did you mean qwen2\.5-7b\? "),
        ("lama-3-8b", r"Did you mean llama-3-8b\? "),
    ],
)
def test_an_unknown_model_lists_what_works(given: str, hint: str) -> None:
    message = (
        rf"--model {given}: no such preset and no such file\. {hint}Give a path to a config\.json.*solar-10\.7b, llama"
    )
    with pytest.raises(ModelSpecError, match=message):
        load_model_spec(given)


def test_a_folder_without_config(tmp_path: Path) -> None:
    with pytest.raises(
        ModelSpecError, match=f"--model {re.escape(str(tmp_path))}: the folder holds no config.json.*gpt2"
    ):
        load_model_spec(str(tmp_path))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"hidden_size": 64}, r"my-model/config\.json: field vocab_size is missing\. Add it, or give a preset: solar"),
        ({"vocab_size": 320}, r"config\.json: field hidden_size is missing \(nor n_embd, d_model, n_embed\)"),
        ({"vocab_size": "320", "hidden_size": 64}, r"field vocab_size is '320', not a positive integer"),
        ({"vocab_size": 320, "hidden_size": 0}, r"field hidden_size is 0, not a positive integer"),
        ({"vocab_size": True, "hidden_size": 64}, r"field vocab_size is True, not a positive integer"),
        (
            {"vocab_size": 320, "hidden_size": 64, "tie_word_embeddings": "no"},
            r"config\.json: field tie_word_embeddings is 'no', not true or false",
        ),
        ('{"vocab_size": 320,', r"my-model/config\.json: not JSON: .*line 1 column 20.*a preset: solar"),
        ([], r"my-model/config\.json: a model's config is a JSON object, this is a list"),
    ],
)
def test_bad_configs_name_the_file_and_the_field(write_config: WriteConfig, config: Any, message: str) -> None:
    path = write_config(config)
    with pytest.raises(ModelSpecError, match=message):
        load_model_spec(str(path))


def test_a_config_that_is_not_text(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(b"\xff\xfe{")
    with pytest.raises(ModelSpecError, match=r"config\.json: not JSON: .*utf-8"):
        load_model_spec(str(tmp_path))


def test_weights_beside_the_base_that_are_broken_or_foreign_refuse_no_sweep(folders: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    written(base / "tokenizer.json", (folders / "gpt2-like" / "tokenizer.json").read_bytes())
    # GPT-2's table is tied, so 2,100 rows of 24 numbers are all its parameters of the embedding.
    written(base / "config.json", json.dumps({"vocab_size": 2_100, "n_embd": 24, "model_type": "gpt2"}))
    save_file({"wte.weight": np.zeros((2_060, 24), np.float32)}, base / "model.safetensors")
    whole = (base / "model.safetensors").read_bytes()
    news = CORPUS / "ko" / "news.txt"
    for data, match in ((whole, r"wte\.weight has 2,060 rows"), (whole[:-100], r"model\.safetensors: is cut short")):
        written(base / "model.safetensors", data)
        out = tmp_path / str(len(data))
        result = vocabopt("sweep", news, "--base", base, "--out", out, "--sizes", "0,10", "--json")
        assert result.exit_code == 0, result.stderr
        assert json.loads(result.stdout)["points"][0]["n_embedding_params"] == 2_100 * 24
        told: list[str] = []
        listen(told.append)
        spec = spec_of_folder(base / "config.json")
        listen(None)
        assert spec is not None
        assert (spec.n_rows, spec.hidden_size, spec.tied_embeddings) == (2_100, 24, True)
        assert [bool(re.search(match, note)) for note in told] == [True], told
        # A model that is asked for is not guessed.
        asked = vocabopt("sweep", news, "--base", base, "--model", base, "--out", tmp_path / "asked")
        assert_refused(asked, match, tmp_path / "asked")

"""What AutoTokenizer makes of a merged folder beside ids: settings, special tokens, chat prompts, as of the base's.

The authority is transformers, which loads both folders.
"""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import transformers
from conftest import TEMPLATE
from helpers import lines_of, train_byte_level
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from vocabopt.merging.export import (
    PADS_LEFT,
    TOKENS,
    class_defaults,
    class_of_model,
    merged_base,
    merged_files,
    tokenizer_config,
)
from vocabopt.merging.extension import Addition
from vocabopt.tokenizer import load_base, load_tokenizer
from vocabopt.verification import Check
from vocabopt.verification.checks_transformers import LOADED, as_loaded
from vocabopt.verification.pair import make_pair
from vocabopt.verification.text import plain_lines

ROLES = ("bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token")
TURNS = [{"role": "user", "content": "Hello, who are you?"}, {"role": "assistant", "content": "A model."}]


def load(folder: Path) -> PreTrainedTokenizerFast:
    loaded: PreTrainedTokenizerFast = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    return loaded


def merge(folder: Path, out: Path) -> Path:
    """The folder with one Korean token merged in."""
    base = load_base(str(folder))
    left, right = ("ê", "°") if base.family == "byte-level-bpe" else ("▁", "이")
    assert {left, right} <= base.tokenizer_json["model"]["vocab"].keys()
    addition = Addition(
        method="grow",
        pieces=[left + right],
        texts=[b"\xea\xb0" if base.family == "byte-level-bpe" else " 이".encode()],
        merges=[(left, right)],
    )
    for name, data in merged_files(base, addition, merged_base(base, addition)).items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes(data)
    return out


def compared(base: Path, new: Path) -> Check:
    return as_loaded(make_pair(load_tokenizer(str(base)), load_tokenizer(str(new)), "Hangul"), plain_lines())


def settings_of(loaded: Any) -> dict[str, Any]:
    names = ("padding_side", "truncation_side", "model_max_length", "clean_up_tokenization_spaces", "model_input_names")
    return {name: getattr(loaded, name) for name in (*names, *ROLES, "all_special_tokens", "all_special_ids")}


@pytest.fixture
def base_folder(folders: Path, tmp_path: Path) -> Callable[..., Path]:
    """A copy of a small base with another tokenizer_config.json, and with more added tokens in its tokenizer.json."""

    def make(name: str, config: dict[str, Any], added: tuple[dict[str, Any], ...] = ()) -> Path:
        folder = tmp_path / "base"
        shutil.copytree(folders / name, folder)
        (folder / "config.json").unlink()
        value = json.loads((folder / "tokenizer.json").read_bytes())
        first = max(*value["model"]["vocab"].values(), *(token["id"] for token in value["added_tokens"])) + 1
        plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
        value["added_tokens"] += [{"id": first + i, **plain, **token} for i, token in enumerate(added)]
        (folder / "tokenizer.json").write_text(json.dumps(value), "utf-8")
        (folder / "tokenizer_config.json").write_text(json.dumps(config), "utf-8")
        return folder

    return make


LLAMA = {"tokenizer_class": "LlamaTokenizer", "add_bos_token": True, "bos_token": "<s>", "eos_token": "</s>"}
GEMMA = {"tokenizer_class": "GemmaTokenizer", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}


@pytest.mark.parametrize(
    ("name", "config", "added"),
    [
        ("llama-like", LLAMA, ()),
        ("llama-like", {**LLAMA, "padding_side": "right", "model_max_length": 4096}, ()),
        ("llama-like", GEMMA, ({"content": "<mask>"}, {"content": "<pad>"})),
        ("llama-like", {**LLAMA, "additional_special_tokens": ["<x>"]}, ({"content": "<x>"},)),
        ("gpt2-like", {"model_max_length": 1024, "tokenizer_class": "GPT2Tokenizer"}, ()),
        ("qwen2-like", {"tokenizer_class": "Qwen2TokenizerFast", "eos_token": "<|im_end|>"}, ()),
    ],
)
def test_a_merged_folder_is_loaded_with_the_settings_of_the_base(
    base_folder: Callable[..., Path],
    tmp_path: Path,
    name: str,
    config: dict[str, Any],
    added: tuple[dict[str, Any], ...],
) -> None:
    base = base_folder(name, config, added)
    new = merge(base, tmp_path / "new")
    before, after = load(base), load(new)
    assert settings_of(after) == settings_of(before)
    for options in ({}, {"add_generation_prompt": True}):
        prompts = [each.apply_chat_template(TURNS, tokenize=False, **options) for each in (before, after)]
        assert prompts[0] == prompts[1]
    assert before("", add_special_tokens=True)["input_ids"] == after("", add_special_tokens=True)["input_ids"]
    check = compared(base, new)
    assert check.counts["n_different"] == 0
    assert check.counts["n_prompts"] > 10


def test_the_side_of_padding_and_mask_token_are_stated(base_folder: Callable[..., Path], tmp_path: Path) -> None:
    base = base_folder("llama-like", GEMMA, ({"content": "<mask>"},))
    config = json.loads((merge(base, tmp_path / "new") / "tokenizer_config.json").read_bytes())
    assert (config["padding_side"], config["mask_token"]) == ("left", "<mask>")
    assert config["model_input_names"] == ["input_ids", "attention_mask"]  # transformers 4 adds token_type_ids
    assert "pad_token" not in config  # this vocabulary has none


def test_a_byte_level_tokenizer_called_llama_keeps_its_class(folders: Path, tmp_path: Path) -> None:
    """DeepSeek's: in transformers 4 only this class adds the BOS that add_bos_token asks for."""
    base = tmp_path / "base"
    base.mkdir()
    value = train_byte_level([*lines_of("en"), *lines_of("ko")], 600, llama3=True)
    (base / "tokenizer.json").write_text(json.dumps(value), "utf-8")
    config = {"tokenizer_class": "LlamaTokenizerFast", "add_bos_token": True, "bos_token": "<|endoftext|>"}
    (base / "tokenizer_config.json").write_text(json.dumps(config), "utf-8")
    new = merge(base, tmp_path / "new")
    assert json.loads((new / "tokenizer_config.json").read_bytes()) == config
    loaded, full = load(new), load_tokenizer(str(new)).full
    assert full is not None
    lines = [*plain_lines(), *lines_of("ko")[:200]]
    for special in (False, True):
        expected = [encoding.ids for encoding in full.encode_batch(lines, add_special_tokens=special)]
        assert loaded(lines, add_special_tokens=special)["input_ids"] == expected
    assert settings_of(loaded) == settings_of(load(base))


def test_a_folder_that_names_no_class_is_loaded_by_its_model_type(folders: Path, tmp_path: Path) -> None:
    """GPT-2 as published: tokenizer_config.json holds a length and nothing else."""
    base = tmp_path / "base"
    base.mkdir()
    shutil.copy(folders / "gpt2-like" / "tokenizer.json", base)
    (base / "config.json").write_text('{"model_type": "gpt2"}')
    (base / "tokenizer_config.json").write_text('{"model_max_length": 1024}')
    new = merge(base, tmp_path / "new")
    assert load(base).eos_token == "<|endoftext|>"
    assert settings_of(load(new)) == settings_of(load(base))
    (base / "tokenizer_config.json").unlink()
    assert settings_of(load(merge(base, tmp_path / "bare"))) == settings_of(load(base))


# --- What verify says ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("padding_side", "right", "padding_side"),
        ("model_max_length", 7, "model_max_length"),
        ("eos_token", "<unk>", "eos_token"),
        ("additional_special_tokens", ["<s>", "▁the"], "other special tokens"),
        ("chat_template", "{{ messages[0]['content'] }}", "user"),
    ],
)
def test_what_a_class_or_config_changes_fails(
    base_folder: Callable[..., Path], tmp_path: Path, field: str, value: Any, named: str
) -> None:
    base = base_folder("llama-like", {**LLAMA, "model_max_length": 4096})
    new = merge(base, tmp_path / "new")
    config = json.loads((new / "tokenizer_config.json").read_bytes())
    (new / "chat_template.jinja").unlink()
    (new / "tokenizer_config.json").write_text(json.dumps({"chat_template": TEMPLATE, **config, field: value}), "utf-8")
    check = compared(base, new)
    assert (check.name, check.status) == (LOADED, "fail")
    assert any(example.what.startswith(named) for example in check.examples), check


def test_a_base_that_is_loaded_otherwise_than_its_files_say_is_told_with_an_example(
    base_folder: Callable[..., Path], tmp_path: Path
) -> None:
    """Phi-3: LlamaTokenizer puts no ▁ behind a special token, tokenizer.json does."""
    end = {"content": "<|end|>", "rstrip": True}
    base = base_folder("llama-like", {**LLAMA, "legacy": False}, (end,))
    line = "<|end|>Hello"
    (base / "chat_template.jinja").write_text("{% for m in messages %}<|end|>{{ m['content'] }}{% endfor %}", "utf-8")
    loaded, full = load(base), load_tokenizer(str(base)).full
    assert full is not None
    own = full.encode(line, add_special_tokens=False).ids
    assert loaded(line, add_special_tokens=False)["input_ids"] != own
    new = merge(base, tmp_path / "new")
    assert load(new)(line, add_special_tokens=False)["input_ids"] == own
    pair = make_pair(load_tokenizer(str(base)), load_tokenizer(str(new)), "Hangul")
    check = as_loaded(pair, [line, "Hello"])
    assert (check.status, check.counts["n_different"], check.counts["n_lines_base_departs"]) == ("warn", 0, 1)
    assert re.search(r"\d ids of chat prompts, 1 lines: transformers loads the base's folder otherwise", check.summary)
    assert "the new folder follows the files, as it should" in check.summary
    example = next(example for example in check.examples if example.what == repr(line))
    assert (example.base[:9], example.new[:18]) == ("as loaded", "its tokenizer.json")


def test_of_long_lists_of_special_tokens_only_what_differs_is_shown(
    base_folder: Callable[..., Path], tmp_path: Path
) -> None:
    unused = [f"<unused{i}>" for i in range(300)]
    tokens = tuple({"content": name, "special": True} for name in unused)
    base = base_folder("llama-like", {**LLAMA, "additional_special_tokens": unused}, tokens)
    new = merge(base, tmp_path / "new")
    config = json.loads((new / "tokenizer_config.json").read_bytes())
    config["additional_special_tokens"] = [*unused, "▁the"]
    (new / "tokenizer_config.json").write_text(json.dumps(config), "utf-8")
    old, now = ({*load(folder).all_special_tokens} for folder in (base, new))
    assert (now - old, old - now, len(now) > 300) == ({"▁the"}, set(), True)
    example = next(example for example in compared(base, new).examples if example.what == "other special tokens")
    assert example.new.endswith("1 of them only here: '▁the'")
    assert example.base.endswith(", of which the other has all")
    assert len(example.base) + len(example.new) < 200


def test_a_lone_file_has_no_folder_to_load(folders: Path) -> None:
    file = folders / "llama-like" / "tokenizer.json"
    check = as_loaded(make_pair(load_tokenizer(str(folders / "llama-like")), load_tokenizer(str(file)), "Hangul"), ())
    assert (check.status, check.summary) == ("not_checked", f"{file}: no folder for transformers to load")


# --- The table of classes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(TOKENS))
def test_the_table_of_a_class_is_what_the_installed_transformers_has(name: str) -> None:
    loaded = getattr(transformers, name)()
    supplied = {role: getattr(loaded, role) for role in ROLES if getattr(loaded, role) is not None}
    assert TOKENS[name] == supplied
    assert (loaded.padding_side == "left") == (name in PADS_LEFT)
    assert class_defaults(f"{name}Fast")["model_input_names"] == loaded.model_input_names


def test_a_class_that_is_not_known_states_nothing(folders: Path, tmp_path: Path) -> None:
    assert class_defaults("PreTrainedTokenizerFast") == class_defaults("None") == {}
    assert class_of_model(None) is None
    (tmp_path / "config.json").write_text("[1]")
    assert class_of_model(tmp_path / "config.json") is None
    base = replace(
        load_base(str(folders / "gpt2-like")), companions={"tokenizer_config.json": b'{"tokenizer_class": "X"}'}
    )
    assert tokenizer_config(replace(base, folder=None)) == {"tokenizer_class": "PreTrainedTokenizerFast"}

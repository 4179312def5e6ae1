"""A chat vector: an adapted base with the difference of an instruct model and its base, against sums made by hand."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from command_line import vocabopt
from helpers import CORPUS
from model_folders import WIDTHS, contents, with_tokenizer, write_model
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, LlamaConfig

from trainer.init import save_model

pytestmark = pytest.mark.usefixtures("one_thread")
CHAT = (
    "{{ bos_token }}{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)
ADAPT = (
    "--text", f"ko={CORPUS / 'ko' / 'news.txt'}", "--eval", f"en={CORPUS / 'en' / 'news.txt'}", "--context", 64,
    "--batch", "1024tok", "--micro-batch", 8, "--plan", "full", "--budget", "10kB", "--eval-bytes", "1kB",
    "--precision", "fp32", "--samples", 0, "--report-to", "none", "--quiet",
)  # fmt: skip


class Models(NamedTuple):
    base: Path
    instruct: Path
    adapted: Path


def model_of(folder: Path, tokenizer: Path, *, tied: bool) -> Path:
    config = LlamaConfig(
        vocab_size=2_048, tie_word_embeddings=tied, max_position_embeddings=64, bos_token_id=1, eos_token_id=2, **WIDTHS
    )
    return with_tokenizer(write_model(folder, config), tokenizer)


def instruct_of(base: Path, folder: Path, change: Callable[[str, Tensor], Tensor]) -> Path:
    """An instruct model: the base's tensors changed, a chat template, and an end token of its own."""
    shutil.copytree(base, folder)
    state = load_file(base / "model.safetensors")
    save_file(
        {name: change(name, tensor) for name, tensor in state.items()},
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )
    (folder / "chat_template.jinja").write_text(CHAT)
    GenerationConfig(eos_token_id=2, pad_token_id=0, temperature=0.5, do_sample=True).save_pretrained(folder)
    return folder


def moved(name: str, tensor: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(len(name))
    return tensor + 0.05 * torch.randn(tensor.shape, generator=generator)


@pytest.fixture(scope="module", params=[False, True], ids=["untied", "tied"])
def models(request: pytest.FixtureRequest, folders: Path, llama_merged: Path, tmp_path_factory: Any) -> Models:
    root = tmp_path_factory.mktemp("chat")
    base = model_of(root / "base", folders / "llama-like", tied=request.param)
    instruct = instruct_of(base, root / "instruct", moved)
    done = vocabopt("adapt", base, "--tokenizer", llama_merged, *ADAPT, "--out", root / "adapted")
    assert done.exit_code == 0, done.output
    return Models(base, instruct, root / "adapted")


def added(models: Models, out: Path, *more: object) -> dict[str, Any]:
    """The command's record."""
    done = vocabopt(
        "chat-vector", models.adapted, "--base", models.base, "--instruct", models.instruct, "--out", out, *more,
        "--json",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    record: dict[str, Any] = json.loads(done.stdout)
    return record


@pytest.mark.parametrize("rows", ["all", "old", "special"])
def test_every_weight_is_the_sum_that_a_plain_loop_makes(models: Models, rows: str, tmp_path: Path) -> None:
    before = {name: contents(folder) for name, folder in models._asdict().items()}
    record = added(models, tmp_path / "out", "--rows", rows, "--scale", 0.5)
    assert {name: contents(folder) for name, folder in models._asdict().items()} == before
    adapted, base, instruct, made = (
        load_file(folder / "model.safetensors")
        for folder in (models.adapted / "model", models.base, models.instruct, tmp_path / "out")
    )
    assert made.keys() == adapted.keys()
    extension = json.loads((models.adapted / "model" / "extension.json").read_text())
    new = {token["id"]: token["base_ids"] for token in extension["tokens"]}
    special = record["special_ids"]
    assert special == [1, 2]  # the template's begin and end tokens
    for name, tensor in made.items():
        if "embed_tokens" not in name and "lm_head" not in name:
            assert torch.equal(tensor, adapted[name] + 0.5 * (instruct[name] - base[name]))
            continue
        for index, row in enumerate(tensor):
            difference = 0.5 * (instruct[name] - base[name])
            expected = adapted[name][index]
            if index in special:
                expected = instruct[name][index]
            elif index in new and rows == "all":
                expected = expected + sum(difference[i] for i in new[index]) / len(new[index])
            elif index < 2_000 and rows != "special":  # ids from there to the first new one are padding
                expected = expected + difference[index]
            torch.testing.assert_close(row, expected, rtol=0, atol=1e-6)


def test_the_folder_is_a_chat_model_that_transformers_loads(models: Models, tmp_path: Path) -> None:
    record = added(models, tmp_path / "out", "--text", f"en={CORPUS / 'en' / 'news.txt'}", "--limit", "1kB")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    tied = model.lm_head.weight is model.model.embed_tokens.weight
    assert tied == AutoModelForCausalLM.from_pretrained(models.base).config.tie_word_embeddings
    assert model.generation_config.to_diff_dict() == GenerationConfig.from_pretrained(models.instruct).to_diff_dict()
    chat = [{"role": "user", "content": "What is new?"}]
    mine, its, of_adapted = (
        AutoTokenizer.from_pretrained(at) for at in (tmp_path / "out", models.instruct, models.adapted / "model")
    )
    ids = mine.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)
    assert ids == its.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)
    korean = "오늘 서울에서 회의가 열렸다."
    assert mine(korean)["input_ids"] == of_adapted(korean)["input_ids"] != its(korean)["input_ids"]
    after = record["template_after"]
    assert after["n_prompts"] == after["n_same_text"] > after["n_without_target"] == after["n_same_ids"] > 0
    assert record["template_before"]["n_same_text"] < after["n_same_text"]
    # Both measured as eval measures them, opened as the adaptation opened documents.
    for folder, bits in ((models.adapted / "model", record["before"]), (tmp_path / "out", record["after"])):
        done = vocabopt(
            "eval", folder, "--text", f"en={CORPUS / 'en' / 'news.txt'}", "--limit", "1kB", "--document-start", "<s>",
            "--json",
        )  # fmt: skip
        assert json.loads(done.stdout)["texts"]["en"]["bits_per_byte"] == bits["en"]
    assert record["before"] != record["after"]


def test_an_instruct_model_that_learned_nothing_changes_no_weight(models: Models, tmp_path: Path) -> None:
    same = instruct_of(models.base, tmp_path / "same", lambda name, tensor: tensor)
    record = added(models._replace(instruct=same), tmp_path / "out")
    adapted, base, made = (
        load_file(at / "model.safetensors") for at in (models.adapted / "model", models.base, tmp_path / "out")
    )
    for name, tensor in made.items():
        if "embed_tokens" in name or "lm_head" in name:
            assert torch.equal(tensor[[1, 2]], base[name][[1, 2]])
            adapted[name][[1, 2]] = tensor[[1, 2]]
        assert torch.equal(tensor, adapted[name])
    assert record["relative_norm"] == 0


def test_weights_in_several_files_give_the_same_model(models: Models, tmp_path: Path) -> None:
    split = shutil.copytree(models.adapted, tmp_path / "adapted")
    whole = AutoModelForCausalLM.from_pretrained(split / "model")
    save_model(whole, split / "model", max_shard_size=100_000)
    assert len(list((split / "model").glob("model-*.safetensors"))) > 1
    added(models, tmp_path / "one")
    added(models._replace(adapted=split), tmp_path / "several")
    one, several = (AutoModelForCausalLM.from_pretrained(tmp_path / name) for name in ("one", "several"))
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, several.state_dict()[name])


def test_a_finished_folder_is_made_again_by_its_own_command_alone(models: Models, tmp_path: Path) -> None:
    added(models, tmp_path / "out")
    before = contents(tmp_path / "out")
    added(models, tmp_path / "out")
    assert contents(tmp_path / "out") == before
    refused(models, tmp_path / "out", "made with scale 1.0, not 2.0", "--scale", 2)


def refused(models: Models, out: Path, message: str, *more: object) -> None:
    done = vocabopt(
        "chat-vector", models.adapted, "--base", models.base, "--instruct", models.instruct, "--out", out, *more
    )  # fmt: skip
    assert done.exit_code == 2
    assert message in " ".join(done.stderr.split())
    assert not (out / "config.json").exists() or more


def test_models_that_do_not_go_together_are_refused_in_a_sentence(
    models: Models, folders: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    other = instruct_of(models.base, tmp_path / "other-base", moved)
    refused(models._replace(base=other), out, "is not the model that")
    refused(models._replace(adapted=models.adapted / "model"), out, "holds no adapt.json")
    wider = tmp_path / "wider"
    config = LlamaConfig.from_pretrained(models.base)
    config.intermediate_size = 64
    with_tokenizer(write_model(wider, config), folders / "llama-like")
    refused(models._replace(instruct=wider), out, "is of another shape than")
    config = LlamaConfig.from_pretrained(models.base)
    otherwise = model_of(tmp_path / "otherwise", folders / "llama-like", tied=not config.tie_word_embeddings)
    refused(models._replace(instruct=otherwise), out, "Name models of one kind.")
    foreign = instruct_of(models.base, tmp_path / "foreign", moved)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(folders / "qwen2-like" / name, foreign / name)
    refused(models._replace(instruct=foreign), out, "have another id than in --base")
    unfinished = shutil.copytree(models.adapted, tmp_path / "unfinished")
    record = json.loads((unfinished / "adapt.json").read_text()) | {"status": "running"}
    (unfinished / "adapt.json").write_text(json.dumps(record))
    refused(models._replace(adapted=unfinished), out, "Finish the adaptation with --resume first.")
    refused(models, models.instruct, "is the folder of one of the models", "--quiet")


def test_an_instruct_model_with_further_tokens_is_refused_by_name(models: Models, tmp_path: Path) -> None:
    longer = instruct_of(models.base, tmp_path / "longer", moved)
    tokenizer = AutoTokenizer.from_pretrained(longer)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|turn|>"]})
    tokenizer.save_pretrained(longer)
    refused(models._replace(instruct=longer), tmp_path / "out", "has 1 tokens that --base")


def test_an_instruct_model_that_renames_a_token_is_refused_by_name(models: Models, tmp_path: Path) -> None:
    # As models do that give a reserved token a role of its own.
    renamed = instruct_of(models.base, tmp_path / "renamed", moved)
    file = renamed / "tokenizer.json"
    tokenizer = json.loads(file.read_text("utf-8"))
    (first, *_) = (token for token in tokenizer["added_tokens"] if token["special"])
    index, old = first["id"], first["content"]
    file.write_text(file.read_text("utf-8").replace(json.dumps(old), '"<|turn|>"'), "utf-8")
    refused(
        models._replace(instruct=renamed), tmp_path / "out", f"have another name there, first '<|turn|>' (id {index}"
    )

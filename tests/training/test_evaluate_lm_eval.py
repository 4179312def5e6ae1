"""Benchmarks through lm-eval: its own prompts, and its numbers against a computation of ours without it."""

import gzip
import json
import math
import socket
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import torch
from command_line import vocabopt
from evaluation import nats_alone, one_thread, tiny_model  # noqa: F401
from helpers import library_tokenizer
from tokenizers import models
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from trainer.evaluate.run import load_tokenizer
from trainer.evaluate.tasks import TASKS, Item, chosen_tasks, read_items
from vocabopt.tokenizer import Tokenizer

pytest.importorskip("lm_eval", reason="lm-eval is not installed: the extra eval")
pytestmark = [pytest.mark.data, pytest.mark.usefixtures("one_thread", "no_network")]

N_ITEMS = 20


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever asks the network, fails the test."""

    def refuse(self: socket.socket, address: object) -> None:
        raise AssertionError(f"connects to {address}")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture(scope="module")
def task_folders(data: Path) -> list[Path]:
    return [data / "ko_kobest_dev", data / "en_piqa", data / "en_blimp"]


@pytest.fixture(scope="module")
def folder(folders: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with random weights beside the tokenizer of the Llama-like base."""
    folder = tmp_path_factory.mktemp("models") / "llama"
    tiny_model("llama", 2_048, max_position_embeddings=2_048).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((folders / "llama-like" / name).read_bytes())
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> PreTrainedModel:
    return tiny_model("llama", 2_048, max_position_embeddings=2_048)


# --- The direct computation: nothing of trainer/ or lm-eval ----------------------------------------------------------


def nats_of_choices(
    model: PreTrainedModel, library: tokenizers.Tokenizer, prompt: str, choices: Sequence[str]
) -> list[float]:
    """Negative log-likelihood of each choice behind the prompt; white space between the two is the choice's."""
    head = prompt.rstrip()
    start, *before = library.encode(head).ids
    costs = []
    for choice in choices:
        ids = library.encode(f"{prompt} {choice}").ids[1:]
        assert ids[: len(before)] == before
        costs.append(nats_alone(model, start, ids, n_context=len(before)))
    return costs


def direct(costs: Sequence[Sequence[float]], choices: Sequence[Sequence[str]], gold: Sequence[int]) -> dict[str, float]:
    """Accuracy, accuracy per character, macro F1 and the standard errors of the first two."""
    from sklearn.metrics import f1_score

    answers = [min(range(len(each)), key=each.__getitem__) for each in costs]
    per_character = [
        min(range(len(each)), key=lambda i: each[i] / len(texts[i])) for each, texts in zip(costs, choices, strict=True)
    ]
    found: dict[str, float] = {"f1": float(f1_score(gold, answers, average="macro"))}
    for name, given in (("acc", answers), ("acc_norm", per_character)):
        right = torch.tensor([float(a == b) for a, b in zip(given, gold, strict=True)])
        found[name], found[f"{name}_stderr"] = float(right.mean()), float(right.std()) / math.sqrt(len(right))
    return found


def records(data: Path, name: str) -> list[dict[str, Any]]:
    path = next((data / "ko_kobest_dev").glob(f"{name}_validation.jsonl*"))
    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return [json.loads(line) for line in raw.decode().split("\n")[:N_ITEMS]]


ASKED: dict[str, Callable[[Mapping[str, Any]], tuple[str, list[str]]]] = {
    "boolq": lambda r: (f"{r['paragraph']} 질문: {r['question']} 답변: ", ["아니오", "예"]),
    "copa": lambda r: (
        r["premise"] + {"원인": "  왜냐하면", "결과": "  그래서"}[r["question"]],
        [r["alternative_1"], r["alternative_2"]],
    ),
    "wic": lambda r: (
        f"문장1: {r['context_1']} 문장2: {r['context_2']} 두 문장에서 {r['word']}가 같은 뜻으로 쓰였나?",
        ["아니오", "예"],
    ),
    "hellaswag": lambda r: (f"문장: {r['context']}", [r[f"ending_{n}"] for n in (1, 2, 3, 4)]),
    "sentineg": lambda r: (f"문장: {r['sentence']} 긍부정:", ["부정", "긍정"]),
}


@pytest.mark.parametrize("name", ASKED)
def test_lm_evals_numbers_are_those_of_a_direct_computation(
    name: str, data: Path, task_folders: list[Path], folder: Path, model: PreTrainedModel
) -> None:
    from trainer.evaluate.harness import language_model, run_task

    task = TASKS[f"kobest_{name}"]
    told: list[int] = []
    lm = language_model(model, load_tokenizer(str(folder)), batch_size=8)
    score = run_task(lm, task, read_items(task, task_folders).items, limit=N_ITEMS, advance=told.append)

    library = library_tokenizer(folder)
    asked = [ASKED[name](record) for record in records(data, name)]
    costs = [nats_of_choices(model, library, prompt, choices) for prompt, choices in asked]
    expected = direct(costs, [choices for _, choices in asked], [record["label"] for record in records(data, name)])
    assert score.n_items == N_ITEMS
    assert score.n_joined == 0
    assert told[-1] == sum(len(choices) for _, choices in asked)
    assert score.metrics == pytest.approx({metric: expected[metric] for metric in task.metrics})
    assert score.stderrs["acc"] == pytest.approx(expected["acc_stderr"])
    assert score.stderrs["f1"] is None  # lm-eval gives none
    if "acc_norm" in task.metrics:
        assert score.stderrs["acc_norm"] == pytest.approx(expected["acc_norm_stderr"])


def test_single_log_likelihoods_too_under_a_real_tokenizer_of_32_000(data: Path, llama2: Tokenizer) -> None:
    """Llama 2's; both answers of BoolQ with the two spaces before them."""
    from trainer.evaluate.harness import language_model

    library = llama2.full
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=library, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    model = tiny_model("llama", 32_000, max_position_embeddings=2_048)
    lm = language_model(model, tokenizer, batch_size=2)
    instance = import_module("lm_eval.api.instance").Instance
    prompt, choices = ASKED["boolq"](records(data, "boolq")[0])
    requests = [
        instance(request_type="loglikelihood", doc={}, arguments=(prompt, f" {choice}"), idx=i)
        for i, choice in enumerate(choices)
    ]
    found = [answer for answer, _ in lm.loglikelihood(requests, disable_tqdm=True)]
    expected = nats_of_choices(model, tokenizers.Tokenizer.from_str(library.to_str()), prompt, choices)
    assert found == pytest.approx([-nats for nats in expected], rel=1e-4)
    assert tokenizer.pad_token is None  # lm-eval gave one to its copy


# --- lm-eval's own definitions ---------------------------------------------------------------------------------------


def theirs(name: str, record: dict[str, Any]) -> tuple[str, list[str], str]:
    """Prompt, choices and the right choice, as lm-eval's own task has them."""
    import yaml

    lm_eval = import_module("lm_eval")
    group = name.partition("_")[0]
    folder = Path(lm_eval.__file__).parent / "tasks" / group
    file = folder / ("_template_yaml" if group == "blimp" else f"{name}.yaml")

    class Loader(yaml.SafeLoader):
        pass

    def function(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> Any:
        return getattr(import_module(f"lm_eval.tasks.{group}.utils"), str(node.value).partition(".")[2])

    Loader.add_constructor("!function", function)
    config = yaml.load(file.read_text(encoding="utf-8"), Loader)
    if "process_docs" in config:
        record = config["process_docs"](import_module("datasets").Dataset.from_list([record]))[0]

    def field(value: Any) -> Any:
        if callable(value):
            return value(record)
        if not isinstance(value, str):
            return value
        return record[value] if value in record else import_module("lm_eval.utils").apply_template(value, record)

    choices = field(config["doc_to_choice"])
    if isinstance(choices, str):
        choices = import_module("ast").literal_eval(choices)
    target = field(config["doc_to_target"])
    right = target if target in choices else choices[int(target)]
    return field(config["doc_to_text"]), choices, right


@pytest.mark.parametrize("name", TASKS)
def test_items_are_asked_as_lm_evals_own_tasks_ask_them(
    name: str, task_folders: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prompts, choices and answers; lm-eval puts prompt and choice together itself."""
    from trainer.evaluate import tasks

    task, made = TASKS[name], tasks._item
    read: list[tuple[dict[str, Any], Item]] = []

    def note(task: Any, place: Any, record: dict[str, Any]) -> Item:
        item = made(task, place, record)
        read.append((record, item))
        return item

    monkeypatch.setattr(tasks, "_item", note)
    read_items(task, task_folders)
    for record, item in read[:N_ITEMS]:
        assert (item.context, list(item.choices), item.choices[item.label]) == theirs(name, record)
    if name == "blimp":
        assert len(read) == 67_000
        assert len({record["UID"] for record, _ in read[:67]}) == 67  # by turns


# --- End to end ------------------------------------------------------------------------------------------------------


def test_kobest_end_to_end_on_local_files(folder: Path, task_folders: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "eval.json"
    given = [argument for each in task_folders for argument in ("--tasks-data", each)]
    result = vocabopt("eval", folder, "--tasks", "kobest,piqa", *given, "--tasks-limit", 5, "--out", out)
    assert result.exit_code == 0, result.output
    tasks = json.loads(out.read_text(encoding="utf-8"))["tasks"]
    kobest = [task.name for task in chosen_tasks(["kobest"])]
    assert list(tasks) == [*kobest, "piqa", "kobest"]
    assert len(kobest) == 5
    assert tasks["kobest_copa"]["source"] == str(task_folders[0] / "copa_validation.jsonl")
    for metric in ("acc", "f1"):
        mean = sum(tasks[name]["metrics"][metric] for name in kobest) / 5
        assert tasks["kobest"]["metrics"][metric] == pytest.approx(mean)
    errors = [tasks[name]["stderrs"]["acc"] for name in kobest]
    assert tasks["kobest"]["stderrs"]["acc"] == pytest.approx(math.sqrt(sum(error**2 for error in errors)) / 5)
    assert "kobest, mean" in result.stdout
    assert "lm-eval gives none for macro F1" in result.stdout
    assert "kobest_boolq: done in" in result.stderr
    assert "it/s" not in result.stderr  # bars of others


def test_choices_that_a_tokenizer_joins_with_their_prompt_are_counted() -> None:
    """ "b " is one token here, so that lm-eval loses the space of the choice."""
    from trainer.evaluate.harness import language_model, run_task

    words = {"<s>": 0, "</s>": 1, "a": 2, "b": 3, "c": 4, " ": 5, "b ": 6}
    text = tokenizers.Tokenizer(models.BPE(words, [("b", " ")]))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=text, bos_token="<s>", eos_token="</s>")
    lm = language_model(tiny_model("llama", 8), tokenizer, batch_size=1)
    items = [Item(context="ab", choices=("c", "a"), label=0), Item(context="ba", choices=("c", "bc"), label=1)]
    assert run_task(lm, TASKS["kobest_copa"], items).n_joined == 2

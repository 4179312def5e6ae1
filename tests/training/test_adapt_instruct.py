"""A small model of SmolLM2-Instruct's kind, from sweep to the finished folder: byte-level, ChatML, one table.

Its begin and end tokens mark turns. In one folder its weights hold an output table of their own, as a merged adapter
leaves it, under a config that still says that it is tied.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import vocabopt
from conftest import sweep
from evaluation import nats_alone
from helpers import CORPUS, lines_of
from model_folders import WIDTHS, contents, with_tokenizer, write_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig

pytestmark = pytest.mark.usefixtures("one_thread")
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
N_ADDED = 100
OPTIONS = (
    "--text", f"ko={CORPUS / 'ko' / 'news.txt'}", "--eval", f"en={CORPUS / 'en' / 'news.txt'}", "--context", 64,
    "--batch", "1024tok", "--micro-batch", 8, "--plan", "full", "--budget", "30kB", "--eval-bytes", "3kB",
    "--precision", "fp32", "--sample-tokens", 4, "--samples", 2, "--report-to", "none", "--keep-stages", "all",
)  # fmt: skip


@pytest.fixture(scope="module")
def tied(folders: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = LlamaConfig(vocab_size=2_048, tie_word_embeddings=True, max_position_embeddings=64, **WIDTHS)
    folder = tmp_path_factory.mktemp("instruct") / "model"
    with_tokenizer(write_model(folder, config), folders / "qwen2-like")
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text()) | {"bos_token": "<|im_start|>", "chat_template": CHATML}
    path.write_text(json.dumps(settings))
    return folder


@pytest.fixture(scope="module")
def with_head(tied: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = shutil.copytree(tied, tmp_path_factory.mktemp("instruct") / "with-head")
    state = load_file(folder / "model.safetensors")
    torch.manual_seed(1)
    state["lm_head.weight"] = torch.randn_like(state["model.embed_tokens.weight"]) * 0.1
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.fixture(scope="module")
def merged(tied: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = sweep(tmp_path_factory.mktemp("instruct") / "run", str(tied), CORPUS / "ko", heldout=0.1)
    return run.exported(N_ADDED)


@pytest.fixture(scope="module")
def adapted(
    with_head: Path, merged: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any], str]:
    out = tmp_path_factory.mktemp("instruct") / "out"
    before = contents(with_head)
    done = vocabopt("adapt", with_head, "--tokenizer", merged, *OPTIONS, "--out", out)
    assert done.exit_code == 0, done.output
    assert contents(with_head) == before
    return out, json.loads((out / "adapt.json").read_text()), done.output


def test_documents_are_framed_by_the_text_separator_and_never_by_marks_of_turns(
    adapted: tuple[Path, dict[str, Any], str],
) -> None:
    out, record, told = adapted
    tokenizer = AutoTokenizer.from_pretrained(out / "model")
    separator, *marks = tokenizer.convert_tokens_to_ids(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id) == tuple(marks)
    packed = out / "text" / "1"
    tokens = np.fromfile(packed / "tokens.bin", json.loads((packed / "packed.json").read_text())["dtype"])
    starts = np.load(packed / "starts.npy")
    assert set(tokens[starts]) == set(tokens[starts[1:] - 1]) == {separator}
    assert not set(marks) & set(tokens.tolist())
    ends = record["document_ends"]
    assert (ends["start_id"], ends["end_id"]) == (separator, separator)
    assert record["options"]["document_start"] == record["options"]["document_end"] == "<|endoftext|>"
    assert "opened by <|endoftext|> and closed by <|endoftext|>" in " ".join(told.split())
    card = (out / "model" / "README.md").read_text()
    assert "opened by `<|endoftext|>` and closed by `<|endoftext|>`" in card


def test_an_output_table_of_its_own_is_measured_trained_and_written(
    with_head: Path, adapted: tuple[Path, dict[str, Any], str], tmp_path: Path
) -> None:
    out, record, told = adapted
    head = load_file(with_head / "model.safetensors")["lm_head.weight"]
    start = load_file(out / "stages" / "0-init" / "model" / "model.safetensors")
    assert torch.equal(start["lm_head.weight"][:2_000], head[:2_000])
    model = AutoModelForCausalLM.from_pretrained(out / "model")
    assert model.config.tie_word_embeddings is False
    assert not torch.equal(model.lm_head.weight, model.model.embed_tokens.weight)
    assert record["n_params"] == sum(parameter.numel() for parameter in model.parameters())
    note = "The weights are believed: the model is untied"
    assert note in record["warnings"][0]
    assert note in " ".join(told.split())
    assert note in (out / "model" / "README.md").read_text()
    # What the base scored, by its own head and framed by the separator: each line alone.
    line = lines_of("en")[0][:150]
    (tmp_path / "en.txt").write_text(line)
    found = vocabopt("eval", with_head, "--text", f"en={tmp_path / 'en.txt'}", "--context", 64, "--json")
    tokenizer = AutoTokenizer.from_pretrained(with_head)
    ids = tokenizer(line, add_special_tokens=False)["input_ids"][:63]
    base = AutoModelForCausalLM.from_pretrained(with_head).eval()
    separator = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    score = json.loads(found.stdout)
    assert score["document_start"]["id"] == separator
    assert score["texts"]["en"]["nll_nats"] == pytest.approx(nats_alone(base, separator, ids), rel=1e-5)


def test_eval_of_the_finished_folder_gives_the_record_s_numbers(
    adapted: tuple[Path, dict[str, Any], str], tmp_path: Path
) -> None:
    out, _, _ = adapted
    for start in ("auto", "<|endoftext|>", "<|im_start|>", "none"):
        done = vocabopt(
            "eval", out / "model", "--text", f"en={CORPUS / 'en' / 'news.txt'}", "--limit", "2kB", "--context", 64,
            "--document-start", start, "--json",
        )  # fmt: skip
        assert done.exit_code == 0, done.output
        (tmp_path / f"{start.strip('<|>')}.json").write_text(done.stdout)
    scores = {
        path.stem: json.loads(path.read_text())["texts"]["en"]["bits_per_byte"] for path in tmp_path.glob("*.json")
    }
    assert scores["auto"] == scores["endoftext"]
    assert len({scores["auto"], scores["im_start"], scores["none"]}) == 3


@pytest.mark.parametrize("option", ["--document-start", "--document-end"])
def test_a_frame_that_is_no_token_is_refused_before_anything_is_computed(
    option: str, with_head: Path, merged: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = vocabopt("adapt", with_head, "--tokenizer", merged, *OPTIONS, "--out", out, option, "<eod>", "--quiet")
    assert done.exit_code == 2
    assert f"{option} <eod>: is no token of" in " ".join(done.stderr.split())
    assert not (out / "adapt.json").exists()


def test_init_says_what_methods_mean_for_one_table(tied: Path, merged: Path, tmp_path: Path) -> None:
    for method, words in {
        "decompose-head": "So all new rows are drawn at random",
        "weighted": "base rows of Hangul.",
    }.items():
        done = vocabopt("init", tied, "--tokenizer", merged, "--method", method, "--out", tmp_path / method)
        assert done.exit_code == 0, done.output
        assert words in done.stdout
    record = json.loads((tmp_path / "weighted" / "init.json").read_text())
    (table,) = record["log"]["tables"]
    assert (table["norm"]["rows"], table["name"]) == ("target script", "both")
    assert table["norm"]["n_rows"] >= 64
    assert "output rows too" in " ".join(record["log"]["notes"])


def test_rows_of_turn_marks_and_the_template_are_the_instruct_model_s_bit_for_bit(
    with_head: Path, merged: Path, adapted: tuple[Path, dict[str, Any], str], tmp_path: Path
) -> None:
    out, record, _ = adapted
    before, after = (load_file(at / "model.safetensors") for at in (with_head, out / "model"))
    marks = AutoTokenizer.from_pretrained(with_head).convert_tokens_to_ids(["<|im_start|>", "<|im_end|>"])
    for table in ("model.embed_tokens.weight", "lm_head.weight"):
        assert torch.equal(after[table][marks], before[table][marks])
    # The output rows of all other tokens learned, those that the text lacks too.
    others = [index for index in range(1_990) if index not in marks]
    assert not (after["lm_head.weight"][others] == before["lm_head.weight"][others]).all(dim=1).any()
    mine, its = (AutoTokenizer.from_pretrained(at) for at in (out / "model", with_head))
    assert mine.chat_template == its.chat_template
    assert record["options"]["special_rows"] == "keep"
    trained = tmp_path / "trained"
    done = vocabopt("adapt", with_head, "--tokenizer", merged, *OPTIONS, "--special-rows", "train", "--out", trained)
    assert done.exit_code == 0, done.output
    head = load_file(trained / "model" / "model.safetensors")["lm_head.weight"]
    assert not torch.equal(head[marks], before["lm_head.weight"][marks])

"""The finished folder of `vocabopt adapt` has the base's type, and says so; what is between has every bit."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import vocabopt
from helpers import CORPUS
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from trainer.init import dtype_of

pytestmark = pytest.mark.slow

OPTIONS = (
    "--text", f"ko={CORPUS / 'ko' / 'news.txt'}", "--budget", "40kB", "--eval-bytes", "5kB",
    "--context", 32, "--batch", "1024tok", "--micro-batch", 8, "--plan", "full", "--learning-rate-factor", 20,
    "--samples", 0, "--report-to", "none", "--quiet",
)  # fmt: skip


@pytest.fixture(scope="module")
def bf16_base(llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bf16") / "base"
    AutoModelForCausalLM.from_pretrained(llama).to(torch.bfloat16).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((llama / name).read_bytes())
    return folder


def adapted(base: Path, run_dir: Path, out: Path, *more: object) -> dict[str, Any]:
    result = vocabopt("adapt", base, "--run", run_dir, *OPTIONS, "--out", out, *more)
    assert result.exit_code == 0, result.output
    record: dict[str, Any] = json.loads((out / "adapt.json").read_text(encoding="utf-8"))
    return record


def dtypes(folder: Path) -> set[torch.dtype]:
    return {tensor.dtype for tensor in load_file(folder / "model.safetensors").values()}


def test_a_base_in_bf16_is_trained_in_32_bits_and_finished_in_bf16(
    bf16_base: Path, run_dir: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    record = adapted(bf16_base, run_dir, out, "--precision", "fp32")
    stage, finished = out / "stages" / "1-all" / "model", out / "model"
    assert dtypes(stage) == {torch.float32}
    trained = load_file(stage / "model.safetensors")
    assert any(not torch.equal(tensor, tensor.bfloat16().float()) for tensor in trained.values())
    found = load_file(finished / "model.safetensors")
    assert all(torch.equal(found[name], tensor.bfloat16()) for name, tensor in trained.items())
    assert AutoModelForCausalLM.from_pretrained(finished).dtype == torch.bfloat16
    weights = record["weights"]
    assert (weights["base"], weights["trained"], weights["saved"]) == ("bfloat16", "float32", "bfloat16")
    # Rounding moves the score, and only a little.
    assert weights["bits_per_byte"] == pytest.approx(record["after"], rel=1e-2)
    assert weights["bits_per_byte"] != record["after"]
    card = (finished / "README.md").read_text(encoding="utf-8")
    assert "rounded to bfloat16, the type of the base" in card
    assert f"after rounding: ko {weights['bits_per_byte']['ko']:.4f}." in card
    assert (finished / "tokenizer.json").read_bytes() == (run_dir / "tokenizer" / "tokenizer.json").read_bytes()


def test_what_trains_in_bf16_or_starts_in_32_bits_is_finished_as_it_trained(
    llama: Path, bf16_base: Path, run_dir: Path, tmp_path: Path
) -> None:
    """Nothing is rounded, and the weights are the stage's own file, linked."""
    for base, precision, dtype in ((bf16_base, "bf16", "bfloat16"), (llama, "fp32", "float32")):
        out = tmp_path / precision
        record = adapted(base, run_dir, out, "--precision", precision)
        assert (record["weights"]["saved"], record["weights"]["bits_per_byte"]) == (dtype, None)
        assert f"Weights are {dtype}." in (out / "model" / "README.md").read_text(encoding="utf-8")
        assert (out / "model" / "model.safetensors").samefile(out / "stages" / "1-all" / "model" / "model.safetensors")


def test_the_type_is_that_of_most_weights_whatever_else_is_stored(llama: Path, tmp_path: Path) -> None:
    config = json.loads((llama / "config.json").read_text(encoding="utf-8"))
    config.pop("dtype", None)
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert dtype_of(tmp_path) == torch.float32
    tensors = {"a": torch.zeros(9, dtype=torch.int64), "b": torch.zeros(2, dtype=torch.float16)}
    save_file(tensors, tmp_path / "model.safetensors")
    assert dtype_of(tmp_path) == torch.float16
    (tmp_path / "config.json").write_text(json.dumps(config | {"dtype": "bfloat16"}), encoding="utf-8")
    assert dtype_of(tmp_path) == torch.float16  # the weights are believed

"""`vocabopt plan`: what it prints, what it says of a stage that does not fit, and what it refuses."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import assert_refused, vocabopt, written
from report_data import fake_run
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlamaConfig, LlamaForCausalLM

from trainer.memory.machine import limit_bytes
from trainer.memory.plan_report import plan_report, step_settings
from trainer.memory.predict import StepSettings
from trainer.memory.record import PlanRecord
from trainer.memory.remedies import Case, first_that_fits, sharded
from trainer.memory.target import read_config, with_rows
from trainer.options import PlanOptions
from trainer.plan import Lora, named_plan
from vocabopt.amounts import shown_bytes
from vocabopt.model.spec import PRESETS

CONFIG: dict[str, Any] = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": 512,
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "tie_word_embeddings": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
SMALL = ("--context", "64", "--micro-batch", "2", "--batch", "256tok", "--lora-rank", "8")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return written(tmp_path / "model" / "config.json", json.dumps(CONFIG)).parent


def extension(folder: Path, *, n_added: int = 100, n_tokens: int = 600, pad_to: int | None = 128) -> Path:
    """The folder of a merged tokenizer, of which `plan` reads extension.json alone."""
    first = n_tokens - n_added
    sizes = {"n_added": n_added, "first_id": first, "n_tokens": n_tokens, "n_rows": n_tokens, "pad_to": pad_to}
    base = {"name": "b", "source": "b", "sha256": "0", "n_tokens": first}
    tokens = [{"id": first + i, "piece": "p", "bytes": "ea", "base_ids": [0]} for i in range(n_added)]
    record = {"format_version": 1, "method": "grow", "scores": "unique", "scripts": [], **sizes, "base": base}
    record |= {"n_rows_padded": n_tokens, "tokens": tokens}
    return written(folder / "extension.json", json.dumps(record)).parent


def sweep_of(folder: Path, *, n_tokens: int, n_added: int) -> Path:
    """The folder of a sweep, of which `plan` reads sweep.json alone."""
    record, _, _ = fake_run()
    record["base"] |= {"n_tokens": n_tokens, "n_rows": n_tokens}
    record["choice"] |= {"n_added": n_added}
    return written(folder / "sweep.json", json.dumps(record)).parent


def as_json(*arguments: object) -> dict[str, Any]:
    result = vocabopt("plan", *arguments, "--json")
    assert result.exit_code == 0, result.stderr
    record: dict[str, Any] = json.loads(result.stdout)
    return record


def test_the_figures_of_a_plan_by_hand(model: Path) -> None:
    """600 rows: two tables of 600 x 64. Their stage trains them whole; a quarter of the text; hours by division."""
    record = as_json(model, "--added", 88, "--budget", "1Mtok", "--tflops", 0.001, *SMALL)
    assert (record["n_rows"], record["n_added"]) == (600, 88)
    stage = record["stages"][0]
    assert [one["name"] for one in record["stages"]] == ["embeddings-head", "odd-blocks", "even-blocks", "lora"]
    assert (stage["n_trainable"], stage["tokens"]) == (2 * 600 * 64, 250_000)
    per_block = 2 * 64 * 64 + 2 * 32 * 64 + 3 * 160 * 64
    attention = 4 * 64 * 64  # two products of 64 tokens with 64 widths, 2 FLOPs each
    # The blocks' weights are frozen: forward, and their inputs' gradients. The head's own gradient comes on top.
    per_token = 4 * (2 * (2 * per_block) + 3 * attention) + 3 * 2 * 600 * 64
    assert stage["flops"] == 250_000 * per_token
    assert stage["hours"] == pytest.approx(stage["flops"] / 1e9 / 3_600)
    assert stage["peak_bytes"]["adamw"] > stage["peak_bytes"]["adamw-8bit"]
    assert stage["fits"]
    assert stage["remedies"] == []


def test_the_table_names_its_assumptions(model: Path) -> None:
    result = vocabopt("plan", model, "--added", 88, "--budget", "300Mtok", "--plan", "full", *SMALL)
    assert result.exit_code == 0, result.stderr
    for part in (
        "model with 88 new tokens: 600 rows, plan full",
        "At 400 TFLOP/s (--tflops) and --gpu 80GB; bf16-mixed, micro-batch 2 x 64 tokens, steps of 256 tokens",
        "Left out of memory: fragmentation",
        "A peak holds the process's own 1.0 GB (--process-memory)",
        "leaves 5% of --gpu free (--margin)",
        "Measuring: 4 times 1,000,000 tokens (--eval-tokens; --eval-every stage",
        "weights rounded to 16 bits), at 40 TFLOP/s (--eval-tflops)",
        "for models and checkpoints with --keep-stages last",
        "The machine's own memory, at most: about",
    ):
        assert part in result.stdout


def test_rows_come_from_a_merged_tokenizer_padding_included(model: Path, tmp_path: Path) -> None:
    """600 tokens, padded to a multiple of 128."""
    record = as_json(
        model, "--tokenizer", extension(tmp_path / "merged"), "--budget", "1Mtok", "--plan", "full", *SMALL
    )
    assert (record["n_rows"], record["n_added"]) == (640, 100)


def test_rows_come_from_a_sweep_s_choice(model: Path, tmp_path: Path) -> None:
    run = sweep_of(tmp_path / "run", n_tokens=500, n_added=40)
    record = as_json(model, "--run", run, "--budget", "1Mtok", "--plan", "full", *SMALL)
    assert (record["n_rows"], record["n_added"]) == (540, 40)
    extension(run / "tokenizer", n_added=90, n_tokens=590, pad_to=None)
    record = as_json(model, "--run", run, "--budget", "1Mtok", "--plan", "full", *SMALL)
    assert (record["n_rows"], record["n_added"]) == (590, 90)


@pytest.mark.slow
def test_a_default_context_ends_at_the_model_s_positions_and_is_told(model: Path) -> None:
    """256 positions, and a default of 1,024."""
    small = ("--micro-batch", 2, "--lora-rank", 8)
    record = as_json(model, "--added", 88, "--budget", "1Mtok", *small)
    assert record["options"]["context_tokens"] == 256
    result = vocabopt("plan", model, "--added", 88, "--budget", "1Mtok", *small)
    assert "--context: 256 tokens, which are all positions of" in result.stdout
    # Asked for, it is refused.
    result = vocabopt("plan", model, "--added", 88, "--budget", "1Mtok", *small, "--context", 257)
    assert result.exit_code == 2
    assert "256 positions" in result.stderr


# --- What does not fit -----------------------------------------------------------------------------------------------


def report_of(model: Path, gpu_bytes: int, **options: Any) -> PlanRecord:
    values: dict[str, Any] = {
        "plan": "full",
        "context_tokens": 64,
        "micro_batch": 4,
        "batch": "256tok",
        "lora_rank": 4,
        "process_memory": "0",
    }
    return plan_report(
        PlanOptions(model=str(model), n_added=88, budget="1Mtok", gpu=str(gpu_bytes), **{**values, **options})
    )


@pytest.mark.slow
def test_the_remedy_named_is_the_first_that_fits_and_all_of_it_is_needed(model: Path) -> None:
    free = report_of(model, 10**9).stages[0]
    peak = free.cost.peak_bytes("adamw")
    smaller = report_of(model, 10**9, micro_batch=1).stages[0].cost.peak_bytes("adamw")
    assert smaller < peak
    # Room for the smaller micro-batch and the 5 % that stay free.
    gpu_bytes = (smaller + peak) // 2 * 100 // 95
    (stage,) = report_of(model, gpu_bytes).stages
    assert not stage.fits
    assert stage.remedies[0].changes == ("micro-batch 1",)
    assert stage.remedies[0].in_words == f"micro-batch 1: {shown_bytes(stage.remedies[0].peak_bytes)}"
    assert stage.remedies[0].peak_bytes <= limit_bytes(gpu_bytes, 0.05)
    # Half of what weights and optimizer take: only less of them helps.
    (stage,) = report_of(model, free.cost.weight_bytes + free.cost.state_bytes["adamw"] // 3).stages
    assert "bf16 weights" in stage.remedies[0].changes or "8-bit AdamW" in stage.remedies[0].changes


def test_more_gpus_share_weights_gradients_and_state_but_not_activations(model: Path) -> None:
    """By hand; and while it is measured each holds the whole model."""
    (stage,) = report_of(model, 10**9).stages
    case = Case(stage=named_plan("full").stages[0], settings=StepSettings(), optimizer="adamw", process_bytes=7)
    cost = replace(stage.cost, resting_bytes=0)
    held = cost.weight_bytes + cost.gradient_bytes + cost.state_bytes["adamw"]
    own = cost.activation_bytes + cost.root_bytes + 2 * cost.block_bytes + 7
    found = sharded(case, lambda *_: cost, own + held // 3)
    assert found is not None
    assert (found.n_gpus, found.peak_bytes) == (4, -(-held // 4) + own)
    assert sharded(case, lambda *_: cost, own - 1) is None
    whole = replace(cost, resting_bytes=own + held)
    assert sharded(case, lambda *_: whole, own + held + 6) is None
    assert first_that_fits(case, lambda *_: cost, 1, Lora(rank=4)) is None


def test_the_weights_outside_the_blocks_and_of_a_block_are_those_of_the_model(model: Path) -> None:
    """By hand, in 32 bits: 600 rows of 64 twice, their 88 new ones apart, and the last norm."""
    (stage,) = report_of(model, 10**9).stages
    assert stage.cost.root_bytes == 4 * (2 * (600 + 88) * 64 + 64)
    assert stage.cost.block_bytes == 4 * (2 * 64 * 64 + 2 * 32 * 64 + 3 * 160 * 64 + 2 * 64)


@pytest.mark.slow
def test_a_stage_that_does_not_fit_is_named_with_what_would_help(model: Path) -> None:
    result = vocabopt("plan", model, "--added", 88, "--budget", "1Mtok", "--plan", "full", "--gpu", "2MB", *SMALL)
    assert result.exit_code == 0, result.stderr
    assert "Stage all does not fit --gpu 2MB (1.0 GB with adamw)." in result.stdout
    result = vocabopt(
        "plan", model, "--added", 88, "--budget", "1Mtok", "--plan", "full", "--gpu", "2MB", "--process-memory", "0",
        *SMALL,
    )  # fmt: skip
    assert re.search(r"Stage all does not fit --gpu 2MB \(\d\.\d MB with adamw\)\.", result.stdout)


@pytest.mark.slow
def test_the_margin_and_the_process_s_own_memory_decide_what_fits(model: Path) -> None:
    """To the byte: the peak of tensors and the process must leave the margin, and so must what is named as a remedy."""
    free = report_of(model, 10**9).stages[0]
    needed = free.cost.peak_bytes("adamw")
    assert needed == free.peak_bytes["adamw"]
    for margin, own in ((0.05, 0), (0.2, 0), (0.2, 1_000_000)):
        options = {"margin": margin, "process_memory": str(own)}
        gpu_bytes = next(
            n for n in range(int((needed + own) / (1 - margin)) - 2, 10**9) if int(n * (1 - margin)) >= needed + own
        )
        fits, tight = (report_of(model, n, **options).stages[0] for n in (gpu_bytes, gpu_bytes - 2))
        assert fits.fits
        assert fits.peak_bytes["adamw"] == needed + own
        assert not tight.fits
        assert all(remedy.peak_bytes <= (gpu_bytes - 2) * (1 - margin) for remedy in tight.remedies)
        assert tight.remedies
    record = as_json(model, "--added", 88, "--budget", "1Mtok", "--margin", 0.1, "--gpu", "24GB", *SMALL)
    assert (record["gpu_bytes"], record["margin"], record["process_bytes"]) == (24 * 10**9, 0.1, 10**9)


# --- Several GPUs, measuring, disk and host -------------------------------------------------------------------------


@pytest.mark.slow
def test_several_gpus_divide_hours_and_a_step(model: Path) -> None:
    """A step of 256 tokens is four sequences of 64: two a GPU on two of them, so that none waits for a second pass."""
    one, two = (report_of(model, 10**9, n_gpus=n, micro_batch=2) for n in (1, 2))
    assert two.hours == pytest.approx(one.hours / 2)
    assert two.stages[0].flops == one.stages[0].flops
    assert step_settings(one.options).accumulates
    assert not step_settings(two.options).accumulates
    cost = two.stages[0].cost
    assert two.stages[0].peak_bytes["adamw"] == cost.peak_bytes("adamw") + cost.gradient_bytes
    split = report_of(model, 10**9, n_gpus=2, micro_batch=2, shard=True).stages[0]
    assert split.peak_bytes["adamw"] < one.stages[0].peak_bytes["adamw"]
    result = vocabopt("plan", model, "--added", 88, "--budget", "1Mtok", "--gpus", 4, "--shard", *SMALL)
    assert "4 GPUs: hours are those of one divided by 4, without the time that communication takes" in result.stdout
    assert "Memory is arithmetic: their parts of weights, gradients and optimizer state" in result.stdout


def test_measuring_takes_the_flops_that_torch_counts_in_a_forward_pass(model: Path) -> None:
    config = LlamaConfig(**{**CONFIG, "vocab_size": 600})
    real = LlamaForCausalLM(config).eval()
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        real(input_ids=torch.zeros((1, 64), dtype=torch.int64), use_cache=False)
    of_token = counter.get_total_flops() / 64
    report = report_of(model, 10**9, eval_tokens="6400tok", eval_every="end", eval_tflops=0.5, device="cpu")
    # A config that does not say its type is published in 16 bits: weights that trained in 32 are measured rounded too.
    assert report.measuring.n_times == 3
    assert report.measuring.flops == 3 * 6400 * of_token
    assert report.measuring.hours == pytest.approx(3 * 6400 * of_token / 0.5e12 / 3600)
    assert report.hours == pytest.approx(report.measuring.hours + report.stages[0].hours)
    halves = report_of(model, 10**9, precision="bf16", eval_every="stage")
    assert (halves.measuring.n_times, halves.options.tflops_of_measuring) == (3, 400.0)


@pytest.mark.slow
def test_disk_and_host_memory_by_hand(model: Path) -> None:
    """redwhale: the new rows' model and four stages; checkpoints of weights that train, and two states of each."""
    report = report_of(model, 10**9, plan="redwhale", precision="bf16")
    whole = 2 * report.n_params
    of_each = [stage.cost.gradient_bytes + stage.cost.state_bytes["adamw"] for stage in report.stages]
    beside = [max(3 * n, 2 * n + whole) - whole for n in of_each]
    assert report.disk_bytes["all"] == max((n + 2) * whole + more for n, more in enumerate(beside))
    assert report.disk_bytes["last"] == 2 * whole + max(beside)
    # Without bf16-mixed nothing waits in the host's memory: every process loads the weights, or a checkpoint is saved.
    for n_gpus in (1, 2):
        of_more = report_of(model, 10**9, plan="redwhale", precision="bf16", n_gpus=n_gpus, process_memory="5MB")
        weights = max(stage.cost.resting_bytes for stage in of_more.stages)
        assert of_more.host_bytes == n_gpus * 5_000_000 + max(n_gpus * weights, *of_each)
    mixed = report_of(model, 10**9, plan="redwhale")
    frozen = max(2 * (stage.cost.resting_bytes - stage.cost.weight_bytes) for stage in mixed.stages)
    assert frozen > 0
    assert mixed.host_bytes is not None
    assert mixed.host_bytes > frozen
    assert report_of(model, 10**9, device="cpu").host_bytes is None


# --- Models ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_s_config_has_the_model_s_published_parameters(name: str) -> None:
    """As in test_cost.py: the published sizes."""
    from trainer.memory.build import outline_of

    published = {
        "solar-10.7b": 10_731_524_096,
        "llama-2-7b": 6_738_415_616,
        "llama-2-13b": 13_015_864_320,
        "mistral-7b": 7_241_732_096,
        "llama-3-8b": 8_030_261_248,
        "llama-3.2-1b": 1_235_814_400,
        "qwen2.5-0.5b": 494_032_768,
        "qwen2.5-7b": 7_615_616_512,
        "gpt2": 124_439_808,
        "gemma-2-2b": 2_614_341_888,
    }
    config, spec = read_config(name)
    assert outline_of(with_rows(config, spec.n_rows)).n_params == published[name]


def test_redwhale_s_lora_trains_about_the_share_that_the_paper_reports() -> None:
    """4.6 % of SOLAR-10.7B with 49,072 rows; a model of 10.9 billion parameters is predicted from its config alone."""
    options = PlanOptions(model="solar-10.7b", n_added=17_072, budget="9.7Btok", gpu="2TB")
    report = plan_report(options)
    share = report.stages[-1].cost.n_trainable / report.n_params
    assert named_plan("redwhale").stages[-1].lora is not None
    assert share == pytest.approx(0.046, abs=0.001)
    # Tables first: 2 x 49,072 x 4,096 weights.
    assert report.stages[0].cost.n_trainable == 2 * 49_072 * 4_096


# --- Refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["no-such-model", "--added", 1, "--budget", "1Mtok"], r"MODEL no-such-model: no such preset .* solar-10.7b"),
        (["gpt2", "--added", 1, "--budget", "many"], r"--budget many: write tokens, as 2Btok or 300Mtok"),
        (["gpt2", "--added", 1, "--budget", "10MB"], r"--budget 10MB: write tokens"),
        (["gpt2", "--added", 1, "--budget", "Btok"], r"--budget Btok: write tokens, as 2Btok or 300Mtok"),
        (["gpt2", "--budget", "1Mtok"], r"Name what is added: --run DIR .*, --tokenizer TOK, or --added N"),
        (["gpt2", "--added", -1, "--budget", "1Mtok"], r"--added -1: must be at least 0"),
        (["gpt2", "--added", 1, "--budget", "1Mtok", "--plan", "best"], r"--plan best: no such plan. Choose redwhale"),
        (
            ["gpt2", "--added", 1, "--budget", "1Mtok", "--gpu", "big"],
            r"--gpu big: write a number of at least 1, such as 80GB or 24GiB",
        ),
        (["gpt2", "--added", 1, "--budget", "1Mtok", "--tflops", 0], r"--tflops 0.0: must be above 0"),
        (["gpt2", "--added", 1, "--budget", "1Mtok", "--context", 4096], r"--context 4096: MODEL gpt2 has 1,024"),
        (["gpt2", "--added", 1, "--budget", "-2Btok"], r"--budget -2Btok: write tokens, as 2Btok or 300Mtok"),
        (["gpt2", "--added", 1, "--budget", "1Mtok", "--batch", "0tok"], r"--batch 0tok: write tokens, as 32768tok"),
        (["gpt2", "--added", 1, "--budget", "1Mtok", "--batch", "1MB"], r"--batch 1MB: write tokens, as 32768tok"),
        (["gpt2", "--added", 1, "--budget", "1Mtok", "--gpus", 0], r"--gpus 0: must be at least 1"),
        (["gpt2", "--added", 1, "--budget", "1Mtok", "--shard"], r"--shard: splits a model over several GPUs"),
        (["gpt2", "--added", 1, "--budget", "1Mtok", "--margin", 1], r"--margin 1.0: must be from 0 to below 1"),
        (["gpt2", "--added", 1, "--budget", "1Mtok", "--process-memory", "x"], r"--process-memory x: .* such as 1GB"),
        (["gpt2", "--added", 1, "--budget", "1Mtok", "--eval-tokens", "1MB"], r"--eval-tokens 1MB: write tokens"),
        (["gpt2", "--added", 1, "--budget", "1Mtok", "--eval-tflops", 0], r"--eval-tflops 0.0: must be above 0"),
        (["gpt2", "--added", 1, "--budget", "1Mtok", "--lora-rank", 0], r"--lora-rank 0: must be at least 1, such as"),
        (["gpt2", "--run", "nowhere", "--budget", "1Mtok", "--context", 4096], r"nowhere: no such folder. Name"),
    ],
)
def test_bad_options_are_refused(arguments: list[object], match: str, tmp_path: Path) -> None:
    assert_refused(vocabopt("plan", *arguments), match, tmp_path)


def test_a_model_smaller_than_the_tokenizer_s_base_is_refused(model: Path, tmp_path: Path) -> None:
    merged = extension(tmp_path / "merged", n_added=100, n_tokens=32_100)
    result = vocabopt("plan", model, "--tokenizer", merged, "--budget", "1Mtok", *SMALL)
    assert_refused(
        result, r"MODEL model: its embedding has 512 rows, but the tokenizer that .* extends has 32,000", tmp_path
    )


def test_a_plan_with_a_block_that_the_model_lacks_is_refused(model: Path, tmp_path: Path) -> None:
    one = written(tmp_path / "one" / "config.json", json.dumps({**CONFIG, "num_hidden_layers": 1})).parent
    result = vocabopt("plan", one, "--added", 8, "--budget", "1Mtok", "--plan", "top2-bottom2", *SMALL)
    assert_refused(result, r"blocks \[1, 2, -2, -1\]: the model has 1 blocks, there is no block", tmp_path)


def test_a_config_that_transformers_does_not_know_is_refused(tmp_path: Path) -> None:
    config = written(tmp_path / "config.json", json.dumps({**CONFIG, "model_type": "unheard-of"}))
    assert_refused(
        vocabopt("plan", config, "--added", 8, "--budget", "1Mtok"), r"config.json: transformers cannot", tmp_path
    )

"""Predicted memory and FLOPs of a stage against torch's allocator records and its FLOP counter, on real models."""

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from measured_peak import measure_peak_bytes
from stages import CONTEXT, NEW_IDS, TinyText, tiny_llama
from torch.utils.flop_counter import FlopCounterMode
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

from trainer.layout import layout_of
from trainer.memory import StageCost, StepSettings, predict_stage
from trainer.memory.build import outline_of, sample_of
from trainer.plan import Lora, Stage, named_plan
from trainer.stages import StageSettings, run_stage
from trainer.stages.freeze import prepare_stage
from vocabopt.console import Console
from vocabopt.errors import ModelError, PlanError

N_ROWS, N_NEW = 512, 64
#: Apart from each other, as a swap has them; a prediction takes the last rows.
NEW_IDS_APART = range(3, N_ROWS, N_ROWS // N_NEW)
COMMON: dict[str, Any] = {"vocab_size": N_ROWS, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
GROUPED: dict[str, Any] = {**COMMON, "hidden_size": 64, "intermediate_size": 160, "num_attention_heads": 4}
MODELS: dict[str, dict[str, Any]] = {
    "llama": {**GROUPED, "num_key_value_heads": 2},
    "qwen2": {**GROUPED, "num_key_value_heads": 2, "tie_word_embeddings": True},
    "gpt2": {**COMMON, "hidden_size": 64, "num_attention_heads": 4, "loss_type": "ForCausalLM"},
}
REDWHALE = {stage.name: stage for stage in named_plan("redwhale", Lora(rank=8)).stages}
STAGES = {
    **REDWHALE,
    "full": named_plan("full").stages[0],
    "new-rows": named_plan("inplace").stages[0],
}
#: Where activations and logits weigh most, and where weights and optimizer do.
LONG, SHORT = (128, 4), (16, 1)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Models this small are slower on several."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


def config_of(kind: str, n_blocks: int, **fields: Any) -> PreTrainedConfig:
    return CONFIG_MAPPING[kind](**{**MODELS[kind], "num_hidden_layers": n_blocks, **fields})


def settings(shape: tuple[int, int] = LONG, **values: Any) -> StepSettings:
    defaults: dict[str, Any] = {"precision": "fp32", "device": "cpu"}
    return StepSettings(context_tokens=shape[0], micro_batch=shape[1], **{**defaults, **values})


def prepared(config: PreTrainedConfig, stage: Stage, how: StepSettings, **options: Any) -> PreTrainedModel:
    """A real model, ready for a stage."""
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=how.dtype, **options)
    prepare_stage(model, stage, layout_of(model), NEW_IDS_APART)
    if how.gradient_checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})
    model.train()
    return model


def batch_of(how: StepSettings) -> dict[str, torch.Tensor]:
    """Two documents in every sequence."""
    n_tokens = how.context_tokens
    ids = torch.arange(how.micro_batch * n_tokens).view(how.micro_batch, n_tokens) % N_ROWS
    positions = (torch.arange(n_tokens) % (n_tokens // 2 + 1)).expand_as(ids)
    return {"input_ids": ids, "labels": ids, "position_ids": positions}


def measured(config: PreTrainedConfig, stage: Stage, how: StepSettings) -> int:
    """The peak of two real steps, as the trainer makes them."""
    model = prepared(config, stage, how)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, fused=True)

    def steps() -> None:
        for _ in range(2):
            for _ in range(2 if how.accumulates else 1):
                with torch.autocast("cpu", torch.bfloat16, enabled=how.precision == "bf16-mixed"):
                    loss = model(**batch_of(how), use_cache=False).loss
                loss.backward()
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            optimizer.zero_grad()

    gc.collect()
    return measure_peak_bytes(steps, model)


def predicted(config: PreTrainedConfig, stage: Stage, how: StepSettings) -> StageCost:
    return predict_stage(outline_of(config), stage, how, n_new=N_NEW)


# --- Memory ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "stage", "how"),
    [
        ("llama", "embeddings-head", settings(precision="bf16-mixed", gradient_checkpointing=True)),
        ("llama", "odd-blocks", settings()),
        ("llama", "new-rows", settings(SHORT, accumulates=False)),
        ("gpt2", "even-blocks", settings(SHORT)),
        ("gpt2", "full", settings(precision="bf16-mixed")),
        ("gpt2", "lora", settings(gradient_checkpointing=True)),
        ("qwen2", "embeddings-head", settings(SHORT)),
        ("qwen2", "even-blocks", settings(precision="bf16-mixed", accumulates=False)),
        ("qwen2", "full", settings(precision="bf16")),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{value.context_tokens}x{value.micro_batch}",
)
def test_the_predicted_peak_is_the_measured_one(kind: str, stage: str, how: StepSettings) -> None:
    """The project promises 15 %; on a CPU it is nearer: what is left are the kernels' own work space and counts."""
    config = config_of(kind, n_blocks=2)
    peak = predicted(config, STAGES[stage], how).peak_bytes("adamw")
    assert peak == pytest.approx(measured(config, STAGES[stage], how), rel=0.05)


def test_the_peak_of_a_deep_model_is_predicted_from_a_sample_of_its_blocks() -> None:
    config = config_of("llama", n_blocks=8)
    stage, how = STAGES["even-blocks"], settings((32, 2), accumulates=False)
    assert len(set(sample_of(outline_of(config), stage, is_checkpointed=False).sample_of)) == 6
    assert predicted(config, stage, how).peak_bytes("adamw") == pytest.approx(measured(config, stage, how), rel=0.05)


def test_the_peak_that_a_trained_stage_reports_is_the_predicted_one(tmp_path: Path) -> None:
    """Through transformers' Trainer, all of it: what adapt.json will hold."""
    how = StageSettings(
        context_tokens=CONTEXT, batch_tokens=8 * CONTEXT, micro_batch=4, precision="bf16-mixed", cpu=True
    )
    model, stage = tiny_llama(4), STAGES["odd-blocks"]
    cost = predict_stage(
        outline_of(model.config), stage, settings((CONTEXT, 4), precision="bf16-mixed"), n_new=len(NEW_IDS)
    )
    text: Any = TinyText(n_blocks=24)
    run = run_stage(model, stage, text, how, tmp_path / "stage", new_ids=NEW_IDS, console=Console(quiet=True))
    assert run.n_trainable == cost.n_trainable
    assert cost.peak_bytes("adamw") == pytest.approx(run.peak_bytes, rel=0.15)


@pytest.mark.slow
def test_every_stage_takes_less_than_full_training_predicted_and_measured() -> None:
    """Where the weights weigh most, as in a large model, the stages are what makes training fit."""
    config, how = config_of("llama", n_blocks=2, intermediate_size=512), settings(SHORT, accumulates=False)
    full, full_measured = predicted(config, STAGES["full"], how), measured(config, STAGES["full"], how)
    for stage in REDWHALE.values():
        share = predicted(config, stage, how).peak_bytes("adamw") / full.peak_bytes("adamw")
        share_measured = measured(config, stage, how) / full_measured
        assert share == pytest.approx(share_measured, rel=0.05), stage.name
        assert share_measured < 0.8, stage.name


@pytest.mark.parametrize(
    ("stage", "how"),
    [
        (STAGES["embeddings-head"], settings()),
        (STAGES["odd-blocks"], settings()),
        (STAGES["even-blocks"], settings(precision="bf16-mixed", gradient_checkpointing=True)),
        (STAGES["lora"], settings(precision="bf16-mixed")),
        (STAGES["full"], settings(precision="bf16-mixed", gradient_checkpointing=True, accumulates=False)),
        (named_plan("sequential").stages[1], settings(accumulates=False)),
        (named_plan("top2-bottom2").stages[0], settings()),
        (Stage(name="some", head="all", blocks=(5, 7, 8)), settings(precision="bf16-mixed")),
        (Stage(name="head", head="all"), settings(precision="bf16")),
    ],
    ids=lambda value: value.name if isinstance(value, Stage) else value.precision,
)
def test_repeating_a_sample_s_blocks_equals_running_them_all(
    stage: Stage, how: StepSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    outline = outline_of(config_of("llama", n_blocks=9))
    sample = sample_of(outline, stage, is_checkpointed=how.gradient_checkpointing)
    assert len(set(sample.sample_of)) < 9
    of_sample = predict_stage(outline, stage, how, n_new=N_NEW)
    monkeypatch.setattr("trainer.memory.build.N_EDGE", 9)
    assert predict_stage(outline, stage, how, n_new=N_NEW) == of_sample


def test_layer_types_of_the_sample_are_those_of_the_blocks_it_stands_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gemma 3 has a layer with full attention after five with a window, whose masks differ."""
    fields = {"num_key_value_heads": 2, "head_dim": 16, "sliding_window": 16}
    config = CONFIG_MAPPING["gemma3_text"](**{**GROUPED, **fields, "num_hidden_layers": 14})
    outline, stage = outline_of(config), STAGES["odd-blocks"]
    sample = sample_of(outline, stage, is_checkpointed=False)
    assert [sample.config.layer_types[number - 1] for number in sample.sample_of] == config.layer_types
    assert len(sample.config.layer_types) < 14
    of_sample = predict_stage(outline, stage, settings(), n_new=0)
    monkeypatch.setattr("trainer.memory.build.N_EDGE", 14)
    assert predict_stage(outline, stage, settings(), n_new=0) == of_sample


def test_trainable_parameters_are_those_that_the_trainer_prepares() -> None:
    config = config_of("llama", n_blocks=8)
    outline = outline_of(config)
    for stage in (STAGES["embeddings-head"], STAGES["even-blocks"], STAGES["lora"], STAGES["new-rows"]):
        model = AutoModelForCausalLM.from_config(config)
        ready = prepare_stage(model, stage, layout_of(model), NEW_IDS_APART)
        assert predict_stage(outline, stage, settings(SHORT), n_new=N_NEW).n_trainable == ready.n_trainable


def test_optimizer_state_by_hand() -> None:
    """One block of width 64: AdamW 8 bytes a weight and a count; 8 bits: 2 and a scale a 256, vectors in 32 bits."""
    cost = predicted(config_of("llama", n_blocks=1), Stage(name="block", blocks=(1,)), settings(SHORT))
    matrices = [64 * 64, 32 * 64, 32 * 64, 64 * 64, 160 * 64, 160 * 64, 64 * 160]
    small = [n for n in matrices if n < 4_096] + [64, 64]
    assert cost.n_trainable == sum(matrices) + 128
    assert cost.gradient_bytes == 4 * cost.n_trainable
    assert cost.state_bytes["adamw"] == 8 * cost.n_trainable + 4 * 9
    large = [n for n in matrices if n >= 4_096]
    assert cost.state_bytes["adamw-8bit"] == sum(2 * n + 8 * n // 256 for n in large) + 8 * sum(small)
    assert cost.peak_bytes("adamw-8bit") == cost.peak_bytes("adamw") - (
        cost.state_bytes["adamw"] - cost.state_bytes["adamw-8bit"]
    )


def test_measured_bytes_by_hand() -> None:
    """A weight of 40 bytes, and 8,000 + 4,000 at once, of which one is given back in between."""
    model = torch.nn.Linear(10, 1, bias=False)

    def step() -> None:
        first = torch.empty(1_000, dtype=torch.float64)
        del first
        _ = torch.empty(500), torch.empty(500, dtype=torch.float64), torch.empty(1_500)

    assert measure_peak_bytes(step, model) == 40 + 2_000 + 4_000 + 6_000


def test_a_fused_loss_saves_the_logits_and_computes_as_much() -> None:
    """4,096 rows, 512 tokens: the log-probabilities and their gradient, 8 MiB each, are not held."""
    config = config_of("llama", n_blocks=2, vocab_size=4_096)
    stage = Stage(name="blocks", blocks="all")
    plain = predicted(config, stage, settings())
    fused = predicted(config, stage, settings(fused_loss=True))
    assert fused.flops == plain.flops
    logits_bytes = 4 * 512 * 4_096
    saved = plain.peak_bytes("adamw") - fused.peak_bytes("adamw")
    assert logits_bytes < saved < 3 * logits_bytes


def test_on_cuda_every_block_keeps_a_mask_and_no_scores() -> None:
    """torch makes a mask of the query's type at every call and keeps it: 2 bytes x T x T in each of 6 blocks.

    Beside them stands the mask itself and what it is made from, once. All else grows with T. (Four heads' scores and
    their softmax would be another 16 bytes x T x T a block.)
    """
    outline = outline_of(config_of("gpt2", n_blocks=6))
    short, middle, long = (
        predict_stage(outline, STAGES["full"], settings((n, 1), precision="bf16", device="cuda"), n_new=0)
        for n in (256, 384, 512)
    )
    curvature = long.activation_bytes - 2 * middle.activation_bytes + short.activation_bytes
    assert 6 * 2 <= curvature / (2 * 128**2) < 6 * 2 + 4


def test_on_cuda_autocast_takes_powers_in_32_bits() -> None:
    """GPT-2 cubes its 16-bit activations, 4 x 64 wide; on CUDA a 32-bit copy of them is kept, and its cube is one."""
    outline = outline_of(config_of("gpt2", n_blocks=4, attn_pdrop=0.0))
    on_cpu, on_cuda = (
        predict_stage(outline, STAGES["full"], settings(precision="bf16-mixed", device=device), n_new=0)
        for device in ("cpu", "cuda")
    )
    assert on_cuda.activation_bytes - on_cpu.activation_bytes > 4 * 512 * 256 * 2


# --- Compute ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "stages", "is_checkpointed"),
    [
        ("llama", ["odd-blocks", "lora", "full"], False),
        ("llama", ["even-blocks", "full"], True),
        ("gpt2", ["even-blocks", "lora"], False),
        ("qwen2", ["embeddings-head", "new-rows"], False),
    ],
)
def test_flops_of_every_stage_are_those_that_torch_counts(kind: str, stages: list[str], is_checkpointed: bool) -> None:
    """Of a real run with written-out attention: the counter does not know the fused kernel of a CPU."""
    config = config_of(kind, n_blocks=2)
    how = settings((24, 2), gradient_checkpointing=is_checkpointed, accumulates=False)
    for name in stages:
        model = prepared(config, STAGES[name], how, attn_implementation="eager")
        with FlopCounterMode(display=False) as counter:
            model(**batch_of(how), use_cache=False).loss.backward()
        cost = predicted(config, STAGES[name], how)
        assert cost.flops == counter.get_total_flops(), name
        assert cost.training_flops(10 * cost.tokens_per_pass) == 10 * cost.flops


# --- What cannot be predicted ----------------------------------------------------------------------------------------


def test_a_stage_that_names_a_block_that_is_not_there_is_refused() -> None:
    with pytest.raises(PlanError, match=r"blocks \[9\]: the model has 3 blocks, there is no block 9"):
        predicted(config_of("llama", n_blocks=3), Stage(name="far", blocks=(9,)), settings(SHORT))


def test_a_model_whose_step_depends_on_values_is_refused_with_what_to_do() -> None:
    fields = {"num_key_value_heads": 2, "num_local_experts": 4, "num_experts_per_tok": 2, "num_hidden_layers": 2}
    outline = outline_of(CONFIG_MAPPING["mixtral"](**{**GROUPED, **fields}, experts_implementation="eager"))
    with pytest.raises(ModelError, match=r"MixtralForCausalLM: .* cannot be followed .* adapt on a little text"):
        predict_stage(outline, STAGES["full"], settings(SHORT, precision="bf16-mixed"), n_new=0)


def test_a_config_that_is_no_causal_language_model_is_refused() -> None:
    with pytest.raises(ModelError, match="model_type 'clip'"):
        outline_of(CONFIG_MAPPING["clip"]())

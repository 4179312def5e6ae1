"""One stage of training: the same weights as a plain loop of torch, the frozen ones untouched."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from stages import (
    CONTEXT,
    NEW_IDS,
    SETTINGS,
    TEXT,
    StoppedError,
    TinyText,
    stop_at,
    tensors_of,
    tiny_gpt2,
    tiny_llama,
    tiny_qwen2,
    train,
)
from transformers import AutoModelForCausalLM, PreTrainedModel

from trainer.plan import Lora, Stage, named_plan
from trainer.stages.loop import learning_rate_factor
from trainer.stages.record import is_finished
from trainer.stages.run import finished_run

pytestmark = pytest.mark.usefixtures("one_thread")


# --- Against a plain loop of torch ------------------------------------------------------------------------------------


def plain_loop(
    model: PreTrainedModel, names: set[str], factors: list[float], *, rate: float, decay: float, new_rows_factor: float
) -> list[float]:
    """AdamW on whole steps, without accumulation. AdamW's update is in proportion to the learning rate, so that the
    faster new rows are what it did to them, times the factor (without decay)."""
    blocks = TEXT.dataset(SETTINGS.seed)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in names)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": decay},
        {"params": [p for p in trained if p.ndim == 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW([g for g in groups if g["params"]], betas=(0.9, 0.95), eps=1e-8)
    tables = list(
        {id(t): t for t in (model.get_input_embeddings().weight, model.get_output_embeddings().weight)}.values()
    )
    losses = []
    model.train()
    for step, factor in enumerate(factors):
        rows = [blocks[n] for n in range(4 * step, min(4 * step + 4, len(blocks)))]
        # With a cache transformers would let the documents of a block see each other.
        loss = model(**{name: torch.stack([row[name] for row in rows]) for name in rows[0]}, use_cache=False).loss
        losses.append(loss.item())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, SETTINGS.max_grad_norm)
        before = [table.detach().clone() for table in tables]
        for group in optimizer.param_groups:
            group["lr"] = rate * factor
        optimizer.step()
        optimizer.zero_grad()
        with torch.no_grad():
            for table, old in zip(tables, before, strict=True):
                new = list(NEW_IDS)
                table[new] = old[new] + new_rows_factor * (table[new] - old[new])
    return losses


def test_a_stage_equals_a_plain_loop_with_adamw(tmp_path: Path) -> None:
    """Blocks, norm and the input table, with decay, clipping, accumulation and a smaller last step."""
    stage = Stage(
        name="some",
        embeddings="all",
        blocks="odd",
        other=True,
        learning_rate=1e-2,
        weight_decay=0.1,
        schedule="linear",
        warmup=0.3,
    )
    model, plain = tiny_llama(3), tiny_llama(3)
    run = train(model, stage, tmp_path)
    # Two steps of warmup, then from 1 to 0.1 in four steps: worked by hand.
    factors = [1 / 3, 2 / 3, 1.0, 0.7, 0.4, 0.1]
    odd = {name for name, _ in plain.named_parameters() if name.startswith(("model.layers.0.", "model.layers.2."))}
    names = odd | {"model.embed_tokens.weight", "model.norm.weight"}
    losses = plain_loop(plain, names, factors, rate=1e-2, decay=0.1, new_rows_factor=1.0)
    assert [point.learning_rate for point in run.curve] == pytest.approx([1e-2 * factor for factor in factors])
    assert [point.loss for point in run.curve] == pytest.approx(losses, rel=1e-5)
    start = tiny_llama(3).state_dict()
    for name, tensor in plain.state_dict().items():
        assert torch.allclose(model.state_dict()[name], tensor, atol=2e-6), name
        assert torch.equal(tensor, start[name]) is (name not in names), name


@pytest.mark.parametrize("make", [tiny_llama, tiny_qwen2])
def test_new_rows_learn_at_their_own_rate(tmp_path: Path, make: Any) -> None:
    stage = Stage(
        name="tables",
        embeddings="all",
        head="all",
        learning_rate=1e-3,
        new_rows_factor=5.0,
        schedule="constant",
        warmup=0,
    )
    model, plain = make(), make()
    run = train(model, stage, tmp_path)
    names = {"model.embed_tokens.weight", "lm_head.weight"}
    losses = plain_loop(plain, names, [1.0] * 6, rate=1e-3, decay=0.0, new_rows_factor=5.0)
    assert [point.loss for point in run.curve] == pytest.approx(losses, rel=1e-5)
    assert all(torch.allclose(t, plain.state_dict()[name], atol=2e-6) for name, t in model.state_dict().items())


def test_bf16_mixed_keeps_fp32_weights_and_comes_near(tmp_path: Path) -> None:
    stage = Stage(name="all", embeddings="all", head="all", blocks="all", other=True, learning_rate=1e-3)
    exact, mixed = tiny_llama(), tiny_llama()
    of_exact = train(exact, stage, tmp_path / "fp32")
    of_mixed = train(mixed, stage, tmp_path / "mixed", settings=replace(SETTINGS, precision="bf16-mixed"))
    assert mixed.dtype == torch.float32
    assert [p.loss for p in of_mixed.curve] == pytest.approx([p.loss for p in of_exact.curve], rel=2e-2)
    assert [p.loss for p in of_mixed.curve] != [p.loss for p in of_exact.curve]
    assert "forward" not in vars(mixed)


def test_bf16_trains_weights_in_bf16(tmp_path: Path) -> None:
    stage = Stage(name="lora", embeddings="new", head="new", blocks="all", lora=Lora(rank=4, alpha=8))
    model = tiny_llama().to(torch.bfloat16)
    run = train(model, stage, tmp_path, settings=replace(SETTINGS, precision="bf16"))
    assert all(math.isfinite(point.loss) for point in run.curve)
    assert {tensor.dtype for tensor in load_file(tmp_path / "model" / "model.safetensors").values()} == {torch.bfloat16}


@pytest.mark.parametrize("make", [tiny_llama, tiny_gpt2])
@pytest.mark.parametrize(
    "stage",
    [
        Stage(name="odd", blocks="odd", learning_rate=1e-2),
        Stage(name="even", blocks="even", learning_rate=1e-2),
        Stage(name="lora", blocks="all", lora=Lora(rank=4, alpha=8), learning_rate=1e-2),
    ],
    ids=lambda stage: stage.name,
)
def test_gradient_checkpointing_gives_the_same_weights(tmp_path: Path, stage: Stage, make: Any) -> None:
    """The table below is frozen, so that what goes into the first block wants no gradient. Also where that block does
    not train, for adapters, and with dropout."""
    plain, checkpointed = make(), make()
    of_plain = train(plain, stage, tmp_path / "plain")
    settings = replace(SETTINGS, gradient_checkpointing=True)
    of_checkpointed = train(checkpointed, stage, tmp_path / "checkpointed", settings=settings)
    assert [point.loss for point in of_checkpointed.curve] == [point.loss for point in of_plain.curve]
    assert all(torch.equal(t, plain.state_dict()[name]) for name, t in checkpointed.state_dict().items())
    assert not checkpointed.is_activation_checkpointing
    start = make().state_dict()
    moved = [name for name, tensor in plain.state_dict().items() if not torch.equal(tensor, start[name])]
    assert any(".0." in name for name in moved) is (stage.name != "even")


# --- Frozen is frozen -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [tiny_llama, tiny_gpt2, tiny_qwen2])
def test_frozen_tensors_are_identical_after_each_stage(tmp_path: Path, make: Any) -> None:
    model = make()
    layers = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "c_attn", "c_proj", "c_fc")
    for stage in named_plan("redwhale", Lora(rank=4, alpha=8)).stages:
        before = tensors_of(model)
        train(model, replace(stage, weight_decay=0.1), tmp_path / stage.name)
        changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
        tables = {"model.embed_tokens.weight", "lm_head.weight", "transformer.wte.weight"}
        block_of = {
            name: int(next(p for p in name.split(".") if p.isdigit()))
            for name in before
            if ".0." in name or ".1." in name
        }
        expected = {
            "embeddings-head": {name for name in before if name in tables},
            "odd-blocks": {name for name, block in block_of.items() if block == 0},
            "even-blocks": {name for name, block in block_of.items() if block == 1},
            "lora": {n for n in block_of if n.endswith(".weight") and n.split(".")[-2] in layers},
        }[stage.name]
        # A key's bias has no gradient: softmax takes it out. Rounding leaves some of it.
        assert expected - changed <= {name for name in expected if name.endswith("k_proj.bias")}
        assert changed <= expected
        saved = AutoModelForCausalLM.from_pretrained(tmp_path / stage.name / "model").state_dict()
        assert saved.keys() == before.keys()
        assert all(torch.equal(saved[name], tensor) for name, tensor in model.state_dict().items())


def test_old_rows_stay_with_decay_where_new_ones_train(tmp_path: Path) -> None:
    model = tiny_qwen2()
    before = tensors_of(model)
    stage = Stage(name="new", embeddings="new", head="new", weight_decay=0.5, learning_rate=1e-2)
    train(model, stage, tmp_path)
    old = [row for row in range(96) if row not in NEW_IDS]
    table = model.state_dict()["model.embed_tokens.weight"]
    assert torch.equal(table[old], before["model.embed_tokens.weight"][old])
    assert not (table[list(NEW_IDS)] == before["model.embed_tokens.weight"][list(NEW_IDS)]).any()


def test_checkpoints_hold_what_trains_and_its_optimizer_state_only(tmp_path: Path) -> None:
    stage = Stage(name="s", embeddings="new", blocks=(2,), other=True)
    with pytest.raises(StoppedError):
        train(tiny_gpt2(), stage, tmp_path, on_log=stop_at(3))
    folder = tmp_path / "checkpoints" / "step-00000002"
    second = {
        f"transformer.h.1.{layer}.{part}"
        for layer in ("ln_1", "attn.c_attn", "attn.c_proj", "ln_2", "mlp.c_fc", "mlp.c_proj")
        for part in ("weight", "bias")
    }
    rest = {"transformer.wpe.weight", "transformer.ln_f.weight", "transformer.ln_f.bias"}
    trained = second | rest | {"transformer.wte.parametrizations.weight.0.rows"}
    assert load_file(folder / "trainable.safetensors").keys() == trained
    keys = {f"{name}|{key}" for name in trained for key in ("step", "exp_avg", "exp_avg_sq")}
    assert load_file(folder / "optimizer.safetensors").keys() == keys
    assert sorted(path.name for path in folder.iterdir()) == [
        "complete.json",
        "optimizer.safetensors",
        "random.safetensors",
        "state.json",
        "trainable.safetensors",
    ]


def test_a_finished_folder_holds_the_model_and_the_record_only(tmp_path: Path) -> None:
    model = tiny_llama()
    uses_cache = model.config.use_cache
    run = train(model, Stage(name="odd", blocks="odd"), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "stage.json"]
    assert is_finished(tmp_path)
    (tmp_path / "checkpoints").mkdir()  # as a kill between the record and the end leaves it
    assert finished_run(tmp_path) == run
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "stage.json"]
    assert finished_run(tmp_path / "model") is None
    assert (run.n_steps, run.tokens, run.bytes) == (6, TEXT.n_tokens, TEXT.n_bytes)
    assert [point.tokens for point in run.curve] == [64, 128, 192, 256, 320, 352]
    assert model.config.use_cache is uses_cache
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())


def test_the_text_s_end_ends_stage_and_schedule(tmp_path: Path) -> None:
    stage = Stage(name="odd", blocks="odd", learning_rate=1.0e-3, warmup=0)
    run = train(tiny_llama(), stage, tmp_path, packed=TinyText(n_blocks=12))
    # Cosine from 1 over the middle to a tenth.
    assert [point.learning_rate for point in run.curve] == pytest.approx([1e-3, 5.5e-4, 1e-4])
    assert (run.n_steps, run.tokens) == (3, 12 * CONTEXT)


def test_tensorboard_gets_the_curve(tmp_path: Path) -> None:
    settings = replace(SETTINGS, report_to=("tensorboard",))
    train(tiny_llama(), Stage(name="odd", blocks="odd"), tmp_path, settings=settings)
    assert any(path.name.startswith("events.out.tfevents") for path in (tmp_path / "runs").rglob("*"))


# --- The schedule -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        # 8 steps, a quarter of them warmup: thirds, then 1 down to 0.2 in the five steps after it.
        ("linear", [1 / 3, 2 / 3, 1, 0.84, 0.68, 0.52, 0.36, 0.2]),
        ("constant", [1 / 3, 2 / 3, 1, 1, 1, 1, 1, 1]),
        # 0.2 + 0.8 * (1 + cos(pi * k / 5)) / 2, with cos(36 degrees) = 0.809017 and cos(72 degrees) = 0.309017.
        ("cosine", [1 / 3, 2 / 3, 1, 0.9236068, 0.7236068, 0.4763932, 0.2763932, 0.2]),
    ],
)
def test_schedules_worked_by_hand(schedule: Any, expected: list[float]) -> None:
    stage = Stage(name="s", other=True, schedule=schedule, warmup=0.25, final_factor=0.2)
    assert [learning_rate_factor(stage, step, 8) for step in range(8)] == pytest.approx(expected)


@pytest.mark.parametrize(("n_steps", "expected"), [(1, [1.0]), (2, [0.5, 1.0]), (3, [0.5, 1.0, 0.1])])
def test_the_shortest_stages_have_a_learning_rate(n_steps: int, expected: list[float]) -> None:
    stage = Stage(name="s", other=True, warmup=0.03, final_factor=0.1)
    assert [learning_rate_factor(stage, step, n_steps) for step in range(n_steps)] == pytest.approx(expected)

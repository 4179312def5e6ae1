"""One stage of training: the same weights as a plain loop of torch, the frozen ones untouched, and how it stops."""

import gc
import math
import re
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from rich.console import Console as RichConsole
from safetensors.torch import load_file
from stages import CONTEXT, NEW_IDS, TinyBlocks, TinyText, tensors_of, tiny_gpt2, tiny_llama, tiny_qwen2
from transformers import AutoModelForCausalLM, PreTrainedModel

from trainer.plan import Lora, Stage, named_plan
from trainer.stages import checkpoints
from trainer.stages.arguments import why_not_fused
from trainer.stages.peak import LiveBytes
from trainer.stages.record import CurvePoint, StageRun, is_finished
from trainer.stages.run import finished_run, run_stage
from trainer.stages.schedule import learning_rate_factor
from trainer.stages.settings import StageSettings
from vocabopt.console import Console
from vocabopt.errors import CorpusError, OptionError, RunDirectoryError, TrainingError

TEXT = TinyText(n_blocks=22)  # five steps of four blocks, and one of two
SETTINGS = StageSettings(
    context_tokens=CONTEXT, batch_tokens=4 * CONTEXT, micro_batch=2, save_every_steps=2, log_every_steps=1, cpu=True
)


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Tiny tensors are slower on two. Objects that are there already need no search for cycles at every stage."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    gc.freeze()
    yield
    gc.unfreeze()
    torch.set_num_threads(n_threads)


def train(model: PreTrainedModel, stage: Stage, folder: Path, **options: Any) -> StageRun:
    options = {"settings": SETTINGS, "packed": TEXT, "console": Console(quiet=True), "new_ids": NEW_IDS} | options
    return run_stage(model, stage, folder=folder, **options)


class StoppedError(Exception):
    """What a test stops a stage with, from outside of it."""


def stop_at(step: int) -> Any:
    def on_log(point: CurvePoint) -> None:
        if point.step == step:
            raise StoppedError

    return on_log


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
        "rng_state.pth",
        "state.json",
        "trainable.safetensors",
        "trainer_state.json",
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


def test_max_steps_ends_stage_and_schedule(tmp_path: Path) -> None:
    stage = Stage(name="odd", blocks="odd", learning_rate=1.0e-3, warmup=0)
    run = train(tiny_llama(), stage, tmp_path, max_steps=3)
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


# --- Going on ---------------------------------------------------------------------------------------------------------


def test_a_resumed_stage_is_the_unbroken_one_with_its_curve(tmp_path: Path) -> None:
    """Logged every three steps and saved every two: what was not logged goes on, and so do dropout's draws."""
    stage = Stage(
        name="s", embeddings="all", blocks="all", lora=Lora(rank=4, alpha=8, dropout=0.1), new_rows_factor=3.0
    )
    settings = replace(SETTINGS, log_every_steps=3)
    unbroken, broken = tiny_gpt2(), tiny_gpt2()
    expected = train(unbroken, stage, tmp_path / "unbroken", settings=settings)
    with pytest.raises(StoppedError):
        train(broken, stage, tmp_path / "broken", settings=settings, on_log=stop_at(6))
    # As a new process would: the model that the stage began with.
    broken = tiny_gpt2()
    run = train(broken, stage, tmp_path / "broken", settings=settings, resume=True)
    assert all(torch.equal(t, unbroken.state_dict()[name]) for name, t in broken.state_dict().items())
    untimed = [replace(point, tokens_per_second=0) for point in run.curve]
    assert untimed == [replace(point, tokens_per_second=0) for point in expected.curve]
    assert [point.step for point in run.curve] == [1, 3, 6]


def test_resuming_with_other_options_names_both_values(tmp_path: Path) -> None:
    stage = Stage(name="s", blocks="odd")
    with pytest.raises(StoppedError):
        train(tiny_llama(), stage, tmp_path, on_log=stop_at(3))
    folder = tmp_path / "checkpoints" / "step-00000002"
    for changes, message in (
        ({"settings": replace(SETTINGS, seed=1)}, f"{folder} was written with --seed 0, and now it is 1. Resume with"),
        ({"settings": replace(SETTINGS, batch_tokens=128)}, "written with --batch 64tok, and now it is 128tok"),
        ({"stage": replace(stage, blocks="even")}, "written with the plan's blocks odd, and now it is even"),
        ({"packed": TinyText(n_blocks=24)}, "written with the stage's text 22 blocks, .*now it is 24 blocks"),
        ({"new_ids": NEW_IDS[1:]}, r"written with the tokenizer's new rows 10 \(.*now it is 9"),
        ({"max_steps": 4}, "written with the stage's steps 6, and now it is 4"),
    ):
        with pytest.raises(TrainingError, match=message):
            train(tiny_llama(), folder=tmp_path, **({"stage": stage, "resume": True} | changes))  # type: ignore[arg-type]
    # How it is computed may change.
    settings = replace(SETTINGS, micro_batch=1, gradient_checkpointing=True)
    assert train(tiny_llama(), stage, tmp_path, resume=True, settings=settings).n_steps == 6


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    stage = Stage(name="s", blocks="odd")
    with pytest.raises(StoppedError):
        train(tiny_llama(), stage, tmp_path, on_log=stop_at(3))
    with pytest.raises(TrainingError, match=r"trainable.safetensors: holds other parameters .* another model or plan"):
        train(tiny_gpt2(), stage, tmp_path, resume=True)


def test_incomplete_checkpoints_are_passed_over(tmp_path: Path) -> None:
    stage = Stage(name="s", blocks="odd")
    with pytest.raises(StoppedError):
        train(tiny_llama(), stage, tmp_path, on_log=stop_at(5), settings=replace(SETTINGS, save_every_steps=1))
    third, fourth = (checkpoints.folder_of(tmp_path, step) for step in (3, 4))
    assert sorted(path for path in (tmp_path / "checkpoints").iterdir()) == [third, fourth]  # the newest two
    assert checkpoints.newest_complete(tmp_path) == fourth
    # Cut short after its mark: as after a power failure on a disk that does not keep its word.
    weights = fourth / "trainable.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    assert checkpoints.newest_complete(tmp_path) == third
    (third / "complete.json").write_text("{")
    assert checkpoints.newest_complete(tmp_path) is None
    # Nothing to go on from: the stage starts again.
    unbroken, again = tiny_llama(), tiny_llama()
    train(again, stage, tmp_path, resume=True)
    train(unbroken, stage, tmp_path / "unbroken")
    assert all(torch.equal(t, unbroken.state_dict()[name]) for name, t in again.state_dict().items())


def test_a_folder_with_a_stage_is_refused_without_resume(tmp_path: Path) -> None:
    train(tiny_llama(), Stage(name="s", blocks="odd"), tmp_path)
    with pytest.raises(RunDirectoryError, match=r"holds a stage already. Go on with --resume, or choose another --out"):
        train(tiny_llama(), Stage(name="s", blocks="odd"), tmp_path)


# --- How it stops -----------------------------------------------------------------------------------------------------


class Poisoned(TinyText):
    """From some block on, ids that a poisoned row of the table answers with a loss that is not a number."""

    def dataset(self, seed: int) -> TinyBlocks:
        blocks = super().dataset(seed)
        blocks.ids[blocks.ids == 95] = 0
        blocks.ids[14:, 3] = 95
        return blocks


def test_a_loss_that_is_no_number_stops_and_keeps_the_checkpoint(tmp_path: Path) -> None:
    model = tiny_llama()
    with torch.no_grad():
        model.model.embed_tokens.weight[95] = float("nan")
    before = tensors_of(model)
    with pytest.raises(
        TrainingError,
        match=r"stage 's': loss nan in step 4, blocks 14 to 15 of its text \(seed 0\). .*step-00000002 is kept",
    ):
        train(model, Stage(name="s", blocks="odd"), tmp_path, packed=Poisoned(n_blocks=22))
    kept = load_file(checkpoints.folder_of(tmp_path, 2) / "trainable.safetensors")
    assert all(torch.isfinite(tensor).all() for tensor in kept.values())
    assert any(not torch.equal(tensor, before[name]) for name, tensor in kept.items())


def test_a_gradient_that_is_no_number_stops_before_any_checkpoint(tmp_path: Path) -> None:
    model = tiny_llama()
    for parameter in model.model.layers[0].mlp.parameters():
        parameter.register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(
        TrainingError,
        match=r"stage 's': gradient (nan|inf) in step 1, blocks 0 to 3 of its text .*No checkpoint was written yet",
    ):
        train(model, Stage(name="s", blocks="odd"), tmp_path)


@contextmanager
def full_disk(n_bytes: int) -> Iterator[None]:
    """No file can grow beyond this: what writes then fails in the kernel, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("n_bytes", [20_000, 5_000])
def test_a_full_disk_keeps_the_checkpoint_before(tmp_path: Path, n_bytes: int) -> None:
    """Where the weights do not fit, and where the random generators' state does not fit already."""
    stage = Stage(name="s", blocks="odd")
    with pytest.raises(StoppedError):
        train(tiny_llama(), stage, tmp_path, on_log=stop_at(3))
    second, fourth = (checkpoints.folder_of(tmp_path, step) for step in (2, 4))
    with (
        full_disk(n_bytes),
        pytest.raises(TrainingError, match=rf"{fourth}: cannot be written \(.*MB are free: .*{second} is kept"),
    ):
        train(tiny_llama(), stage, tmp_path, resume=True)
    assert not fourth.exists()
    assert checkpoints.newest_complete(tmp_path) == second
    unbroken, resumed = tiny_llama(), tiny_llama()
    train(resumed, stage, tmp_path, resume=True)
    train(unbroken, stage, tmp_path / "unbroken")
    assert all(torch.equal(t, unbroken.state_dict()[name]) for name, t in resumed.state_dict().items())


def test_a_full_disk_at_the_stages_end_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    """The whole model does not fit where the little that trains did."""
    stage = Stage(name="s", embeddings="new")
    with (
        full_disk(30_000),
        pytest.raises(TrainingError, match=r"model: cannot be written \(.*step-00000004 is kept"),
    ):
        train(tiny_llama(), stage, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoints"]
    assert train(tiny_llama(), stage, tmp_path, resume=True).n_steps == 6


def test_text_smaller_than_a_step_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        CorpusError, match=r"stage 's': its text makes 3 blocks of 16 tokens, and one step takes 4.*48tok at"
    ):
        train(tiny_llama(), Stage(name="s", blocks="odd"), tmp_path, packed=TinyText(n_blocks=3))


def test_8_bit_adam_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"--optimizer adamw-8bit: needs bitsandbytes.*pip install bitsandbytes"):
        train(tiny_llama(), Stage(name="s", blocks="odd"), tmp_path, settings=replace(SETTINGS, optimizer="adamw-8bit"))


def test_sharding_needs_processes(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"--shard: needs several processes. Start them: torchrun"):
        train(tiny_llama(), Stage(name="s", blocks="odd"), tmp_path, settings=replace(SETTINGS, shard=True))


def test_the_fused_loss_says_that_it_is_not_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = replace(SETTINGS, fused_loss=True)
    train(tiny_llama(), Stage(name="s", blocks="odd"), tmp_path, settings=settings, console=Console(), max_steps=1)
    printed = capsys.readouterr().err
    assert "fused loss: not used, it needs a GPU. The result is the same" in printed
    assert "s: done in" in printed


def test_a_fused_loss_is_told_off_for_kinds_that_liger_does_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    """liger needs a GPU to be imported: a module with what is read of it stands for it."""

    def with_it(fused_linear_cross_entropy: bool = True) -> None: ...
    def without(rms_norm: bool = True) -> None: ...

    fake = SimpleNamespace(MODEL_TYPE_TO_APPLY_LIGER_FN={"llama": with_it, "old": without})
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    settings = replace(SETTINGS, fused_loss=True, cpu=False)
    assert why_not_fused(settings, "llama") == "liger-kernel is not installed (pip install liger-kernel)"
    monkeypatch.setattr("transformers.utils.import_utils.is_liger_kernel_available", lambda: True)
    monkeypatch.setitem(sys.modules, "liger_kernel", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "liger_kernel.transformers", SimpleNamespace(monkey_patch=fake))
    assert why_not_fused(settings, "llama") is None
    assert why_not_fused(settings, "gpt2") == "liger-kernel has none for models of type gpt2"
    assert why_not_fused(settings, "old") == "liger-kernel has none for models of type old"
    assert why_not_fused(replace(settings, cpu=True), "llama") == "it needs a GPU"


def test_the_console_shows_how_the_loss_goes(capsys: pytest.CaptureFixture[str]) -> None:
    console, shown = Console(), StringIO()
    console.rich = RichConsole(file=shown, force_terminal=True, width=160)
    with console.step("odd-blocks", 100) as advance:
        advance(50, "loss 1.234")
        advance(60)
    assert "loss 1.234" in shown.getvalue()
    with (plain := Console()).step("odd-blocks", 100) as advance:
        advance.last -= 60  # type: ignore[attr-defined] # as if the last line had been a minute ago
        advance(50, "loss 1.234")
    assert plain.seconds.keys() == {"odd-blocks"}
    assert re.search(r"odd-blocks: 50 tokens of 100 tokens \(50%\), .*/s, loss 1.234", capsys.readouterr().err)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"micro_batch": 0}, "--micro-batch 0: must be at least 1"),
        ({"max_grad_norm": 0.0}, "--max-grad-norm 0.0: must be above 0"),
        ({"precision": "fp16"}, "--precision fp16: choose fp32, bf16-mixed, bf16"),
        ({"optimizer": "sgd"}, "--optimizer sgd: choose adamw, adamw-8bit"),
        ({"micro_batch": 3}, r"--batch 64tok: must be a multiple of 48 \(3 blocks of 16 tokens on 1 process\)"),
        ({"batch_tokens": 8}, r"--batch 8tok: must be a multiple of 32 .* Choose 32tok"),
    ],
)
def test_settings_check_their_fields(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        replace(SETTINGS, **changes)


def test_a_step_is_shared_by_processes() -> None:
    assert (SETTINGS.accumulation(1), SETTINGS.accumulation(2)) == (2, 1)
    with pytest.raises(OptionError, match=r"must be a multiple of 96 .* on 3 processes"):
        SETTINGS.accumulation(3)


# --- Memory -----------------------------------------------------------------------------------------------------------


def test_live_bytes_worked_by_hand() -> None:
    there = torch.zeros(1000)  # 4,000 bytes
    with LiveBytes([there]) as live:
        assert live.n_bytes == 4_000
        larger = there.double()  # and 8,000
        view = larger[:10]
        larger += 1
        assert live.n_bytes == 12_000
        del larger
        assert live.n_bytes == 12_000, "the view keeps all of it"
        del view
        assert (live.n_bytes, live.peak_bytes) == (4_000, 12_000)
    live.close()


def test_peak_counts_weights_gradients_and_optimizer_state(tmp_path: Path) -> None:
    """All of a model of mostly tables: weights, gradients and two averages of each number, and little else."""
    settings = replace(SETTINGS, micro_batch=1, batch_tokens=CONTEXT)
    tables = Stage(name="s", embeddings="all", head="all")
    model = tiny_llama()
    n_bytes = sum(tensor.nbytes for tensor in model.state_dict().values())
    trained = 2 * 96 * 32 * 4
    run = train(model, tables, tmp_path / "tables", settings=settings, max_steps=3)
    none = train(model, Stage(name="n", other=True), tmp_path / "norm", settings=settings, max_steps=3)
    assert run.peak_bytes is not None
    assert none.peak_bytes is not None
    assert n_bytes + 3 * trained <= run.peak_bytes <= 1.6 * (n_bytes + 3 * trained)
    assert none.peak_bytes < run.peak_bytes - 2 * trained

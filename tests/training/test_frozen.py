"""Frozen matrices held in 16 bits: the same training bit for bit, in less memory. On a CPU as it would be on a GPU."""

import gc
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from stages import CONTEXT, NEW_IDS, SETTINGS, TinyText, tensors_of, tiny_gpt2, tiny_llama, tiny_qwen2, train
from transformers import PreTrainedModel

from trainer.layout import layout_of
from trainer.memory.build import outline_of
from trainer.memory.predict import StepSettings, predict_stage
from trainer.plan import Lora, Stage
from trainer.stages import StageSettings
from trainer.stages import loop as loop_module
from trainer.stages import run as run_module
from trainer.stages.freeze import PreparedStage, frozen_matrices, narrow_frozen, narrows_frozen, prepare_stage
from vocabopt.training_record import StageRun

MIXED = replace(SETTINGS, precision="bf16-mixed", save_every_steps=None)
TABLES = Stage(name="tables", embeddings="new", head="all", learning_rate=1e-2)
STAGES = (
    TABLES,
    Stage(name="odd", blocks="odd", learning_rate=1e-2),
    Stage(name="lora", blocks="all", lora=Lora(rank=4, alpha=8), learning_rate=1e-2),
)


def train_mixed(model: PreTrainedModel, stage: Stage, folder: Path) -> StageRun:
    return train(model, stage, folder, settings=MIXED, packed=TinyText(n_blocks=10))


def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "trainer.stages.run.narrows_frozen",
        lambda precision, device_type, *, shard: narrows_frozen(precision, "cuda", shard=shard),
    )


@pytest.mark.parametrize("make", [tiny_llama, tiny_gpt2, tiny_qwen2])
@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_training_is_the_same_and_frozen_weights_keep_every_bit(
    make: Callable[[], PreTrainedModel], stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, narrowed = make(), make()
    of_plain = train_mixed(plain, stage, tmp_path / "plain")
    as_on_a_gpu(monkeypatch)
    of_narrowed = train_mixed(narrowed, stage, tmp_path / "narrowed")
    assert [point.loss for point in of_narrowed.curve] == [point.loss for point in of_plain.curve]
    assert all(torch.equal(tensor, plain.state_dict()[name]) for name, tensor in tensors_of(narrowed).items())
    assert {parameter.dtype for parameter in narrowed.parameters()} == {torch.float32}


def test_blocks_below_trained_tables_take_2_bytes_a_weight_instead_of_6(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stage trains the input table too, so that the backward pass keeps a copy of every matrix."""
    model = tiny_llama(6)
    n = sum(p.numel() for name, p in model.named_parameters() if p.ndim == 2 and "layers" in name)
    plain = train_mixed(model, TABLES, tmp_path / "plain").peak_bytes
    as_on_a_gpu(monkeypatch)
    narrowed = train_mixed(tiny_llama(6), TABLES, tmp_path / "narrowed").peak_bytes
    assert plain is not None
    assert narrowed is not None
    assert plain - narrowed == pytest.approx(4 * n, rel=0.05)


def test_tables_that_are_looked_up_and_what_trains_stay_in_32_bits() -> None:
    for make in (tiny_llama, tiny_qwen2, tiny_gpt2):
        model = make()
        prepare_stage(model, Stage(name="odd", blocks="odd"), layout_of(model), NEW_IDS)
        names = set(frozen_matrices(model))
        assert all("lm_head" in name or ".1." in name for name in names)
        assert ("lm_head.weight" in names) is (make is tiny_llama)
        narrowed = narrow_frozen(model)
        is_narrow = {name for name, parameter in model.named_parameters() if parameter.dtype == torch.bfloat16}
        assert is_narrow == names
        narrowed.restore()
        assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_the_prediction_for_a_gpu_counts_them_once_and_for_split_weights_as_before() -> None:
    outline, stage = outline_of(tiny_llama().config), Stage(name="odd", blocks="odd")
    n = sum(p.numel() for name, p in tiny_llama().named_parameters() if p.ndim == 2 and (".1." in name or "lm" in name))
    once, split = (
        predict_stage(outline, stage, StepSettings(context_tokens=CONTEXT, shard=shard), n_new=10)
        for shard in (False, True)
    )
    assert split.weight_bytes - once.weight_bytes == 2 * n
    assert split.pass_bytes > once.pass_bytes
    assert once.flops == split.flops


def test_the_optimizer_is_gone_before_weights_get_their_bits_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a GPU its state would lie beside them."""
    made, found = [], []
    create, finish = loop_module.make_optimizer, run_module.finish_stage

    def watched(groups: list[dict[str, Any]], settings: StageSettings) -> torch.optim.Optimizer:
        optimizer = create(groups, settings)
        made.append(weakref.ref(optimizer))
        return optimizer

    def finished(prepared: PreparedStage) -> PreTrainedModel:
        gc.collect()
        found.extend(made)
        assert all(parameter.grad is None for parameter in prepared.model.parameters())
        assert all(reference() is None for reference in made)
        return finish(prepared)

    monkeypatch.setattr(loop_module, "make_optimizer", watched)
    monkeypatch.setattr(run_module, "finish_stage", finished)
    train_mixed(tiny_llama(), TABLES, tmp_path)
    assert found


def test_only_bf16_mixed_on_a_gpu_that_holds_all_narrows() -> None:
    assert narrows_frozen("bf16-mixed", "cuda", shard=False)
    assert not narrows_frozen("bf16-mixed", "cuda", shard=True)
    assert not narrows_frozen("bf16-mixed", "cpu", shard=False)
    assert not narrows_frozen("fp32", "cuda", shard=False)
    assert not narrows_frozen("bf16", "cuda", shard=False)

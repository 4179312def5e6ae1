"""How a stage stops, what it leaves and tells, and how it is gone on with."""

import re
import sys
import time
from dataclasses import replace
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from limits import full_disk
from rich.console import Console as RichConsole
from safetensors.torch import load_file
from stages import (
    NEW_IDS,
    SETTINGS,
    StoppedError,
    TinyBlocks,
    TinyText,
    stop_at,
    tensors_of,
    tiny_gpt2,
    tiny_llama,
    train,
)

from trainer.options import TrainingOptions
from trainer.plan import Lora, Stage
from trainer.stages import checkpoints
from trainer.stages.integrations import why_not_fused
from vocabopt import console
from vocabopt.console import Console
from vocabopt.errors import CorpusError, OptionError, RunDirectoryError, TrainingError

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.slow]


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


def test_the_rate_of_a_resumed_stage_counts_its_own_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """96 of 352 tokens are left after the checkpoint, and half a second passes before the last step: 192 a second."""
    monkeypatch.setattr(console, "_PLAIN_EVERY_SECONDS", 0.0)
    stage = Stage(name="odd", blocks="odd")
    with pytest.raises(StoppedError):
        train(tiny_llama(), stage, tmp_path, on_log=stop_at(5))
    capsys.readouterr()
    run = train(
        tiny_llama(), stage, tmp_path, resume=True, console=Console(), on_log=lambda point: time.sleep(0.5)
    )  # fmt: skip
    told = re.findall(r"odd: (\d+) tokens of 352 tokens .*, ([\d,]+) tokens/s", capsys.readouterr().err)
    assert [int(done) for done, _ in told][:2] == [320, 320]
    done, rate = told[-1]
    assert int(done) == 352
    assert 0 < int(rate.replace(",", "")) <= 192
    assert all(point.tokens_per_second <= 64 / 0.5 for point in run.curve[-1:])


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
        ({"packed": TinyText(n_blocks=16)}, "written with the stage's steps 6, and now it is 4"),
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


@pytest.mark.parametrize("n_bytes", [20_000, 5_000])
def test_a_full_disk_keeps_the_checkpoint_before(tmp_path: Path, n_bytes: int) -> None:
    """Where the weights do not fit, and where the random generators' state does not fit already."""
    stage = Stage(name="s", blocks="odd")
    with pytest.raises(StoppedError):
        train(tiny_llama(), stage, tmp_path, on_log=stop_at(3))
    second, fourth = (checkpoints.folder_of(tmp_path, step) for step in (2, 4))
    with (
        full_disk(n_bytes),
        pytest.raises(TrainingError, match=rf"{fourth}: cannot be written \(.*[kMGT]B are free: .*{second} is kept"),
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
    train(
        tiny_llama(),
        Stage(name="s", blocks="odd"),
        tmp_path,
        settings=settings,
        console=Console(),
        packed=TinyText(n_blocks=4),
    )
    printed = capsys.readouterr().err
    assert "fused loss: not used, it needs a GPU. The result is the same" in printed
    assert "s: done in" in printed


def test_a_fused_loss_is_told_off_for_kinds_that_liger_does_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    """liger needs a GPU to be imported: a module with what is read of it stands for it."""

    def with_it(fused_linear_cross_entropy: bool = True) -> None: ...
    def without(rms_norm: bool = True) -> None: ...

    fake = SimpleNamespace(MODEL_TYPE_TO_APPLY_LIGER_FN={"llama": with_it, "old": without})
    gpu = torch.device("cuda")
    assert why_not_fused("llama", gpu) == "liger-kernel is not installed (pip install liger-kernel)"
    monkeypatch.setattr("transformers.utils.import_utils.is_liger_kernel_available", lambda: True)
    monkeypatch.setitem(sys.modules, "liger_kernel", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "liger_kernel.transformers", SimpleNamespace(monkey_patch=fake))
    assert why_not_fused("llama", gpu) is None
    assert why_not_fused("gpt2", gpu) == "liger-kernel has none for models of type gpt2"
    assert why_not_fused("old", gpu) == "liger-kernel has none for models of type old"
    assert why_not_fused("llama", torch.device("cpu")) == "it needs a GPU"


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
        ({"precision": "fp16"}, "--precision fp16: choose auto, fp32, bf16-mixed, bf16"),
        ({"optimizer": "sgd"}, "--optimizer sgd: choose adamw, adamw-8bit"),
    ],
)
def test_options_check_what_a_stage_takes_of_them(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        TrainingOptions(model="m", texts={"ko": "ko.txt"}, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"micro_batch": 3}, r"--batch 64tok: must be a multiple of 48 \(3 blocks of 16 tokens on 1 process\)"),
        ({"batch_tokens": 8}, r"--batch 8tok: must be a multiple of 32 .* Choose 32tok"),
    ],
)
def test_a_step_is_whole_micro_batches(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        replace(SETTINGS, **changes)


def test_a_step_is_shared_by_processes() -> None:
    assert (SETTINGS.accumulation(1), SETTINGS.accumulation(2)) == (2, 1)
    with pytest.raises(OptionError, match=r"must be a multiple of 96 .* on 3 processes"):
        SETTINGS.accumulation(3)

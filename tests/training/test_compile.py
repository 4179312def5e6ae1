"""--compile gives the same training. On a CPU torch makes C++ of the model: half a minute, with a compiler."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from stages import SETTINGS, TinyText, tiny_llama, train

from trainer.plan import Stage

pytestmark = pytest.mark.slow


@pytest.mark.usefixtures("one_thread")
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch compiles for CPUs with g++, which is not installed")
@pytest.mark.filterwarnings("ignore")  # torch's own, of its compiler
def test_a_compiled_stage_comes_to_the_same_and_leaves_a_plain_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch._inductor.config.compile_threads", 1)  # its workers would outlive the test
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    stage = Stage(name="s", blocks="odd", learning_rate=1e-2)
    models, curves = [], []
    for is_compiled in (False, True):
        model = tiny_llama(1)
        settings = replace(SETTINGS, compile=is_compiled, save_every_steps=None)
        run = train(model, stage, tmp_path / str(is_compiled), settings=settings, packed=TinyText(n_blocks=8))
        models.append(model)
        curves.append([point.loss for point in run.curve])
    assert len(list((tmp_path / "cache").rglob("*.so"))) > 0
    assert curves[1] == pytest.approx(curves[0], rel=1e-5)
    plain, compiled = models
    assert type(compiled) is type(plain)
    assert compiled.state_dict().keys() == plain.state_dict().keys()
    assert all(torch.allclose(t, plain.state_dict()[name], atol=1e-3) for name, t in compiled.state_dict().items())
    moved = tiny_llama(1).state_dict()["model.layers.0.mlp.up_proj.weight"]
    assert not torch.allclose(compiled.state_dict()["model.layers.0.mlp.up_proj.weight"], moved, atol=1e-3)

"""The highest memory that a stage reports, on a CPU."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from stages import CONTEXT, SETTINGS, TinyText, tiny_llama, train

from trainer.plan import Stage
from trainer.stages.peak import LiveBytes

pytestmark = pytest.mark.usefixtures("one_thread")


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
    run = train(model, tables, tmp_path / "tables", settings=settings, packed=TinyText(n_blocks=3))
    none = train(model, Stage(name="n", other=True), tmp_path / "norm", settings=settings, packed=TinyText(n_blocks=3))
    assert run.peak_bytes is not None
    assert none.peak_bytes is not None
    assert n_bytes + 3 * trained <= run.peak_bytes <= 1.6 * (n_bytes + 3 * trained)
    assert none.peak_bytes < run.peak_bytes - 2 * trained

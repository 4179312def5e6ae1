"""`vocabopt adapt` on several devices, as docs/how-to/several-gpus.md starts it: torchrun, two processes on a CPU."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import vocabopt
from helpers import CORPUS
from safetensors.torch import load_file

pytestmark = pytest.mark.slow


def test_a_sharded_adaptation_by_torchrun_is_that_of_one_process(llama: Path, run_dir: Path, tmp_path: Path) -> None:
    """Losses of every step, bits per byte, weights; what is printed and written is so once."""
    options = [
        "adapt", llama, "--run", run_dir, "--text", f"ko={CORPUS / 'ko' / 'news.txt'}", "--budget", "20kB",
        "--eval-bytes", "3kB", "--context", 32, "--batch", "1024tok", "--micro-batch", 4, "--plan", "full",
        "--learning-rate-factor", 20, "--precision", "fp32", "--log-every", 1, "--save-every", 2, "--samples", 1,
        "--report-to", "tensorboard", "--threads", 1,
    ]  # fmt: skip
    together, alone = tmp_path / "together", tmp_path / "alone"
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "--no-python"]
    command = [*torchrun, "--", sys.executable, "-m", "vocabopt", *map(str, options), "--shard", "--out", str(together)]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=CORPUS.parent,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("rows by decompose") == 1
    assert len(list(together.rglob("events.out.tfevents*"))) == 1
    n_threads = torch.get_num_threads()
    result = vocabopt(*options, "--quiet", "--out", alone)
    torch.set_num_threads(n_threads)
    assert result.exit_code == 0, result.output
    records = [json.loads((out / "adapt.json").read_text(encoding="utf-8")) for out in (together, alone)]
    losses: list[Any] = [[point["loss"] for point in record["stages"][0]["curve"]] for record in records]
    assert len(losses[0]) > 3
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert records[0]["after"] == pytest.approx(records[1]["after"], rel=1e-4)
    assert "2 processes of 1 thread" in records[0]["device"]
    weights = [load_file(out / "model" / "model.safetensors") for out in (together, alone)]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.allclose(tensor, weights[1][name], atol=1e-4) for name, tensor in weights[0].items())

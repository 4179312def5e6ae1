"""Two processes on a CPU come to what one comes to: as copies (DDP), and split between them (FSDP2 on gloo)."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from stages_processes import CASES, run_case

pytestmark = pytest.mark.slow

PROGRAM = Path(__file__).with_name("stages_processes.py")


def test_two_processes_reach_the_loss_of_one(tmp_path: Path) -> None:
    """Losses, gradient norms, and weights at each stage's end; tied and untied, new rows apart, adapters, resumed."""
    together, alone = tmp_path / "together", tmp_path / "alone"
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run(
        [*torchrun, str(PROGRAM), str(together)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    n_threads = torch.get_num_threads()
    expected = {case: run_case(alone, case) for case in CASES}
    torch.set_num_threads(n_threads)
    for case, stages in expected.items():
        for name, curve in stages.items():
            assert len(curve) == 3
            for point, one in zip(found[case][name], curve, strict=True):
                assert point == pytest.approx(one, rel=1e-5), (case, name)
            weights = [load_file(out / case / name / "model" / "model.safetensors") for out in (together, alone)]
            assert weights[0].keys() == weights[1].keys()
            assert all(torch.allclose(tensor, weights[1][key], atol=1e-5) for key, tensor in weights[0].items())

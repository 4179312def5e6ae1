"""kill -9 at any moment, and what a run that goes on ends with."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from vocabopt.folder import entries

pytestmark = pytest.mark.slow

PROGRAM = Path(__file__).with_name("stages_killed.py")


@pytest.mark.parametrize("seed", [0])
def test_killed_at_five_moments_over_all_stages_ends_with_the_same_weights(tmp_path: Path, seed: int) -> None:
    done = subprocess.run(
        [sys.executable, str(PROGRAM), str(tmp_path), str(seed)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    kills = json.loads(done.stdout)
    assert len(kills) == 5
    assert {name for name, _ in kills} == {"embeddings-head", "odd-blocks", "even-blocks", "lora"}
    for name in ("embeddings-head", "odd-blocks", "even-blocks", "lora"):
        weights = [
            (tmp_path / run / name / "model" / "model.safetensors").read_bytes() for run in ("unbroken", "broken")
        ]
        assert weights[0] == weights[1], f"{name}: {kills}"
        # A write that was killed leaves a hidden file, which a command removes when it takes the folder.
        assert entries(tmp_path / "broken" / name) == ["model", "stage.json"]
    # Not for want of training.
    first, last = (
        load_file(tmp_path / "broken" / name / "model" / "model.safetensors") for name in ("odd-blocks", "lora")
    )
    assert any((first[name] != last[name]).any() for name in first)

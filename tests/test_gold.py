"""Every command on small inputs: each file and each output is as recorded in tests/gold/digests.json."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


def test_every_command_writes_what_it_wrote() -> None:
    """`python tests/gold --keep DIR` on two commits, and `diff -r`, show what changed."""
    command = [sys.executable, str(Path(__file__).parent / "gold"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1200)
    assert done.returncode == 0, done.stdout + done.stderr

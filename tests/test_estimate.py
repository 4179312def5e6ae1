"""`vocabopt sweep --estimate`: what a sweep takes, from a sample of its text; nothing is written."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import vocabopt
from helpers import CORPUS


def estimated(*options: object) -> dict[str, object]:
    done = vocabopt("sweep", CORPUS, "--estimate", "--json", *options)
    assert done.exit_code == 0, done.output
    record: dict[str, object] = json.loads(done.stdout)
    return record


def test_a_text_that_fits_is_learned_from_whole_and_not_counted_again(tmp_path: Path) -> None:
    record = estimated("--memory", "2GB", "--workers", "1", "--out", tmp_path / "run")
    stored = sum(path.stat().st_size for path in CORPUS.rglob("*.txt"))
    assert (record["n_bytes"], record["n_bytes_sample"]) == (stored, stored)
    assert record["share_learned"] == 1
    seconds = record["seconds"]
    assert isinstance(seconds, dict)
    assert [*seconds] == ["load", "read", "learn", "count", "report"]
    assert seconds["count"] == 0 < seconds["read"]
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_the_share_that_fits_is_about_that_of_the_sweep(tmp_path: Path) -> None:
    memory = ("--memory", "631.5MB", "--workers", "1")
    record = estimated(*memory)
    seconds, share = record["seconds"], record["share_learned"]
    assert isinstance(seconds, dict)
    assert isinstance(share, float)
    assert seconds["count"] > 0
    assert vocabopt("sweep", CORPUS, "--out", tmp_path / "run", "--quiet", *memory).exit_code == 0
    learned = json.loads((tmp_path / "run" / "sweep.json").read_text(encoding="utf-8"))["learned"]
    assert 0.7 * share <= learned["n_folds"] / 32 <= 1.4 * share


def test_a_table_says_each_step() -> None:
    done = vocabopt("sweep", CORPUS, "--estimate")
    assert done.exit_code == 0
    for words in (
        "Expected from",
        "load the base",
        "count all text with them",
        "memory to learn from all text",
        "not included",
    ):
        assert words in done.stdout


def test_what_is_left_out_is_said() -> None:
    """The table has one place for it, the record the same words."""
    options = ("--method", "union", "--protect", f"more={CORPUS / 'en'}")
    left_out = estimated(*options)["left_out"]
    assert isinstance(left_out, list)
    assert left_out[0] == "a first reading of all files, for their fingerprints"
    assert left_out[1:] == ["what --protect keeps from being learned", "--method union"]


def test_a_text_of_unknown_size_is_refused() -> None:
    command = [sys.executable, "-m", "vocabopt", "sweep", "-", "--estimate"]
    done = subprocess.run(command, input="가나다\n", capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "--estimate: the size of the text is not known" in done.stderr

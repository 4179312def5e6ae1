"""One run at a time in a folder: the second is told who holds it, and a run that was killed holds nobody up."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command_line import command_of, process, started, vocabopt, written
from helpers import CORPUS

from vocabopt.errors import RunDirectoryError
from vocabopt.folder import entries, file_lock, folder_lock, remove_unfinished

KOREAN = CORPUS / "ko" / "news.txt"
HOLD = """
import sys, time
from pathlib import Path
from vocabopt.folder import folder_lock
with folder_lock(Path(sys.argv[1]), "vocabopt sweep news.txt"):
    print("held", flush=True)
    time.sleep(60)
"""


def holder(folder: Path) -> list[str]:
    return [sys.executable, "-c", HOLD, str(folder)]


def commands(swept: Path, out: Path) -> dict[str, list[object]]:
    """One of every command that writes into a folder, into this one."""
    return {
        "sweep": ["sweep", KOREAN, "--out", out],
        "prepare": ["prepare", KOREAN, "--out", out],
        "merge": ["merge", swept, "--out", out],
        "sensitivity": ["sensitivity", KOREAN, CORPUS / "ko", "--out", out],
        "analyze": ["analyze", "mistral-7b-v1", "--text", f"ko={KOREAN}", "--out", out],
        "choose": ["choose", out],
        "report": ["report", out],
        "init": ["init", "no-model", "--tokenizer", "no-tokenizer", "--out", out],
        "probe": ["probe", "no-model", "--run", swept, "--text", f"ko={KOREAN}", "--out", out],
        "adapt": ["adapt", "no-model", "--run", swept, "--text", f"ko={KOREAN}", "--out", out, "--resume"],
    }


@pytest.mark.slow
def test_every_command_that_writes_is_told_who_holds_the_folder(swept: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with started(holder(out), stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "held\n"
        held = sorted(path.name for path in out.iterdir())
        for name, command in commands(swept, out).items():
            done = process(*command, "--quiet")
            assert (name, done.returncode, done.stdout) == (name, 2, "")
            assert re.fullmatch(
                rf"Error: {out}: is in use by vocabopt sweep news.txt \(process {running.pid} on \S+, since 20.*\)\. "
                r"Wait until it ends, or work in another folder\.\n",
                done.stderr,
            ), (name, done.stderr)
        assert sorted(path.name for path in out.iterdir()) == held


@pytest.mark.slow
def test_two_sweeps_into_one_new_folder(tmp_path: Path) -> None:
    out = tmp_path / "out"
    first, second = (command_of("sweep", text, "--out", out, "--quiet") for text in (KOREAN, CORPUS / "ko"))
    with started(first) as one, started(second, stderr=subprocess.PIPE, text=True) as two:
        _, said = two.communicate(timeout=300)
        codes = sorted([one.wait(300), two.returncode])
    assert codes == [0, 2]
    if two.returncode == 2:
        assert f"(process {one.pid} on " in said
    recorded = json.loads((out / "run.json").read_text(encoding="utf-8"))
    assert [entry["url"] for entry in recorded["inputs"]] == [str(KOREAN)] or two.returncode == 0
    assert not list(out.rglob(".*"))


@pytest.mark.slow
def test_the_lock_of_a_killed_run_is_taken_over_and_what_it_half_wrote_is_removed(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with started(holder(out), stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        running.stdout.readline()
        os.kill(running.pid, signal.SIGKILL)
        running.wait()
    left = written(out / ".run.json.a1b2c3d4.partial", "{")
    assert (out / ".vocabopt.lock").exists()
    assert process("sweep", KOREAN, "--out", out, "--quiet").returncode == 0
    assert not left.exists()
    assert not list(out.rglob(".*"))


def test_what_a_living_command_is_writing_inside_a_folder_that_is_taken_over_stays(tmp_path: Path) -> None:
    run, inner = tmp_path / "run", tmp_path / "run" / "tokenizer"
    with started(holder(run), stdout=subprocess.PIPE, text=True) as dead:
        assert dead.stdout is not None
        dead.stdout.readline()
        os.kill(dead.pid, signal.SIGKILL)
        dead.wait()
    left = [written(place / ".a.json.a1b2c3d4.partial", "{") for place in (run, run / "figures", run / "scores")]
    with started(holder(inner), stdout=subprocess.PIPE, text=True) as living:
        assert living.stdout is not None
        living.stdout.readline()
        writing = [written(place / ".b.json.a1b2c3d4.partial", "{") for place in (inner, inner / "deep")]
        with file_lock(run / "scores" / "c.json", "vocabopt eval"):
            writing.append(written(run / "scores" / ".c.json.a1b2c3d4.partial", "{"))
            with folder_lock(run, "vocabopt sweep"):
                assert [path.exists() for path in left] == [False] * 3
                assert [path.exists() for path in writing] == [True] * 3
    assert not (run / ".vocabopt.lock").exists()
    # Nobody holds them any more, though the killed process could not remove its lock.
    assert (inner / ".vocabopt.lock").exists()
    remove_unfinished(run)
    assert [path.exists() for path in writing] == [False] * 3


def test_a_refused_run_leaves_no_folder_and_removes_nothing_of_others(tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    done = process("sweep", KOREAN, "--base", tmp_path / "nothing", "--out", out)
    assert done.returncode == 2
    assert not (tmp_path / "new").exists()
    mine = written(tmp_path / "mine" / ".download.partial", "half")
    assert process("sweep", KOREAN, "--base", tmp_path / "nothing", "--out", mine.parent).returncode == 2
    assert mine.read_text() == "half"


def test_a_run_in_its_own_folder_waits_for_nobody(tmp_path: Path) -> None:
    with folder_lock(tmp_path, "one"), folder_lock(tmp_path / ".", "two"):
        assert entries(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_held_by_its_name(tmp_path: Path) -> None:
    with file_lock(tmp_path / "a.json", "vocabopt eval"):
        command = f"""
from pathlib import Path
from vocabopt.folder import file_lock
with file_lock(Path({str(tmp_path / "b.json")!r}), "two"):
    pass
with file_lock(Path({str(tmp_path / "a.json")!r}), "two"):
    pass
"""
        done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=False)
        assert f"a.json: is in use by vocabopt eval (process {os.getpid()} on" in done.stderr
        assert "b.json" not in done.stderr


@pytest.mark.slow
def test_only_the_first_process_of_torchrun_takes_the_lock(swept: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with started(holder(out), stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        running.stdout.readline()
        command = commands(swept, out)["adapt"]
        ranks = [process(*command, env={**os.environ, "RANK": rank, "WORLD_SIZE": "2"}).stderr for rank in "01"]
        alone = process("sweep", KOREAN, "--out", out, env={**os.environ, "RANK": "3"})
    assert ["is in use by" in said for said in ranks] == [True, False]
    # A process that is none of several is nobody's second one, whatever RANK says.
    assert "is in use by" in alone.stderr


def test_the_folder_of_a_path_through_a_file_is_refused(tmp_path: Path) -> None:
    written(tmp_path / "file", "mine")
    with (
        pytest.raises(RunDirectoryError, match=r"file/out: cannot be written \(Not a directory\)"),
        folder_lock(tmp_path / "file" / "out", "one"),
    ):
        time.sleep(0)


def test_a_file_that_is_not_ours_is_never_written_over(tmp_path: Path) -> None:
    mine = tmp_path / "korean.txt"
    mine.write_text("잃으면 안 되는 글", encoding="utf-8")
    refused = vocabopt("verify", "mistral-7b-v1", "mistral-7b-v1", "--out", mine)
    assert refused.exit_code == 2
    assert f"--out {mine}: a file is there that vocabopt has not written" in refused.stderr
    assert mine.read_text(encoding="utf-8") == "잃으면 안 되는 글"

"""Whatever ends a command: one sentence, its exit code, no process and no half-written file left behind."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from command_line import command_of, half_written, process, started, workers_of, written
from helpers import CORPUS, lines_of

from vocabopt.processes import signals_blocked

KOREAN = CORPUS / "ko" / "news.txt"
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")


def members(group: int) -> dict[int, str]:
    """Living processes of a group, and how they were started."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, of_group = path.read_text().rpartition(")")[2].split()[:3]
            if int(of_group) == group and state not in "ZX":
                found[int(path.parent.name)] = (path.parent / "cmdline").read_bytes().replace(b"\0", b" ").decode()
    return found


def has_workers(group: int) -> bool:
    return len(workers_of(group)) >= 2


def wait_for(is_so: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


@pytest.fixture
def preparing(tmp_path: Path) -> list[str]:
    """A command that works for a while, with two workers."""
    lines = [f"{i} {line}" for i in range(40) for line in lines_of("ko")]
    source = written(tmp_path / "in.txt", "\n".join(lines))
    return command_of("prepare", source, "--out", tmp_path / "out", "--shard", "64kB", "--quiet")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_to_all_processes_ends_them_with_one_sentence(
    number: signal.Signals, code: int, preparing: list[str], tmp_path: Path
) -> None:
    temporary = Path(tempfile.mkdtemp())
    environment = {**os.environ, "TMPDIR": str(temporary)}
    options: dict[str, Any] = {"stderr": subprocess.PIPE, "text": True, "start_new_session": True, "env": environment}
    # Under nohup SIGHUP is ignored, and a signal that the caller ignores stays ignored.
    heard = partial(signal.signal, number, signal.SIG_DFL)
    with started(preparing, preexec_fn=heard, **options) as running:
        wait_for(lambda: has_workers(running.pid))
        time.sleep(0.3)
        os.killpg(running.pid, number)
        _, said = running.communicate(timeout=60)
        assert (running.returncode, said.count("\n")) == (code, 1), said
        assert said.startswith("Interrupted. Go on with: vocabopt prepare ")
        wait_for(lambda: not members(running.pid))
    assert half_written(tmp_path) == []
    assert not list((tmp_path / "out").glob(".*"))
    assert list(temporary.iterdir()) == []
    temporary.rmdir()


def test_a_long_temporary_folder_is_no_hindrance(tmp_path: Path) -> None:
    # A socket's path has 107 bytes at most, and the process that workers are forked from listens on one.
    temporary = tmp_path / ("long" * 25)
    temporary.mkdir()
    source = written(tmp_path / "in.txt", "\n".join(lines_of("ko")))
    command = command_of("prepare", source, "--out", tmp_path / "out", "--shard", "64kB", "--workers", 2, "--quiet")
    environment = {**os.environ, "TMPDIR": str(temporary)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert list(temporary.iterdir()) == []


@pytest.mark.slow
def test_workers_end_with_a_parent_that_is_killed(preparing: list[str], tmp_path: Path) -> None:
    with started(preparing, stderr=subprocess.DEVNULL, start_new_session=True) as running:
        wait_for(lambda: has_workers(running.pid))
        os.kill(running.pid, signal.SIGKILL)
        running.wait()
        wait_for(lambda: not members(running.pid))
    # The same command goes on, and clears what was half-written.
    assert subprocess.run(preparing, check=False, timeout=300).returncode == 0
    assert half_written(tmp_path) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_python_imports_is_one_sentence(number: signal.Signals) -> None:
    # It is sent as soon as our first line has run: what comes before is Python's own start.
    command = [sys.executable, "-X", "importtime", "-m", "vocabopt", "sweep", str(KOREAN)]
    with started(command, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        for line in running.stderr:
            if "click.globals" in line:
                break
        running.send_signal(number)
        _, said = running.communicate(timeout=60)
    assert running.returncode == 128 + number
    sentences = [line for line in said.splitlines() if not line.startswith("import time:")]
    assert sentences == ["Interrupted. Nothing was begun."]


def test_ctrl_c_twice_is_once(preparing: list[str]) -> None:
    with started(preparing, stderr=subprocess.PIPE, text=True, start_new_session=True) as running:
        wait_for(lambda: has_workers(running.pid))
        for _ in range(2):
            running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=60)
    assert (running.returncode, said.count("\n")) == (130, 1)


def test_ctrl_c_that_the_caller_ignores_stays_ignored() -> None:
    command = command_of("choose", "nothing")
    done = subprocess.run(
        ["sh", "-c", 'trap "" INT; exec "$@"', "sh", sys.executable, "-c", IGNORES, *command[3:]],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "Interrupted" not in done.stderr


#: Sends itself Ctrl-C when a command begins.
IGNORES = """
import os, signal
from vocabopt.cli import main, run
begin = main.invoke
main.invoke = lambda context: (os.kill(os.getpid(), signal.SIGINT), begin(context))[1]
run()
"""


#: Sends itself Ctrl-C inside numpy, which libraries in Rust import when they first need it: there it is a panic.
PANICS = """
import os, signal
from vocabopt.cli import run
import numpy.lib
def begin(self, version, begin=numpy.lib.NumpyVersion.__init__):
    os.kill(os.getpid(), signal.SIGINT)
    begin(self, version)
numpy.lib.NumpyVersion.__init__ = begin
run()
"""


@pytest.mark.parametrize(
    "command",
    [["sweep", KOREAN], ["prepare", KOREAN, "--workers", 1], ["analyze", "mistral-7b-v1", "--text", f"ko={KOREAN}"]],
)
def test_a_signal_that_a_library_turns_into_a_panic_is_the_signal(command: list[object], tmp_path: Path) -> None:
    out = ["--out", tmp_path / "out"] if command[0] != "analyze" else []
    arguments = [str(argument) for argument in [*command, *out]]
    done = subprocess.run(
        [sys.executable, "-c", PANICS, *arguments], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 130, done.stderr
    assert "panicked" in done.stderr, "no library asks for numpy any more"
    assert done.stderr.splitlines()[-1].startswith("Interrupted. ")
    assert "\nTraceback (most recent call last)" not in done.stderr  # within a line Rust has one of its own


#: Sends itself a signal that something swallows, and begins a command.
SWALLOWS = """
import signal
from vocabopt import cli
def swallowed():
    try:
        signal.raise_signal(signal.SIGTERM)
    except KeyboardInterrupt:
        pass
cli.use_caches = swallowed
cli.run()
"""


@pytest.mark.parametrize("command", [["verify", "mistral-7b-v1", "mistral-7b-v1"], ["verify", "gone", "gone"]])
def test_a_signal_that_a_library_swallows_ends_the_command(command: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SWALLOWS, *command], capture_output=True, text=True, check=False, timeout=120
    )
    assert (done.returncode, done.stdout) == (143, "")
    assert done.stderr == "Interrupted. Finished files are kept; nothing half-written is left.\n"


#: Reads a file of a run after a signal: what fails then is no broken file.
READS = """
import signal, sys
from pathlib import Path
from typing import Any
from vocabopt.folder import read_parquet
from vocabopt.errors import VocaboptError
from vocabopt.failures import Stopped, hear_signals, is_failure
from vocabopt.text.storage import chunks
hear_signals()
for is_stopped in (False, True):
    if is_stopped:
        try:
            signal.raise_signal(signal.SIGINT)
        except Stopped:
            assert not is_failure(ValueError())
    for read in (lambda: read_parquet(Path(sys.argv[1]), next_step=""), lambda: list(chunks(sys.argv[1], "gz", 9))):
        try:
            read()
        except (VocaboptError, Stopped) as error:
            print(type(error).__name__)
"""


def test_what_fails_after_a_signal_is_no_broken_file(tmp_path: Path) -> None:
    broken = written(tmp_path / "counts.parquet", b"PAR1 is broken PAR1")
    done = subprocess.run([sys.executable, "-c", READS, str(broken)], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["RunDirectoryError", "DamagedFileError", "Stopped", "Stopped"], done.stderr


def test_a_command_without_workers_ends_as_fast(tmp_path: Path) -> None:
    with started(command_of("sweep", CORPUS / "ko", "--out", tmp_path / "out"), stderr=subprocess.PIPE) as running:
        # Written once the lock is held: who is interrupted while taking it may leave its file, locked by nobody.
        wait_for(lambda: (tmp_path / "out" / ".vocabopt.holder.json").exists())
        running.send_signal(signal.SIGTERM)
        _, said = running.communicate(timeout=60)
    assert running.returncode == 143
    assert said.decode().endswith("Interrupted. Finished files are kept; nothing half-written is left.\n")
    # Nothing was written: nothing is left.
    assert not list((tmp_path / "out").glob(".*"))


def test_a_fault_of_ours_is_one_sentence_and_its_traceback_is_kept(tmp_path: Path) -> None:
    code = """
import vocabopt.choice.choose
def broken(*arguments, **options): raise KeyError("no such thing")
vocabopt.choice.choose.rechoose = broken
from vocabopt.__main__ import run
run()
"""
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", code, "choose", "nothing"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    (kept,) = tmp_path.glob("vocabopt-fault-*.txt")
    assert done.returncode == 1
    assert done.stderr == (
        "Error: KeyError: 'no such thing'. This is a fault of vocabopt, not of what you gave it. Please report it "
        f"with {kept}, which says where. Finished files are kept.\n"
    )
    assert 'raise KeyError("no such thing")' in kept.read_text() or "in broken" in kept.read_text()
    shown = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**environment, "VOCABOPT_TRACEBACK": "1"}
    )
    assert "Traceback" in shown.stderr
    assert process("choose", tmp_path / "nothing").returncode == 2


def test_a_signal_that_another_thread_takes_is_heard_when_the_worker_has_started() -> None:
    """The mask is the calling thread's alone: the system gives the signal to any other, and Python interrupts here."""
    done, steps = threading.Event(), []
    other = threading.Thread(target=done.wait)
    other.start()

    def start() -> None:
        with signals_blocked():
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.2)
            steps.append("started")

    try:
        with pytest.raises(KeyboardInterrupt):
            start()
    finally:
        done.set()
        other.join()
    assert steps == ["started"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

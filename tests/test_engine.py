"""The engine: a result per job in any order, errors as they are raised, workers that are killed, Ctrl-C, lazy jobs.

The workers of these tests are classes of engine_workers.py: other processes import it.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from command_line import workers_of
from engine_workers import Ends, Fails, Leaves, Squares, options

from vocabopt.engine import Engine, engine
from vocabopt.errors import CorpusError, EngineError, OptionError
from vocabopt.options import EngineOptions

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")


@pytest.mark.parametrize("n_workers", [1, 2])
def test_every_job_gives_one_result_and_a_worker_is_made_once_per_process(n_workers: int, tmp_path: Path) -> None:
    workers: Engine[int, tuple[int, int]]
    with engine(options(n_workers), partial(Squares, tmp_path)) as workers:
        for last in (1, 40, 0, 3):
            found = list(workers.run(range(last), step="count"))
            assert sorted(square for square, _ in found) == [i * i for i in range(last)]
            # One job needs no process, as long as there is none.
            assert n_workers == 2 or {process for _, process in found} <= {os.getpid()}
        assert bool(workers_of(os.getpid())) == (n_workers == 2)
    n_made = len(list(tmp_path.iterdir()))
    assert n_made == 1 if n_workers == 1 else 2 <= n_made <= 3
    assert workers_of(os.getpid()) == []


def test_workers_have_the_environment_of_their_own_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are forked by a process that was started with the first of them."""
    for value in ("one", "two"):
        monkeypatch.setenv("VOCABOPT_TEST_VALUE", value)
        workers: Engine[str, str]
        with engine(options(2), partial(partial, os.getenv)) as workers:
            found = list(workers.run(["VOCABOPT_TEST_VALUE", "OMP_NUM_THREADS"], step="ask"))
        assert sorted(found) == ["1", value]


def test_jobs_are_taken_as_workers_need_them(tmp_path: Path) -> None:
    n_taken = n_done = 0

    def jobs() -> Iterator[int]:
        nonlocal n_taken
        for i in range(30):
            n_taken += 1
            assert n_taken - n_done <= 3 + 1, "jobs wait in memory"
            yield i

    workers: Engine[int, tuple[int, int]]
    with engine(options(2), partial(Squares, tmp_path)) as workers:
        for _ in workers.run(jobs(), step="count"):
            n_done += 1
    assert n_done == n_taken == 30


@pytest.mark.parametrize("n_workers", [1, 2])
def test_an_error_of_a_worker_is_raised_as_it_is(n_workers: int) -> None:
    workers: Engine[int, int]
    with pytest.raises(CorpusError, match="job 7 has no text") as raised:  # noqa: SIM117
        with engine(options(n_workers), Fails) as workers:
            list(workers.run(range(20), step="count"))
    assert raised.value.of_job == 7  # type: ignore[attr-defined]


def test_an_error_that_cannot_be_sent_still_says_what_it_is() -> None:
    workers: Engine[int, int]
    with (
        pytest.raises(RuntimeError, match="LocalError: job 7"),
        engine(options(2), partial(Fails, local=True)) as workers,
    ):
        list(workers.run(range(20), step="count"))


def test_a_worker_that_cannot_be_made_says_why() -> None:
    workers: Engine[int, int]
    with pytest.raises(CorpusError, match="no table"), engine(options(2), partial(Fails, at_start=True)) as workers:
        list(workers.run(range(20), step="count"))


@pytest.mark.slow
def test_a_killed_worker_is_one_error_that_names_it_and_what_to_change(tmp_path: Path) -> None:
    workers: Engine[int, int]
    with pytest.raises(EngineError) as raised, engine(options(2), partial(Ends, tmp_path / "pid")) as workers:
        list(workers.run(range(20), step="count shards"))
    killed = (tmp_path / "pid").read_text()
    assert str(raised.value) == (
        f"count shards: worker process {killed} was killed (SIGKILL), probably for lack of memory. What is done is "
        "kept: run the same command again, with fewer --workers or more memory."
    )
    assert workers_of(os.getpid()) == []


def test_a_caller_that_leaves_a_run_can_begin_another(tmp_path: Path) -> None:
    workers: Engine[int, tuple[int, int]]
    with engine(options(2), partial(Squares, tmp_path)) as workers:
        for _ in workers.run(range(100), step="one"):
            break
        assert sorted(square for square, _ in workers.run(range(5), step="two")) == [0, 1, 4, 9, 16]


#: Says when it works, and works until it is stopped.
WORKS = """
import sys
from functools import partial
from pathlib import Path
from engine_workers import Squares, options
from vocabopt.engine import engine
from vocabopt.failures import Stopped, hear_signals
if __name__ == "__main__":
    hear_signals()
    try:
        with engine(options(2, sys.argv[2]), partial(Squares, Path(sys.argv[1]), seconds=600.0)) as workers:
            print("begun", flush=True)
            list(workers.run(range(8), step="count"))
    except Stopped as stopped:
        sys.exit(stopped.exit_code)
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_stops_workers_at_once(number: signal.Signals, tmp_path: Path) -> None:
    assert_stops(tmp_path, number, "local")


def assert_stops(tmp_path: Path, number: signal.Signals, where: str) -> None:
    """A signal to a process whose workers are busy for minutes ends it soon, quietly, and them."""
    script = tmp_path / "works.py"
    script.write_text(WORKS, encoding="utf-8")
    made = tmp_path / "made"
    made.mkdir()
    command = [sys.executable, str(script), str(made), where]
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, **streams, text=True, env=environment) as running:  # type: ignore[call-overload]
        end = time.monotonic() + 120
        while len(list(made.iterdir())) < 2:
            assert time.monotonic() < end, "no workers"
            assert running.poll() is None, running.communicate()
            time.sleep(0.05)
        running.send_signal(number)
        out, said = running.communicate(timeout=60)
    assert (running.returncode, out, said) == (128 + number, "begun\n", "")
    end = time.monotonic() + 10
    while any(Path(f"/proc/{path.name}").exists() for path in made.iterdir()):
        assert time.monotonic() < end, "workers go on"
        time.sleep(0.05)


def test_a_signal_that_another_thread_takes_stops_workers_too(tmp_path: Path) -> None:
    """The system gives a signal to another thread while a worker is started; it wakes no wait of the main thread."""

    def take() -> None:
        while len(list(tmp_path.glob("begun-*"))) < 2:
            time.sleep(0.02)
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)

    workers: Engine[int, int]
    taking = threading.Thread(target=take)
    taking.start()
    with pytest.raises(KeyboardInterrupt), engine(options(2), partial(Leaves, tmp_path, seconds=20.0)) as workers:
        list(workers.run(range(8), step="count"))
    taking.join()
    assert not list(tmp_path.glob("ended-*")), "heard behind the first job"
    assert workers_of(os.getpid()) == []


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"engine": "spark"}, "--engine spark: must be local, ray, or ray:ADDRESS"),
        ({"engine": "ray:"}, "--engine ray:: must be local"),
        ({"workers": 0}, "--workers 0: must be between 1 and 1024 processes"),
    ],
)
def test_options_that_name_no_engine_are_refused(given: dict[str, object], match: str) -> None:
    with pytest.raises(OptionError, match=match):
        EngineOptions(**given)  # type: ignore[arg-type]


def test_all_cores_are_those_that_this_process_may_use() -> None:
    assert EngineOptions().n_workers == len(os.sched_getaffinity(0))
    assert EngineOptions(workers=3).n_workers == 3

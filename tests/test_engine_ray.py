"""The engine on Ray: the same results as here, actors and nodes that are lost, addresses that do not answer."""

import os
import pickle
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from command_line import vocabopt
from engine_workers import Ends, Fails, Squares, options
from helpers import lines_of
from test_engine import assert_stops
from test_prepare import contents, jsonl, long_documents, prepared, text_of

from vocabopt import __version__
from vocabopt.engine import Engine, engine
from vocabopt.engine_ray import actor_class
from vocabopt.errors import CorpusError, EngineError, OptionError
from vocabopt.growth.whole_text import USES_NPZ

ray = pytest.importorskip("ray", reason="needs the extra ray")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc"),
    # Of Ray's own code.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning", "ignore::FutureWarning"),
]


@contextmanager
def cluster_of(n_cores: int) -> Iterator[Any]:
    """Ray on this machine, as another program has started it. Its workers find the modules of the tests."""
    from ray.cluster_utils import Cluster

    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), before or ""])
    for n_left in (2, 1, 0):
        try:
            cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": n_cores, "include_dashboard": False})
            break
        except Exception:  # Ray gives a node 30 s to start; a busy machine takes longer
            if not n_left:
                raise
    try:
        yield cluster
    finally:
        cluster.shutdown()  # type: ignore[no-untyped-call]
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


@pytest.fixture(scope="module")
def this_machine() -> Iterator[str]:
    """The address of a cluster of two cores."""
    with cluster_of(2) as cluster:
        yield cluster.address


def test_results_are_those_of_this_process(this_machine: str, tmp_path: Path) -> None:
    workers: Engine[int, tuple[int, int]]
    with engine(options(2, f"ray:{this_machine}"), partial(Squares, tmp_path)) as workers:
        for last in (40, 0, 3):
            found = list(workers.run(range(last), step="count"))
            assert sorted(square for square, _ in found) == [i * i for i in range(last)]
    assert len(list(tmp_path.iterdir())) == 2
    assert os.getpid() not in {int(path.name) for path in tmp_path.iterdir()}
    assert not ray.is_initialized()


def test_a_pool_larger_than_the_cluster_uses_what_there_is(this_machine: str, tmp_path: Path) -> None:
    workers: Engine[int, tuple[int, int]]
    with engine(options(16, f"ray:{this_machine}"), partial(Squares, tmp_path, seconds=0.3)) as workers:
        assert len(list(workers.run(range(50), step="count"))) == 50
    assert len(list(tmp_path.iterdir())) == 2


def test_an_error_of_a_worker_is_raised_as_it_is(this_machine: str) -> None:
    workers: Engine[int, int]
    with pytest.raises(CorpusError, match="job 7 has no text") as raised:  # noqa: SIM117
        with engine(options(2, f"ray:{this_machine}"), Fails) as workers:
            list(workers.run(range(20), step="count"))
    assert raised.value.of_job == 7  # type: ignore[attr-defined]


def test_a_job_whose_worker_is_killed_is_done_by_another(this_machine: str, tmp_path: Path) -> None:
    workers: Engine[int, int]
    with engine(options(2, f"ray:{this_machine}"), partial(Ends, tmp_path / "last", times=2)) as workers:
        assert sorted(workers.run(range(20), step="count")) == list(range(20))
    assert len(list(tmp_path.glob("pid*"))) == 2


def test_a_job_that_ends_every_worker_is_an_error(this_machine: str, tmp_path: Path) -> None:
    workers: Engine[int, int]
    with (
        pytest.raises(EngineError, match=r"count: 4 Ray workers were lost at the same work.*fewer --workers"),
        engine(options(2, f"ray:{this_machine}"), partial(Ends, tmp_path / "last")) as workers,
    ):
        list(workers.run(range(20), step="count"))


def test_a_node_that_is_removed_in_the_middle_changes_no_result(tmp_path: Path) -> None:
    workers: Engine[int, tuple[int, int]]
    found: list[tuple[int, int]] = []
    with cluster_of(1) as cluster:
        second = cluster.add_node(num_cpus=2)

        def jobs() -> Iterator[int]:
            """Until the node is gone, and sixty more."""
            i = n_more = 0
            while n_more < 60:
                yield i
                i, n_more = i + 1, n_more + (second is None)

        with engine(options(3, f"ray:{cluster.address}"), partial(Squares, tmp_path, seconds=0.1)) as workers:
            for result in workers.run(jobs(), step="count"):
                found.append(result)
                if len({process for _, process in found}) == 3 and second is not None:
                    cluster.remove_node(second, allow_graceful=False)
                    second = None
    assert sorted(square for square, _ in found) == [i * i for i in range(len(found))]


def test_prepare_writes_the_same_bytes(this_machine: str, tmp_path: Path) -> None:
    texts = long_documents(300)
    source = jsonl(tmp_path / "in.jsonl", *texts, *texts[:50], *(f"{text} 끝." for text in texts[:50]))
    for out, *where in (("here", "--workers", 1), ("ray", "--engine", f"ray:{this_machine}")):
        prepared(tmp_path / out, source, "--steps", "exact,near", "--base", "none", "--shard", "64kB", *where)
    assert len(list((tmp_path / "ray" / "clean").iterdir())) > 2
    assert len(text_of(tmp_path / "ray" / "removed")) >= 100
    assert contents(tmp_path / "ray") == contents(tmp_path / "here")


def test_a_sweep_writes_the_same_bytes_though_a_node_is_lost(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("\n".join(lines_of("ko") * 80) + "\n", encoding="utf-8")
    options = ("--learn-from", "0.02", "--shard", "50kB", "--quiet")
    assert vocabopt("sweep", text, "--out", tmp_path / "here", "--workers", 1, *options).exit_code == 0
    with cluster_of(1) as cluster:
        second = cluster.add_node(num_cpus=2)
        uses, is_over = tmp_path / "ray" / USES_NPZ, threading.Event()

        def remove() -> None:
            while not uses.exists() and not is_over.wait(0.01):
                pass
            cluster.remove_node(second, allow_graceful=False)

        removing = threading.Thread(target=remove)
        removing.start()
        done = vocabopt("sweep", text, "--out", tmp_path / "ray", "--engine", f"ray:{cluster.address}", *options)
        is_over.set()
        removing.join()
    assert done.exit_code == 0, done.output
    for file in ("curve.parquet", "folds.parquet"):
        assert (tmp_path / "ray" / file).read_bytes() == (tmp_path / "here" / file).read_bytes()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_stops_ray_that_was_started_here(number: signal.Signals, tmp_path: Path) -> None:
    assert_stops(tmp_path, number, "ray")


def test_an_address_where_nothing_listens_is_one_error_within_seconds() -> None:
    start = time.monotonic()
    with (
        pytest.raises(EngineError, match=r"--engine ray:127\.0\.0\.1:9: no Ray cluster answers there\. Check the"),
        engine(options(2, "ray:127.0.0.1:9"), Fails),
    ):
        pass
    assert time.monotonic() - start < 10


def test_an_address_where_something_else_listens_is_the_same_error() -> None:
    start = time.monotonic()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up() -> None:
            while True:
                try:
                    server.accept()[0].close()
                except OSError:
                    return

        listening = threading.Thread(target=hang_up)
        listening.start()
        where = f"ray:127.0.0.1:{server.getsockname()[1]}"
        try:
            with pytest.raises(EngineError, match="no Ray cluster answers"), engine(options(2, where), Fails):
                pass
        finally:
            server.shutdown(socket.SHUT_RDWR)
            listening.join()
    assert time.monotonic() - start < 40


def test_another_version_on_a_node_is_said(this_machine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vocabopt.engine_ray.__version__", "99.0")
    workers: Engine[int, int]
    with (
        pytest.raises(EngineError, match=r"count: node \S+ has vocabopt 0\S+\. Every node needs vocabopt 99\.0"),
        engine(options(2, f"ray:{this_machine}"), Fails) as workers,
    ):
        list(workers.run(range(20), step="count"))


def test_a_cluster_without_a_free_core_is_an_error_in_the_end(
    this_machine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vocabopt.engine_ray._ROOM_SECONDS", 2)
    monkeypatch.setattr("vocabopt.engine_ray._TOLD_SECONDS", 0.5)
    ray.init(this_machine, log_to_driver=False)
    try:
        holder = ray.remote(num_cpus=2)(Squares).remote(tmp_path)
        ray.get(holder.__ray_ready__.remote())
        workers: Engine[int, int]
        with (
            pytest.raises(EngineError, match="count: the Ray cluster had no free core for 2 s"),
            engine(options(1, f"ray:{this_machine}"), Fails) as workers,
        ):
            list(workers.run(range(2), step="count"))
        # A connection that the caller has made is left to it.
        assert ray.is_initialized()
    finally:
        ray.shutdown()


def test_a_node_that_cannot_import_the_work_says_so() -> None:
    actor = actor_class()()
    assert actor.start(__version__, os.getcwd(), {}, pickle.dumps(Fails)) is None
    said = actor.start(__version__, os.getcwd(), {}, b"cno_such_module\nWorker\n.")
    assert re.fullmatch(r"node \S+ cannot import vocabopt \(No module named 'no_such_module'\)\.", said)


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    missing: Any = r"--engine ray: ray is not installed\. .*\.\[ray\]"
    with pytest.raises(OptionError, match=missing), engine(options(2, "ray"), Fails):
        pass

"""The engine on a Ray cluster: an actor per worker. Imported only where --engine asks for it.

A job whose actor or node is lost is done again on another one. Actors that the cluster has no room for wait for it, and
take jobs as soon as there is some: so a pool that is too large uses what there is.
"""

import logging
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from typing import Any, TypeVar

from vocabopt import __version__
from vocabopt.engine import FEWER, Engine, portable
from vocabopt.errors import EngineError, OptionError, how_to_install, tell
from vocabopt.failures import SIGNALS
from vocabopt.processes import ONE_THREAD

Job = TypeVar("Job")
Result = TypeVar("Result")

#: How often a job is begun: lost this often, it is probably the job that ends its workers.
MAX_TRIES = 4
#: An address answers within seconds, a cluster has room for a first actor within minutes.
_ADDRESS_SECONDS, _HEALTH_SECONDS, _ROOM_SECONDS = 5, 20, 300
_TOLD_SECONDS = 10


@dataclass
class _Task:
    """A job of a run. n_tries: how often an actor began it."""

    job: Any
    n_run: int
    actor: Any = None
    n_tries: int = 0


class RayEngine(Engine[Job, Result]):
    """Workers that are actors. n_workers: how many were asked for; else the cores of the cluster."""

    def __init__(
        self, address: str | None, n_workers: int | None, make_worker: Callable[[], Callable[[Job], Result]]
    ) -> None:
        """Raises OptionError: ray is not installed. EngineError: the cluster does not answer."""
        try:
            ray: Any = import_module("ray")
        except ImportError as error:
            raise OptionError(f"--engine ray: ray is not installed. {how_to_install('ray')}") from error
        self._ray, self._make_worker = ray, pickle.dumps(make_worker)
        self._is_ours = not ray.is_initialized()
        if self._is_ours:
            _connect(ray, address or os.environ.get("RAY_ADDRESS"), n_workers)
        n_cores = max(1, int(ray.cluster_resources().get("CPU", 1)))
        self.n_workers = n_workers or n_cores
        self._class = ray.remote(num_cpus=1)(actor_class())
        self._idle: deque[Any] = deque()
        #: What is under way, by Ray's reference to what comes of it: actors that start, and jobs.
        self._starting: dict[Any, Any] = {}
        self._working: dict[Any, _Task] = {}
        self._n_runs = 0

    def run(self, jobs: Iterable[Job], *, step: str) -> Iterator[Result]:
        self._n_runs += 1
        waiting: deque[_Task] = deque()
        tasks = (_Task(job, self._n_runs) for job in jobs)
        room_until = time.monotonic() + _ROOM_SECONDS
        while True:
            # 1. Jobs to actors that are free; one job more is taken, so that it is there when the next one is.
            while True:
                if not waiting and (task := next(tasks, None)) is not None:
                    waiting.append(task)
                if not waiting or not self._idle:
                    break
                self._begin(waiting.popleft(), self._idle.popleft())
            if waiting:
                self._start_more()
            elif not any(task.n_run == self._n_runs for task in self._working.values()):
                return
            # 2. What is done first.
            done, _ = self._ray.wait([*self._working, *self._starting], timeout=_TOLD_SECONDS)
            if done or self._working:
                room_until = time.monotonic() + _ROOM_SECONDS
            elif time.monotonic() > room_until:
                raise EngineError(f"{step}: the Ray cluster had no free core for {_ROOM_SECONDS} s. Try again later.")
            else:
                tell("ray room", "Waiting for a free core of the Ray cluster.")
            for reference in done:
                if (actor := self._starting.pop(reference, None)) is not None:
                    self._started(actor, reference, step)
                    continue
                task = self._working.pop(reference)
                sent = self._result(task, reference, step)
                # Of a run that its caller has left, nobody waits for the results.
                if task.n_run != self._n_runs:
                    continue
                if sent is None:
                    waiting.appendleft(task)
                elif not sent[0]:
                    raise sent[1]
                else:
                    yield sent[1]

    def _begin(self, task: "_Task", actor: Any) -> None:
        task.actor, task.n_tries = actor, task.n_tries + 1
        self._working[actor.run.remote(task.job)] = task

    def _start_more(self) -> None:
        """Ask for actors: at most as many more as there are, since nobody knows how many jobs will come."""
        n_ready = len(self._idle) + len(self._working)
        for _ in range(len(self._starting), min(max(1, n_ready), self.n_workers - n_ready)):
            actor = self._class.remote()
            ready = actor.start.remote(__version__, os.getcwd(), dict(ONE_THREAD), self._make_worker)
            self._starting[ready] = actor

    def _started(self, actor: Any, reference: Any, step: str) -> None:
        try:
            problem = self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            raise EngineError(
                f"{step}: a Ray worker cannot start ({_first_line(error)}). Every node needs the same code, and "
                "the folder in which the command was given."
            ) from error
        except self._ray.exceptions.RayError as error:
            # Its node was lost: another actor is asked for when there is work.
            tell("ray start", f"A Ray worker was lost while it started ({_first_line(error)}).")
            return
        if problem is not None:
            raise EngineError(f"{step}: {problem} Every node needs vocabopt {__version__} and the same Python.")
        self._idle.append(actor)

    def _result(self, task: "_Task", reference: Any, step: str) -> tuple[bool, Any] | None:
        """Whether it is a result, and that or the error; None where the actor was lost: the job is to be done again."""
        try:
            sent: tuple[bool, Any] = pickle.loads(self._ray.get(reference))
        except self._ray.exceptions.RayError as error:
            with suppress(Exception):
                self._ray.kill(task.actor)
            if task.n_tries >= MAX_TRIES:
                raise EngineError(
                    f"{step}: {task.n_tries} Ray workers were lost at the same work, probably for lack of memory "
                    f"({_first_line(error)}). {FEWER}"
                ) from error
            return None
        self._idle.append(task.actor)
        return sent

    def close(self, *, now: bool) -> None:
        ray = self._ray
        actors = [*self._idle, *self._starting.values(), *(task.actor for task in self._working.values())]
        if not now and self._working:
            # As in processes of this machine: each finishes the job that it is at.
            with suppress(ray.exceptions.RayError):
                ray.wait([*self._working], num_returns=len(self._working))
        for actor in actors:
            with suppress(Exception):
                ray.kill(actor)
        if self._is_ours:
            ray.shutdown()


def actor_class() -> type[Any]:
    """The class of actors. Made inside a function, so that it travels whole and a node without vocabopt can say so."""

    class Actor:
        def start(self, version: str, folder: str, environment: dict[str, str], make_worker: bytes) -> str | None:
            """What is wrong with this node; None where all is well."""
            import os
            import pickle
            import platform

            node = platform.node()
            os.environ.update(environment)
            if os.path.isdir(folder):
                os.chdir(folder)  # paths are as the user wrote them
            try:
                import vocabopt

                if vocabopt.__version__ != version:
                    return f"node {node} has vocabopt {vocabopt.__version__}."
                self._make, self._worker = pickle.loads(make_worker), None
            except ImportError as error:
                return f"node {node} cannot import vocabopt ({error})."
            return None

        def run(self, job: Any) -> bytes:
            import pickle

            from vocabopt.engine_ray import work

            self._worker, sent = work(self._make, self._worker, job)
            return pickle.dumps(sent)

    return Actor


def work(make: Callable[[], Any], worker: Any, job: Any) -> tuple[Any, tuple[bool, Any]]:
    """In an actor: the worker, made where there is none yet; and whether the job gave a result, and that or the error.

    Ray would wrap an error in one of its own kinds.
    """
    try:
        worker = worker or make()
        return worker, (True, worker(job))
    except BaseException as error:
        return worker, (False, portable(error))


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


# --- Connecting -------------------------------------------------------------------------------------------------------


def _connect(ray: Any, address: str | None, n_workers: int | None) -> None:
    """Join the cluster at the address, or start one on this machine, quietly."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    given: dict[str, Any] = {"address": address}
    if address is None or address == "local":
        given = {"address": "local", "include_dashboard": False, "num_cpus": n_workers}
    elif address != "auto" and "://" not in address:
        _check_answers(address)
    try:
        with _signals_kept():
            ray.init(log_to_driver=False, logging_level=logging.ERROR, **given)
    except (Exception, SystemExit) as error:
        raise EngineError(
            f"--engine ray{f':{address}' if address else ''}: Ray cannot be reached or started "
            f"({_first_line(error)}). Start a cluster with `ray start --head`, or name the address it shows."
        ) from error


def _check_answers(address: str) -> None:
    """Ray itself tries for minutes, and then ends the process."""
    host, _, port = address.rpartition(":")
    wrong = EngineError(
        f"--engine ray:{address}: no Ray cluster answers there. Check the address that `ray start --head` showed "
        "(HOST:6379), and that this machine may connect to it."
    )
    try:
        with socket.create_connection((host, int(port)), timeout=_ADDRESS_SECONDS):
            pass
    except (OSError, ValueError) as error:
        raise wrong from error
    command = [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--address", address]
    try:
        # Something else may listen there.
        subprocess.run(command, check=True, capture_output=True, timeout=_HEALTH_SECONDS)
    except (subprocess.SubprocessError, OSError) as error:
        raise wrong from error


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Ray takes SIGTERM for itself: what the command does on signals is set again behind it."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:
                with suppress(ValueError):  # not the main thread: nothing was changed
                    signal.signal(number, handler)

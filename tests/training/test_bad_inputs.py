"""Every command against bad files, odd values and hard environments: one sentence, known exit codes, nothing broken."""

import hashlib
import os
import resource
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest
from bad_inputs import COMMANDS, Case, file_cases, option_cases
from click.testing import CliRunner
from command_line import command_of, written

from vocabopt.cli import main

pytestmark = pytest.mark.slow

#: Only these tell what happened: done, a promise did not hold, bad input, stopped.
EXIT_CODES = {0, 1, 2, 130}
#: A case that takes longer waits for something.
LIMIT_SECONDS = 90
KOREAN = [f"서울의 날씨가 {i}월에는 매우 좋았다고 사람들이 말했다. 그래서 우리는 공원에 갔다." for i in range(60)]
ENGLISH = [f"The weather in Seoul was fine in month {i}, people said, so we went to the park." for i in range(40)]


@pytest.fixture(scope="module")
def good(folders: Path, llama: Path, run_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Inputs that every command takes."""
    root = tmp_path_factory.mktemp("good")
    return {
        "text": written(root / "ko.txt", "\n".join(KOREAN)),
        "eval": written(root / "more.txt", "\n".join(KOREAN[:5])),
        "english": written(root / "en.txt", "\n".join(ENGLISH)),
        "base": folders / "llama-like",
        "run": run_dir,
        "merged": run_dir / "tokenizer",
        "model": llama,
    }


def contents(paths: Mapping[str, Path]) -> dict[str, str]:
    """What the good inputs hold, but for what a command is asked to write there (choose and report into the run)."""
    files = [file for path in paths.values() for file in ([path] if path.is_file() else sorted(path.rglob("*")))]
    return {
        str(file): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in files
        if file.is_file() and paths["run"] not in file.parents
    }


@contextmanager
def limited() -> Iterator[None]:
    """An end to what waits for ever."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"no end after {LIMIT_SECONDS} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(LIMIT_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def faults(code: int, error: str, *, refused: bool = False) -> list[str]:
    """What is wrong with how a command ended."""
    found = []
    if code not in EXIT_CODES:
        found.append(f"exit code {code}")
    if "Traceback" in error:
        found.append("a traceback")
    if refused and code != 2:
        found.append(f"exit code {code} where only 2 will do")
    if code in (1, 2) and sum(line.startswith("Error: ") for line in error.splitlines()) > 1:
        found.append("more than one message")
    if code == 2 and not error.strip().splitlines()[-1:]:
        found.append("no message")
    return found


def run_in_process(case: Case) -> list[str]:
    with limited():
        result = CliRunner().invoke(main, list(case.arguments))
    found = faults(result.exit_code, result.stderr, refused=case.refused)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        found = [f"{type(result.exception).__name__}: {str(result.exception)[:200]}"]
    return found


def leftovers(root: Path) -> list[str]:
    return [str(path.relative_to(root)) for path in root.rglob("*") if path.name.endswith((".partial", ".tmp"))]


def report_of(cases: list[Case], run: Callable[[Case], list[str]]) -> list[str]:
    return [f"{case.name}: {'; '.join(found)}" for case in cases if (found := run(case))]


def test_every_place_that_takes_a_file_ends_in_one_sentence(good: dict[str, Path], tmp_path: Path) -> None:
    before = contents(good)
    cases = list(file_cases(good, tmp_path))
    assert len(cases) >= 200
    found = report_of(cases, run_in_process)
    assert not found, "\n".join(found)
    assert contents(good) == before
    assert leftovers(tmp_path) == []


def test_every_option_takes_odd_values_or_refuses_them_in_one_sentence(good: dict[str, Path], tmp_path: Path) -> None:
    before = contents(good)
    found = report_of(list(option_cases(good, tmp_path, n_values=2)), run_in_process)
    assert not found, "\n".join(found)
    assert contents(good) == before
    assert leftovers(tmp_path) == []


# --- Environments ----------------------------------------------------------------------------------------------------

#: Tried in every environment, and one more command in turn.
ALWAYS = ("choose", "sweep")
IN_TURN = ("merge", "analyze", "report", "prepare", "eval", "plan", "verify", "init")
#: name -> variables, redirections of the shell, limits of the process
ENVIRONMENTS: dict[str, tuple[dict[str, str | None], str, dict[int, int]]] = {
    "no home": ({"HOME": None, "XDG_CACHE_HOME": None}, "", {}),
    "a home that is not there": ({"HOME": "/nonexistent"}, "", {}),
    "ascii": ({"PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONUTF8": "0"}, "", {}),
    "cp949": ({"PYTHONIOENCODING": "cp949"}, "", {}),
    "no temporary folder": ({"TMPDIR": "/nonexistent"}, "", {}),
    "one column": ({"COLUMNS": "1", "TERM": "dumb"}, "", {}),
    "output full": ({}, ">/dev/full", {}),
    "errors full": ({}, "2>/dev/full", {}),
    "output closed": ({}, ">&-", {}),
    "errors closed": ({}, "2>&-", {}),
    "input closed": ({}, "<&-", {}),
    "reader gone": ({}, "| true", {}),
    "files of 4 kB at most": ({}, "", {resource.RLIMIT_FSIZE: 4_096}),
    "32 open files": ({}, "", {resource.RLIMIT_NOFILE: 32}),
    "working folder gone": ({}, "gone", {}),
}


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_hard_environments_end_in_one_sentence(environment: str, good: dict[str, Path], tmp_path: Path) -> None:
    variables, shell, limits = ENVIRONMENTS[environment]
    found = []
    turn = list(ENVIRONMENTS).index(environment)
    for command in (*ALWAYS, IN_TURN[turn % len(IN_TURN)]):
        values = {name: str(path) for name, path in good.items()} | {"out": str(tmp_path / command)}
        line = command_of(command, *(part.format(**values) for part in COMMANDS[command]))
        env = {name: value for name, value in {**os.environ, **variables}.items() if value is not None}
        folder = tmp_path / f"{command} cwd"
        folder.mkdir()
        prefix = f"cd '{folder}'; rmdir '{folder}'; " if shell == "gone" else ""
        script = f'{prefix}"$@" {"" if shell == "gone" else shell}; exit ${{PIPESTATUS[0]}}'

        def limit() -> None:
            for what, size in limits.items():
                resource.setrlimit(what, (size, size))

        done = subprocess.run(
            ["bash", "-c", script, "bash", *line],
            capture_output=True, text=True, errors="replace", env=env, check=False, timeout=300, preexec_fn=limit,
        )  # fmt: skip
        # A pipe whose reader is gone ends a program by its signal, as the shell's own tools.
        if not (shell == "| true" and done.returncode in (141, -signal.SIGPIPE)):
            found += [f"{command}: {fault}\n{done.stderr[-600:]}" for fault in faults(done.returncode, done.stderr)]
        found += [f"{command} left {path}" for path in leftovers(tmp_path)]
    assert found == []

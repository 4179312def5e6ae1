"""No folder for caches: compiled code and the rest go to a temporary one, it is said once, and nothing fails."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import written
from helpers import CORPUS

import vocabopt
from vocabopt.caches import use_caches

PACKAGE = Path(vocabopt.__file__).parent


@pytest.fixture
def sealed(tmp_path: Path) -> dict[str, str]:
    """A copy of the package that no cache can be put beside, and a home that cannot be made, for root either."""
    shutil.copytree(PACKAGE, tmp_path / "code" / "vocabopt", ignore=shutil.ignore_patterns("__pycache__"))
    for folder in [path for path in (tmp_path / "code").rglob("*") if path.is_dir()]:
        written(folder / "__pycache__", "a file in the way")
    written(tmp_path / "file", "")
    (tmp_path / "temporary").mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "NUMBA_", "MPL"))}
    return environment | {
        "PYTHONPATH": str(tmp_path / "code"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "HOME": str(tmp_path / "file" / "home"),
        "TMPDIR": str(tmp_path / "temporary"),
    }


def run(*arguments: object, environment: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "vocabopt", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd="/")


@pytest.mark.slow
def test_a_sweep_without_any_cache_folder_works_and_says_how_to_keep_one(
    sealed: dict[str, str], tmp_path: Path
) -> None:
    done = run("sweep", CORPUS / "ko" / "news.txt", "--out", tmp_path / "out", environment=sealed)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "report.html").exists()
    place = tmp_path / "temporary" / f"vocabopt-cache-{os.getuid()}"
    (note,) = [line for line in done.stderr.splitlines() if "cannot be written" in line]
    assert note == (
        f"{tmp_path}/file/home/.cache: cannot be written: compiled code, which takes a minute to make, may be lost "
        f"with the temporary folder {place}. To keep them, set XDG_CACHE_HOME to a folder that can be written."
    )
    assert "matplotlib" not in done.stderr
    assert list((place / "numba").rglob("*.nbc"))
    assert [path.name for path in (tmp_path / "temporary").iterdir()] == [place.name]
    # With what the sentence says, nothing is said, and what is compiled stays there.
    kept = {**sealed, "XDG_CACHE_HOME": str(tmp_path / "cache"), "NUMBA_CACHE_DIR": str(place / "numba")}
    assert run("choose", tmp_path / "out", environment=kept).stderr == ""
    # --quiet says nothing.
    assert run("choose", tmp_path / "out", "--quiet", environment=sealed).stderr == ""


def test_without_temporary_files_it_is_told(sealed: dict[str, str], tmp_path: Path) -> None:
    code = """
import tempfile
def none(): raise FileNotFoundError(2, "No usable temporary directory found")
tempfile.gettempdir = none
from vocabopt.__main__ import run
run()
"""
    command = [sys.executable, "-c", code, "choose", "nothing"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=sealed)
    assert done.returncode == 2
    assert done.stderr == (
        "Error: No folder can take temporary files (No usable temporary directory found). Set TMPDIR to one that can "
        "be written.\n"
    )


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[pytest.MonkeyPatch]:
    for name in ("XDG_CACHE_HOME", "NUMBA_CACHE_DIR", "MPLCONFIGDIR", "HF_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    yield monkeypatch
    for name in ("XDG_CACHE_HOME", "NUMBA_CACHE_DIR", "MPLCONFIGDIR", "HF_HOME"):
        os.environ.pop(name, None)


def test_where_caches_can_be_written_nothing_is_changed(environment: pytest.MonkeyPatch) -> None:
    assert use_caches() is None
    assert not {"XDG_CACHE_HOME", "NUMBA_CACHE_DIR", "MPLCONFIGDIR"} & os.environ.keys()


def test_a_folder_that_another_user_may_have_filled_is_not_trusted(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    environment.setenv("NUMBA_CACHE_DIR", "/proc/none")
    taken = tmp_path / f"vocabopt-cache-{os.getuid()}"
    taken.mkdir()
    taken.chmod(0o777)
    said = use_caches()
    assert said is not None
    assert said.startswith("NUMBA_CACHE_DIR=/proc/none cannot be written: compiled code")
    assert Path(os.environ["NUMBA_CACHE_DIR"]).parent != taken
    assert list(taken.iterdir()) == []


def test_models_in_a_home_that_cannot_be_written_are_still_found(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hub = tmp_path / "huggingface"
    hub.mkdir()
    environment.setenv("XDG_CACHE_HOME", str(tmp_path))
    environment.setattr("vocabopt.caches._is_writable", lambda folders: tmp_path not in folders)
    assert use_caches() is not None
    assert os.environ["HF_HOME"] == str(hub)

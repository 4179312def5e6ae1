"""Programs that vocabopt itself does not need, installed at pinned versions into folders of their own in the cache."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

LLAMA = "0.3.36"
GGUF = "0.19.0"
NUMPY = "2.4.6"
JAVASCRIPT = "0.2.0"
#: The last transformers 4, which many have, and of those that vocabopt allows the oldest and the newest; with each what
#: it needs that differs from vocabopt's own environment.
TRANSFORMERS: Mapping[str, Sequence[str]] = {
    "4.57.6": ("tokenizers==0.22.2", "huggingface-hub==0.36.2"),
    "5.0.0": (
        "tokenizers==0.22.2",
        "huggingface-hub==1.33.0",
        "httpx==0.28.1",
        "httpcore==1.0.9",
        "h11==0.16.0",
        "anyio",
    ),
    "5.24.0": (),
}
_LOG_LINES = 15
_SECONDS_BETWEEN_SIGNS = 30
#: A build for any machine of this kind, of what reads a vocabulary, and nothing else.
_CMAKE_ARGUMENTS = " ".join(
    (
        *("-DGGML_NATIVE=OFF", "-DGGML_OPENMP=OFF", "-DLLAMA_CURL=OFF", "-DLLAMA_BUILD_SERVER=OFF"),
        *("-DLLAMA_BUILD_EXAMPLES=OFF", "-DLLAMA_BUILD_TESTS=OFF", "-DLLAMA_BUILD_TOOLS=OFF", "-DLLAVA_BUILD=OFF"),
    )
)

Say = Callable[[str], None]


class NotRunError(Exception):
    """A client cannot run here; the message says why."""


def llama_python(cache: Path, say: Say) -> Path:
    """The Python of a virtual environment with llama-cpp-python, compiled from its source, and gguf.

    Raises:
        NotRunError: no compiler, or the installation failed.
    """
    folder = cache / f"llama-{LLAMA}-{GGUF}"
    python, done = folder / "venv" / "bin" / "python", folder / "done"
    if not done.is_file():
        if shutil.which(os.environ.get("CXX", "c++")) is None:
            raise NotRunError("no C++ compiler (c++): llama.cpp is compiled from its source")
        say(f"llama.cpp: compiling llama-cpp-python {LLAMA} into {folder}, six to twelve minutes on two cores")
        source = llama_source(cache, say)
        if not python.is_file():
            _run(
                [sys.executable, "-m", "venv", str(folder / "venv")], folder / "venv.log", say, "making the environment"
            )
        install = [*_pip(python), "install", str(source), f"gguf=={GGUF}", f"numpy=={NUMPY}"]
        _run(install, folder / "install.log", say, "compiling llama.cpp", {"CMAKE_ARGS": _CMAKE_ARGUMENTS})
        done.touch()
    return python


def llama_source(cache: Path, say: Say) -> Path:
    """The source archive of llama-cpp-python, which holds llama.cpp's own.

    Raises:
        NotRunError: it cannot be fetched.
    """
    folder = cache / f"llama-{LLAMA}-{GGUF}"
    folder.mkdir(parents=True, exist_ok=True)
    found = sorted(folder.glob("*.tar.gz"))
    if not found:
        say(f"llama.cpp: fetching the source of llama-cpp-python {LLAMA} (77 MB) into {folder}")
        download = [*_pip(Path(sys.executable)), "download", "--no-deps", "--no-binary", "llama-cpp-python"]
        command = [*download, "--dest", str(folder), f"llama-cpp-python=={LLAMA}"]
        _run(command, folder / "download.log", say, "fetching llama.cpp")
        found = sorted(folder.glob("*.tar.gz"))
    return found[0]


def javascript_folder(cache: Path, say: Say) -> Path:
    """A folder with node_modules that holds @huggingface/tokenizers.

    Raises:
        NotRunError: no node or npm, or the installation failed.
    """
    if missing := [tool for tool in ("node", "npm") if shutil.which(tool) is None]:
        raise NotRunError(f"{' and '.join(missing)} not found")
    folder = cache / f"javascript-{JAVASCRIPT}"
    done = folder / "done"
    if not done.is_file():
        say(f"javascript: installing @huggingface/tokenizers {JAVASCRIPT} into {folder}")
        folder.mkdir(parents=True, exist_ok=True)
        # Without a package.json of its own npm would look for one in the folders above.
        (folder / "package.json").write_text('{"private": true}\n', encoding="utf-8")
        command = ["npm", "install", "--no-fund", "--no-audit", "--ignore-scripts", "--prefix", str(folder)]
        _run([*command, f"@huggingface/tokenizers@{JAVASCRIPT}"], folder / "install.log", say, "installing")
        done.touch()
    return folder


def transformers_folder(cache: Path, version: str, say: Say) -> Path:
    """A folder to put first on Python's path, with a version of transformers and what it needs.

    Raises:
        NotRunError: the installation failed.
    """
    folder = cache / f"transformers-{version}"
    done = folder / "done"
    if not done.is_file():
        say(f"transformers: installing {version} into {folder}")
        folder.mkdir(parents=True, exist_ok=True)
        packages = (f"transformers=={version}", *TRANSFORMERS[version])
        # Without their own dependencies: numpy and its like are those of vocabopt's environment.
        command = [*_pip(Path(sys.executable)), "install", "--no-deps", "--upgrade", "--target", str(folder), *packages]
        _run(command, folder / "install.log", say, f"installing transformers {version}")
        done.touch()
    return folder


def _pip(python: Path) -> list[str]:
    return [str(python), "-m", "pip", "--disable-pip-version-check"]


def _run(command: Sequence[str], log: Path, say: Say, doing: str, environment: Mapping[str, str] | None = None) -> None:
    """Run an installation step with a low priority, its output to `log`, and give a sign of life now and then.

    Raises:
        NotRunError: it failed; the message ends with the end of its output.
    """
    start = time.monotonic()
    with log.open("wb") as output:
        settings = {**os.environ, **(environment or {})}
        process = subprocess.Popen(
            ["nice", *command], env=settings, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            while True:
                try:
                    process.wait(_SECONDS_BETWEEN_SIGNS)
                    break
                except subprocess.TimeoutExpired:
                    say(f"{doing}: {time.monotonic() - start:.0f} s so far (log: {log})")
        except BaseException:
            process.kill()
            process.wait()
            raise
    if process.returncode:
        tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LOG_LINES:])
        raise NotRunError(f"{doing} failed with exit code {process.returncode} (log: {log}):\n{tail}")

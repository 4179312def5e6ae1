"""Tokenizers to check: bases that are at hand, each grown and merged by the vocabopt command, kept in the cache."""

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lines import ROOT, data_folder, text_lines
from tokenizers import Tokenizer

from vocabopt.tokenizer import load_base

#: How many bytes of each folder of the development data the sweeps read.
_SWEPT = (("ko_wiki", 12_000_000), ("ko_nsmc_reviews", 8_000_000))
#: Within the package mistral_common; the oldest one is built into vocabopt.
_MISTRAL = {
    "mistral-7b-v1": "tokenizer.model.v1",
    "mistral-v3": "mistral_instruct_tokenizer_240323.model.v3",
    "mistral-v7": "mistral_instruct_tokenizer_241114.model.v7",
    "tekken": "tekken_240911.json",
}
_DATA = {
    "llama2": "tok_llama2/tokenizer.model",
    "llama3": "tok_llama3/tokenizer.model",
    "qwen": "tok_qwen/qwen.tiktoken",
    "gpt2": "tok_gpt2/tokenizer.json",
}
_LOG_LINES = 15


class MakingError(Exception):
    """A tokenizer could not be made; the message says which command failed and how."""


@dataclass(frozen=True)
class BaseFile:
    """A base: its name in the table, what `--base` is given, the publisher's file."""

    name: str
    option: str
    path: Path


@dataclass(frozen=True)
class Form:
    """A folder with one tokenizer in all forms that there are of it."""

    folder: Path

    @cached_property
    def tokenizer_json(self) -> dict[str, Any]:
        value: dict[str, Any] = json.loads((self.folder / "tokenizer.json").read_text(encoding="utf-8"))
        return value

    @cached_property
    def tokenizer(self) -> Tokenizer:
        return Tokenizer.from_file(str(self.folder / "tokenizer.json"))

    @cached_property
    def added_contents(self) -> list[str]:
        return [token["content"] for token in self.tokenizer_json["added_tokens"]]

    @property
    def is_byte_level(self) -> bool:
        return not self.tokenizer_json["model"].get("byte_fallback", False)

    @property
    def split_pattern(self) -> str | None:
        """The regular expression of a byte-level tokenizer; None where it is the library's own, GPT-2's."""
        part = self.tokenizer_json["pre_tokenizer"] or {}
        steps = part.get("pretokenizers", [part])
        return next((str(step["pattern"]["Regex"]) for step in steps if step.get("type") == "Split"), None)

    def file(self, name: str) -> Path | None:
        """The file whose name has this ending, if there is one."""
        return next((path for path in sorted(self.folder.iterdir()) if path.name.endswith(name)), None)


@dataclass(frozen=True)
class Made:
    """A base, and the same with tokens merged in."""

    name: str
    base: Form
    merged: Form
    n_added: int


def base_files() -> list[BaseFile]:
    """The bases at hand."""
    spec = find_spec("mistral_common")
    package = Path(next(iter((spec.submodule_search_locations if spec else None) or ["."]))) / "data"
    found = [BaseFile(name, str(package / file), package / file) for name, file in _MISTRAL.items()]
    found[0] = BaseFile(found[0].name, found[0].name, found[0].path)
    data = data_folder()
    if data is not None:
        found += [BaseFile(name, str(data / file), data / file) for name, file in _DATA.items()]
    return [base for base in found if base.path.is_file()]


def korean_text(cache: Path) -> Path:
    """The Korean text of the sweeps: a file built from the development data, else the sample corpus."""
    data = data_folder()
    if data is None or not all((data / folder).is_dir() for folder, _ in _SWEPT):
        return ROOT / "corpus" / "ko"
    target = cache / "korean.txt"
    partial = target.with_suffix(".partial")
    with partial.open("w", encoding="utf-8", newline="\n") as file:
        for folder, n_bytes in _SWEPT:
            n_written = 0
            for line in text_lines(data / folder):
                file.write(f"{line}\n")
                n_written += len(line.encode()) + 1
                if n_written > n_bytes:
                    break
    partial.replace(target)
    return target


def make(base: BaseFile, text: Path, size: int, cache: Path, say: Callable[[str], None]) -> Made:
    """Sweep and merge with the command line, as anyone would; folders that are there for the same inputs are taken.

    Raises:
        MakingError: a command failed.
    """
    work = cache / "made" / base.name
    key, known = _key(base, text, size), work / "key"
    if not (known.is_file() and known.read_text(encoding="utf-8") == key):
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        say(f"{base.name}: sweep and merge")
        run, merged = work / "run", work / "merged"
        _vocabopt(work, "sweep", str(text), "--base", base.option, "--out", str(run), "--max-added", str(size))
        ended_at = json.loads((run / "sweep.json").read_text(encoding="utf-8"))["exhausted_at"]
        n_added = size if ended_at is None else ended_at
        _vocabopt(work, "merge", str(run), "--size", str(n_added), "--out", str(merged))
        _write_base(base, merged, work / "base")
        known.write_text(key, encoding="utf-8")
    record = json.loads((work / "merged" / "extension.json").read_text(encoding="utf-8"))
    return Made(base.name, Form(work / "base"), Form(work / "merged"), record["n_added"])


def _write_base(base: BaseFile, merged: Path, folder: Path) -> None:
    """The base in the forms of the merged one: tokenizer.json as vocabopt reads it, and the publisher's own file."""
    folder.mkdir()
    value = load_base(base.option).tokenizer_json
    (folder / "tokenizer.json").write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
    shutil.copyfile(merged / "tokenizer_config.json", folder / "tokenizer_config.json")
    names = [path.name for path in merged.iterdir()]
    forms = [name for name in names if name.endswith((".model", ".tiktoken", "tekken.json"))]
    for name in forms or ["tokenizer.json"]:
        shutil.copyfile(base.path, folder / name)


def _vocabopt(work: Path, *arguments: str) -> None:
    log = work / f"{arguments[0]}.log"
    command = ["nice", str(Path(sys.executable).with_name("vocabopt")), *arguments]
    with log.open("a", encoding="utf-8") as output:
        done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False)
    if done.returncode:
        tail = "\n".join(log.read_text(encoding="utf-8").splitlines()[-_LOG_LINES:])
        raise MakingError(f"{' '.join(command)}\nfailed with exit code {done.returncode}:\n{tail}")


def _key(base: BaseFile, text: Path, size: int) -> str:
    """What the made tokenizers depend on: the base, the text, the size, and vocabopt's own code."""
    digest = hashlib.sha256(f"{base.option} {size}".encode())
    for path in (base.path, *_files(text), *sorted((ROOT / "vocabopt").rglob("*.py"))):
        digest.update(f"{path.name}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _files(text: Path) -> Iterator[Path]:
    yield from (sorted(text.iterdir()) if text.is_dir() else [text])

"""A table of bad inputs for every command: damaged files in every place that takes a file, odd values in every option.

The table is generated from the commands' own parameters, so that a new option is tried without a new line here.
"""

import gzip
import os
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import click
from command_line import written

from vocabopt.cli import main

#: What stands in a command line for a file or folder that is good; one of them is replaced in each case.
COMMANDS: Mapping[str, tuple[str, ...]] = {
    "prepare": ("{text}", "--out", "{out}", "--quiet"),
    "sweep": ("{text}", "--base", "{base}", "--eval", "x={eval}", "--protect", "en={english}", "--out", "{out}"),
    "choose": ("{run}",),
    "report": ("{run}",),
    "merge": ("{run}", "--size", "20", "--out", "{out}"),
    "verify": ("{base}", "{merged}", "--text", "ko={text}", "--protect", "en={english}", "--out", "{out}"),
    "sensitivity": ("a={text}", "b={english}", "--base", "{base}", "--script", "none", "--out", "{out}"),
    "analyze": ("{base}", "new={merged}", "--text", "ko={text}", "--out", "{out}"),
    "init": ("{model}", "--tokenizer", "{merged}", "--out", "{out}"),
    "plan": ("{model}", "--run", "{run}", "--budget", "2kB"),
    "probe": ("{model}", "--run", "{run}", "--text", "ko={text}", "--budget", "2kB", "--out", "{out}"),
    "adapt": ("{model}", "--run", "{run}", "--text", "ko={text}", "--budget", "2kB", "--out", "{out}"),
    "eval": ("{model}", "--text", "ko={text}", "--out", "{out}"),
}
#: Options that name a file beside those above: option -> the rest of its value, or none for the path alone.
MORE_FILES: Mapping[str, tuple[str, ...]] = {
    "prepare": ("--config", "--resume"),
    "sweep": ("--model", "--vocab", "--specials"),
    "choose": ("--model",),
    "merge": ("--vocab", "--base"),
    "plan": ("--plan", "--config"),
    "adapt": ("--plan",),
    "eval": ("--tokenizer", "--tasks-data"),
}
#: Odd values of an option that is no path, by the kind of its type; each option gets some of them, in turn.
ODD = {
    "number": ("-1", "0", "nan", "inf", "1e309", "99999999999999999999", "x", "", "1,000", "０", "0x10", "-0.0"),
    "text": ("", " ", "ㅎ", "\udce9", "a=b=c", "=", "x" * 5_000, "-1", "..", "{", "%", "\n", "None", "auto"),
}
#: Options that begin a long run or another program, or that the cases set themselves.
_LEFT_OUT = ("--help", "--out", "--text", "--eval", "--protect", "--run", "--resume", "--report-to")


#: What `prepare` is there to mend, or of which it keeps what is whole.
_MENDED = ("nul", "utf-16", "cp949", "latin-1", "cut gz")


@dataclass(frozen=True)
class Case:
    """One command line. refused: whether only exit code 2 will do."""

    name: str
    arguments: tuple[str, ...]
    refused: bool


def bad_files(root: Path, good: Path) -> dict[str, tuple[Path, bool]]:
    """Files and folders that are no good as text, base, model or run: kind -> path, whether it must be refused."""
    text = good.read_bytes()
    root.mkdir()
    found = {
        "empty": (b"", False),
        "bom only": (b"\xef\xbb\xbf", False),
        "blank lines": (b"\n \n\t\n", False),
        "nul": (text[:200] + b"\0" + text[200:400], True),
        "utf-16": (text.decode().encode("utf-16"), True),
        "cp949": ("한국어 글이다. 뷁이 아니다.\n".replace("뷁", "벩").encode("cp949", "ignore") * 20, True),
        "png": (b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 8, True),
        "json number": (b"3", False),
        "json null": (b"null", False),
        "json list": (b"[1, [2], {}]", False),
        "json object": (b"{}", False),
        "json cut": (b'{"model": {"type": "BPE", "vocab": {"a": 0', False),
        "json deep": (b"[" * 100_000, False),
        "json surrogate": (b'{"text": "\\ud800", "a": "\\udc00"}', False),
        "json huge number": (b'{"text": ' + b"9" * 5_000 + b"}", False),
        "html": (b"<!DOCTYPE html><html><body>404 Not Found</body></html>", False),
        "git lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", False),
        "latin-1": ("Größe, très élevé\n".encode("latin-1"), True),
        "parquet cut": (b"PAR1" + bytes(100), True),
        "gguf": (b"GGUF\x03\0\0\0" + bytes(100), True),
    }
    paths: dict[str, tuple[Path, bool]] = {}
    for kind, (data, refused) in found.items():
        paths[kind] = written(root / f"{kind.replace(' ', '-')}.txt", data), refused
    for suffix, data in {
        "gz": gzip.compress(text)[:-40],
        "zst": b"\x28\xb5\x2f\xfd\x04\x00",
        "parquet": b"PAR1",
        "jsonl": b'{"text": "a"}\n{"text"',
        "json": b'[{"text": "a"},',
        "csv": b'text\n"a',
        "toml": b"[stage",
        "model": b"\x0a\x05\x0a\x03",
        "tiktoken": b"IQ== 0\nIQ== 1\n",
        "safetensors": b"\xff" * 16,
    }.items():
        name = "cut.txt.gz" if suffix == "gz" else "cut.txt.zst" if suffix == "zst" else f"cut.{suffix}"
        paths[f"cut {suffix}"] = written(root / name, data), suffix in ("gz", "zst", "parquet", "safetensors")
    for name in ("tokenizer.json", "config.json", "sweep.json", "run.json", "model.safetensors", "tokenizer.model"):
        written(root / f"folder-{name}" / name, b"{")
        paths[f"folder with a broken {name}"] = root / f"folder-{name}", name != "config.json"
    (root / "empty-folder").mkdir()
    paths["empty folder"] = root / "empty-folder", True
    (root / "dangling").symlink_to(root / "nowhere")
    paths["dangling link"] = root / "dangling", True
    (root / "loop").symlink_to(root / "loop")
    paths["link to itself"] = root / "loop", True
    paths["missing"] = root / "missing", True
    paths["through a file"] = good / "inside", True
    paths["name too long"] = root / ("x" * 300), True
    paths["path too long"] = root / "/".join(["y" * 200] * 25), True
    paths["not utf-8"] = Path(os.fsdecode(os.fsencode(root) + b"/\xc7\xd1\xb1\xdb")), True
    with socket.socket(socket.AF_UNIX) as unix:
        address = root / "socket"
        if len(str(address)) < 100:
            unix.bind(str(address))
            paths["socket"] = address, True
    paths["device"] = Path("/dev/null"), False
    return paths


def bad_outs(root: Path, good: Path) -> dict[str, Path]:
    """Places where nothing can be written, or where something else is."""
    root.mkdir()
    file = written(root / "file", b"mine")
    other = root / "other"
    written(other / "sweep.json", b"{}")
    written(other / "prepare.json", b"[]")
    written(other / "extension.json", b"{")
    (root / "loop").symlink_to(root / "loop")
    (root / "dangling").symlink_to(root / "nowhere" / "deeper")
    return {
        "a file": file,
        "inside a file": file / "run",
        "other files": other,
        "a link to itself": root / "loop" / "run",
        "a dangling link": root / "dangling",
        "a long name": root / ("x" * 300),
        "proc": Path("/proc/vocabopt/run"),
        "device": Path("/dev/null/run"),
        "input": good,
    }


def file_cases(good: Mapping[str, Path], root: Path) -> Iterator[Case]:
    """Every place that takes a file or folder, with every bad one."""
    files, outs = bad_files(root / "bad files", good["text"]), bad_outs(root / "bad outs", good["text"])
    mended = {("prepare", kind) for kind in _MENDED}
    number = 0
    for command, template in COMMANDS.items():
        slots = [slot for slot in good if any("{" + slot + "}" in part for part in template)]
        for slot in slots:
            for kind, (path, refused) in files.items():
                values = {name: str(value) for name, value in good.items()} | {"out": str(root / f"out {number}")}
                values[slot] = str(path)
                number += 1
                arguments = (command, *(part.format(**values) for part in template))
                yield Case(f"{command}, {slot}: {kind}", arguments, refused and (command, kind) not in mended)
        for option in MORE_FILES.get(command, ()):
            for kind, (path, _) in files.items():
                values = {name: str(value) for name, value in good.items()} | {"out": str(root / f"out {number}")}
                number += 1
                arguments = (command, *(part.format(**values) for part in template), option, str(path))
                yield Case(f"{command}, {option}: {kind}", arguments, refused=False)
        if "{out}" in template:
            for kind, path in outs.items():
                values = {name: str(value) for name, value in good.items()} | {"out": str(path)}
                arguments = (command, *(part.format(**values) for part in template))
                yield Case(f"{command}, out: {kind}", arguments, refused=False)


def option_cases(good: Mapping[str, Path], root: Path, n_values: int) -> Iterator[Case]:
    """Every option of every command that is no path and no switch, with some of the odd values."""
    turn = 0
    for command, template in COMMANDS.items():
        for parameter in main.commands[command].parameters():
            option = next((name for name in parameter.opts if name.startswith("--")), None)
            if option is None or option in _LEFT_OUT or not isinstance(parameter, click.Option) or parameter.is_flag:
                continue
            is_number = isinstance(parameter.type, click.types.IntParamType | click.types.FloatParamType)
            odd = ODD["number" if is_number else "text"]
            for _ in range(n_values):
                value = odd[turn % len(odd)]
                values = {name: str(path) for name, path in good.items()} | {"out": str(root / f"set {turn}")}
                turn += 1
                arguments = (command, *(part.format(**values) for part in template), f"{option}={value}")
                yield Case(f"{command}, {option}: {value[:20]!r}", arguments, refused=False)

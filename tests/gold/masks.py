"""What of a file is compared: its content, without times, memory, versions, command lines and rounding."""

import base64
import gzip
import hashlib
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

#: Files whose numbers come out of a model: of training, of its measurements, of the rows it starts from.
TRAINED = re.compile(
    r"^(demo|demo-run/(model|stages|adapt|report|control)|initialised|evaluated.json|probed)|^(init|adapt|eval|probe|plan|report)\b"
)
MASKED_KEYS = re.compile(
    r"seconds|memory|peak|_mb$|versions?$|command|argv|created|started|finished|date|host|pid$|platform|"
    r"per_second|hours|runtime|threads|python|transformers_version|sha256$|fingerprint|mtime"
)
#: Tables with a column of seconds that is not named so in every cell.
TIMED = re.compile(r"^prepare")
_DECIMAL = re.compile(r"\b\d[\d,]*\.\d+")
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?")
_WITH_UNIT = re.compile(
    r"\d[\d,.]*\s?(?:ms|s|seconds?|minutes?|min|hours?|h|kB|MB|GB|kB/s|MB/s|tokens/s)\b(?! of text)|\d+:\d\d(?::\d\d)?"
)
_VERSION = re.compile(r"\b\d+\.\d+(?:\.\d+)+(?:[.+\w]*)?\b")
_DATE = re.compile(r"\d{4}-\d\d-\d\d(?:[T ][\d:.+Z]+)?")
_PACK = re.compile(r'(<script[^>]*type="application/[^"]*gzip[^"]*"[^>]*>)([^<]*)(</script>)')
_HASH = re.compile(r"sha256-[A-Za-z0-9+/=]+|\b[0-9a-f]{64}\b")


@dataclass(frozen=True)
class Masked:
    """text: what is digested. numbers: compared within a tolerance instead."""

    text: str
    numbers: list[float] = field(default_factory=list)

    def record(self) -> dict[str, Any]:
        digest = hashlib.sha256(self.text.encode("utf-8", "surrogateescape")).hexdigest()[:16]
        return {"sha": digest, **({"numbers": self.numbers} if self.numbers else {})}


#: A line of progress, which comes every five seconds of a step.
_PROGRESS = re.compile(r"^[^:\n]+: .*(?:, [\d.,]+ [^,\n]+/s(?:, .*)?|s left.*)\n", re.MULTILINE)


def masked_output(text: str, name: str) -> Masked:
    """What a command printed, but progress; of tables with masked numbers the widths of columns do not count."""
    text = _PROGRESS.sub("", text)
    if text.startswith(("{", "[")):
        return _json(json.loads(text), TRAINED.search(name) is not None)
    return Masked(_spaces(_masked_text(text, name)))


def masked_name(name: str) -> str:
    """Folders and files that tensorboard names after the time and the machine."""
    return re.sub(r"/runs/.*", "/runs/EVENTS", name)


def masked_file(path: Path, name: str) -> Masked:
    """The content of one file, by its suffix."""
    trained = TRAINED.search(name) is not None
    if path.suffix == ".parquet":
        return _table(path, trained)
    if path.suffix == ".safetensors":
        return _tensors(path)
    if (
        path.suffix in (".png", ".bin", ".pt", ".npy", ".npz", ".zst", ".model")
        or "tfevents" in path.name
        or name.endswith(".zst")
    ):
        return Masked(f"{path.suffix or path.name} of {'some' if trained else path.stat().st_size} bytes")
    text = path.read_text(encoding="utf-8", errors="surrogateescape")
    if path.suffix == ".json":
        return _json(json.loads(text), trained)
    if path.suffix == ".jsonl":
        return _json([json.loads(line) for line in text.splitlines()], trained)
    text = _PACK.sub(lambda found: found[1] + _unpacked(found[2]) + found[3], text)
    return Masked(_masked_text(text, name))


def _masked_text(text: str, name: str) -> str:
    text = _plain(text)
    if TRAINED.search(name):
        return _NUMBER.sub("#", text)
    return _DECIMAL.sub("#", text) if TIMED.search(name) else text


def _spaces(text: str) -> str:
    return re.sub(r"[ ━─-]{2,}", "  ", text)


def _plain(text: str) -> str:
    for pattern, mask in ((_HASH, "HASH"), (_DATE, "DATE"), (_VERSION, "VERSION"), (_WITH_UNIT, "TIME")):
        text = pattern.sub(mask, text)
    return text


def _unpacked(data: str) -> str:
    return gzip.decompress(base64.b64decode(data)).decode("utf-8", "backslashreplace")


def _json(value: Any, trained: bool) -> Masked:
    numbers: list[float] = []

    def walk(inner: Any, key: str) -> Any:
        if MASKED_KEYS.search(key):
            return "MASKED"
        if isinstance(inner, dict):
            return {name: walk(item, name) for name, item in sorted(inner.items())}
        if isinstance(inner, list):
            return [walk(item, key) for item in inner]
        if isinstance(inner, float):
            if not trained:
                return float(f"{inner:.9g}")
            numbers.append(float(f"{inner:.5g}"))
            return "NUMBER"
        return _plain(inner) if isinstance(inner, str) else inner

    text = json.dumps(walk(value, ""), ensure_ascii=False, indent=1)
    return Masked(text, numbers)


def _table(path: Path, trained: bool) -> Masked:
    table = pl.read_parquet(path)
    head = "\n".join(f"{name} {kind}" for name, kind in table.schema.items())
    rows = "" if trained else "\n".join(map(repr, table.iter_rows()))
    return Masked(f"{head}\n{table.height if trained else ''}\n{rows}")


def _tensors(path: Path) -> Masked:
    from safetensors.torch import load_file

    tensors = dict(sorted(load_file(path).items()))
    text = "\n".join(f"{name} {tuple(tensor.shape)} {tensor.dtype}" for name, tensor in tensors.items())
    spread = [float(f"{tensor.float().std(unbiased=False).item():.5g}") for tensor in tensors.values()]
    return Masked(text, spread)

"""The rows of the benchmark: for each the command that is timed, and where its own findings are read."""

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.texts import Text

TOKENIZERS_SIZE = 20_000


@dataclass(frozen=True, kw_only=True)
class Settings:
    """sizes: vocabulary sizes of the paper's procedure; the largest is also the single training's, and how far
    vocabopt grows. rows: new rows of the comparison with the union method."""

    sizes: tuple[int, ...] = tuple(range(8_000, 40_001, 4_000))
    rows: int = 17_143

    @property
    def max_size(self) -> int:
        return max(self.sizes)


@dataclass(frozen=True, kw_only=True)
class RowPlan:
    """A row before it is measured.

    command: the command, given an empty folder for what it writes. read: its findings, from that folder.
    environment: variables to set, given that folder. is_long: run once, however often the others repeat.
    """

    name: str
    label: str
    command: Callable[[Path], list[str]]
    read: Callable[[Path], dict[str, Any]]
    environment: Callable[[Path], Mapping[str, str]] = field(default=lambda folder: {})
    is_long: bool = False


def run_folder(folder: Path) -> Path:
    """Where a vocabopt row keeps its run directory."""
    return folder / "run"


def vocabopt_sweep(*paths: Path, out: Path, options: tuple[str, ...] = ()) -> list[str]:
    """The real command, report included."""
    return [sys.executable, "-m", "vocabopt", "sweep", *map(str, paths), "--out", str(out), *options]


def vocabopt_merge(run: Path, size: int, out: Path) -> list[str]:
    return [sys.executable, "-m", "vocabopt", "merge", str(run), "--size", str(size), "--out", str(out)]


def vocabopt_again(command: str, run: Path) -> list[str]:
    """A command that goes on from a finished run, and prints nothing."""
    return [sys.executable, "-m", "vocabopt", command, str(run), "--quiet"]


def work(task: str, folder: Path, text: Path, *options: object) -> list[str]:
    """A task of bench.work, which writes its findings to `folder`."""
    command = ["-m", "bench.work", task, "--result", str(_result(folder)), "--text", str(text), "--folder", str(folder)]
    return [sys.executable, *command, *map(str, options)]


def read_work(folder: Path) -> dict[str, Any]:
    findings: dict[str, Any] = json.loads(_result(folder).read_text(encoding="utf-8"))
    return findings


def _result(folder: Path) -> Path:
    return folder / "result.json"


def read_run(folder: Path) -> dict[str, Any]:
    """What the run directory says: seconds of each step, and the base and merged tokens of all the target's text."""
    run = json.loads((run_folder(folder) / "run.json").read_text(encoding="utf-8"))
    sweep = json.loads((run_folder(folder) / "sweep.json").read_text(encoding="utf-8"))
    return {
        "seconds": run["seconds"],
        "encoder": run.get("encoder"),
        "exhausted_at": sweep["exhausted_at"],
        "points": [
            {
                "n_added": point["n_added"],
                "n_tokens": sum(point["sets"][name]["n_tokens"] for name in ("train", "heldout")),
            }
            for point in sweep["points"]
        ],
    }


def vocabopt_row(name: str, label: str, text: Path, max_added: int, *, is_long: bool = False) -> RowPlan:
    return RowPlan(
        name=name,
        label=label,
        command=lambda folder: vocabopt_sweep(text, out=run_folder(folder), options=("--max-added", str(max_added))),
        read=read_run,
        is_long=is_long,
    )


def sentencepiece_row(text: Text, settings: Settings) -> RowPlan:
    return RowPlan(
        name="sentencepiece",
        label=f"one sentencepiece BPE training at {settings.max_size:,}",
        command=lambda folder: work("train", folder, text.path, "--sizes", settings.max_size),
        read=read_work,
    )


def paper_row(text: Text, settings: Settings) -> RowPlan:
    sizes = ",".join(map(str, settings.sizes))
    return RowPlan(
        name="paper",
        label=f"the paper's procedure: {len(settings.sizes)} trainings, joined, text encoded each time",
        command=lambda folder: work("paper", folder, text.path, "--sizes", sizes),
        read=read_work,
        is_long=True,
    )


def tokenizers_rows(text: Text, settings: Settings) -> list[RowPlan]:
    size = min(TOKENIZERS_SIZE, settings.max_size)
    return [
        RowPlan(
            name="tokenizers-train",
            label=f"one tokenizers BPE training at {size:,}",
            command=lambda folder: work("tokenizers-train", folder, text.path, "--sizes", size),
            read=read_work,
            is_long=True,
        ),
        RowPlan(
            name="tokenizers-encode",
            label="tokenizers: the text encoded once, with the base",
            command=lambda folder: work("tokenizers-encode", folder, text.path),
            read=read_work,
            is_long=True,
        ),
    ]


def packing_rows(text: Text, tokenizers: Mapping[str, Path]) -> list[RowPlan]:
    """Training text to token ids with each tokenizer.json: packed by the trainer, and encoded by `tokenizers`."""

    def row(name: str, label: str, task: str, file: Path) -> RowPlan:
        return RowPlan(
            name=name,
            label=label,
            command=lambda folder: work(task, folder, text.path, "--tokenizer", file),
            read=read_work,
        )

    return [
        plan
        for name, file in tokenizers.items()
        for plan in (
            row(f"pack-{name}", f"{name}: training text packed", "pack", file),
            row(f"encode-{name}", f"{name}: tokenizers encodes it once", "tokenizers-encode", file),
        )
    ]


def sample_rows(corpus: Path) -> list[RowPlan]:
    """The sample corpus as a newcomer sweeps it; cold: nothing compiled yet."""
    warm = RowPlan(
        name="sample",
        label="vocabopt sweep corpus/",
        command=lambda folder: vocabopt_sweep(corpus, out=run_folder(folder)),
        read=read_run,
    )
    cold = RowPlan(
        name="sample-cold",
        label="the same, nothing compiled before",
        command=warm.command,
        read=read_run,
        environment=lambda folder: {"NUMBA_CACHE_DIR": str(folder / "numba")},
        is_long=True,
    )
    return [warm, cold]


def again_rows(finished: Path) -> list[RowPlan]:
    """What is done again on a finished run, without its text."""

    def row(command: str) -> RowPlan:
        return RowPlan(
            name=command,
            label=f"vocabopt {command} on a finished run",
            command=lambda folder: vocabopt_again(command, finished),
            read=lambda folder: {},
        )

    return [row("choose"), row("report")]


def union_rows(training: Text, heldout: Text, settings: Settings) -> list[RowPlan]:
    """Both methods learn from the same training text and are measured on the same held-out text."""
    n_rows = str(settings.rows)
    options = ("--heldout", "0", "--eval", f"test={heldout.path}", "--max-added", n_rows, "--sizes", n_rows)
    # sentencepiece leaves out long lines by default; here it gets to see all that vocabopt sees.
    limit = ("--max-line-bytes", training.n_longest_bytes + 1)
    return [
        RowPlan(
            name="grown",
            label=f"vocabopt, {settings.rows:,} rows from the training text",
            command=lambda folder: vocabopt_sweep(training.path, out=run_folder(folder), options=options),
            read=_read_grown,
            is_long=True,
        ),
        RowPlan(
            name="union",
            label=f"union with sentencepiece, {settings.rows:,} rows from the training text",
            command=lambda folder: work(
                "union", folder, training.path, "--heldout", heldout.path, "--rows", n_rows, *limit
            ),
            read=read_work,
            is_long=True,
        ),
    ]


def _read_grown(folder: Path) -> dict[str, Any]:
    sweep = json.loads((run_folder(folder) / "sweep.json").read_text(encoding="utf-8"))
    point = sweep["points"][-1]
    return {
        "n_added": sweep["exhausted_at"] if point["dry"] else point["n_added"],
        "n_tokens_base": sweep["sets"]["test"]["n_tokens_base"],
        "n_tokens": point["sets"]["test"]["n_tokens"],
        "ratio_input": point["sets"]["test"]["n_tokens"] / sweep["sets"]["test"]["n_tokens_base"],
    }

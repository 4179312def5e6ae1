"""One benchmark run: rows measured one at a time, in rounds, then checked."""

import importlib.metadata
import os
import shlex
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.console import Console

from bench import results, rows
from bench.measure import run
from bench.results import Check, Row
from bench.rows import RowPlan, Settings
from bench.texts import ROOT, Text, split

PARTS = ("compare", "paper", "tokenizers", "scaling", "sample", "union", "again", "packing")
_WARM_UP_BYTES = 4 << 20
_VERSIONED = ("vocabopt", "sentencepiece", "tokenizers", "gigatoken", "polars", "numba", "numpy", "mistral-common")


class Session:
    """One benchmark run: its folder of temporary files, and what was measured so far."""

    def __init__(self, folder: Path, cache: Path, text: Text, settings: Settings, console: Console) -> None:
        self.folder, self.cache, self.text, self.settings, self.console = folder, cache, text, settings, console
        self.rows: dict[str, Row] = {}
        self.folders: dict[str, Path] = {}
        self.checks: list[Check] = []

    def run_parts(self, parts: Iterable[str], n_repeats: int, n_long_repeats: int, *, check: bool) -> None:
        """Measure all rows of `parts`; a row that two of them share is measured for both at once."""
        plans = {plan.name: plan for part in parts for plan in self._plans(part)}
        self._warm_up()
        self._measure(list(plans.values()), n_repeats, n_long_repeats)
        if check and "vocabopt" in self.rows:
            self._check_sweep()
        if "union" in self.rows:
            self._check_union()
        for name in ("mistral", "tekken") if "pack-mistral" in self.rows else ():
            packed, encoded = (int(self.rows[f"{kind}-{name}"].details["n_tokens"]) for kind in ("pack", "encode"))
            self.checks.append(Check(f"{name}: tokens of the text, packed and encoded by tokenizers", packed, encoded))

    def _plans(self, part: str) -> list[RowPlan]:
        sweep = rows.vocabopt_row(
            "vocabopt", f"vocabopt sweep, 0..{self.settings.max_size:,}", self.text.path, self.settings.max_size
        )
        if part == "compare":
            return [sweep, rows.sentencepiece_row(self.text, self.settings)]
        if part == "paper":
            return [sweep, rows.paper_row(self.text, self.settings)]
        if part == "tokenizers":
            return [sweep, *rows.tokenizers_rows(self.text, self.settings)]
        if part == "sample":
            return rows.sample_rows(ROOT / "corpus")
        if part == "union":
            self._say("splitting the text")
            training, heldout = split(self.text)
            return rows.union_rows(training, heldout, self.settings)
        if part == "packing":
            self._untimed(rows.work("tokenizers-written", self.folder, self.text.path), "tokenizers-written")
            files = rows.read_work(self.folder)
            return rows.packing_rows(self.text, {name: Path(file) for name, file in files.items()})
        if part == "again":
            run_folder = rows.run_folder(self._new_folder("swept"))
            options = ("--max-added", str(self.settings.max_size))
            self._untimed(rows.vocabopt_sweep(self.text.path, out=run_folder, options=options), "sweep-to-decide-on")
            return rows.again_rows(run_folder)
        assert part == "scaling"
        self._untimed(rows.work("scale", self.cache, self.text.path), "five-times-the-text")
        larger = Path(rows.read_work(self.cache)["path"])
        label = f"vocabopt sweep, 0..{self.settings.max_size:,}, 5 times the text"
        return [sweep, rows.vocabopt_row("vocabopt-5x", label, larger, self.settings.max_size, is_long=True)]

    def _measure(self, plans: list[RowPlan], n_repeats: int, n_long_repeats: int) -> None:
        """Run all plans in rounds, A B A B, so that a machine that drifts drifts for all of them."""
        self.rows |= {plan.name: Row(name=plan.name, label=plan.label) for plan in plans}
        for number in range(1, max(n_repeats, n_long_repeats) + 1):
            for plan in plans:
                wanted = n_long_repeats if plan.is_long else n_repeats
                if number <= wanted:
                    self._measure_once(plan, number, wanted)

    def _measure_once(self, plan: RowPlan, number: int, wanted: int) -> None:
        """One run; once more if numba compiled in it, since times are those of compiled code."""
        for attempt in ("", "-again"):
            folder = self._new_folder(f"{plan.name}-{number}{attempt}")
            before = _compiled()
            done = run(plan.command(folder), log=folder / "log.txt", environment=plan.environment(folder))
            self._say(f"{plan.name} {number}/{wanted}: {done.seconds:.1f} s, {done.peak_bytes / 1e9:.2f} GB")
            if not (has_compiled := _compiled() != before):
                break
            self._say(f"{plan.name}: numba compiled in this run{'; once more' if not attempt else ''}")
        self.rows[plan.name].runs.append(replace(done, details={**plan.read(folder), "has_compiled": has_compiled}))
        self.folders[plan.name] = folder

    def _warm_up(self) -> None:
        """Untimed: fill numba's cache by a sweep over the head of the text, and the page cache by reading it all."""
        head = self.folder / "warm-up.txt"
        with self.text.path.open("rb") as file:
            head.write_bytes(file.read(_WARM_UP_BYTES) + file.readline())
            while file.read(1 << 20):
                pass
        self._untimed(rows.vocabopt_sweep(head, out=self.folder / "warm-up"), "warm-up")
        if not _compiled():
            self._say("numba's cache is not where it is looked for: runs that compile will not be told from others")

    def _untimed(self, command: list[str], name: str) -> None:
        self._say(f"{name} (untimed)")
        run(command, log=self.folder / f"{name}.log")

    def _new_folder(self, name: str) -> Path:
        folder = self.folder / name
        folder.mkdir()
        return folder

    def _say(self, message: str) -> None:
        self.console.print(message, markup=False, highlight=False, soft_wrap=True)

    def _check_sweep(self) -> None:
        """Encode every document whole, with the tokenizer that `vocabopt merge` exports at a size in mid-curve."""
        details = self.rows["vocabopt"].details
        point = details["points"][len(details["points"]) // 2]
        size = min(point["n_added"], details["exhausted_at"] or point["n_added"])
        tokenizer = self.folder / "tokenizer"
        self._untimed(rows.vocabopt_merge(rows.run_folder(self.folders["vocabopt"]), size, tokenizer), "merge")
        folder = self._new_folder("check")
        options = ("--tokenizer", tokenizer / "tokenizer.json")
        self._untimed(rows.work("tokenizers-encode", folder, self.text.path, *options), "check-by-encoding")
        found = rows.read_work(folder)["n_tokens"]
        name = f"tokens of the whole text with {size:,} added: curve, and encoded with the exported tokenizer"
        self.checks.append(Check(name, point["n_tokens"], found))

    def _check_union(self) -> None:
        grown, union = (self.rows[name].details for name in ("grown", "union"))
        pairs = (("n_added", "rows added: grown, union"), ("n_tokens_base", "base tokens of the held-out text"))
        self.checks += [Check(label, int(grown[key]), int(union[key])) for key, label in pairs]

    def record(self, started_at: datetime, parts: tuple[str, ...], started_on: dict[str, Any]) -> dict[str, Any]:
        return {
            "format_version": results.FORMAT_VERSION,
            "started_at": started_at.isoformat(timespec="seconds"),
            "command": shlex.join(["python", "-m", "bench", *sys.argv[1:]]),
            "commit": _commit(),
            "parts": list(parts),
            "machine": started_on,
            "versions": {name: importlib.metadata.version(name) for name in _VERSIONED if _is_installed(name)},
            "text": self.text.as_record(),
            **results.as_record(self.rows, self.checks),
        }


def _compiled() -> dict[Path, int]:
    """Compiled code of vocabopt in numba's cache, and when it was written."""
    spec = find_spec("vocabopt")  # found, not imported: see measure.run
    folders = spec.submodule_search_locations if spec else None
    cache = os.environ.get("NUMBA_CACHE_DIR") or next(iter(folders or ["."]))
    return {path: path.stat().st_mtime_ns for path in Path(cache).rglob("*.nb[ci]")}


def _commit() -> str | None:
    """The commit measured, with -dirty where files differ from it; None outside a git checkout."""
    try:
        command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _is_installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True

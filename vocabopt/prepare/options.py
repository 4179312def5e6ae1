"""The options of a preparation: one home for every default, checked when made, stored with the result."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from vocabopt import __version__
from vocabopt.choice.options import parse_bytes
from vocabopt.errors import OptionError
from vocabopt.options import DEFAULT_BASE
from vocabopt.prepare.step import CorpusStep, Step
from vocabopt.text.reading import ReadOptions, TextFormat

OutputFormat = Literal["jsonl.zst", "parquet"]


@dataclass(frozen=True, kw_only=True)
class PrepareOptions:
    """Everything that moves the result, as given on the command line.

    paths: files, folders, globs, URLs or "-". steps: the chain, in order. base: the tokenizer whose tokens the funnel
    counts, None for none. output: of the files of clean/ and removed/. encoding: a codec, or "auto", which tells UTF-16
    by its first bytes and takes each line that is not UTF-8 for cp949. strict: end at a file that cannot be read,
    instead of naming it and going on. shard: text in one file of the output. workers: processes; they change no output.
    """

    paths: tuple[str, ...]
    out: Path
    steps: tuple[Step, ...]
    base: str | None = DEFAULT_BASE
    pattern: str | None = None
    specials: str | None = None
    output: OutputFormat = "jsonl.zst"
    unit: Literal["line", "file"] = "line"
    column: str | None = None
    encoding: str = "auto"
    format: TextFormat = "auto"
    strict: bool = False
    shard: str = "16MB"
    workers: int = 2

    def __post_init__(self) -> None:
        if not self.paths:
            raise OptionError(
                "No text given. Name files or folders, for example: vocabopt prepare corpus/ko --out clean"
            )
        if not 1 <= self.workers <= 1024:
            raise OptionError(f"--workers {self.workers}: must be between 1 and 1024 processes.")
        if not 64_000 <= self.shard_bytes <= 1 << 30:
            raise OptionError(f"--shard {self.shard}: must be between 64kB and 1GB.")
        names = [step.name for step in self.steps]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise OptionError(f"steps: {twice} is named twice; a step runs once.")
        self.read_options()

    @property
    def shard_bytes(self) -> int:
        return parse_bytes(self.shard, "--shard")

    def read_options(self, encoding: str | None = None) -> ReadOptions:
        """How a file is read; `encoding`: what "auto" found for it."""
        auto = self.encoding == "auto"
        codec = encoding or ("utf-8" if auto else self.encoding)
        fallback = "cp949" if auto and codec == "utf-8" else None
        return ReadOptions(
            unit=self.unit,
            column=self.column,
            encoding=codec,
            fallback=fallback,
            on_error="skip",
            format=self.format,
        )

    def as_record(self) -> dict[str, Any]:
        """What is stored with the result."""
        record = {**asdict(self), "paths": list(self.paths), "out": str(self.out)}
        record["steps"] = [{"step": step.name, **step_record(step)} for step in self.steps]
        return record

    def identity(self) -> dict[str, Any]:
        """The part that moves the output: a run with another one cannot go on where this one stopped."""
        left_out = ("paths", "out", "workers", "strict")
        kept = {name: value for name, value in self.as_record().items() if name not in left_out}
        return {"version": __version__, **kept}


def step_record(step: Step) -> dict[str, Any]:
    """The options of a step."""
    return asdict(step)  # type: ignore[call-overload,no-any-return]


def segments(steps: tuple[Step, ...]) -> list[tuple[tuple[Step, ...], CorpusStep | None]]:
    """The chain cut behind each corpus step: a pass over the text each. The last has no corpus step: it writes."""
    cut: list[tuple[tuple[Step, ...], CorpusStep | None]] = []
    documents: tuple[Step, ...] = ()
    for step in steps:
        if isinstance(step, CorpusStep):
            cut.append((documents, step))
            documents = ()
        else:
            documents = (*documents, step)
    return [*cut, (documents, None)]

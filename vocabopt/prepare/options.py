"""The options of a preparation, stored with the result. The options of its steps are the fields of the steps."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from vocabopt import __version__
from vocabopt.amounts import parse_bytes
from vocabopt.errors import BASES, OptionError
from vocabopt.option_fields import Check, Options, argument, from_to, option
from vocabopt.options import DEFAULT_BASE, RankFileOptions, ReadOptions, TextOptions, is_text_encoding
from vocabopt.prepare import DEFAULT_STEPS, STEP_NAMES

if TYPE_CHECKING:
    from vocabopt.prepare.step import Step

OutputFormat: TypeAlias = Literal["jsonl.zst", "parquet"]
_FILES = "files and processes"


# fmt: off
@dataclass(frozen=True, kw_only=True)
class ChainOptions(Options):
    """How the command line names the steps."""

    config: Path | None = option(
        None, metavar="FILE.toml", daily=True, help="The steps, in order, and their options; see docs/prepare.md."
    )
    steps: str | None = option(
        None, metavar="NAME,NAME...", daily=True, default_text=",".join(DEFAULT_STEPS),
        help=f"The steps, in order, with default options; of {', '.join(STEP_NAMES)}."
    )


@dataclass(frozen=True, kw_only=True)
class CleaningOptions(TextOptions):
    """What text is read and where the result goes: for `prepare`, also with --compare.

    paths: files, folders, globs, URLs or "-". encoding: a codec, or "auto", which tells UTF-16 by its first bytes and
    takes each line that is not UTF-8 for cp949.
    """

    paths: tuple[str, ...] = argument(metavar="PATH...")
    out: Path = option(daily=True, help="Folder for the result; new, or of a run to go on with.")
    encoding: str = option(
        "auto", daily=True,
        check=Check(lambda codec: codec == "auto" or is_text_encoding(codec),
                    "unknown text encoding; try utf-8, cp949, utf-16"),
        help="Encoding of the text; auto: UTF-8, UTF-16 by its first bytes, and cp949 for lines that are not UTF-8."
    )
    shard: str = option("16MB", section=_FILES, help="Text in one file of the output.")
    workers: int = option(
        2, daily=True, check=from_to(1, 1024, "1 and 1024 processes"), help="Processes; they change no output."
    )

    @property
    def shard_bytes(self) -> int:
        return parse_bytes(self.shard, "--shard")


@dataclass(frozen=True, kw_only=True)
class PrepareOptions(RankFileOptions, CleaningOptions):
    """Everything that moves the result of a preparation.

    steps: the chain, in order. base: None counts no tokens. strict: end at a file that cannot be read, instead of
    naming it and going on.
    """

    steps: "tuple[Step, ...]"
    base: str | None = option(
        DEFAULT_BASE, daily=True, default_text=DEFAULT_BASE,
        parse=lambda value, flag: None if value == "none" else value,
        help=f"Tokenizer whose tokens the funnel counts, or none: {BASES}."
    )
    output: OutputFormat = option(
        "jsonl.zst", "--output-format", section=_FILES, help="Files of clean/ and removed/."
    )
    strict: bool = option(
        False, section=_FILES, help="End at a file that cannot be read, instead of naming it and going on."
    )

    def __post_init__(self) -> None:
        if not self.paths:
            raise OptionError(
                "No text given. Name files or folders, for example: vocabopt prepare corpus/ko --out clean"
            )
        super().__post_init__()
        if not 64_000 <= self.shard_bytes <= 1 << 30:
            raise OptionError(f"--shard {self.shard}: must be between 64kB and 1GB.")
        names = [step.name for step in self.steps]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise OptionError(f"steps: {twice} is named twice; a step runs once.")

    def read_options(self, encoding: str | None = None) -> ReadOptions:
        """How a file is read; `encoding`: what "auto" found for it."""
        auto = self.encoding == "auto"
        codec = encoding or ("utf-8" if auto else self.encoding)
        fallback = "cp949" if auto and codec == "utf-8" else None
        return ReadOptions(
            unit=self.unit, column=self.column, encoding=codec, fallback=fallback, on_error="skip", format=self.format
        )

    def as_record(self) -> dict[str, Any]:
        """What is stored with the result."""
        return {**super().as_record(), "steps": step_records(self.steps)}

    def identity(self) -> dict[str, Any]:
        """The part that moves the output: a run with another one cannot go on where this one stopped."""
        left_out = ("paths", "out", "workers", "strict")
        kept = {name: value for name, value in self.as_record().items() if name not in left_out}
        return {"version": __version__, **kept}
# fmt: on


def step_record(step: "Step") -> dict[str, Any]:
    """The options of a step."""
    return asdict(step)  # type: ignore[call-overload,no-any-return]


def step_records(steps: "tuple[Step, ...]") -> list[dict[str, Any]]:
    """The chain as a result stores it."""
    return [{"step": step.name, **step_record(step)} for step in steps]

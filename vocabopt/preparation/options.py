"""The options of a preparation and its chain of steps, from the command line or a prepare.toml; stored with the result.

steps = ["repair", "nfc", "personal", "exact", "near"]    # in order; each once

[near]                                                      # options of a step, each with its default
min_chars = 100
"""

import dataclasses
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from vocabopt import __version__
from vocabopt.amounts import parse_bytes
from vocabopt.errors import BASES, OptionError, did_you_mean
from vocabopt.option_fields import Check, Options, argument, option
from vocabopt.options import DEFAULT_BASE, EngineOptions, RankFileOptions, ReadOptions, TextOptions, is_text_encoding
from vocabopt.preparation import DEFAULT_STEPS, STEP_NAMES
from vocabopt.text.utf8 import read_utf8

if TYPE_CHECKING:
    from vocabopt.preparation.step import Step

OutputFormat: TypeAlias = Literal["jsonl.zst", "parquet"]
_FILES = "files"


# fmt: off
@dataclass(frozen=True, kw_only=True)
class ChainOptions(Options):
    """How the command line names the steps."""

    config: Path | None = option(
        None, metavar="FILE.toml", daily=True,
        help="The steps, in order, and their options; see docs/reference/prepare-steps.md."
    )
    steps: str | None = option(
        None, metavar="NAME,NAME...", daily=True, default_text=",".join(DEFAULT_STEPS),
        help=f"The steps, in order, with default options; of {', '.join(STEP_NAMES)}."
    )


@dataclass(frozen=True, kw_only=True)
class CleaningOptions(TextOptions, EngineOptions):
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
        left_out = ("paths", "out", "strict")
        kept = {name: value for name, value in self.as_record().items() if name not in left_out}
        return {"version": __version__, **kept}
# fmt: on


def step_records(steps: "tuple[Step, ...]") -> list[dict[str, Any]]:
    """The chain as a result stores it."""
    return [{"step": step.name, **asdict(step)} for step in steps]


def registry() -> "dict[str, type[Step]]":
    """Every step by its name, in the order in which a chain usually has them."""
    from vocabopt.preparation.steps.decontaminate import Decontaminate
    from vocabopt.preparation.steps.duplicates import Exact, ExactParagraphs, Near, NearParagraphs
    from vocabopt.preparation.steps.limits import Length, Repetition, Script
    from vocabopt.preparation.steps.lines import Lines
    from vocabopt.preparation.steps.perplexity import Perplexity
    from vocabopt.preparation.steps.personal import Personal
    from vocabopt.preparation.steps.repair import Normalize, Repair
    from vocabopt.preparation.steps.select import Select

    document = (Repair, Normalize, Lines, Script, Length, Repetition, Perplexity, Decontaminate, Personal)
    kinds: tuple[type[Step], ...] = (*document, Exact, ExactParagraphs, Near, NearParagraphs, Select)
    return {kind.name: kind for kind in kinds}


def chain(
    names: Sequence[str], options: Mapping[str, Mapping[str, Any]] | None = None, *, place: str
) -> "tuple[Step, ...]":
    """The named steps, with their options by name of the step.

    Raises:
        OptionError: there is no such step or option, a value is not of its kind, or options are of a step not named.
    """
    options, known = options or {}, registry()
    if name := next((name for name in names if name not in known), None):
        raise OptionError(f"{place}: no step {name!r}. {did_you_mean(name, known)}There are {', '.join(known)}.")
    if name := next((name for name in options if name not in names), None):
        listed = ", ".join(f'"{step}"' for step in names)
        told = f"is not among the steps ({listed}); name it in steps = [...]."
        if name not in known:
            told = f"no step of that name. {did_you_mean(name, known)}".rstrip()
        raise OptionError(f"{place}: [{name}]: {told}")
    return tuple(_step(known[name], options.get(name, {}), place) for name in names)


def _step(kind: "type[Step]", values: Mapping[str, Any], place: str) -> "Step":
    known = {field.name: field.default for field in dataclasses.fields(kind)}
    for name in values:
        if name not in known:
            listed = f"no such option. {did_you_mean(name, known)}There are {', '.join(known)}."
            told = listed if known else "no such option; the step has none."
            raise OptionError(f"{place}: [{kind.name}] {name}: {told}")
    if missing := [name for name in known if known[name] is dataclasses.MISSING and name not in values]:
        raise OptionError(f"{place}: [{kind.name}]: needs {', '.join(missing)}.")
    try:
        return kind(**values)
    except OptionError as error:
        raise OptionError(f"{place}: {error}") from error


def read_config(path: Path) -> "tuple[Step, ...]":
    """The chain of a prepare.toml.

    Raises:
        OptionError: it is missing, is no TOML, or as `chain`.
    """
    try:
        values = tomllib.loads(read_utf8(path))
    except FileNotFoundError as error:
        raise OptionError(f"--config {path}: no such file. Check the path.") from error
    except (OSError, ValueError) as error:
        raise OptionError(f"--config {path}: cannot be read as TOML ({error}).") from error
    names = values.pop("steps", list(DEFAULT_STEPS))
    example = 'such as steps = ["repair", "exact", "near"].'
    if names == []:
        raise OptionError(f"{path}: steps: is empty. Name some, {example}")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise OptionError(f"{path}: steps: write a list of names, {example}")
    if stray := next((key for key, value in values.items() if not isinstance(value, dict)), None):
        raise OptionError(
            f"{path}: {stray}: {did_you_mean(stray, ['steps'])}It is no option of the chain; options stand below their "
            "step: [near]."
        )
    return chain(names, values, place=str(path))

"""What a step of the chain is: one that looks at a document alone, or one that must have seen all of them.

    document step   texts -> the same texts, some changed, some removed; any worker, any shard, in any order
    corpus step     texts -> a sketch, small arrays with a row per document; then, from all sketches in the order of the
                    text, which documents stay

A step is one frozen dataclass. Its fields are its options, named with their units, checked when made and stored with
the result; its docstring is its part of docs/reference/prepare-steps.md. `load` makes what is costly (a model, an
index), once in each worker. An outcome or a decision says why a document went; `note` adds a sentence to the funnel.
"""

import types
import typing
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import IO, Any, ClassVar, Literal, Protocol, TypeAlias

import numpy as np
import polars as pl
from numpy.typing import NDArray

from vocabopt.errors import OptionError
from vocabopt.option_fields import Check, specs

#: Arrays with a row per document (or a flat one with offsets of its own), by name; written as .npz.
Sketch: TypeAlias = Mapping[str, NDArray[Any]]
Ints: TypeAlias = NDArray[np.int64]


def no_text(n: int) -> pl.Series:
    """String [n], all null."""
    return pl.Series([None], dtype=pl.String).new_from_index(0, n)


@dataclass(frozen=True)
class Outcome:
    """What a document step made of n texts.

    texts: String [n]: the text after the step, null where the document is removed.
    why: String [n]: for a removed or cut document, what was measured against what limit, in a few words
    ("Hangul 12 % of letters, below 50 %"); null where there is nothing to say.
    """

    texts: pl.Series
    why: pl.Series

    @classmethod
    def removing(cls, texts: pl.Series, why: pl.Series, removed: pl.Series | None = None) -> "Outcome":
        """Remove the documents that have a reason, String [n], or where `removed` is true; and change none."""
        removed = why.is_not_null() if removed is None else removed
        return cls(texts.zip_with(~removed, no_text(1)), why.zip_with(removed, no_text(1)))

    @classmethod
    def changing(cls, texts: pl.Series) -> "Outcome":
        """Remove nothing; some texts may have changed."""
        return cls(texts, no_text(len(texts)))


@dataclass(frozen=True)
class Decision:
    """Which of N units (documents, or paragraphs) stay.

    keep: bool [N]. of: int64 [N]: for a removed unit, the index of the kept one that it copies, else -1.
    score: float64 [N] of a selection, NaN without one. facts: what else the report shows, by name (JSON-able).
    """

    keep: NDArray[np.bool_]
    of: Ints | None = None
    score: NDArray[np.float64] | None = None
    facts: dict[str, Any] = field(default_factory=dict)


class Arrays(Protocol):
    """The sketch of one shard; an array is read when it is asked for."""

    def __getitem__(self, name: str, /) -> NDArray[Any]: ...


class Sketches(Protocol):
    """The sketches of all shards, in the order of the text, read one at a time.

    memory_bytes: what a decision may have in memory, beside one sketch.
    """

    @property
    def memory_bytes(self) -> int: ...

    def __iter__(self) -> Iterator[Arrays]: ...

    def scratch(self) -> AbstractContextManager[IO[bytes]]:
        """A temporary file beside them, gone when it is closed and not mapped any more."""
        ...


@dataclass(frozen=True, kw_only=True)
class Step(ABC):
    """A step of the chain."""

    name: ClassVar[str]

    def __post_init__(self) -> None:
        """Raises OptionError: a value is not of its field's kind, or does not pass its check."""
        hints = typing.get_type_hints(type(self))
        for option in fields(self):
            value = getattr(self, option.name)
            if isinstance(value, list):  # as TOML gives it
                object.__setattr__(self, option.name, tuple(value))
            if kind := _kind_needed(value, hints[option.name]):
                raise self.refusal(option.name, repr(value), f"must be {kind}.")
        for option, spec in specs(type(self)):
            value = getattr(self, option.name)
            if spec.check is not None and value is not None and not spec.check.holds(value):
                raise self.refusal(option.name, repr(value), f"{spec.check.words}.")

    def refusal(self, option: str, value: object, what: str) -> OptionError:
        """The error for an option's value; `what` says what is wrong and what to write instead."""
        return OptionError(f"[{self.name}] {option} {value}: {what}")

    @property
    def inputs(self) -> tuple[str, ...]:
        """Files that the step is made of, beside the text."""
        return ()

    def prepare(self, work: Path) -> "Step":
        """The step as workers take it. What must be made once for all of them (a model of a reference text, an index)
        lies in the folder `work`, where a run that goes on finds it."""
        return self

    @abstractmethod
    def load(self) -> Callable[[pl.Series], Any]:
        """The step at work.

        Raises:
            VocaboptError: a file that the step needs is missing or broken, or a library it needs is not installed.
        """

    @classmethod
    def note(cls, facts: Mapping[str, Any]) -> str | None:
        """A sentence below the funnel, of what a decision found."""
        return None


class DocumentStep(Step):
    """A step that looks at each document alone."""

    @abstractmethod
    def load(self) -> Callable[[pl.Series], Outcome]:
        """String [n] without nulls to what became of it."""


class CorpusStep(Step):
    """A step that must have seen every document before it can keep or remove one.

    unit: what is kept or removed: documents, or paragraphs, which are the lines of a document (one with no paragraph
    left is removed).
    """

    unit: ClassVar[Literal["document", "paragraph"]] = "document"

    @abstractmethod
    def load(self) -> Callable[[pl.Series], Sketch]:
        """What is kept of a shard's units, String [n] without nulls."""

    @abstractmethod
    def decide(self, sketches: Sketches, n_units: Sequence[int]) -> Decision:
        """From all sketches, which units stay. n_units: of each shard."""


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


# --- Checks of options ------------------------------------------------------------------------------------------------

SHARE = Check(lambda value: bool(0 <= value <= 1), "must be a share, a number from 0 to 1")
ABOVE_0 = Check(lambda value: bool(0 < value <= 1), "must be above 0 and at most 1")
SEED = Check(lambda value: bool(0 <= value < 1 << 64), "must be at least 0 and below 2^64")
_KINDS = {int: "a whole number", float: "a number", str: "text in quotes", bool: "true or false"}


def _kind_needed(value: Any, hint: Any) -> str | None:
    """What a value must be that is not of the kind that a field declares; None where it is of that kind."""
    needed = []
    for kind in typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,):
        origin, inner = typing.get_origin(kind), typing.get_args(kind)
        if origin is Literal:
            fits, words = value in inner, f"one of {', '.join(inner)}"
        elif origin is None:
            fits = isinstance(value, (int, float) if kind is float else kind)
            fits, words = fits and (kind is bool or not isinstance(value, bool)), _KINDS.get(kind, "")
        elif issubclass(origin, Mapping):
            fits, words = isinstance(value, Mapping), "a table of NAME = value"
        else:
            fits = isinstance(value, list | tuple) and all(isinstance(item, inner[0]) for item in value)
            words = "a list of texts"
        if fits:
            return None
        needed.append(words)
    return " or ".join(filter(None, needed))


# --- What several steps do --------------------------------------------------------------------------------------------


def change_flagged(texts: pl.Series, flagged: pl.Series, change: Callable[[str], str]) -> pl.Series:
    """`change` applied where `flagged` (Boolean [n]) is true; the other texts are never made Python strings."""
    where = flagged.arg_true()
    if len(where) == 0:
        return texts
    changed = pl.Series([change(text) for text in texts.gather(where).to_list()], dtype=pl.String)
    return texts.clone().scatter(where, changed)


def code_points(texts: pl.Series) -> tuple[NDArray[np.uint32], Ints]:
    """All characters of the column, uint32 [N], and where each text starts: int64 [n + 1], the last is N."""
    offsets = np.zeros(len(texts) + 1, dtype=np.int64)
    np.cumsum(texts.str.len_chars().to_numpy(), out=offsets[1:])
    joined = "" if len(texts) == 0 else str(texts.str.join("").item())
    return np.frombuffer(joined.encode("utf-32-le"), dtype="<u4").astype(np.uint32, copy=False), offsets

"""What a step of the chain is: one that looks at a document alone, or one that must have seen all of them.

    document step   texts -> the same texts, some changed, some removed; any worker, any shard, in any order
    corpus step     texts -> a sketch, small arrays with a row per document; then, from all sketches in the order of the
                    text, which documents stay

A step is a frozen dataclass: its fields are its options, named with their units, checked when made, and stored with
the result. What is costly (a model, an index) is made by `load`, once in each worker.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, ClassVar, Protocol, TypeAlias, runtime_checkable

import numpy as np
import polars as pl
from numpy.typing import NDArray

from vocabopt.errors import OptionError

#: Arrays with a row per document (or a flat one with offsets of its own), by name; written as .npz.
Sketch: TypeAlias = Mapping[str, NDArray[Any]]


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
    def removing(cls, texts: pl.Series, removed: pl.Series, why: pl.Series) -> "Outcome":
        """Remove the documents where `removed` is true, and change none. why: String [n], read only there."""
        nothing = pl.Series([None], dtype=pl.String)
        return cls(texts.zip_with(~removed, nothing), why.zip_with(removed, nothing))

    @classmethod
    def changing(cls, texts: pl.Series) -> "Outcome":
        """Remove nothing; some texts may have changed."""
        return cls(texts, pl.Series([None], dtype=pl.String).new_from_index(0, len(texts)))


@runtime_checkable
class DocumentStep(Protocol):
    """A step that looks at each document alone."""

    name: ClassVar[str]

    def load(self) -> Callable[[pl.Series], Outcome]:
        """The step at work: String [n] without nulls to what became of it.

        Raises:
            VocaboptError: a file that the step needs is missing or broken, or a library it needs is not installed.
        """
        ...


@runtime_checkable
class NeedsPreparing(Protocol):
    """A step that something must be made for once, before workers load it: a model of a reference text, an index.

    inputs: the files it is made of, beside the text.
    """

    @property
    def inputs(self) -> tuple[str, ...]: ...

    def prepare(self, work: Path, /) -> "Step":
        """The step as workers take it; what is made lies in `work`, where a run that goes on finds it."""
        ...


@dataclass(frozen=True)
class Decision:
    """Which of N units (documents, or paragraphs) stay.

    keep: bool [N]. of: int64 [N]: for a removed unit, the index of the kept one that it copies, else -1.
    score: float64 [N] of a selection, NaN without one. facts: what else the report shows, by name (JSON-able).
    """

    keep: NDArray[np.bool_]
    of: NDArray[np.int64] | None = None
    score: NDArray[np.float64] | None = None
    facts: dict[str, Any] = field(default_factory=dict)


class Sketches(Protocol):
    """The sketches of all shards, in the order of the text; each is read when asked for and not kept."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Sketch]: ...

    def __getitem__(self, shard: int, /) -> Sketch: ...

    def scratch(self) -> IO[bytes]:
        """A temporary file beside them, gone when it is closed and not mapped any more."""
        ...


@runtime_checkable
class CorpusStep(Protocol):
    """A step that must have seen every document before it can keep or remove one.

    unit: what is kept or removed: documents, or paragraphs, which are the lines of a document (one with no paragraph
    left is removed).
    """

    name: ClassVar[str]
    unit: ClassVar[str]  # "document" or "paragraph"

    def load(self) -> Callable[[pl.Series], Sketch]:
        """What is kept of a shard's units, String [n] without nulls. Raises VocaboptError as `DocumentStep.load`."""
        ...

    def decide(self, sketches: Sketches, n_units: Sequence[int]) -> Decision:
        """From all sketches, which units stay. n_units: of each shard."""
        ...


Step: TypeAlias = DocumentStep | CorpusStep


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


def refuse(step: str, option: str, value: object, what: str) -> OptionError:
    """The error to raise for an option's value; `what` says what is wrong and what to write instead."""
    return OptionError(f"[{step}] {option} {value}: {what}")


def check_count(step: str, option: str, value: int | None, *, lowest: int = 0) -> None:
    """A whole number of at least `lowest`, or None. Raises OptionError otherwise."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int):
        raise refuse(step, option, value, "must be a whole number.")
    if value < lowest:
        raise refuse(step, option, value, f"must be at least {lowest}.")


def check_number(step: str, option: str, value: float | None, *, lowest: float = 0) -> None:
    """A number of at least `lowest`, or None. Raises OptionError otherwise."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= lowest:
        raise refuse(step, option, value, f"must be a number, at least {lowest:g}.")


def check_share(step: str, option: str, value: float | None) -> None:
    """A number from 0 to 1, or None. Raises OptionError otherwise."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise refuse(step, option, value, "must be a share, a number from 0 to 1.")


def check_flag(step: str, option: str, value: bool) -> None:
    """True or False. Raises OptionError otherwise."""
    if not isinstance(value, bool):
        raise refuse(step, option, value, "must be true or false.")


def check_choice(step: str, option: str, value: str, choices: Sequence[str]) -> None:
    """One of the choices. Raises OptionError otherwise."""
    if value not in choices:
        raise refuse(step, option, value, f"must be one of {', '.join(choices)}.")


def check_order(step: str, lower: str, low: float | None, upper: str, high: float | None) -> None:
    """Where both bounds are given, the lower is not above the upper. Raises OptionError otherwise."""
    if low is not None and high is not None and low > high:
        raise refuse(step, lower, low, f"must not be above {upper}, which is {high}.")


def change_flagged(texts: pl.Series, flagged: pl.Series, change: Callable[[str], str]) -> pl.Series:
    """`change` applied where `flagged` (Boolean [n]) is true; the other texts are never made Python strings."""
    where = flagged.arg_true()
    if len(where) == 0:
        return texts
    changed = pl.Series([change(text) for text in texts.gather(where).to_list()], dtype=pl.String)
    return texts.clone().scatter(where, changed)


def code_points(texts: pl.Series) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """All characters of the column, uint32 [N], and where each text starts: int64 [n + 1], the last is N."""
    offsets = np.zeros(len(texts) + 1, dtype=np.int64)
    np.cumsum(texts.str.len_chars().to_numpy(), out=offsets[1:])
    joined = "" if len(texts) == 0 else str(texts.str.join("").item())
    return np.frombuffer(joined.encode("utf-32-le"), dtype="<u4").astype(np.uint32, copy=False), offsets

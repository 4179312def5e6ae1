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

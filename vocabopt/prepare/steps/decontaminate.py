"""Documents that hold an item of a benchmark: trained on, they would make its scores worthless."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import polars as pl

from vocabopt.errors import OptionError
from vocabopt.prepare.benchmarks import ItemIndex, build_index, identity
from vocabopt.prepare.step import Outcome


@dataclass(frozen=True, kw_only=True)
class Decontaminate:
    """Remove documents that hold an item of a benchmark, whole or nearly, in them.

    Compared are character n-grams of letters and digits alone, NFC and in lower case: Korean is spaced in many ways.

    benchmarks: NAME to a path, glob or list of them, in any format that the text may have (text.md). Each string
    of a record is an item of its own. fields: only these; () takes all.
    n_chars: letters of an n-gram. min_overlap: share of ONE item's distinct n-grams that a document must hold. Shorter
    items than min_item_chars letters are left out, and counted: common words would be removed everywhere.
    The defaults, measured with KoBEST's 51,512 texts, of which they leave 17,617 items: of 140,108 paragraphs of an
    encyclopedia 208 are removed, the sources of BoolQ, and of 300,894 reviews and comments none; 64 % of items with a
    word replaced are found. English letters say less: take n_chars = 13, min_item_chars = 25.
    """

    name: ClassVar[str] = "decontaminate"
    benchmarks: Mapping[str, str | tuple[str, ...]]
    fields: tuple[str, ...] = ()
    n_chars: int = 10
    min_overlap: float = 0.6
    min_item_chars: int = 20

    def __post_init__(self) -> None:
        if not self.benchmarks:
            raise OptionError(f'[{self.name}] benchmarks: none given; write benchmarks = {{ NAME = "PATH" }}.')
        for name, paths in self.benchmarks.items():
            listed = [paths] if isinstance(paths, str) else paths
            if not isinstance(listed, list | tuple) or not listed or not all(isinstance(p, str) and p for p in listed):
                raise OptionError(f"[{self.name}] benchmarks {name} = {paths!r}: must be a path or a list of paths.")
        if not all(isinstance(name, str) for name in self.fields):
            raise OptionError(f"[{self.name}] fields {self.fields!r}: must be a list of names.")
        if self.n_chars < 1:
            raise OptionError(f"[{self.name}] n_chars {self.n_chars}: must be at least 1.")
        if self.min_item_chars < self.n_chars:
            raise OptionError(
                f"[{self.name}] min_item_chars {self.min_item_chars}: must be at least n_chars, which is "
                f"{self.n_chars}: a shorter item has no n-gram."
            )
        if not 0 < self.min_overlap <= 1:
            raise OptionError(f"[{self.name}] min_overlap {self.min_overlap}: must be above 0 and at most 1.")

    @property
    def inputs(self) -> tuple[str, ...]:
        return tuple(path for paths in self._paths().values() for path in paths)

    def prepare(self, work: Path) -> "Prepared":
        """The step with its index, which is made once in the folder `work` for the same files and options.

        Raises:
            CorpusError: a benchmark is missing, unreadable or has no text. OptionError: all its texts are too short.
            RunDirectoryError: the folder cannot be written.
        """
        options = (self.fields, self.n_chars, self.min_item_chars)
        path = work / f"benchmarks-{identity(self._paths(), options)}.npz"
        if not path.exists():
            self.build().save(path)
        return Prepared(index=str(path), min_overlap=self.min_overlap)

    def load(self) -> Callable[[pl.Series], Outcome]:
        """Raises CorpusError, OptionError: as `prepare`."""
        return _remover(self.build(), self.min_overlap)

    def build(self) -> ItemIndex:
        """The index; it says how many items are looked for, and how many texts are left out. Raises as `prepare`."""
        return build_index(self._paths(), fields=self.fields, n_chars=self.n_chars, min_item_chars=self.min_item_chars)

    def _paths(self) -> dict[str, tuple[str, ...]]:
        return {name: (paths,) if isinstance(paths, str) else tuple(paths) for name, paths in self.benchmarks.items()}


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """The step as workers take it. index: the file that `Decontaminate.prepare` made."""

    name: ClassVar[str] = Decontaminate.name
    index: str
    min_overlap: float

    def load(self) -> Callable[[pl.Series], Outcome]:
        return _remover(ItemIndex.open(Path(self.index)), self.min_overlap)


def _remover(index: ItemIndex, min_overlap: float) -> Callable[[pl.Series], Outcome]:
    labels = pl.Series(index.labels, dtype=pl.String)

    def remove(texts: pl.Series) -> Outcome:
        items, shares = index.find(texts, min_overlap)
        # Rounded down: 100 % says that all of it is there.
        percent = pl.Series(np.floor(100 * shares).astype(np.int64))
        why = pl.select(pl.format("holds {} % of {}", percent, labels.gather(np.maximum(items, 0)))).to_series()
        return Outcome.removing(texts, pl.Series(items >= 0), why)

    return remove

"""The step that removes documents that hold items of benchmarks, and the index of those items."""

import functools
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl
import xxhash
from numpy.typing import NDArray

from vocabopt.errors import CorpusError, OptionError
from vocabopt.folder import write_atomic
from vocabopt.option_fields import at_least, option
from vocabopt.preparation import overlap_kernel as kernel
from vocabopt.preparation.step import ABOVE_0, DocumentStep, Ints, Outcome
from vocabopt.preparation.steps.repair import Normalize
from vocabopt.text.corpus import fingerprint, named_set
from vocabopt.text.documents import bytes_of_texts
from vocabopt.text.readers import read_records
from vocabopt.text.utf8 import printable

_ARRAYS = ("item_sizes", "ngrams", "holders", "holder_ends")
_VERSION = 1  # of the files that `ItemIndex.save` writes
_BITS_PER_NGRAM = 32
_MAX_BITMAP_WORDS = 1 << 24  # 128 MiB


@dataclass(frozen=True)
class ItemIndex:
    """Items of benchmarks by their character n-grams (of letters and digits, in lower case).

    labels: what to call each item. item_sizes: its distinct n-grams. ngrams: uint64 [n], sorted. holders, holder_ends:
    the items that hold each n-gram. n_short: texts left out because they have too few letters. n_repeated: texts left
    out because an earlier item has the same letters. Memory: 60 bytes for each letter of the items.
    """

    n_chars: int
    labels: tuple[str, ...]
    item_sizes: NDArray[np.int32]
    ngrams: NDArray[np.uint64]
    holders: NDArray[np.int32]
    holder_ends: Ints
    n_short: int
    n_repeated: int

    @functools.cached_property
    def _lookup(self) -> tuple[NDArray[np.int32], NDArray[np.uint64]]:
        n = max(len(self.ngrams), 32)
        slots = np.full(1 << (2 * n - 1).bit_length(), -1, np.int32)
        bitmap = np.zeros(min(1 << (_BITS_PER_NGRAM * n // 64).bit_length(), _MAX_BITMAP_WORDS), np.uint64)
        kernel.place_ngrams(self.ngrams, slots, bitmap)
        return slots, bitmap

    def find(self, texts: pl.Series, min_overlap: float) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        """Of each text the item it holds most of, -1 where that is less than `min_overlap`; and the share it holds."""
        data, starts, ends = _bytes_of(texts)
        slots, bitmap = self._lookup
        items, n_found = kernel.find_items(
            data, starts, ends, letter_table(), self.n_chars, self.ngrams, slots, bitmap, self.holders,
            self.holder_ends, self.item_sizes, min_overlap,
        )  # fmt: skip
        return items, n_found / self.item_sizes[items]

    def save(self, path: Path) -> None:
        """Write the index as .npz. Raises RunDirectoryError."""
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        arrays["counts"] = np.array([self.n_chars, self.n_short, self.n_repeated])
        arrays["labels"] = np.frombuffer("\n".join(self.labels).encode(), np.uint8)
        write_atomic(path, lambda file: np.savez(file, allow_pickle=False, **arrays))

    @classmethod
    def open(cls, path: Path) -> "ItemIndex":
        """The index that `save` wrote."""
        with np.load(path, allow_pickle=False) as stored:
            n_chars, n_short, n_repeated = map(int, stored["counts"])
            labels = tuple(stored["labels"].tobytes().decode().split("\n"))
            arrays = {name: stored[name] for name in _ARRAYS}
        return cls(n_chars=n_chars, labels=labels, n_short=n_short, n_repeated=n_repeated, **arrays)


def build_index(
    benchmarks: Mapping[str, Sequence[str]], *, fields: Sequence[str], n_chars: int, min_item_chars: int
) -> ItemIndex:
    """The index of all texts of benchmarks with at least `min_item_chars` letters and digits.

    Raises:
        CorpusError: a file is missing, unreadable or no benchmark. OptionError: a benchmark has no such text.
    """
    labels: list[str] = []
    texts: list[str] = []
    first_of: list[int] = []
    for name, paths in benchmarks.items():
        first_of.append(len(texts))
        for label, text in items_of({name: paths}, fields):
            labels.append(label)
            texts.append(text)
    # 1. The n-grams of each text; a benchmark without a text that is long enough is a mistake.
    data, starts, ends = _bytes_of(pl.Series(texts, dtype=pl.String))
    hashes, hash_ends = np.empty(len(data), np.uint64), np.zeros(len(texts), np.int64)
    is_long = kernel.hash_ngrams(data, starts, ends, letter_table(), n_chars, hashes, hash_ends) >= min_item_chars
    for (name, paths), first, end in zip(benchmarks.items(), first_of, [*first_of[1:], len(texts)], strict=True):
        if not is_long[first:end].any():
            raise OptionError(
                f"[decontaminate] benchmarks {name} ({', '.join(paths)}): none of its {end - first} texts has "
                f"min_item_chars = {min_item_chars} letters and digits. Check fields, or lower min_item_chars."
            )
    # 2. The items: one of those with the same n-grams.
    of_item: dict[bytes, tuple[str, NDArray[np.uint64]]] = {}
    for text in np.flatnonzero(is_long):
        own = np.unique(hashes[hash_ends[text - 1] if text else 0 : hash_ends[text]])
        of_item.setdefault(xxhash.xxh3_128_digest(own.tobytes()), (labels[text], own))
    sizes = np.array([len(own) for _, own in of_item.values()], np.int32)
    # 3. The items that hold each n-gram.
    items = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
    ngrams = np.concatenate([own for _, own in of_item.values()])
    order = np.lexsort((items, ngrams))
    distinct, n_holders = np.unique(ngrams[order], return_counts=True)
    return ItemIndex(
        n_chars=n_chars,
        labels=tuple(label for label, _ in of_item.values()),
        item_sizes=sizes,
        ngrams=distinct,
        holders=items[order],
        holder_ends=np.cumsum(n_holders),
        n_short=int((~is_long).sum()),
        n_repeated=int(is_long.sum()) - len(sizes),
    )


@functools.cache
def letter_table() -> NDArray[np.uint32]:
    """Of each code point below TABLE_SIZE: itself in lower case where it is a letter, mark or digit, else 0."""
    table = np.zeros(kernel.TABLE_SIZE, np.uint32)
    for code in range(kernel.TABLE_SIZE):
        if unicodedata.category(chr(code))[0] in "LMN":
            lower = chr(code).lower()
            table[code] = ord(lower) if len(lower) == 1 else code
    return table


def letters(text: str) -> str:
    """What of a text is compared: letters, marks and digits, NFC and in lower case."""
    table = letter_table()
    codes = map(ord, unicodedata.normalize("NFC", text))
    return "".join(chr(table[code]) for code in codes if code < len(table) and table[code])


def _bytes_of(texts: pl.Series) -> tuple[NDArray[np.uint8], Ints, Ints]:
    """The texts in NFC as bytes, and where each starts and ends."""
    data, starts, ends = bytes_of_texts(Normalize().load()(texts).texts)
    return np.frombuffer(data, np.uint8), starts, ends


# --- Reading ---------------------------------------------------------------------------------------------------------


def items_of(benchmarks: Mapping[str, Sequence[str]], fields: Sequence[str] = ()) -> Iterator[tuple[str, str]]:
    """Every text of benchmarks, with its label: "kobest/boolq item 123 (paragraph)". Raises CorpusError."""
    for name, paths in benchmarks.items():
        files = named_set(name, paths, "eval").files
        for file in files:
            stem = printable(Path(file.url).name).partition(".")[0]
            place = name if len(files) == 1 else f"{name} {stem}"
            n_texts = 0
            for number, field, text in _texts_of(file.url):
                if not fields or field in fields:
                    n_texts += 1
                    yield f"{place} item {number}{field and f' ({field})'}".replace("\n", " "), text
            if not n_texts:
                wanted = f"in the fields {', '.join(fields)}" if fields else "in any field"
                raise CorpusError(f"{file.url}: no text {wanted}; check the file, and fields of [decontaminate].")


def _texts_of(url: str) -> Iterator[tuple[int, str, str]]:
    """The strings of the lines or records of a file: the record, from 1, the outermost field, and the string."""
    try:
        for number, record in read_records(url):
            for field, text in _strings(record, ""):
                yield number, field, text
    except CorpusError as error:
        told = str(error).partition("; mend it")[0]
        raise CorpusError(f"{told}. A benchmark's file must be whole: mend it.") from error


def _strings(value: Any, field: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield field, value
    for name, inner in value.items() if isinstance(value, Mapping) else ():
        yield from _strings(inner, field or str(name))
    for inner in value if isinstance(value, list) else ():
        yield from _strings(inner, field)


@dataclass(frozen=True, kw_only=True)
class Decontaminate(DocumentStep):
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
    n_chars: int = option(10, check=at_least(1))
    min_overlap: float = option(0.6, check=ABOVE_0)
    min_item_chars: int = 20

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.benchmarks:
            raise OptionError(f'[{self.name}] benchmarks: none given; write benchmarks = {{ NAME = "PATH" }}.')
        for name, paths in self.benchmarks.items():
            listed = [paths] if isinstance(paths, str) else paths
            if not isinstance(listed, list | tuple) or not listed or not all(isinstance(p, str) and p for p in listed):
                raise self.refusal("benchmarks", f"{name} = {paths!r}", "must be a path or a list of paths.")
        if self.min_item_chars < self.n_chars:
            least = f"must be at least n_chars, which is {self.n_chars}: a shorter item has no n-gram."
            raise self.refusal("min_item_chars", self.min_item_chars, least)

    @property
    def inputs(self) -> tuple[str, ...]:
        return tuple(path for paths in self._paths().values() for path in paths)

    def prepare(self, work: Path) -> "Prepared":
        """The step with its index, which is made once in the folder `work` for the same files and options.

        Raises:
            CorpusError: a benchmark is missing, unreadable or has no text. OptionError: all its texts are too short.
            RunDirectoryError: the folder cannot be written.
        """
        options = [self.fields, self.n_chars, self.min_item_chars]
        parts = [f"{_VERSION} {unicodedata.unidata_version} {options}"]
        for name, paths in self._paths().items():
            parts += [
                f"{name} {printable(file.url)} {fingerprint(file)}" for file in named_set(name, paths, "eval").files
            ]
        path = work / f"benchmarks-{xxhash.xxh3_128_hexdigest(chr(10).join(parts).encode())}.npz"
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
class Prepared(DocumentStep):
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
        return Outcome.removing(texts, why, pl.Series(items >= 0))

    return remove

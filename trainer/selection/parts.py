"""The text of a comparison: what is held out, what is left, and the parts of it that selections choose."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from trainer.measuring_options import CompareOptions
from vocabopt.console import Console
from vocabopt.errors import CorpusError, OptionError
from vocabopt.preparation.options import PrepareOptions
from vocabopt.preparation.reading import Reader, Shard, find_text
from vocabopt.preparation.run import run_prepare
from vocabopt.preparation.step import Step
from vocabopt.preparation.steps.select import Select
from vocabopt.preparation.work import Work
from vocabopt.records import Count, FileRecord, Record, read_record, write_record
from vocabopt.text.documents import bytes_of_texts, content_hashes, is_held_out
from vocabopt.text.utf8 import printable

NONE, CLEANED, ALL = "none", "cleaned", "all"
#: The parts of the text, all of `budget` bytes but the last. The first four are the paper's.
ARMS = ("random", "length", "perplexity", "diversity", NONE, CLEANED, ALL)

_FILES_OF_A_PATH = 10_000  # numbers of files in train/ that a path has to itself
_KEPT_NAMES = ("train", "heldout", "text")  # of the sets of a sweep
_REFERENCE_SHARE = 0.1  # of the text, where perplexity is measured by the text itself


class TextSize(Record, frozen=True, kw_only=True):
    n_documents: Count = 0
    n_bytes: Count = 0

    def __add__(self, other: "TextSize") -> "TextSize":
        return TextSize(n_documents=self.n_documents + other.n_documents, n_bytes=self.n_bytes + other.n_bytes)


class SplitRecord(FileRecord, frozen=True, kw_only=True):
    """text/split.json. sets: each held-out set, and what is left ("train"). left: its bytes, by the name of a path."""

    sets: dict[str, TextSize]
    left: dict[str, Count]


def split_text(options: CompareOptions, console: Console) -> SplitRecord:
    """OUT/text/train/ and OUT/text/heldout/NAME/, a set for each path; documents are held out by their content.
    OUT/text/evals/NAME/ is the text to measure on besides them, read as the other text is.

    Raises:
        CorpusError: a path is missing or holds no text, or less than the budget.
    """
    text = options.out / "text"
    marker = text / "split.json"
    if marker.is_file():
        return read_record(marker, SplitRecord, next_step=f"Remove {options.out} and compare again.")

    def kept(folder: Path, name: str, number: int, documents: pl.DataFrame, path: str) -> TextSize:
        source = pl.lit(printable(path))
        place = source + ":" + pl.col("line").cast(pl.String)
        rows = documents.select(id=place, text="text", source=source, line="line")
        Work(folder, "jsonl.zst").write_output(name, number, rows)
        return TextSize(n_documents=len(rows), n_bytes=int(rows["text"].str.len_bytes().sum()))

    names = names_of(options.paths)
    left = dict.fromkeys(names, TextSize())
    held = dict.fromkeys(names, TextSize())
    with console.step("split"):
        for first, (name, path) in enumerate(names.items()):
            for shard in _shards(options, path, own=True):
                data, starts, ends = bytes_of_texts(shard.documents["text"])
                picks = pl.Series(is_held_out(content_hashes(data, starts, ends, options.seed), options.heldout))
                held[name] += kept(text / "heldout", name, shard.number, shard.documents.filter(picks), path)
                number = shard.number + _FILES_OF_A_PATH * first
                left[name] += kept(text, "train", number, shard.documents.filter(~picks), path)
        for name, path in options.evals.items():
            sizes = [
                kept(text / "evals", name, shard.number, shard.documents, path)
                for shard in _shards(options, path, own=True)
            ]
            if not any(size.n_documents for size in sizes):
                raise CorpusError(f"--eval {name}={path}: holds no documents. Name a text that does.")
    if empty := next((name for name in names if not held[name].n_documents), None):
        raise CorpusError(f"{names[empty]}: none of its documents was held out. Raise --heldout, or give more text.")
    train = sum(left.values(), TextSize())
    if train.n_bytes <= options.budget_bytes:
        raise CorpusError(
            f"--budget {options.budget}: the text has {train.n_bytes:,} bytes beside what is held out, and nothing is "
            "left to select. Give more text or a smaller budget."
        )
    split = SplitRecord(sets={"train": train, **held}, left={name: size.n_bytes for name, size in left.items()})
    write_record(marker, split)
    return split


def text_of(arm: str, options: CompareOptions, split: SplitRecord, console: Console) -> Path:
    """The folder of an arm's text; made where it is not there."""
    train = options.out / "text" / "train"
    if arm == ALL:
        return train
    if arm == NONE:
        return _beginnings(options, split, train)
    steps: list[Step] = [*options.steps] if arm == CLEANED else []
    by: Any = "random" if arm == CLEANED else arm
    reference = None
    if arm == "perplexity":
        # By default a random part of the text itself is what perplexity is measured by.
        sample = Select(by="random", share=_REFERENCE_SHARE, seed=options.seed + 1)
        reference = options.reference or str(_prepared(options, "reference", [sample], console))
    steps.append(Select(by=by, budget=str(options.budget_bytes), seed=options.seed, reference=reference))
    return _prepared(options, arm, steps, console)


def _prepared(options: CompareOptions, name: str, steps: list[Step], console: Console) -> Path:
    out = options.out / "arms" / name
    run_prepare(_prepare_options(options, str(options.out / "text" / "train"), out, steps=tuple(steps)), console)
    return out / "clean"


def _beginnings(options: CompareOptions, split: SplitRecord, train: Path) -> Path:
    """The beginning of each path's text, as long as its share of all: what is there without a selection."""
    out = options.out / "arms" / NONE
    if (out / "done.json").is_file():
        return out / "clean"
    reading = _prepare_options(options, str(train), out)
    paths = [int(Path(file.url).name[:6]) // _FILES_OF_A_PATH for file in find_text(reading).files]
    share = options.budget_bytes / split.sets["train"].n_bytes
    left = [int(share * n_bytes) for n_bytes in split.left.values()]
    for shard in _shards(options, str(train)):
        kept = []
        for source, text in shard.documents.select("source", "text").iter_rows():
            left[paths[source]] -= len(text.encode())
            if left[paths[source]] >= 0:
                kept.append(text)
        numbers = [f"{shard.number}:{i}" for i in range(len(kept))]
        Work(out, "jsonl.zst").write_output("clean", shard.number, pl.DataFrame({"id": numbers, "text": kept}))
    write_record(out / "done.json", FileRecord())
    return out / "clean"


def _shards(options: CompareOptions, path: str, *, own: bool = False) -> Iterator[Shard]:
    reading = _prepare_options(options, path, options.out / "text", own=own)
    return Reader(find_text(reading), reading).shards()


def _prepare_options(
    options: CompareOptions, path: str, out: Path, *, steps: tuple[Step, ...] = (), own: bool = False
) -> PrepareOptions:
    """own: the text is the user's, read as they say; else one of this comparison's, which is JSON lines."""
    read: dict[str, Any] = {}
    if own:
        read = {name: getattr(options, name) for name in ("unit", "column", "encoding", "format")}
    return PrepareOptions(
        paths=(path,), out=out, steps=steps, base=None, shard=options.shard, strict=own,
        engine=options.engine, workers=options.workers, memory=options.memory, **read,
    )  # fmt: skip


def names_of(paths: tuple[str, ...]) -> dict[str, str]:
    """A name for each path, from its last part, that can stand in columns.

    Raises:
        OptionError: two paths would have one name.
    """
    names: dict[str, str] = {}
    for number, path in enumerate(paths, 1):
        name = re.sub(r"[^A-Za-z0-9_-]+", "_", Path(path.rstrip("/*")).name.partition(".")[0]).strip("_-")
        if name in ("", *_KEPT_NAMES):
            name = f"path{number}"
        if name in names:
            raise OptionError(f"{path}: {names[name]} would have the same name, {name}. Rename one, or join them.")
        names[name] = path
    return names

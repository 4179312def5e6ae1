"""What is compared: the options, and the text of each arm: held out, left, and the parts that selections choose."""

import re
from pathlib import Path
from typing import Any

import polars as pl

from trainer.measuring_options import CompareOptions
from vocabopt.console import Console
from vocabopt.errors import CorpusError, OptionError
from vocabopt.fields import COUNT, check_fields
from vocabopt.folder import FORMAT_VERSION, read_json, write_json_atomic
from vocabopt.preparation.options import PrepareOptions
from vocabopt.preparation.reading import Reader, find_text
from vocabopt.preparation.run import run_prepare
from vocabopt.preparation.step import Step
from vocabopt.preparation.steps.select import Select
from vocabopt.preparation.work import Work
from vocabopt.text.corpus import corpus_set
from vocabopt.text.documents import bytes_of_texts, content_hashes, is_held_out
from vocabopt.text.utf8 import printable

#: The parts of the text, all of `budget` bytes but the last. The first four are the paper's.
SELECTIONS = ("random", "length", "perplexity", "diversity")
NONE, CLEANED, ALL = "none", "cleaned", "all"
ARMS = (*SELECTIONS, NONE, CLEANED, ALL)


_FILES_OF_A_PATH = 10_000  # numbers of files in train/ that a path has to itself
_KEPT_NAMES = ("train", "heldout", "text")  # of the sets of a sweep
_REFERENCE_SHARE = 0.1  # of the text, where perplexity is measured by the text itself


def split_text(options: CompareOptions, console: Console) -> dict[str, Any]:
    """OUT/text/train/ and OUT/text/heldout/NAME/, a set for each path; documents are held out by their content.
    OUT/text/evals/NAME/ is the text to measure on besides them, read as the other text is.

    Returns:
        sets: bytes and documents of each held-out set, and of what is left ("train"). left: its bytes by path.

    Raises:
        CorpusError: a path is missing or holds no text, or less than the budget.
    """
    marker = options.out / "text" / "split.json"
    if marker.is_file():
        next_step = f"Remove {options.out} and compare again."
        split = read_json(marker, next_step=next_step)
        sizes_of = {"*": {"n_documents": COUNT, "n_bytes": COUNT}}
        check_fields(split, {"sets": sizes_of, "left": {"*": COUNT}}, marker, next_step)
        return split
    names = names_of(options.paths)
    sizes: dict[str, dict[str, int]] = {"train": {"n_documents": 0, "n_bytes": 0}}
    left_of: dict[str, int] = dict.fromkeys(names, 0)
    with console.step("split"):
        for name, path in names.items():
            reading = _prepare_options(options, (path,), options.out / "text", (), own=True)
            held, left = Work(options.out / "text" / "heldout", "jsonl.zst"), Work(options.out / "text", "jsonl.zst")
            for shard in Reader(find_text(reading), reading).shards():
                documents = shard.documents
                is_held = _held_out(documents["text"], options)
                number = shard.number + _FILES_OF_A_PATH * list(names).index(name)
                left_of[name] += int(documents.filter(~is_held)["text"].str.len_bytes().sum())
                for work, folder, part in (
                    (held, name, documents.filter(is_held)),
                    (left, "train", documents.filter(~is_held)),
                ):
                    count = sizes.setdefault(folder, {"n_documents": 0, "n_bytes": 0})
                    count["n_documents"] += len(part)
                    count["n_bytes"] += int(part["text"].str.len_bytes().sum())
                    work.write_output(folder, number, _rows(part, path))
        for name, path in options.evals.items():
            reading = _prepare_options(options, (path,), options.out / "text", (), own=True)
            text_set = corpus_set(name, path, reading.read_options())
            work, n_documents = Work(options.out / "text" / "evals", "jsonl.zst"), 0
            for shard in Reader(text_set, reading).shards():
                work.write_output(name, shard.number, _rows(shard.documents, path))
                n_documents += len(shard.documents)
            if not n_documents:
                raise CorpusError(f"--eval {name}={path}: holds no documents. Name a text that does.")
    left_bytes = sizes["train"]["n_bytes"]
    if empty := next((name for name in names if not sizes.get(name, {}).get("n_documents")), None):
        raise CorpusError(f"{names[empty]}: none of its documents was held out. Raise --heldout, or give more text.")
    if left_bytes <= options.budget_bytes:
        raise CorpusError(
            f"--budget {options.budget}: the text has {left_bytes:,} bytes beside what is held out, and nothing is "
            "left to select. Give more text or a smaller budget."
        )
    record: dict[str, Any] = {"format_version": FORMAT_VERSION, "sets": sizes, "left": left_of, "paths": names}
    write_json_atomic(marker, record)
    return record


def text_of(arm: str, options: CompareOptions, split: dict[str, Any], console: Console) -> Path:
    """The folder of an arm's text; made where it is not there."""
    assert arm in ARMS
    train = options.out / "text" / "train"
    if arm == ALL:
        return train
    out = options.out / "arms" / arm
    if arm == NONE:
        return _beginnings(options, split, train, out)
    budget = f"{options.budget_bytes}"
    if arm in SELECTIONS:
        way: Any = arm
        reference = (options.reference or _own_sample(options, train, console)) if arm == "perplexity" else None
        steps: tuple[Step, ...] = (Select(by=way, budget=budget, seed=options.seed, reference=reference),)
    else:
        assert arm == CLEANED
        steps = (*options.steps, Select(by="random", budget=budget, seed=options.seed))
    run_prepare(_prepare_options(options, (str(train),), out, steps), console)
    return out / "clean"


def _own_sample(options: CompareOptions, train: Path, console: Console) -> str:
    """A random part of the text itself, to measure perplexity by."""
    out = options.out / "arms" / "reference"
    step = Select(by="random", share=_REFERENCE_SHARE, seed=options.seed + 1)
    run_prepare(_prepare_options(options, (str(train),), out, (step,)), console)
    return str(out / "clean")


def _beginnings(options: CompareOptions, split: dict[str, Any], train: Path, out: Path) -> Path:
    """The beginning of each path's text, as long as its share of all: what is there without a selection."""
    marker = out / "done.json"
    if marker.is_file():
        return out / "clean"
    reading = _prepare_options(options, (str(train),), out, ())
    files = [int(Path(file.url).name[:6]) // _FILES_OF_A_PATH for file in find_text(reading).files]
    share = options.budget_bytes / split["sets"]["train"]["n_bytes"]
    left = [int(share * split["left"][name]) for name in split["paths"]]
    for shard in Reader(find_text(reading), reading).shards():
        kept = []
        for source, text in shard.documents.select("source", "text").iter_rows():
            left[files[source]] -= len(text.encode())
            if left[files[source]] >= 0:
                kept.append(text)
        numbers = [f"{shard.number}:{i}" for i in range(len(kept))]
        Work(out, "jsonl.zst").write_output("clean", shard.number, pl.DataFrame({"id": numbers, "text": kept}))
    write_json_atomic(marker, {"format_version": FORMAT_VERSION})
    return out / "clean"


def _prepare_options(
    options: CompareOptions, paths: tuple[str, ...], out: Path, steps: tuple[Step, ...], *, own: bool = False
) -> PrepareOptions:
    """own: the text is the user's, read as they say; else one of this comparison's, which is JSON lines."""
    read: dict[str, Any] = {}
    if own:
        read = {name: getattr(options, name) for name in ("unit", "column", "encoding", "format")}
    return PrepareOptions(
        paths=paths, out=out, steps=steps, base=None, shard=options.shard, workers=options.workers, strict=own, **read
    )


def _held_out(texts: pl.Series, options: CompareOptions) -> pl.Series:
    data, starts, ends = bytes_of_texts(texts)
    return pl.Series(is_held_out(content_hashes(data, starts, ends, options.seed), options.heldout))


def _rows(documents: pl.DataFrame, path: str) -> pl.DataFrame:
    source = pl.lit(printable(path))
    place = source + ":" + pl.col("line").cast(pl.String)
    return documents.select(id=place, text="text", source=source, line="line")


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

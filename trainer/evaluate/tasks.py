"""The benchmarks that `--tasks` knows: how an item is asked, and its items from local files; nothing is downloaded.

    KoBEST  boolq_test.jsonl or boolq_validation.jsonl and so on, fields as in the data set skt/kobest_v1
    PIQA    valid.jsonl and valid-labels.lst, as published
    BLiMP   BLiMP.zip as published, or its folder data/ with 67 files

.jsonl may be .jsonl.gz or .jsonl.zst as well.

Prompts and choices are those of lm-eval's own tasks, character by character (a test compares them), so that numbers
can be compared with published ones; lm-eval's own definitions would fetch data and metrics from the network.

KoBEST BoolQ's prompt ends in a space, and lm-eval puts another one between prompt and answer. It takes white space at
a prompt's end to be the answer's, so that "  예" with both its spaces is what is scored, whatever the tokenizer. The
template stays as it is for every model, base and merged: only then do the two answer the same question. How a
tokenizer spells two spaces and a syllable is a part of what is compared.
"""

import json
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any, NamedTuple

from vocabopt.errors import CorpusError, OptionError
from vocabopt.text.storage import chunks, file_format
from vocabopt.text.utf8 import read_utf8


@dataclass(frozen=True, kw_only=True)
class Item:
    """A question: which of the choices best follows the context? label: the index of the right one."""

    context: str
    choices: Sequence[str]
    label: int


@dataclass(frozen=True, kw_only=True)
class Task:
    """A benchmark of items with a choice to make.

    files: names without the ending, the first that is there is read. fields: what a record must hold; context and
    choices take them in. metrics: of lm-eval: acc (the most likely choice), acc_norm (per character), f1 (macro).
    """

    name: str
    group: str
    files: Sequence[str]
    fields: Mapping[str, type]
    context: str
    choices: Sequence[str]
    metrics: Sequence[str]


KOBEST = "kobest"
_YES_NO = ("아니오", "예")
#: COPA's questions, which are words in its prompts.
_CONNECTORS = {"원인": " 왜냐하면", "결과": " 그래서"}


def _kobest(name: str, texts: Sequence[str], context: str, choices: Sequence[str], *more: str) -> Task:
    return Task(
        name=f"{KOBEST}_{name}",
        group=KOBEST,
        # The published test set where it is there, as lm-eval has it.
        files=(f"{name}_test", f"{name}_validation"),
        fields={**dict.fromkeys(texts, str), "label": int},
        context=context,
        choices=choices,
        metrics=("acc", *more, "f1"),
    )


_TASKS = (
    _kobest("boolq", ("paragraph", "question"), "{paragraph} 질문: {question} 답변: ", _YES_NO),
    _kobest(
        "copa",
        ("premise", "question", "alternative_1", "alternative_2"),
        "{premise} {connector}",
        ("{alternative_1}", "{alternative_2}"),
    ),
    _kobest(
        "wic",
        ("word", "context_1", "context_2"),
        "문장1: {context_1} 문장2: {context_2} 두 문장에서 {word}가 같은 뜻으로 쓰였나?",
        _YES_NO,
    ),
    _kobest(
        "hellaswag",
        ("context", *(f"ending_{n}" for n in range(1, 5))),
        "문장: {context}",
        ("{ending_1}", "{ending_2}", "{ending_3}", "{ending_4}"),
        "acc_norm",
    ),
    _kobest("sentineg", ("sentence",), "문장: {sentence} 긍부정:", ("부정", "긍정")),
    Task(
        name="piqa",
        group="piqa",
        files=("valid",),
        fields={"goal": str, "sol1": str, "sol2": str, "label": int},
        context="Question: {goal}\nAnswer:",
        choices=("{sol1}", "{sol2}"),
        metrics=("acc", "acc_norm"),
    ),
    Task(
        name="blimp",
        group="blimp",
        files=("BLiMP",),
        fields={"sentence_good": str, "sentence_bad": str},
        context="",
        choices=("{sentence_good}", "{sentence_bad}"),
        metrics=("acc",),
    ),
)
TASKS: Mapping[str, Task] = {task.name: task for task in _TASKS}
GROUPS: Sequence[str] = tuple(dict.fromkeys(task.group for task in TASKS.values()))


def chosen_tasks(names: Sequence[str]) -> tuple[Task, ...]:
    """The tasks of these names, groups among them, each once.

    Raises:
        OptionError: there is no such task.
    """
    chosen: dict[str, Task] = {}
    for name in names:
        found = [task for task in TASKS.values() if name in (task.name, task.group)]
        if not found:
            known = ", ".join((*GROUPS, *(task.name for task in TASKS.values() if task.name not in GROUPS)))
            raise OptionError(f"--tasks {name}: no such task. There are: {known}.")
        chosen |= {task.name: task for task in found}
    return tuple(chosen.values())


_ENDINGS = (".jsonl", ".jsonl.gz", ".jsonl.zst")
_LABELS = "valid-labels.lst"


class TaskItems(NamedTuple):
    """source: the file that they were read from."""

    items: list[Item]
    source: str


class _Place(NamedTuple):
    """Where a record is, for messages."""

    path: str
    line: int


def read_items(task: Task, folders: Sequence[Path]) -> TaskItems:
    """All items of a task, from the first folder that has its file.

    Raises:
        OptionError: no folder has it.
        CorpusError: it cannot be read, or a record lacks a field.
    """
    path = _find(task, folders)
    if task.name == "blimp":
        records: Iterator[tuple[_Place, dict[str, Any]]] = _interleaved(path)
    elif task.name == "piqa":
        records = _labelled(path)
    else:
        records = _records_of(path)
    items = [_item(task, place, record) for place, record in records]
    if not items:
        raise CorpusError(f"{path}: holds no items of {task.name}. Fetch it again.")
    return TaskItems(items, str(path))


def _find(task: Task, folders: Sequence[Path]) -> Path:
    if task.name == "blimp":
        names, told = ["BLiMP.zip", "data"], "BLiMP.zip or data"
    else:
        names = [f"{name}{ending}" for name in task.files for ending in _ENDINGS]
        told = " or ".join(f"{name}.jsonl" for name in task.files) + " (or .jsonl.gz)"
    for name in names:
        for folder in folders:
            if (folder / name).exists():
                return folder / name
    looked = ", ".join(str(folder) for folder in folders)
    raise OptionError(f"--tasks-data {looked}: no {told}, which {task.name} is read from. Put it there.")


def _records(path: str, data: bytes) -> Iterator[tuple[_Place, dict[str, Any]]]:
    """The objects of a file of JSON lines, whose bytes may come from inside an archive: the readers of text take paths,
    guess the format and tell documents from fields, where a benchmark's file has one form and no other.
    """
    for number, line in enumerate(data.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise CorpusError(f"{path}, line {number}: is no JSON ({error}). Fetch the file again.") from error
        if not isinstance(record, dict):
            raise CorpusError(f"{path}, line {number}: is no JSON object with named fields. Fetch the file again.")
        yield _Place(path, number), record


def _records_of(path: Path) -> Iterator[tuple[_Place, dict[str, Any]]]:
    """Those of a file by its ending. Raises CorpusError: it cannot be read, or is cut short."""
    packed = file_format(path.name)[1]
    yield from _records(str(path), b"".join(data for data, _ in chunks(str(path), packed, 1 << 20)))


def _labelled(path: Path) -> Iterator[tuple[_Place, dict[str, Any]]]:
    """PIQA has its labels in a file of their own, a line each."""
    labels = path.parent / _LABELS
    if not labels.is_file():
        raise OptionError(f"--tasks-data {path.parent}: no {_LABELS}, which piqa is read from. Put it there.")
    rows = list(_records_of(path))
    given = read_utf8(labels).split()
    if len(rows) != len(given) or set(given) - {"0", "1"}:
        raise CorpusError(
            f"{labels}: {len(given):,} labels for the {len(rows):,} items of {path.name}, each 0 or 1. Fetch both "
            "again."
        )
    for (place, record), label in zip(rows, given, strict=True):
        yield place, {**record, "label": int(label)}


def _interleaved(path: Path) -> Iterator[tuple[_Place, dict[str, Any]]]:
    """BLiMP's phenomena by turns, so that the first so many pairs are of all kinds."""
    if path.is_dir():
        files = {str(file): file.read_bytes() for file in sorted(path.glob("*.jsonl"))}
    else:
        try:
            with zipfile.ZipFile(path) as archive:
                names = sorted(name for name in archive.namelist() if Path(name).match("data/*.jsonl"))
                # Archives made on a Mac hold a shadow of each file.
                names = [name for name in names if not name.startswith("__MACOSX/")]
                files = {f"{path}/{name}": archive.read(name) for name in names}
        # RuntimeError: what is locked with a password, or packed in a way that zipfile does not know.
        except (OSError, EOFError, RuntimeError, zlib.error, zipfile.BadZipFile) as error:
            raise CorpusError(f"{path}: cannot be read ({error}). Fetch it again.") from error
    turns = zip_longest(*(_records(name, data) for name, data in files.items()))
    yield from (found for found in chain.from_iterable(turns) if found is not None)


def _item(task: Task, place: _Place, record: dict[str, Any]) -> Item:
    for name, kind in task.fields.items():
        if not isinstance(record.get(name), kind):
            what = "text" if kind is str else "a whole number"
            raise CorpusError(
                f"{place.path}, line {place.line}: field {name!r} is not {what}; {task.name} needs "
                f"{', '.join(task.fields)}, as lm-eval's data has them."
            )
    values = record
    if "{connector}" in task.context:
        # COPA asks for cause or effect and nothing else.
        if (question := record["question"].strip()) not in _CONNECTORS:
            raise CorpusError(f"{place.path}, line {place.line}: {task.name} does not know the value {question!r}.")
        values = {**record, "connector": _CONNECTORS[question]}
    item = Item(
        context=task.context.format_map(values),
        choices=tuple(choice.format_map(values) for choice in task.choices),
        # Of two sentences of BLiMP the first is the good one.
        label=record["label"] if "label" in task.fields else 0,
    )
    if not 0 <= item.label < len(item.choices) or not all(item.choices):
        raise CorpusError(
            f"{place.path}, line {place.line}: label {item.label} is none of {len(item.choices)} choices, or one of "
            "them is empty."
        )
    return item

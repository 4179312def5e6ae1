"""The benchmarks that `--tasks` knows: how an item is asked, and which local files hold the items.

Prompts and choices are those of lm-eval's own tasks, character by character (a test compares them), so that numbers
can be set beside published ones; lm-eval's own definitions would fetch data and metrics from the network.

KoBEST BoolQ's prompt ends in a space, and lm-eval puts another one between prompt and answer. It takes white space at
a prompt's end to be the answer's, so that "  예" with both its spaces is what is scored, whatever the tokenizer. The
template stays as it is for every model, base and merged: only then do the two answer the same question. How a
tokenizer spells two spaces and a syllable is a part of what is compared.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from vocabopt.errors import OptionError

Record: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Item:
    """A question: which of the choices best follows the context? label: the index of the right one."""

    context: str
    choices: Sequence[str]
    label: int


@dataclass(frozen=True, kw_only=True)
class Task:
    """A benchmark of items with a choice to make.

    files: names without the ending, the first that is there is read. fields: what a record must hold. metrics: of
    lm-eval: acc (the most likely choice), acc_norm (per character), f1 (macro).
    """

    name: str
    group: str
    files: Sequence[str]
    fields: Mapping[str, type]
    item: Callable[[Record], Item]
    metrics: Sequence[str]


KOBEST = "kobest"
_YES_NO = ("아니오", "예")
_CONNECTORS = {"원인": " 왜냐하면", "결과": " 그래서"}


def _boolq(record: Record) -> Item:
    context = f"{record['paragraph']} 질문: {record['question']} 답변: "
    return Item(context=context, choices=_YES_NO, label=record["label"])


def _copa(record: Record) -> Item:
    choices = (record["alternative_1"], record["alternative_2"])
    context = f"{record['premise']} {_CONNECTORS[record['question'].strip()]}"
    return Item(context=context, choices=choices, label=record["label"])


def _wic(record: Record) -> Item:
    context = (
        f"문장1: {record['context_1']} 문장2: {record['context_2']} 두 문장에서 {record['word']}가 같은 뜻으로 쓰였나?"
    )
    return Item(context=context, choices=_YES_NO, label=record["label"])


def _hellaswag(record: Record) -> Item:
    choices = tuple(record[f"ending_{number}"] for number in range(1, 5))
    return Item(context=f"문장: {record['context']}", choices=choices, label=record["label"])


def _sentineg(record: Record) -> Item:
    return Item(context=f"문장: {record['sentence']} 긍부정:", choices=("부정", "긍정"), label=record["label"])


def _piqa(record: Record) -> Item:
    choices = (record["sol1"], record["sol2"])
    return Item(context=f"Question: {record['goal']}\nAnswer:", choices=choices, label=record["label"])


def _blimp(record: Record) -> Item:
    return Item(context="", choices=(record["sentence_good"], record["sentence_bad"]), label=0)


def _kobest(name: str, texts: Sequence[str], item: Callable[[Record], Item], *more: str) -> Task:
    return Task(
        name=f"{KOBEST}_{name}",
        group=KOBEST,
        # The published test set where it is there, as lm-eval has it.
        files=(f"{name}_test", f"{name}_validation"),
        fields={**dict.fromkeys(texts, str), "label": int},
        item=item,
        metrics=("acc", *more, "f1"),
    )


_TASKS = (
    _kobest("boolq", ("paragraph", "question"), _boolq),
    _kobest("copa", ("premise", "question", "alternative_1", "alternative_2"), _copa),
    _kobest("wic", ("word", "context_1", "context_2"), _wic),
    _kobest("hellaswag", ("context", *(f"ending_{n}" for n in range(1, 5))), _hellaswag, "acc_norm"),
    _kobest("sentineg", ("sentence",), _sentineg),
    Task(
        name="piqa",
        group="piqa",
        files=("valid",),
        fields={"goal": str, "sol1": str, "sol2": str, "label": int},
        item=_piqa,
        metrics=("acc", "acc_norm"),
    ),
    Task(
        name="blimp",
        group="blimp",
        files=("BLiMP",),
        fields={"sentence_good": str, "sentence_bad": str},
        item=_blimp,
        metrics=("acc",),
    ),
)
TASKS: Mapping[str, Task] = {task.name: task for task in _TASKS}
GROUPS: Sequence[str] = tuple(dict.fromkeys(task.group for task in _TASKS))


def chosen_tasks(names: Sequence[str]) -> tuple[Task, ...]:
    """The tasks of these names, groups among them, each once.

    Raises:
        OptionError: there is no such task.
    """
    chosen: dict[str, Task] = {}
    for name in names:
        found = [task for task in _TASKS if name in (task.name, task.group)]
        if not found:
            known = ", ".join((*GROUPS, *(task.name for task in _TASKS if task.name not in GROUPS)))
            raise OptionError(f"--tasks {name}: no such task. There are: {known}.")
        chosen |= {task.name: task for task in found}
    return tuple(chosen.values())

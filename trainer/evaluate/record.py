"""The result of `vocabopt eval`: a typed record, its tables and sentences."""

import math
from collections.abc import Sequence
from typing import Any

from trainer.evaluate.score import TextScore, loss_note
from trainer.evaluate.tasks import KOBEST
from vocabopt.records import FileRecord, Record
from vocabopt.report.text import plain
from vocabopt.tables import DASH, PlainTable, shown

_NAME_LIMIT = 60
_NOTE_LIMIT = 500


class TextResult(TextScore, frozen=True, kw_only=True):
    """With its ratios, as they are stored for who reads the file."""

    tokens_per_byte: float
    bits_per_byte: float
    nats_per_token: float


class TaskResult(Record, frozen=True, kw_only=True):
    """metrics, stderrs: by lm-eval's name of the metric; None where lm-eval gives no standard error."""

    #: The file that the items are from; None for a mean over tasks.
    source: str | None
    n_items: int
    metrics: dict[str, float]
    stderrs: dict[str, float | None]
    #: Choices of which the tokenizer joins the beginning with the end of the prompt into one token; lm-eval cannot
    #: score that token's part of the choice, so that another tokenizer is asked for more.
    n_joined: int


class DocumentStart(Record, frozen=True, kw_only=True):
    token: str | None
    id: int | None
    notes: tuple[str, ...]


class EvalRecord(FileRecord, frozen=True, kw_only=True):
    model: str
    tokenizer: str
    options: dict[str, Any]
    document_start: DocumentStart
    model_notes: tuple[str, ...]
    device: str
    dtype: str
    n_params: int
    n_tokens: int
    #: None where the tokenizer's folder has no tokenizer.json.
    n_lines_reloaded_otherwise: int | None
    texts: dict[str, TextResult]
    tasks: dict[str, TaskResult]
    versions: dict[str, str]


def mean_of_tasks(results: Sequence[TaskResult]) -> TaskResult:
    """Each task counts alike. Standard errors are those of independent means; None where one is not known."""
    metrics: dict[str, float] = {}
    stderrs: dict[str, float | None] = {}
    for name in ("acc", "f1"):
        metrics[name] = sum(result.metrics[name] for result in results) / len(results)
        known = [error for result in results if (error := result.stderrs[name]) is not None]
        stderrs[name] = math.hypot(*known) / len(results) if len(known) == len(results) else None
    n_items = sum(result.n_items for result in results)
    return TaskResult(source=None, n_items=n_items, metrics=metrics, stderrs=stderrs, n_joined=0)


def all_tables(record: EvalRecord) -> list[PlainTable]:
    """Texts, then benchmarks; what was not asked for has no table."""
    texts = PlainTable(
        caption=f"{plain(record.model, _NAME_LIMIT)}: bits per byte of text (lower is better)",
        headers=("text", "documents", "bytes", "tokens", "tokens\nper byte", "bits\nper byte", "nats per\ntoken *"),
        rows=[
            (
                plain(name, _NAME_LIMIT),
                f"{text.n_documents:,}",
                f"{text.n_bytes:,}",
                f"{text.n_tokens:,}",
                f"{text.tokens_per_byte:.4f}",
                f"{text.bits_per_byte:.4f}",
                f"{text.nats_per_token:.4f}",
            )
            for name, text in record.texts.items()
        ],
    )
    rows = []
    for name, task in record.tasks.items():
        cells = [f"{name}, mean" if name == KOBEST else name, f"{task.n_items:,}"]
        for metric in ("acc", "acc_norm", "f1"):
            is_known = metric in task.metrics
            cells += [shown(values[metric], ".4f") if is_known else DASH for values in (task.metrics, task.stderrs)]
        rows.append(cells)
    tasks = PlainTable(
        caption=f"{plain(record.model, _NAME_LIMIT)}: benchmarks (lm-eval, no examples in the prompt)",
        headers=("task", "items", "accuracy", "+-", "per\ncharacter", "+-", "macro F1", "+-"),
        rows=rows,
        bold=frozenset(number for number, name in enumerate(record.tasks) if name == KOBEST),
    )
    return [table for table in (texts, tasks) if table.rows]


def notes(record: EvalRecord) -> list[str]:
    """Sentences that belong under the tables."""
    said = [plain(note, _NOTE_LIMIT) for note in record.model_notes]
    if record.texts:
        context, stride = record.options["context_tokens"], record.options["stride"]
        overlap = "" if stride is None else f", each further one adding {stride:,}"
        said.append(
            f"Windows of {context:,} tokens{overlap}, {record.dtype} on {record.device}. "
            "* Depends on the tokenizer: not comparable between models of different tokenizers."
        )
    said.append(f"Documents are opened by {plain(record.document_start.token or 'nothing')}.")
    said += [plain(note, _NOTE_LIMIT) for note in record.document_start.notes]
    if record.n_lines_reloaded_otherwise:
        said.append(
            f"transformers encodes {record.n_lines_reloaded_otherwise:,} of the built-in hard lines otherwise than "
            f"{plain(record.tokenizer)}/tokenizer.json: it builds this kind of tokenizer anew. All "
            "numbers are of its ids; vocabopt verify shows where they differ."
        )
    for name, text in record.texts.items():
        said += filter(None, [loss_note(plain(name, _NAME_LIMIT), text)])
    said += [
        f"{name}: the tokenizer joins {task.n_joined:,} choices with the end of their prompts, so that a part of "
        "them is not scored. Compare such numbers with care."
        for name, task in record.tasks.items()
        if task.n_joined
    ]
    if any(task.stderrs.get("f1", 0.0) is None for task in record.tasks.values()):
        said.append("+-: standard error; lm-eval gives none for macro F1.")
    return said

"""The terminal's tables of an evaluation."""

from collections.abc import Mapping
from typing import Any

from trainer.evaluate.score import loss_note
from trainer.evaluate.tasks import KOBEST
from vocabopt.report.text import plain
from vocabopt.tabular import DASH, PlainTable, shown

_NAME_LIMIT = 60
_NOTE_LIMIT = 500


def all_tables(record: Mapping[str, Any]) -> list[PlainTable]:
    """Texts, then benchmarks; what was not asked for has no table."""
    return [table for table in (_texts_table(record), _tasks_table(record)) if table.rows]


def _texts_table(record: Mapping[str, Any]) -> PlainTable:
    return PlainTable(
        caption=f"{plain(record['model'], _NAME_LIMIT)}: bits per byte of text (lower is better)",
        headers=("text", "documents", "bytes", "tokens", "tokens\nper byte", "bits\nper byte", "nats per\ntoken *"),
        rows=[
            (
                plain(name, _NAME_LIMIT),
                f"{text['n_documents']:,}",
                f"{text['n_bytes']:,}",
                f"{text['n_tokens']:,}",
                f"{text['tokens_per_byte']:.4f}",
                f"{text['bits_per_byte']:.4f}",
                f"{text['nats_per_token']:.4f}",
            )
            for name, text in record["texts"].items()
        ],
    )


def _tasks_table(record: Mapping[str, Any]) -> PlainTable:
    tasks: Mapping[str, Any] = record["tasks"]
    return PlainTable(
        caption=f"{plain(record['model'], _NAME_LIMIT)}: benchmarks (lm-eval, no examples in the prompt)",
        headers=("task", "items", "accuracy", "+-", "per\ncharacter", "+-", "macro F1", "+-"),
        rows=[
            (
                f"{name}, mean" if name == KOBEST else name,
                f"{task['n_items']:,}",
                *(cell for metric in ("acc", "acc_norm", "f1") for cell in _metric(task, metric)),
            )
            for name, task in tasks.items()
        ],
        bold=frozenset(number for number, name in enumerate(tasks) if name == KOBEST),
    )


def _metric(task: Mapping[str, Any], metric: str) -> tuple[str, str]:
    if metric not in task["metrics"]:
        return DASH, DASH
    return shown(task["metrics"][metric], ".4f"), shown(task["stderrs"][metric], ".4f")


def notes(record: Mapping[str, Any]) -> list[str]:
    """Sentences that belong under the tables."""
    options = record["options"]
    said = [plain(note, _NOTE_LIMIT) for note in record["model_notes"]]
    if record["texts"]:
        overlap = "" if options["stride"] is None else f", each further one adding {options['stride']:,}"
        said.append(
            f"Windows of {options['context_tokens']:,} tokens{overlap}, {record['dtype']} on {record['device']}. "
            "* Depends on the tokenizer: not comparable between models of different tokenizers."
        )
    start = record["document_start"]
    said.append(f"Documents are opened by {plain(start['token'] or 'nothing')}.")
    said += [plain(note, _NOTE_LIMIT) for note in start["notes"]]
    if record["n_lines_reloaded_otherwise"]:
        said.append(
            f"transformers encodes {record['n_lines_reloaded_otherwise']:,} of the built-in hard lines otherwise than "
            f"{plain(record['tokenizer'])}/tokenizer.json: it builds this kind of tokenizer anew. All "
            "numbers are of its ids; vocabopt verify shows where they differ."
        )
    for name, text in record["texts"].items():
        losses = {field: text[field] for field in ("n_unknown_tokens", "n_lost_chars")}
        said += filter(None, [loss_note(plain(name, _NAME_LIMIT), **losses)])
    said += [
        f"{name}: the tokenizer joins {task['n_joined']:,} choices with the end of their prompts, so that a part of "
        "them is not scored. Compare such numbers with care."
        for name, task in record["tasks"].items()
        if task["n_joined"]
    ]
    if any(task["stderrs"].get("f1", 0.0) is None for task in record["tasks"].values()):
        said.append("+-: standard error; lm-eval gives none for macro F1.")
    return said

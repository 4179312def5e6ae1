"""`vocabopt eval`: one model on texts and benchmarks, from options to the record that --json prints, and its tables."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from tokenizers import Tokenizer

from trainer.document_ends import NONE, DocumentEnds, document_ends, turn_marks
from trainer.evaluate.score import TextScore, check_context, loss_note, positions_of, score_text
from trainer.evaluate.tasks import KOBEST, Task, TaskItems, chosen_tasks, read_items
from trainer.init.models import checked_config, has_tokenizer, load_model, model_folder, place_model
from trainer.measuring_options import DEFAULT_EVAL_CONTEXT, EvalOptions
from trainer.processes import pick_device
from vocabopt.console import Console
from vocabopt.errors import CorpusError, ModelError, OptionError
from vocabopt.folder import FORMAT_VERSION
from vocabopt.report.text import plain
from vocabopt.tables import DASH, PlainTable, shown
from vocabopt.text.corpus import TextSet, named_set
from vocabopt.text.documents import texts_of
from vocabopt.tokenizer.hard_strings import hard_strings
from vocabopt.versions import versions

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def load_tokenizer(path: str) -> "PreTrainedTokenizerBase":
    """A folder's tokenizer, as transformers loads it.

    Raises:
        ModelError: the folder has none, or transformers cannot load it.
    """
    from transformers import AutoTokenizer

    folder = model_folder(path)
    if not has_tokenizer(folder) and not (folder / "vocab.json").is_file():
        raise ModelError(f"{folder}: holds no tokenizer (tokenizer.json). Name a folder that does with --tokenizer.")
    try:
        # Code that a folder brings along is not run.
        loaded: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # loading fails in a hundred ways
        raise ModelError(
            f"{folder}: transformers cannot load its tokenizer ({type(error).__name__}: {str(error)[:200]}). Name "
            "another folder with --tokenizer."
        ) from error
    return loaded


def n_reloaded_otherwise(path: str, tokenizer: "PreTrainedTokenizerBase") -> int | None:
    """On how many of the built-in hard lines transformers gives other ids than the folder's tokenizer.json.

    transformers builds some kinds of tokenizers anew, from their vocabulary and its own idea of their pipeline: what
    is measured then is not what the model was trained with. None where the folder has no tokenizer.json.
    """
    file = model_folder(path) / "tokenizer.json"
    if not file.is_file():
        return None
    lines = list(hard_strings())
    own = Tokenizer.from_file(str(file))
    # transformers encodes without what the file says of batches.
    own.no_truncation()
    own.no_padding()
    expected = [encoding.ids for encoding in own.encode_batch(lines, add_special_tokens=False)]
    found: list[list[int]] = tokenizer(lines, add_special_tokens=False, verbose=False)["input_ids"]
    return sum(ids != other for ids, other in zip(expected, found, strict=True))


def chosen_dtype(precision: str, device: torch.device) -> torch.dtype:
    """ "auto": bf16 on a GPU that computes in it, else fp32. The softmax is float32 either way."""
    if precision == "auto":
        has_bf16 = device.type == "cuda" and torch.cuda.is_bf16_supported()
        precision = "bf16" if has_bf16 else "fp32"
    return torch.bfloat16 if precision == "bf16" else torch.float32


_LIBRARIES = ("torch", "transformers", "lm-eval")


def evaluate(options: EvalOptions, console: Console) -> dict[str, Any]:
    """Measure a model; everything that can be wrong with text, data and options is found before the first forward pass.

    Returns:
        What --json prints.

    Raises:
        OptionError: an option cannot be used, or a task's file is missing.
        CorpusError: a text cannot be found or read, or holds no documents.
        ModelError: the model cannot be loaded, has no tokenizer, or does not fit the one named.
    """
    texts = _read_texts(options, console)
    tasks = [(task, read_items(task, options.tasks_data)) for task in chosen_tasks(options.tasks)]
    if tasks:
        from trainer.evaluate.harness import require_lm_eval

        require_lm_eval()
    tokenizer = load_tokenizer(options.tokenizer or options.model)
    device = pick_device(options.device)
    dtype = chosen_dtype(options.precision, device)
    with console.step("load the model"):
        model = place_model(load_model(options.model, dtype=dtype), device)
    ends = document_ends(tokenizer, options.document_start, NONE)  # what closes documents is not scored
    context = options.context_tokens
    if context is None:
        context = min(DEFAULT_EVAL_CONTEXT, positions_of(model) or DEFAULT_EVAL_CONTEXT)
    check_context(model, context, options.stride)
    opening = _opening_of_choices(tokenizer, ends, tasks)
    scores = {text.name: _score(model, tokenizer, text, options, context, ends, console) for text in texts}
    return {
        "format_version": FORMAT_VERSION,
        "model": options.model,
        "tokenizer": options.tokenizer or options.model,
        "options": {**options.as_record(), "context_tokens": context},
        "document_start": {"token": ends.start, "id": ends.start_id, "notes": [*ends.notes, *opening.notes]},
        "model_notes": list(checked_config(model_folder(options.model)).notes),
        "device": str(device),
        "dtype": str(dtype).removeprefix("torch."),
        "n_params": sum(parameter.numel() for parameter in model.parameters()),
        "n_tokens": len(tokenizer),
        "n_lines_reloaded_otherwise": n_reloaded_otherwise(options.tokenizer or options.model, tokenizer),
        "texts": {name: _text_record(score) for name, score in scores.items()},
        "tasks": _run_tasks(model, tokenizer, tasks, options, opening, console),
        "versions": versions(*_LIBRARIES),
    }


# --- Texts -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Text:
    """n_bytes: of the documents that are measured, as UTF-8."""

    text_set: TextSet
    name: str
    n_bytes: int


def _read_texts(options: EvalOptions, console: Console) -> list[_Text]:
    """Read all text once, which is cheap compared with scoring it: errors and size are known before the work."""
    texts = []
    for name, path in options.texts.items():
        text_set = named_set(name, path, "eval", options.read_options())
        with console.step(f"read {name}"):
            n_bytes = sum(len(document.encode()) for document in _documents(text_set, options))
        if not n_bytes:
            raise CorpusError(f"--text {name}={path}: holds no documents. Name a text that does.")
        texts.append(_Text(text_set=text_set, name=name, n_bytes=n_bytes))
    return texts


def _documents(text_set: TextSet, options: EvalOptions) -> Iterator[str]:
    """From the beginning, up to the document that reaches the limit."""
    n_bytes = 0
    for block in texts_of(text_set, options.read_options()):
        for document in block:
            yield document
            n_bytes += len(document.encode())
            if options.limit_bytes is not None and n_bytes >= options.limit_bytes:
                return


def _score(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    text: _Text,
    options: EvalOptions,
    context_tokens: int,
    ends: DocumentEnds,
    console: Console,
) -> TextScore:
    with console.step(f"score {text.name}", text.n_bytes, "bytes") as advance:
        return score_text(
            model,
            tokenizer,
            _documents(text.text_set, options),
            context_tokens=context_tokens,
            batch_size=options.batch_size,
            stride=options.stride,
            ends=ends,
            advance=advance,
        )


def _text_record(score: TextScore) -> dict[str, Any]:
    return {
        "n_documents": score.n_documents,
        "n_bytes": score.n_bytes,
        "n_tokens": score.n_tokens,
        "n_unknown_tokens": score.n_unknown_tokens,
        "n_lost_chars": score.n_lost_chars,
        "nll_nats": score.nll_nats,
        "tokens_per_byte": score.tokens_per_byte,
        "bits_per_byte": score.bits_per_byte,
        "nats_per_token": score.nats_per_token,
    }


# --- Tasks -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Opening:
    """The token before a choice that has no prompt; None leaves it to lm-eval, where no choice needs it."""

    token_id: int | None
    notes: tuple[str, ...] = ()


def _opening_of_choices(
    tokenizer: "PreTrainedTokenizerBase", ends: DocumentEnds, tasks: Sequence[tuple[Task, TaskItems]]
) -> _Opening:
    """What opens documents; where nothing does, what would by default, else the tokenizer's begin or end token: the
    first word of a choice without a prompt must be predicted from something.

    Raises:
        OptionError: there is no such token, and a choice needs one.
    """
    needing = [task.name for task, (items, _) in tasks if any(not item.context for item in items)]
    if ends.start_id is not None or not needing:
        return _Opening(token_id=ends.start_id)
    begin, end = tokenizer.bos_token_id, tokenizer.eos_token_id
    token_id = next((found for found in (document_ends(tokenizer).start_id, begin, end) if found is not None), None)
    names = ", ".join(needing)
    if token_id is None:
        raise OptionError(
            f"--tasks {names}: its choices have no prompt, and the tokenizer has no token that opens text. Name one "
            "with --document-start."
        )
    token = str(tokenizer.convert_ids_to_tokens(token_id))
    of_turns = ", which marks chat turns" if token in turn_marks(tokenizer) else ""
    note = (
        f"{names}: choices without a prompt are opened by {token}{of_turns}, since nothing opens documents and their "
        "first token must follow one (--document-start)."
    )
    return _Opening(token_id=token_id, notes=(note,))


def _run_tasks(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    tasks: Sequence[tuple[Task, TaskItems]],
    options: EvalOptions,
    opening: _Opening,
    console: Console,
) -> dict[str, Any]:
    """Name -> what lm-eval found; and KoBEST's mean, where all five of it were asked."""
    if not tasks:
        return {}
    from trainer.evaluate.harness import language_model, run_task

    lm = language_model(model, tokenizer, options.batch_size, start_id=opening.token_id)
    records: dict[str, Any] = {}
    for task, (items, source) in tasks:
        n_choices = sum(len(item.choices) for item in items[: options.tasks_limit])
        with console.step(task.name, n_choices, "choices") as advance:
            score = run_task(lm, task, items, limit=options.tasks_limit, advance=advance)
        records[task.name] = {
            "source": source,
            "n_items": score.n_items,
            "metrics": dict(score.metrics),
            "stderrs": dict(score.stderrs),
            "n_joined": score.n_joined,
        }
    kobest = [task.name for task in chosen_tasks([KOBEST])]
    if all(name in records for name in kobest):
        records[KOBEST] = _mean([records[name] for name in kobest])
    return records


def _mean(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Each task counts alike. Standard errors are those of independent means; None where one is not known."""
    metrics, stderrs = {}, {}
    for name in ("acc", "f1"):
        metrics[name] = sum(record["metrics"][name] for record in records) / len(records)
        errors = [record["stderrs"][name] for record in records]
        stderrs[name] = None if None in errors else math.hypot(*errors) / len(errors)
    n_items = sum(record["n_items"] for record in records)
    return {"source": None, "n_items": n_items, "metrics": metrics, "stderrs": stderrs, "n_joined": 0}


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

"""`vocabopt eval`: one model on texts and benchmarks, from options to the record that --json prints."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trainer.devices import pick_device
from trainer.document_ends import NONE, DocumentEnds, document_ends, turn_marks
from trainer.evaluate.score import TextScore, check_context, positions_of, score_text
from trainer.evaluate.subject import chosen_dtype, load_tokenizer, n_reloaded_otherwise
from trainer.evaluate.task_files import TaskItems, read_items
from trainer.evaluate.tasks import KOBEST, Task, chosen_tasks
from trainer.init.configs import checked_config
from trainer.init.folders import model_folder
from trainer.init.models import load_model, place_model
from trainer.measuring_options import DEFAULT_EVAL_CONTEXT, EvalOptions
from vocabopt.artifacts import FORMAT_VERSION
from vocabopt.console import Console
from vocabopt.errors import CorpusError, OptionError
from vocabopt.text.corpus import TextSet, named_set
from vocabopt.text.documents import texts_of
from vocabopt.versions import versions

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_LIBRARIES = ("torch", "transformers", "lm-eval")


def evaluate(options: EvalOptions, console: Console) -> dict[str, Any]:
    """Measure a model; everything that can be wrong with text, data and options is found before the first forward pass.

    Returns:
        What --json prints.

    Raises:
        OptionError: an option cannot be used, or a task's file is missing.
        CorpusError: a text cannot be found or read, or holds no documents.
        ModelError: the model cannot be loaded, has no tokenizer, or does not fit the one given.
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
    """Read all text once, which is cheap beside scoring it: its faults and its size are known before the work."""
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

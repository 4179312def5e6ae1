"""`vocabopt eval`: one model on texts and benchmarks, from options to the record that --json prints."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import msgspec
import torch
from tokenizers import Tokenizer

from trainer.document_ends import document_ends, turn_marks
from trainer.evaluate.record import DocumentStart, EvalRecord, TaskResult, TextResult, mean_of_tasks
from trainer.evaluate.score import check_context, positions_of, score_text
from trainer.evaluate.tasks import KOBEST, Task, TaskItems, chosen_tasks, read_items
from trainer.init.models import checked_config, dtype_name, has_tokenizer, load_model, model_folder, place_model
from trainer.measuring_options import DEFAULT_EVAL_CONTEXT, EvalOptions
from trainer.options import NONE
from trainer.processes import pick_device
from vocabopt.console import Console
from vocabopt.errors import CorpusError, ModelError, OptionError
from vocabopt.text.corpus import TextSet, named_set
from vocabopt.text.documents import texts_of
from vocabopt.tokenizer.hard_strings import hard_strings
from vocabopt.training_record import DocumentEnds
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


def evaluate(options: EvalOptions, console: Console) -> EvalRecord:
    """Measure a model; everything that can be wrong with text, data and options is found before the first forward pass.

    Returns:
        What --json prints.

    Raises:
        OptionError: an option cannot be used, or a task's file is missing.
        CorpusError: a text cannot be found or read, or holds no documents.
        ModelError: the model cannot be loaded, has no tokenizer, or does not fit the one named.
    """
    texts = {name: named_set(name, path, "eval", options.read_options()) for name, path in options.texts.items()}
    # All text is read once, which is cheap compared with scoring it: errors and size are known before the work.
    sizes: dict[str, int] = {}
    for name, text_set in texts.items():
        with console.step(f"read {name}"):
            sizes[name] = sum(len(document.encode()) for document in _documents(text_set, options))
        if not sizes[name]:
            raise CorpusError(f"--text {name}={options.texts[name]}: holds no documents. Name a text that does.")
    tasks = [(task, read_items(task, options.tasks_data)) for task in chosen_tasks(options.tasks)]
    if tasks:
        from trainer.evaluate.harness import require_lm_eval

        require_lm_eval()
    tokenizer_folder = options.tokenizer or options.model
    tokenizer = load_tokenizer(tokenizer_folder)
    device = pick_device(options.device)
    precision = options.precision
    if precision == "auto":
        precision = "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "fp32"
    # The softmax is float32 either way.
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    with console.step("load the model"):
        model = place_model(load_model(options.model, dtype=dtype), device)
    ends = document_ends(tokenizer, options.document_start, NONE)  # what closes documents is not scored
    context = options.context_tokens
    if context is None:
        context = min(DEFAULT_EVAL_CONTEXT, positions_of(model) or DEFAULT_EVAL_CONTEXT)
    check_context(model, context, options.stride)
    choice_start, choice_notes = _opening_of_choices(tokenizer, ends, tasks)
    results: dict[str, TextResult] = {}
    for name, text_set in texts.items():
        with console.step(f"score {name}", sizes[name], "bytes") as advance:
            score = score_text(
                model,
                tokenizer,
                _documents(text_set, options),
                context_tokens=context,
                batch_size=options.batch_size,
                stride=options.stride,
                ends=ends,
                advance=advance,
            )
        ratios = {ratio: getattr(score, ratio) for ratio in ("tokens_per_byte", "bits_per_byte", "nats_per_token")}
        results[name] = TextResult(**msgspec.structs.asdict(score), **ratios)
    return EvalRecord(
        model=options.model,
        tokenizer=tokenizer_folder,
        options={**options.as_record(), "context_tokens": context},
        document_start=DocumentStart(token=ends.start, id=ends.start_id, notes=(*ends.notes, *choice_notes)),
        model_notes=checked_config(model_folder(options.model)).notes,
        device=str(device),
        dtype=dtype_name(dtype),
        n_params=sum(parameter.numel() for parameter in model.parameters()),
        n_tokens=len(tokenizer),
        n_lines_reloaded_otherwise=n_reloaded_otherwise(tokenizer_folder, tokenizer),
        texts=results,
        tasks=_run_tasks(model, tokenizer, tasks, options, choice_start, console),
        versions=versions("torch", "transformers", "lm-eval"),
    )


def _documents(text_set: TextSet, options: EvalOptions) -> Iterator[str]:
    """From the beginning, up to the document that reaches the limit."""
    n_bytes = 0
    for block in texts_of(text_set, options.read_options()):
        for document in block:
            yield document
            n_bytes += len(document.encode())
            if options.limit_bytes is not None and n_bytes >= options.limit_bytes:
                return


def _opening_of_choices(
    tokenizer: "PreTrainedTokenizerBase", ends: DocumentEnds, tasks: Sequence[tuple[Task, TaskItems]]
) -> tuple[int | None, tuple[str, ...]]:
    """The token before a choice that has no prompt, None to leave it to lm-eval where no choice needs it; and notes.

    What opens documents; where nothing does, what would by default, else the tokenizer's begin or end token: the first
    word of a choice without a prompt must be predicted from something.

    Raises:
        OptionError: there is no such token, and a choice needs one.
    """
    needing = [task.name for task, (items, _) in tasks if any(not item.context for item in items)]
    if ends.start_id is not None or not needing:
        return ends.start_id, ()
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
    return token_id, (note,)


def _run_tasks(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    tasks: Sequence[tuple[Task, TaskItems]],
    options: EvalOptions,
    start_id: int | None,
    console: Console,
) -> dict[str, TaskResult]:
    """Name -> what lm-eval found; and KoBEST's mean, where all five of it were asked."""
    if not tasks:
        return {}
    from trainer.evaluate.harness import language_model, run_task

    lm = language_model(model, tokenizer, options.batch_size, start_id=start_id)
    results: dict[str, TaskResult] = {}
    for task, (items, source) in tasks:
        n_choices = sum(len(item.choices) for item in items[: options.tasks_limit])
        with console.step(task.name, n_choices, "choices") as advance:
            results[task.name] = run_task(lm, task, items, source=source, limit=options.tasks_limit, advance=advance)
    kobest = [task.name for task in chosen_tasks([KOBEST])]
    if all(name in results for name in kobest):
        results[KOBEST] = mean_of_tasks([results[name] for name in kobest])
    return results

"""`vocabopt init`: a model's folder and a merged tokenizer in, a folder of the model that speaks the new tokens out."""

from pathlib import Path

from trainer.evaluate.run import load_tokenizer
from trainer.evaluate.score import positions_of
from trainer.init.extension import Extension, read_extension
from trainer.init.models import (
    checked_config,
    load_model,
    model_folder,
    place_model,
    refuse_quantized,
    save_model,
    tokenizer_files,
)
from trainer.init.record import INIT_JSON, InitRecord
from trainer.init.rows import make_rows
from trainer.init.snippets import Snippets, find_snippets, source_of_path
from trainer.options import InitOptions
from trainer.processes import pick_device
from vocabopt.console import Console
from vocabopt.errors import OptionError, RunDirectoryError
from vocabopt.folder import check_own_folder
from vocabopt.records import json_of, read_record
from vocabopt.text.utf8 import json_bytes
from vocabopt.versions import versions


def run_init(options: InitOptions, console: Console | None = None) -> InitRecord:
    """Initialise a model's new rows and write it with its tokenizer, config.json last.

    Returns:
        What init.json holds.

    Raises:
        ModelError: the model cannot be loaded, or the tokenizer does not extend its own.
        CorpusError: the text of the method distill cannot be read, or holds no new token.
        BaseTokenizerError: a tokenizer cannot be loaded.
        RunDirectoryError: `out` cannot be written, or holds anything but this very command's result.
    """
    console = console or Console(quiet=True)
    folder = model_folder(options.model)
    command = options.as_command(folder)
    _check_out(options, folder)
    checked = checked_config(folder)
    refuse_quantized(checked.config, folder)
    options.check_layer(int(checked.config.get_text_config().num_hidden_layers), options.model)
    with console.step("read the tokenizers"):
        extension = read_extension(options.tokenizer, folder)
        if not extension.new_ids:
            raise OptionError(
                f"--tokenizer {options.tokenizer}: has no tokens that {options.model} lacks, so there are no rows to "
                "make. Name the folder that `vocabopt merge` wrote."
            )
    with console.step("load the model"):
        model = load_model(folder, dtype=options.dtype)
        if options.method == "distill":
            # Rows that follow a rule are the same wherever they are made; these take the work of a training.
            model = place_model(model, pick_device("auto"))
    log = make_rows(
        model,
        extension,
        options,
        method=options.method,
        seed=options.seed,
        find_snippets=lambda: _snippets(options, extension, positions_of(model), console),
        console=console,
    )
    record = InitRecord(
        command=command,
        n_added=len(extension.new_ids),
        n_tokens=extension.n_tokens,
        n_rows=log.tables[0].n_rows,
        n_params=sum(parameter.numel() for parameter in model.parameters()),
        extension_from=extension.source,
        scripts=extension.scripts,
        model_notes=checked.notes,
        log=log,
        versions=versions("torch", "transformers", "safetensors"),
    )
    files = {**tokenizer_files(options.tokenizer), INIT_JSON: json_bytes(json_of(record)) + b"\n"}
    with console.step("write"):
        save_model(model, options.out, max_shard_size=options.max_shard_bytes, files=files)
    return record


def _snippets(options: InitOptions, extension: Extension, n_positions: int | None, console: Console) -> Snippets:
    """Of the text that the command names."""
    ((name, path),) = options.texts.items()
    source = source_of_path(name, path, options.read_options(), heldout=options.heldout, console=console)
    tokenizer = load_tokenizer(str(options.tokenizer))
    return find_snippets(source, extension, tokenizer, options, seed=options.seed, n_positions=n_positions)


def _check_out(options: InitOptions, folder: Path) -> None:
    """Refuse a folder that holds anything else, before the long work."""
    out = options.out
    for what, taken in (("model", folder), ("tokenizer", options.tokenizer)):
        if out.resolve() == taken.resolve():
            raise RunDirectoryError(f"--out {out}: is the {what}'s own folder. Name a folder of its own.")
    if not check_own_folder(out, INIT_JSON):
        return
    done = read_record(out / INIT_JSON, InitRecord).command
    command = options.as_command(folder)
    if unlike := [name for name in command if done.get(name) != command[name]]:
        raise RunDirectoryError(
            f"{out}: holds another model, made with {unlike[0]} {done.get(unlike[0])}, not {command[unlike[0]]}. "
            "Choose another folder with --out."
        )

"""`vocabopt init`: a model's folder and a merged tokenizer in, a folder of the model that speaks the new tokens out."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.init.extension import read_extension
from trainer.init.models import (
    PARTIAL,
    checked_config,
    load_model,
    model_folder,
    refuse_quantized,
    save_model,
    tokenizer_files,
)
from trainer.init.tables import InitLog, init_model
from trainer.options import InitOptions
from vocabopt.console import Console
from vocabopt.errors import OptionError, RunDirectoryError
from vocabopt.fields import check_fields
from vocabopt.folder import FORMAT_VERSION, check_writable, entries, read_json
from vocabopt.text.utf8 import json_bytes
from vocabopt.versions import versions

INIT_JSON = "init.json"


@dataclass(frozen=True, kw_only=True)
class Initialised:
    """record: what init.json holds."""

    log: InitLog
    record: Mapping[str, Any]


def run_init(options: InitOptions, console: Console | None = None) -> Initialised:
    """Initialise a model's new rows and write it with its tokenizer, config.json last.

    Raises:
        ModelError: the model cannot be loaded, or the tokenizer does not extend its own.
        BaseTokenizerError: a tokenizer cannot be loaded.
        RunDirectoryError: `out` cannot be written, or holds anything but this very command's result.
    """
    console = console or Console(quiet=True)
    folder = model_folder(options.model)
    _check_out(options, folder)
    checked = checked_config(folder)
    refuse_quantized(checked.config, folder)
    with console.step("read the tokenizers"):
        extension = read_extension(options.tokenizer, folder)
        if not extension.new_ids:
            raise OptionError(
                f"--tokenizer {options.tokenizer}: has no tokens that {options.model} lacks, so there are no rows to "
                "make. Name the folder that `vocabopt merge` wrote."
            )
    with console.step("load the model"):
        model = load_model(folder, dtype=options.dtype)
    with console.step(f"make {len(extension.new_ids):,} rows"):
        log = init_model(model, extension, method=options.method, match_norm=options.match_norm, seed=options.seed)
    record = {
        "format_version": FORMAT_VERSION,
        "command": options.as_command(folder),
        "n_added": len(extension.new_ids),
        "n_tokens": extension.n_tokens,
        "n_rows": log.tables[0].n_rows,
        "n_params": sum(parameter.numel() for parameter in model.parameters()),
        "extension_from": extension.source,
        "scripts": list(extension.scripts),
        "model_notes": list(checked.notes),
        "log": log.as_record(),
        "versions": versions("torch", "transformers", "safetensors"),
    }
    files = tokenizer_files(options.tokenizer)
    files[INIT_JSON] = json_bytes(record) + b"\n"
    with console.step("write"):
        save_model(model, options.out, max_shard_size=options.max_shard_bytes, files=files)
    return Initialised(log=log, record=record)


def _check_out(options: InitOptions, folder: Path) -> None:
    """Refuse a folder that holds anything else, before the long work."""
    out = options.out
    for what, taken in (("model", folder), ("tokenizer", options.tokenizer)):
        if out.resolve() == taken.resolve():
            raise RunDirectoryError(f"--out {out}: is the {what}'s own folder. Name a folder of its own.")
    check_writable(out)
    found = [name for name in entries(out) if name != PARTIAL]
    if not found:
        return
    if INIT_JSON not in found:
        raise RunDirectoryError(
            f"{out}: is not empty and holds no {INIT_JSON} (found {', '.join(found[:3])}). Choose a new or empty "
            "folder with --out."
        )
    path, next_step = out / INIT_JSON, "Choose another folder with --out."
    record = read_json(path, next_step=next_step)
    check_fields(record, {"command?": {}}, path, next_step)
    done = record.get("command") or {}
    command = options.as_command(folder)
    if unlike := [name for name in command if done.get(name) != command[name]]:
        raise RunDirectoryError(
            f"{out}: holds another model, made with {unlike[0]} {done.get(unlike[0])}, not {command[unlike[0]]}. "
            "Choose another folder with --out."
        )

"""The one writer of models' folders: weights in shards of safetensors, whole or not at all."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from trainer.init.configs import CONFIG
from trainer.init.models import first_line, no_progress
from trainer.options import MAX_SHARD_BYTES
from trainer.out_of_memory import is_out_of_memory
from vocabopt.amounts import shown_bytes
from vocabopt.artifacts import share, sync
from vocabopt.errors import RunDirectoryError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

#: A folder inside the target, where a model lies until it is whole.
PARTIAL = ".partial"


def save_model(
    model: "PreTrainedModel",
    folder: Path,
    *,
    max_shard_size: int = MAX_SHARD_BYTES,
    files: Mapping[str, bytes] | None = None,
) -> None:
    """Write a model's folder: weights in shards of safetensors, config.json, generation_config.json.

    All is written into a folder inside the target first, and moved when whole and on the disk; config.json comes last,
    so that a folder that holds one holds a whole model. A model that is there already is replaced by the new one.

    Args:
        max_shard_size: bytes of a shard at most; a single tensor that is larger has a shard of its own.
        files: more files of the folder, by their path in it: the tokenizer's.

    Raises:
        RunDirectoryError: the folder cannot be written, or the disk has no room; what was there is still whole.
    """

    def write(partial: Path) -> None:
        with no_progress():
            model.save_pretrained(partial, max_shard_size=max_shard_size)

    _write(folder, write, files or {}, sum(parameter.nbytes for parameter in model.parameters()))


def link_model(source: Path, folder: Path, *, files: Mapping[str, bytes] | None = None) -> None:
    """The same for a model that lies in another folder: its files are linked where the file system can, else copied.

    Raises:
        RunDirectoryError: as `save_model`.
    """

    def write(partial: Path) -> None:
        for path in sorted(source.iterdir()):
            if path.is_file():
                _place(path, partial / path.name)

    _write(folder, write, files or {}, 0)


def _place(source: Path, target: Path) -> None:
    """Weights take no room twice. The others are copied: whoever edits one must not change the source's."""
    if source.suffix == ".safetensors":
        try:
            target.hardlink_to(source)
        except OSError:
            pass  # another file system, or one without links
        else:
            return
    shutil.copyfile(source, target)


def _write(folder: Path, write: Callable[[Path], None], files: Mapping[str, bytes], n_bytes: int) -> None:
    """Let `write` fill a folder, add files that it has not written itself, and move it all into place."""
    partial = folder / PARTIAL
    try:
        partial.mkdir(parents=True, exist_ok=True)
        # Left by a run that was killed: shards of another number would travel along.
        shutil.rmtree(partial)
        partial.mkdir()
        if (n_free := shutil.disk_usage(partial).free) < n_bytes:
            raise OSError(f"{shown_bytes(n_bytes)} to write, {shown_bytes(n_free)} free")
        write(partial)
        for name, data in files.items():
            if not (partial / name).exists():
                (partial / name).parent.mkdir(parents=True, exist_ok=True)
                (partial / name).write_bytes(data)
        _move(partial, folder)
    except Exception as error:  # safetensors has an error of its own for a full disk
        shutil.rmtree(partial, ignore_errors=True)
        if is_out_of_memory(error):
            raise
        raise RunDirectoryError(
            f"{folder}: the model cannot be written ({first_line(error)}). Free room, or choose another folder."
        ) from error


def _move(partial: Path, folder: Path) -> None:
    written = sorted(path.relative_to(partial) for path in partial.rglob("*") if path.is_file())
    for path in written:
        share(partial / path)
        sync(partial / path)
    # From here on the old model is not whole any more, and the new one not yet.
    (folder / CONFIG).unlink(missing_ok=True)
    for old in folder.glob("model*.safetensors*"):
        if old.relative_to(folder) not in written:
            old.unlink()
    for path in sorted(written, key=lambda path: path == Path(CONFIG)):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        if path == Path(CONFIG):
            sync(folder)
        (partial / path).replace(folder / path)
    shutil.rmtree(partial)
    sync(folder)

"""What is told before a stage starts, and what must stay the same for it to be gone on with."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from trainer.plan import Stage
from trainer.stages import checkpoints
from trainer.stages.blocks import PackedText
from trainer.stages.record import is_finished
from trainer.stages.settings import StageSettings
from vocabopt.artifacts import check_writable, digest
from vocabopt.errors import CorpusError, RunDirectoryError


def check_size(packed: PackedText, stage: Stage, settings: StageSettings) -> None:
    """Raises CorpusError: the stage's text is smaller than one step."""
    if packed.n_blocks < settings.blocks_per_step:
        raise CorpusError(
            f"stage {stage.name!r}: its text makes {packed.n_blocks} blocks of {settings.context_tokens} tokens, and "
            f"one step takes {settings.blocks_per_step}. Give more text, or a smaller --batch "
            f"({max(packed.n_blocks, 1) * settings.context_tokens}tok at most)."
        )


def check_stage(packed: PackedText, stage: Stage, settings: StageSettings, folder: Path, resume: bool) -> None:
    check_writable(folder)
    if not resume and (is_finished(folder) or (folder / checkpoints.FOLDER).exists()):
        raise RunDirectoryError(f"{folder}: holds a stage already. Go on with --resume, or choose another --out.")
    check_size(packed, stage, settings)
    shape = tuple(packed.dataset(settings.seed)[0]["input_ids"].shape)
    assert shape == (settings.context_tokens,), f"blocks of shape {shape}"


def asked_of(
    stage: Stage, settings: StageSettings, packed: PackedText, new_ids: Sequence[int], n_steps: int
) -> dict[str, Any]:
    """What moves the result, by name. Not how it is computed: --micro-batch may change after running out of memory."""
    plan = {f"the plan's {field}": _plain(value) for field, value in asdict(stage).items()}
    text = {"blocks": packed.n_blocks, "tokens": packed.n_tokens, "bytes": packed.n_bytes}
    return plan | {
        "--context": settings.context_tokens,
        "--batch": f"{settings.batch_tokens}tok",
        "--precision": settings.precision,
        "--optimizer": settings.optimizer,
        "--max-grad-norm": settings.max_grad_norm,
        "--seed": settings.seed,
        "the stage's steps": n_steps,
        "the stage's text": ", ".join(f"{n} {unit}" for unit, n in text.items()),
        "the tokenizer's new rows": f"{len(new_ids)} ({digest(list(new_ids))[:8]})",
    }


def _plain(value: Any) -> Any:
    """As JSON gives it back."""
    if isinstance(value, dict):
        return {name: _plain(entry) for name, entry in value.items()}
    return list(value) if isinstance(value, tuple) else value

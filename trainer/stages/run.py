"""One stage from its start, or its newest checkpoint, to a finished model."""

import gc
import hashlib
import shutil
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from transformers import TrainingArguments, set_seed

from trainer.data.collate import collator_of
from trainer.init.models import first_line, load_model
from trainer.init.saving import save_model
from trainer.layout import layout_of
from trainer.out_of_memory import memory_guard
from trainer.plan import Stage
from trainer.stages import checkpoints
from trainer.stages.arguments import (
    deterministic_on_cpu,
    quiet_transformers,
    say_what_is_not_used,
    training_arguments,
)
from trainer.stages.blocks import EvenBlocks, PackedText
from trainer.stages.checks import asked_of, check_stage
from trainer.stages.failures import memory_advice
from trainer.stages.freeze import finish_stage, prepare_stage
from trainer.stages.frozen import narrow_frozen, narrows_frozen
from trainer.stages.peak import PeakMeter
from trainer.stages.progress import StageProgress
from trainer.stages.record import MODEL, STAGE_FILE, CurvePoint, StageRun, is_finished, read_run
from trainer.stages.room import check_stage_room
from trainer.stages.settings import StageSettings
from trainer.stages.sharding import become, shard_stage
from trainer.stages.stage_trainer import StageTrainer
from vocabopt.artifacts import write_json_atomic
from vocabopt.console import Console
from vocabopt.errors import OptionError, RunDirectoryError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def run_stage(
    model: "PreTrainedModel",
    stage: Stage,
    packed: PackedText,
    settings: StageSettings,
    folder: Path,
    *,
    new_ids: Sequence[int] = (),
    resume: bool = False,
    max_steps: int | None = None,
    console: Console,
    on_log: Callable[[CurvePoint], None] = lambda point: None,
) -> StageRun:
    """Train one stage of a model, in place, and write the whole model to `folder`/model.

    Killed at any moment and called again with resume=True, for the model that the stage began with, it ends with the
    same weights (bit for bit on a CPU with as many threads). Under torchrun all processes call it, and the first one
    writes.

    Args:
        model: as the stage begins, in `settings.weights_dtype`. Afterwards it is as saved.
        new_ids: rows that the merged tokenizer added.
        resume: go on from the newest complete checkpoint of `folder`; from the start where there is none.
        max_steps: end the stage after as many steps, the learning rate's schedule with it.

    Raises:
        PlanError: the stage names nothing of this model.
        OptionError: a step is no whole number of micro-batches; an optimizer is not installed.
        CorpusError: the text is smaller than one step.
        RunDirectoryError: `folder` cannot be written, has no room, or holds a stage and resume is False.
        TrainingError: the loss is not a number, memory or disk is full, or the checkpoint is of another run.
    """
    assert not is_finished(folder) or not resume, "ask finished_run first: its model is in folder/model"
    assert str(model.dtype) == f"torch.{settings.weights_dtype}", f"{model.dtype} for {settings.precision}"
    check_stage(packed, stage, settings, folder, resume)
    n_steps = settings.n_steps(packed.n_blocks, max_steps)
    args = _arguments(model, settings, folder, n_steps)
    shown = console if args.process_index == 0 else Console(quiet=True)
    say_what_is_not_used(settings, model.config.model_type, shown)
    uses_cache = model.config.use_cache
    memory = _memory(model, stage, settings, folder, args, len(new_ids))
    with quiet_transformers(), deterministic_on_cpu(args.device):
        set_seed(stage_seed(settings.seed, stage))
        layout = layout_of(model)
        with memory("it is prepared"):
            collate = collator_of(model)  # looks at the model before anything is split from it
            prepared = prepare_stage(model, stage, layout, new_ids)
            n_trainable = prepared.n_trainable
            check_stage_room(model, prepared.trained.values(), stage.name, settings, n_steps, folder)
            narrows = narrows_frozen(settings.precision, args.device.type, shard=settings.shard)
            narrowed = narrow_frozen(model) if narrows else None
            sharded = shard_stage(prepared, layout, args.device, args.world_size) if settings.shard else None
        meter = PeakMeter(model, args.device, is_watched=not settings.shard and not settings.compile)
        progress = StageProgress(stage, packed, settings, n_steps, meter, on_log)
        blocks = EvenBlocks(packed.dataset(settings.seed), packed.n_blocks, settings.micro_batch * args.world_size)
        asked = asked_of(stage, settings, packed, new_ids, n_steps)
        trainer = StageTrainer(
            sharded.prepared if sharded else prepared, stage, settings, args, blocks, collate, progress, asked
        )
        checkpoint = checkpoints.newest_complete(folder) if resume else None
        n_tokens = progress.share_of_text(packed.n_tokens, n_steps)
        n_before = progress.share_of_text(packed.n_tokens, checkpoints.step_of(checkpoint)) if checkpoint else 0
        with (
            shown.step(stage.name, n_tokens, "tokens", before=n_before) as progress.advance,
            memory(lambda: _step_in_words(trainer)),
        ):
            _train(trainer, checkpoint)
        peak_bytes = _highest(trainer, meter.peak_bytes)
        _let_go(trainer, model)
        with memory("what it trained is put into the model"):
            if narrowed is not None:
                narrowed.restore()
            if sharded is None:
                finish_stage(prepared)
            elif (whole := sharded.gather(keep=args.should_save)) is not None:
                become(model, finish_stage(whole))
        model.config.use_cache = uses_cache
        _clean(model)
        run = _run_of(progress, n_steps, n_trainable, peak_bytes)
        with memory("its model is written"):
            if args.should_save:
                _write(model, run, folder)
            trainer.accelerator.wait_for_everyone()
            if sharded is not None and not args.should_save:
                # Mapped from the file, which takes no memory of its own.
                become(model, load_model(folder / MODEL, dtype=settings.weights_dtype))
    return run


def _arguments(model: "PreTrainedModel", settings: StageSettings, folder: Path, n_steps: int) -> TrainingArguments:
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    args = training_arguments(settings, folder, n_steps, model_type=model.config.model_type)
    if settings.shard and args.world_size == 1:
        raise OptionError(
            "--shard: needs several processes. Start them: torchrun --nproc_per_node 2 --no-python -- vocabopt ..."
        )
    return args


def _memory(
    model: "PreTrainedModel", stage: Stage, settings: StageSettings, folder: Path, args: TrainingArguments, n_new: int
) -> Callable[[str | Callable[[], str]], AbstractContextManager[None]]:
    """Guards against out of memory: memory("what is done")."""
    config = model.config

    def advice() -> str:
        return memory_advice(
            config, stage, settings, folder, n_new=n_new, n_processes=args.world_size, device=args.device
        )

    return partial(memory_guard, advice=advice, place=f"stage {stage.name!r}")


def _run_of(progress: StageProgress, n_steps: int, n_trainable: int, peak_bytes: int | None) -> StageRun:
    return StageRun(
        name=progress.stage.name,
        n_trainable=n_trainable,
        n_steps=n_steps,
        tokens=progress.share_of_text(progress.packed.n_tokens, n_steps),
        bytes=progress.share_of_text(progress.packed.n_bytes, n_steps),
        seconds=round(progress.seconds, 3),
        peak_bytes=peak_bytes,
        curve=tuple(progress.curve),
    )


def _train(trainer: StageTrainer, checkpoint: Path | None) -> None:
    try:
        trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    finally:
        trainer.progress.meter.close()


def _step_in_words(trainer: StageTrainer) -> str:
    settings = trainer.settings
    blocks = f"{settings.micro_batch} block{'s' if settings.micro_batch > 1 else ''}"
    return f"step {trainer.state.global_step + 1} trains on {blocks} of {settings.context_tokens} tokens at once"


def finished_run(folder: Path) -> StageRun | None:
    """The record of a stage that is finished, None of one that is not: then its folder goes to `run_stage`.

    What an interruption between the record and the end left beside it is removed.

    Raises:
        RunDirectoryError: the record cannot be read.
    """
    if not is_finished(folder):
        return None
    shutil.rmtree(folder / checkpoints.FOLDER, ignore_errors=True)
    return read_run(folder)


def stage_seed(seed: int, stage: Stage) -> int:
    """A seed of the stage's own, so that a stage starts alike after the one before and after an interruption."""
    return int.from_bytes(hashlib.sha256(f"{seed} {stage.name}".encode()).digest()[:4], "big")


def _let_go(trainer: StageTrainer, model: "PreTrainedModel") -> None:
    """The optimizer's state and the gradients would lie beside the whole weights, and count as the next stage's."""
    trainer.let_go()
    model.zero_grad(set_to_none=True)
    if trainer.args.device.type == "cuda":  # on a CPU it would only cost a second
        gc.collect()
        torch.cuda.empty_cache()


def _highest(trainer: StageTrainer, peak_bytes: int | None) -> int | None:
    """Of all processes."""
    if peak_bytes is None:
        return None
    of_each = trainer.accelerator.gather(torch.tensor([peak_bytes], device=trainer.args.device))
    return int(of_each.max().item())


def _clean(model: "PreTrainedModel") -> None:
    """What the Trainer leaves on a model. accelerate's mark would keep the next stage's from preparing it."""
    for mark in ("_is_accelerate_prepared", "_is_torch_compile"):
        model.__dict__.pop(mark, None)
    if model.is_activation_checkpointing:
        model.activation_checkpointing_disable()  # type: ignore[no-untyped-call]


def _write(model: "PreTrainedModel", run: StageRun, folder: Path) -> None:
    """The model, then the record, then the checkpoints go: whole at any moment."""
    try:
        save_model(model, folder / MODEL)
    except RunDirectoryError as error:
        n_bytes = sum(parameter.nbytes for parameter in model.parameters())
        raise checkpoints.disk_error(folder, folder / MODEL, first_line(error.__cause__ or error), n_bytes) from error
    write_json_atomic(folder / STAGE_FILE, run.as_record())
    shutil.rmtree(folder / checkpoints.FOLDER, ignore_errors=True)

"""One stage from its start, or its newest checkpoint, to a finished model."""

import gc
import hashlib
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import torch
from transformers import set_seed

from trainer.data.collate import collator_of
from trainer.init.models import first_line, place_model, save_model
from trainer.layout import layout_of
from trainer.out_of_memory import memory_guard
from trainer.plan import Stage
from trainer.processes import from_main, highest, is_main, join_processes, n_processes, rank, wait_for_all
from trainer.stages import checkpoints
from trainer.stages.freeze import finish_stage, hold_rows, narrow_frozen, narrows_frozen, prepare_stage
from trainer.stages.integrations import deterministic_on_cpu, fuse_loss, quiet_transformers, why_not_fused
from trainer.stages.loop import StageLoop
from trainer.stages.record import MODEL, STAGE_FILE, PackedText, is_finished, read_run
from trainer.stages.settings import StageSettings
from trainer.stages.sharding import shard_stage
from vocabopt.amounts import counted
from vocabopt.console import Console
from vocabopt.errors import CorpusError, OptionError, RunDirectoryError
from vocabopt.folder import check_writable, digest
from vocabopt.records import write_record
from vocabopt.training_record import CurvePoint, StageRun

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel


def run_stage(
    model: "PreTrainedModel",
    stage: Stage,
    packed: PackedText,
    settings: StageSettings,
    folder: Path,
    *,
    new_ids: Sequence[int] = (),
    held_ids: Sequence[int] = (),
    resume: bool = False,
    console: Console,
    on_log: Callable[[CurvePoint], None] = lambda point: None,
) -> StageRun:
    """Train one stage of a model in place, and write the whole model to `folder`/model.

    Killed at any moment and called again with resume=True, for the model that the stage began with, it ends with the
    same weights (bit for bit on a CPU with as many threads). Under torchrun all processes call it, and the first one
    writes.

    Args:
        model: as the stage begins, in `settings.weights_dtype`. Afterwards it is as saved; one that is split
            (`settings.shard`) is used up, and what it became is in `folder`/model.
        new_ids: rows that the merged tokenizer added.
        held_ids: rows of the tables that are afterwards what they were before, bit for bit.
        resume: go on from the newest complete checkpoint of `folder`; from the start where there is none.

    Raises:
        PlanError: the stage names nothing of this model.
        OptionError: a step is no whole number of micro-batches; an optimizer is not installed.
        CorpusError: the text is smaller than one step.
        RunDirectoryError: `folder` cannot be written, has no room, or holds a stage and resume is False.
        TrainingError: the loss is not a number, memory or disk is full, or the checkpoint is of another run.
    """
    assert not is_finished(folder) or not resume, "ask finished_run first: its model is in folder/model"
    assert str(model.dtype) == f"torch.{settings.weights_dtype}", f"{model.dtype} for {settings.precision}"
    check_writable(folder)
    if not resume and (is_finished(folder) or (folder / checkpoints.FOLDER).exists()):
        raise RunDirectoryError(f"{folder}: holds a stage already. Go on with --resume, or choose another --out.")
    check_size(packed, stage, settings)
    settings.accumulation(n_processes())
    if settings.shard and n_processes() == 1:
        raise OptionError(
            "--shard: needs several processes. Start them: torchrun --nproc_per_node 2 --no-python -- vocabopt ..."
        )
    shape = tuple(packed.dataset(settings.seed)[0]["input_ids"].shape)
    assert shape == (settings.context_tokens,), f"blocks of shape {shape}"
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    device = join_processes(cpu=settings.cpu)
    n_steps = settings.n_steps(packed.n_blocks)
    shown = console if is_main() else Console(quiet=True)
    why_not = why_not_fused(model.config.model_type, device) if settings.fused_loss else None
    if why_not is not None:
        shown.note(f"fused loss: not used, {why_not}. The result is the same; it would take less memory.")
    advice = partial(_memory_advice, model.config, stage, settings, folder, n_new=len(new_ids), device=device)
    memory = partial(memory_guard, advice=advice, place=f"stage {stage.name!r}")
    with quiet_transformers(), deterministic_on_cpu(device):
        set_seed(stage_seed(settings.seed, stage))
        with memory("it is prepared"):
            layout = layout_of(model)
            collate = collator_of(model)  # looks at the model before anything is split from it
            held = hold_rows(model, layout, held_ids)
            prepared = prepare_stage(model, stage, layout, new_ids)
            n_trainable = prepared.n_trainable
            checkpoints.check_stage_room(model, prepared.trained.values(), stage.name, settings, n_steps, folder)
            narrows = narrows_frozen(settings.precision, device.type, shard=settings.shard)
            narrowed = narrow_frozen(model) if narrows else None
            sharded = shard_stage(prepared, layout, device, n_processes()) if settings.shard else None
            if sharded is None:
                place_model(model, device)
            if settings.fused_loss and why_not is None:
                fuse_loss(model)
        loop = StageLoop(
            prepared=prepared,
            stage=stage,
            settings=settings,
            packed=packed,
            folder=folder,
            n_steps=n_steps,
            device=device,
            collate=collate,
            asked=_asked_of(stage, settings, packed, new_ids, n_steps),
            on_log=on_log,
        )
        if rank():  # all made the same adapters; each draws its own dropout
            torch.manual_seed(stage_seed(settings.seed, stage) + rank())
        checkpoint = from_main(lambda: checkpoints.newest_complete(folder)) if resume else None
        n_before = 0 if checkpoint is None else loop.n_tokens_read(checkpoints.step_of(checkpoint))

        def doing() -> str:
            blocks = counted(settings.micro_batch, "block")
            return f"step {loop.step + 1} trains on {blocks} of {settings.context_tokens} tokens at once"

        with shown.step(stage.name, loop.n_tokens_read(n_steps), "tokens", before=n_before) as advance, memory(doing):
            loop.train(checkpoint, advance)
        peak_bytes = loop.meter.peak_bytes
        run = StageRun(
            name=stage.name,
            n_trainable=n_trainable,
            n_steps=n_steps,
            tokens=loop.n_tokens_read(n_steps),
            bytes=loop.n_bytes_read(n_steps),
            seconds=round(loop.seconds, 3),
            peak_bytes=None if peak_bytes is None else highest(peak_bytes, device),
            curve=tuple(loop.curve),
        )
        # Gradients would add to the whole weights and count as the next stage's.
        model.zero_grad(set_to_none=True)
        if model.is_activation_checkpointing:
            model.activation_checkpointing_disable()  # type: ignore[no-untyped-call]
        if device.type == "cuda":  # on a CPU it would only cost a second
            gc.collect()
            torch.cuda.empty_cache()
        with memory("what it trained is put into the model"):
            if narrowed is not None:
                narrowed.restore()
            whole = prepared if sharded is None else sharded.gather(keep=is_main())
            if whole is not None:
                held.restore(finish_stage(whole))
        with memory("its model is written"):
            if is_main() and whole is not None:
                _write(whole.model, run, folder)
            wait_for_all()
    return run


def check_size(packed: PackedText, stage: Stage, settings: StageSettings) -> None:
    """Raises CorpusError: the stage's text is smaller than one step."""
    if packed.n_blocks < settings.blocks_per_step:
        raise CorpusError(
            f"stage {stage.name!r}: its text makes {packed.n_blocks} blocks of {settings.context_tokens} tokens, and "
            f"one step takes {settings.blocks_per_step}. Give more text, or a smaller --batch "
            f"({max(packed.n_blocks, 1) * settings.context_tokens}tok at most)."
        )


def _asked_of(
    stage: Stage, settings: StageSettings, packed: PackedText, new_ids: Sequence[int], n_steps: int
) -> dict[str, Any]:
    """What moves the result, by name. Not how it is computed: --micro-batch may change after running out of memory."""
    as_json = msgspec.json.decode(msgspec.json.encode(stage))  # lists for tuples, as a checkpoint gives them back
    return {f"the plan's {field}": value for field, value in as_json.items()} | {
        "--context": settings.context_tokens,
        "--batch": f"{settings.batch_tokens}tok",
        "--precision": settings.precision,
        "--optimizer": settings.optimizer,
        "--max-grad-norm": settings.max_grad_norm,
        "--seed": settings.seed,
        "the stage's steps": n_steps,
        "the stage's text": f"{packed.n_blocks} blocks, {packed.n_tokens} tokens, {packed.n_bytes} bytes",
        "the tokenizer's new rows": f"{len(new_ids)} ({digest(list(new_ids))[:8]})",
    }


def _memory_advice(
    config: "PreTrainedConfig", stage: Stage, settings: StageSettings, folder: Path, *, n_new: int, device: torch.device
) -> str:
    """For a stage that has run out of memory: which options would fit, by prediction where there is one."""
    checkpoint = checkpoints.newest_complete(folder)
    kept = f" {checkpoint} is kept: --resume goes on from it." if checkpoint else ""
    if not settings.shard:  # what is predicted is one process that holds all weights
        from trainer.memory.remedies import what_fits

        try:
            return what_fits(config, stage, settings, n_new=n_new, n_processes=n_processes(), device=device) + kept
        except Exception:  # no prediction (a mixture of experts), or no memory for it either: then without figures
            pass
    # Options that are not used yet, those that leave the result alone first; others need a run from the start.
    options = {
        f"--micro-batch {settings.micro_batch // 2}": settings.micro_batch > 1,
        "--gradient-checkpointing": not settings.gradient_checkpointing,
        "more processes with --shard": True,
        "--optimizer adamw-8bit (from the start)": settings.optimizer == "adamw",
        "--precision bf16-mixed (from the start)": settings.precision == "fp32",
        "--plan lora (from the start)": stage.lora is None and stage.blocks != "none",
        f"--context {max(1, settings.context_tokens // 2)} (from the start)": True,
    }
    left = "; ".join(option for option, is_left in options.items() if is_left)
    return f"What would take less: {left}. `vocabopt plan` tells what each stage needs.{kept}"


def finished_run(folder: Path) -> StageRun | None:
    """The record of a stage that is finished, None of one that is not: then its folder goes to `run_stage`.

    Checkpoints that an interruption after the record has left are removed.

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


def _write(model: "PreTrainedModel", run: StageRun, folder: Path) -> None:
    """The model, then the record, then the checkpoints go: whole at any moment."""
    try:
        save_model(model, folder / MODEL)
    except RunDirectoryError as error:
        n_bytes = sum(parameter.nbytes for parameter in model.parameters())
        raise checkpoints.disk_error(folder, folder / MODEL, first_line(error.__cause__ or error), n_bytes) from error
    write_record(folder / STAGE_FILE, run)
    shutil.rmtree(folder / checkpoints.FOLDER, ignore_errors=True)

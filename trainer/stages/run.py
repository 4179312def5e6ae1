"""One stage from its start, or its newest checkpoint, to a finished model."""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from transformers import TrainingArguments, set_seed
from transformers.utils import logging as transformers_logging

from trainer.layout import layout_of
from trainer.plan import Stage
from trainer.stages import checkpoints
from trainer.stages.blocks import EvenBlocks, PackedText
from trainer.stages.failures import is_out_of_memory, out_of_memory
from trainer.stages.freeze import finish_stage, prepare_stage
from trainer.stages.peak import PeakMeter
from trainer.stages.progress import StageProgress
from trainer.stages.record import MODEL, STAGE_FILE, CurvePoint, StageRun, is_finished
from trainer.stages.settings import StageSettings
from trainer.stages.sharding import become, shard_stage
from trainer.stages.stage_trainer import StageTrainer
from vocabopt.artifacts import check_writable, digest, write_json_atomic
from vocabopt.console import Console
from vocabopt.errors import CorpusError, OptionError, RunDirectoryError

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
        RunDirectoryError: `folder` cannot be written, or holds a stage and resume is False.
        TrainingError: the loss is not a number, memory or disk is full, or the checkpoint is of another run.
    """
    assert not is_finished(folder) or not resume, "ask is_finished first: its model is in folder/model"
    assert str(model.dtype) == f"torch.{settings.weights_dtype}", f"{model.dtype} for {settings.precision}"
    _check(packed, stage, settings, folder, resume)
    n_steps = settings.n_steps(packed.n_blocks, max_steps)
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    args = _arguments(settings, folder, n_steps)
    if settings.shard and args.world_size == 1:
        raise OptionError("--shard: needs several processes. Start them: torchrun --no-python --nproc_per_node 2 vocabopt ...")
    with _quiet_transformers(), _deterministic(args.device):
        set_seed(stage_seed(settings.seed, stage))
        layout = layout_of(model)
        prepared = prepare_stage(model, stage, layout, new_ids)
        n_trainable = prepared.n_trainable
        sharded = None
        if settings.shard:
            sharded = shard_stage(prepared, layout, args.device, args.world_size)
            prepared = sharded.prepared
        meter = PeakMeter(model, args.device, is_watched=not settings.shard and not settings.compile)
        progress = StageProgress(stage, packed, settings, n_steps, meter, on_log)
        blocks = EvenBlocks(packed.dataset(settings.seed), packed.n_blocks, settings.micro_batch * args.world_size)
        asked = _asked(stage, settings, packed, new_ids, n_steps)
        uses_cache = model.config.use_cache
        trainer = StageTrainer(prepared, stage, settings, args, blocks, progress, asked)
        checkpoint = checkpoints.newest_complete(folder) if resume else None
        shown = console if args.process_index == 0 else Console(quiet=True)
        _say_what_is_not_used(settings, args.device, shown)
        with shown.step(stage.name, packed.n_tokens if max_steps is None else None, "tokens") as progress.advance:
            try:
                trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                raise out_of_memory(stage, settings, folder, trainer.state.global_step + 1) from error
            finally:
                peak_bytes = meter.close()
        peak_bytes = _highest(trainer, peak_bytes)
        if sharded is not None:
            become(model, finish_stage(sharded.gather()))
        else:
            finish_stage(prepared)
        model.config.use_cache = uses_cache
        _clean(model)
        run = StageRun(
            name=stage.name,
            n_trainable=n_trainable,
            n_steps=n_steps,
            tokens=progress.share_of_text(packed.n_tokens, n_steps),
            bytes=progress.share_of_text(packed.n_bytes, n_steps),
            seconds=round(progress.seconds, 3),
            peak_bytes=peak_bytes,
            curve=tuple(progress.curve),
        )
        if args.should_save:
            _write(model, run, folder)
        trainer.accelerator.wait_for_everyone()
        if args.device.type == "cuda":
            # The optimizer's state would count as the next stage's. On a CPU it would only cost a second.
            trainer.accelerator.free_memory()
    return run


def stage_seed(seed: int, stage: Stage) -> int:
    """A seed of the stage's own, so that a stage starts alike after the one before and after an interruption."""
    return int.from_bytes(hashlib.sha256(f"{seed} {stage.name}".encode()).digest()[:4], "big")


def _check(packed: PackedText, stage: Stage, settings: StageSettings, folder: Path, resume: bool) -> None:
    check_writable(folder)
    if not resume and (is_finished(folder) or (folder / checkpoints.FOLDER).exists()):
        raise RunDirectoryError(f"{folder}: holds a stage already. Go on with --resume, or choose another --out.")
    if packed.n_blocks < settings.blocks_per_step:
        raise CorpusError(
            f"stage {stage.name!r}: its text makes {packed.n_blocks} blocks of {settings.context_tokens} tokens, and "
            f"one step takes {settings.blocks_per_step}. Give more text, or a smaller --batch-tokens "
            f"({max(packed.n_blocks, 1) * settings.context_tokens} at most)."
        )
    shape = tuple(packed.dataset(settings.seed)[0]["input_ids"].shape)
    assert shape == (settings.context_tokens,), f"blocks of shape {shape}"


def _asked(
    stage: Stage, settings: StageSettings, packed: PackedText, new_ids: Sequence[int], n_steps: int
) -> dict[str, Any]:
    """What moves the result, by name. Not how it is computed: --micro-batch may change after running out of memory."""
    plan = {f"the plan's {field}": _plain(value) for field, value in asdict(stage).items()}
    text = {"blocks": packed.n_blocks, "tokens": packed.n_tokens, "bytes": packed.n_bytes}
    return plan | {
        "--context": settings.context_tokens,
        "--batch-tokens": settings.batch_tokens,
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


def _arguments(settings: StageSettings, folder: Path, n_steps: int) -> TrainingArguments:
    """transformers' own arguments. Making them starts torch.distributed under torchrun."""
    uses_cpu = settings.cpu or not torch.cuda.is_available()
    # accelerate takes a backend as the word that there are several processes.
    is_launched = "LOCAL_RANK" in os.environ
    args = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=settings.micro_batch,
        max_steps=n_steps,
        max_grad_norm=settings.max_grad_norm,
        train_sampling_strategy="sequential",
        remove_unused_columns=False,
        activation_checkpointing=settings.gradient_checkpointing,
        activation_checkpointing_kwargs={"use_reentrant": False} if settings.gradient_checkpointing else None,
        torch_compile=settings.compile,
        use_liger_kernel=uses_fused_loss(settings),
        # Only the loss: the other kernels would make a model of other numbers.
        liger_kernel_config=_LIGER if uses_fused_loss(settings) else None,
        logging_strategy="steps",
        logging_steps=settings.log_every_steps,
        logging_first_step=True,
        logging_nan_inf_filter=False,
        save_strategy="no",
        report_to=list(settings.report_to),
        seed=settings.seed,
        disable_tqdm=True,
        log_level="error",
        use_cpu=uses_cpu,
        ddp_backend="gloo" if uses_cpu and is_launched else None,
        ddp_find_unused_parameters=False,
        dataloader_pin_memory=not uses_cpu,
    )
    args.gradient_accumulation_steps = settings.accumulation(args.world_size)
    # transformers would spread the model over all GPUs it sees, by DataParallel; several processes do that better.
    args._n_gpu = min(args.n_gpu, 1)
    return args


_LIGER = {"rope": False, "rms_norm": False, "swiglu": False, "cross_entropy": False, "fused_linear_cross_entropy": True}


def uses_fused_loss(settings: StageSettings) -> bool:
    from transformers.utils.import_utils import is_liger_kernel_available

    return settings.fused_loss and not settings.cpu and torch.cuda.is_available() and is_liger_kernel_available()


def _say_what_is_not_used(settings: StageSettings, device: torch.device, console: Console) -> None:
    if settings.fused_loss and not uses_fused_loss(settings):
        why = "liger-kernel is not installed" if device.type == "cuda" else "it needs a GPU"
        console.note(f"fused loss: not used, {why}. The result is the same; it would take less memory.")


def _highest(trainer: StageTrainer, peak_bytes: int | None) -> int | None:
    """Of all processes."""
    if peak_bytes is None:
        return None
    of_each = trainer.accelerator.gather(torch.tensor([peak_bytes], device=trainer.args.device))
    return int(of_each.max().item())


def _clean(model: "PreTrainedModel") -> None:
    """accelerate's mark would keep the next stage's Trainer from preparing the model."""
    model.__dict__.pop("_is_accelerate_prepared", None)
    model.zero_grad(set_to_none=True)


def _write(model: "PreTrainedModel", run: StageRun, folder: Path) -> None:
    """The model through a temporary name, then the record, then the checkpoints go: whole at any moment."""
    final, partial = folder / MODEL, folder / f".{MODEL}.partial"
    try:
        shutil.rmtree(partial, ignore_errors=True)
        model.save_pretrained(partial)
        for path in sorted(partial.iterdir()):
            checkpoints.sync(path)
        checkpoints.sync(partial)
        # Only there where a run was killed between here and the record.
        shutil.rmtree(final, ignore_errors=True)
        partial.rename(final)
        checkpoints.sync(folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        n_bytes = sum(parameter.nbytes for parameter in model.parameters())
        raise checkpoints.disk_error(final, str(error), n_bytes) from error
    write_json_atomic(folder / STAGE_FILE, run.as_record())
    shutil.rmtree(folder / checkpoints.FOLDER, ignore_errors=True)


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Its own progress bars and log lines off; ours are on."""
    level, has_bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if has_bars:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]


@contextmanager
def _deterministic(device: torch.device) -> Iterator[None]:
    """On a CPU, operations that give the same bits every time, or an error. On GPUs they would cost speed."""
    if device.type != "cpu":
        yield
        return
    was_set = torch.are_deterministic_algorithms_enabled()
    deterministic: Any = torch.utils.deterministic
    filled = deterministic.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    # Filling memory that is about to be written serves debugging only.
    deterministic.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(was_set)
        deterministic.fill_uninitialized_memory = filled

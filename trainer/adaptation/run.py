"""The whole path of `vocabopt adapt`: inputs -> new rows -> stages -> control -> model folder, card and adapt.json."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import torch
from transformers import PreTrainedTokenizerBase

from trainer.adaptation.arm import Arm, Measurements, Run, bits_per_byte, pack_arm, run_arm
from trainer.adaptation.checks import check_early, check_folder, take_folder
from trainer.adaptation.inputs import EvalText, Inputs, read_inputs, step_batch
from trainer.adaptation.record import StartRecord, bits_after
from trainer.adaptation.self_replay import SELF_REPLAY
from trainer.adaptation.table import model_card
from trainer.data import PackedText, exposure
from trainer.evaluate import continuations, pick_prompts
from trainer.evaluate.run import load_tokenizer, n_reloaded_otherwise
from trainer.evaluate.score import positions_of
from trainer.init import dtype_of, link_model, load_model, save_model
from trainer.init.models import dtype_name
from trainer.init.rows import make_rows
from trainer.init.snippets import find_snippets
from trainer.memory import predict_stage
from trainer.memory.build import outline_of
from trainer.memory.machine import Written, highest_bytes, of_arm
from trainer.memory.remedies import step_settings
from trainer.memory.target import with_rows
from trainer.options import AdaptOptions
from trainer.plan import named_plan
from trainer.processes import from_main, is_main, main_only, n_processes
from trainer.stages import StageSettings, is_finished
from trainer.stages.checkpoints import check_room
from vocabopt.console import Console
from vocabopt.errors import ForgettingError
from vocabopt.folder import is_own, write_bytes_atomic
from vocabopt.records import read_record, write_record
from vocabopt.training_record import (
    ADAPT_JSON,
    AdaptRecord,
    ControlRecord,
    Gate,
    PeakRecord,
    SampleRecord,
    StageRecord,
    TextRecord,
    WeightsRecord,
)
from vocabopt.versions import versions

_CARD = "README.md"
#: Windows measured at once.
_EVAL_BATCH = 8


def adapt(
    options: AdaptOptions, console: Console | None = None, *, resume: bool = False, measured: Path | None = None
) -> AdaptRecord:
    """Adapt a model to its merged tokenizer; see `AdaptOptions` for what goes in.

    Writes OUT/model, OUT/adapt.json (before the first stage and after each), OUT/stages and OUT/control. A finished
    run is left as it is.

    Args:
        resume: go on with the run in the folder; the result is that of a run never stopped.
        measured: the folder of measurements, for runs that share some, beside which they share text that the model
            writes itself; None takes one of this run's own.

    Returns:
        What adapt.json holds.

    Raises:
        VocaboptError: bad input, see vocabopt/errors.py.
        ForgettingError: a stage forgot more than the gate allows; what is done is kept.
        TrainingError: no memory, no disk, or a loss that is not a number.
    """
    console = console or Console(quiet=True)
    checked = check_early(options, console)
    options = checked.options
    finished = check_folder(options, checked.identity(), console, resume=resume)
    if finished is not None:
        console.note(f"{options.out}: is finished, with these options. Nothing was done.")
        return finished
    measured = measured or options.out / "stages" / "measured"
    inputs = read_inputs(checked, console, own_texts=measured.with_name(SELF_REPLAY))
    gate = Gate(max_forgetting=options.max_forgetting, texts=inputs.base_texts)
    take_folder(options, inputs.identity())
    run = run_of(inputs, console, resume=resume, measured=measured)
    arm, control = adapted_arm(inputs), control_arm(inputs)
    packed = pack_arm(arm, run)
    warnings = [*inputs.warnings, *_notes(options, packed)]
    for warning in warnings:
        console.note(warning)
    _check_room(inputs, [arm, control] if options.control else [arm])
    start = initialise(run)
    record = _first_record(run, start, arm, packed, gate, warnings)

    def write(**changes: Any) -> None:
        nonlocal record
        record = msgspec.structs.replace(record, **changes)
        if is_main():
            write_record(options.out / ADAPT_JSON, record)

    def on_stage(stages: tuple[StageRecord, ...]) -> None:
        rises = [found[0] for stage in stages if (found := gate.rise(start.before, stage.bits_per_byte)) is not None]
        worst = round(max(rises), 6) if rises else None
        judged = msgspec.structs.replace(gate, worst=worst)
        write(stages=stages, after=bits_after(stages, start.initialised), gate=judged)
        last, folder = stages[-1], arm.stage_folder(len(stages)) / "model"
        try:
            gate.check(start.before, last.bits_per_byte, stage=last.name, folder=folder)
        except ForgettingError as error:
            write(status=f"stopped: {error}")
            raise

    write()
    run_arm(arm, run, packed, on_stage)
    write(samples=_samples(start.continued, arm, run))
    if options.control:
        _train_control(control, run, start, lambda found: write(control=found))
    weights = _finish_weights(options.out / "model", arm, run)
    finished = msgspec.structs.replace(record, status="finished", weights=weights)
    main_only(lambda: write_bytes_atomic(options.out / "model" / _CARD, model_card(finished).encode()))
    # Last: where adapt.json says that it is finished, the model is there.
    write(status="finished", weights=weights)
    return record


# --- Where it starts --------------------------------------------------------------------------------------------------


def run_of(inputs: Inputs, console: Console, *, measured: Path, resume: bool = False) -> Run:
    """What all arms on these inputs share. measured: the folder of measurements."""
    options = inputs.options
    scores = Measurements(
        folder=measured,
        texts=inputs.evals,
        context_tokens=options.context,
        batch_size=min(_EVAL_BATCH, options.micro_batch),
        ends=inputs.ends,
        console=console,
    )
    return Run(inputs=inputs, scores=scores, resume=resume, console=console)


def adapted_arm(inputs: Inputs) -> Arm:
    """The model with new rows, made by `initialise`."""
    return Arm(
        folder=inputs.options.out,
        start=_initialised_model(inputs.options),
        tokenizer=inputs.options.tokenizer_dir,
        plan=inputs.plan,
        new_ids=inputs.extension.new_ids,
    )


def control_arm(inputs: Inputs) -> Arm:
    """The original tokenizer and model."""
    return Arm(
        folder=inputs.options.out / "control",
        start=inputs.model,
        tokenizer=inputs.model,
        plan=inputs.plan.with_own_tokenizer(),
        new_ids=(),
    )


def _initialised_model(options: AdaptOptions) -> Path:
    """Where `initialise` writes the model with its new rows."""
    return options.out / "stages" / "0-init" / "model"


def initialise(run: Run) -> StartRecord:
    """Measure the base, make the new rows, measure again, and write the model; or take what an earlier run left."""
    path = _initialised_model(run.inputs.options).with_name("start.json")
    if not from_main(path.is_file):
        _make_start(run, path)
    return read_record(path, StartRecord)


def _make_start(run: Run, path: Path) -> None:
    inputs, options, console = run.inputs, run.inputs.options, run.console
    model = run.load(inputs.model)
    base_tokenizer = _tokenizer(inputs.model, console)
    tokenizer = _tokenizer(options.tokenizer_dir, console)
    before = run.scores("the base model", model, base_tokenizer)
    # Beginnings of documents of the first target text.
    target = next((text for text in inputs.evals if text.role == "target"), inputs.evals[0])
    prompts = pick_prompts(target.documents, n=options.n_samples, seed=options.seed)
    continued = []
    if prompts:
        with console.step("sample"):
            continued = continuations(model, base_tokenizer, prompts, n_tokens=options.sample_tokens, ends=inputs.ends)
    log = make_rows(
        model,
        inputs.extension,
        options,
        method=options.init,
        seed=options.seed,
        find_snippets=lambda: find_snippets(
            inputs.text.sources[0],
            inputs.extension,
            tokenizer,
            options,
            seed=options.seed,
            n_positions=positions_of(model),
            n_documents=int(inputs.text.bounds[0, -1]),
            ends=inputs.ends,
        ),
        console=console,
    )
    measures = options.eval_every == "stage"
    start = StartRecord(
        before=bits_per_byte(before),
        initialised=bits_per_byte(run.scores("after initialisation", model, tokenizer)) if measures else {},
        n_tokens_before={name: score.n_tokens for name, score in before.items()},
        n_tokens_after={text.name: n_tokens_of(tokenizer, text) for text in inputs.evals},
        continued=dict(zip(prompts, continued, strict=True)),
        init_log=log,
        n_params=sum(parameter.numel() for parameter in model.parameters()),
    )

    def write() -> None:
        save_model(model, _initialised_model(options))
        # Last: its presence means that the model is whole.
        write_record(path, start)

    main_only(write)


def _tokenizer(folder: Path, console: Console) -> PreTrainedTokenizerBase:
    """As transformers loads it; the console says where that differs from its tokenizer.json."""
    tokenizer = load_tokenizer(str(folder))
    if n_otherwise := n_reloaded_otherwise(str(folder), tokenizer):
        console.note(
            f"{folder}: transformers builds this tokenizer anew and gives other ids than its tokenizer.json on "
            f"{n_otherwise:,} of the built-in lines. What is measured and trained on here is what transformers gives."
        )
    return tokenizer


def n_tokens_of(tokenizer: PreTrainedTokenizerBase, text: EvalText) -> int:
    encoded = tokenizer(list(text.documents), add_special_tokens=False, return_attention_mask=False, verbose=False)
    return sum(map(len, encoded["input_ids"]))


def _samples(continued: Mapping[str, str], arm: Arm, run: Run) -> tuple[SampleRecord, ...]:
    """Prompts as the base continued them, continued by an arm's last model."""
    if not continued:
        return ()
    model = run.load(arm.last_model)
    with run.console.step("sample"):
        after = continuations(
            model,
            load_tokenizer(str(arm.tokenizer)),
            list(continued),
            n_tokens=run.inputs.options.sample_tokens,
            ends=run.inputs.ends,
        )
    return tuple(
        SampleRecord(prompt=prompt, before=before, after=now)
        for (prompt, before), now in zip(continued.items(), after, strict=True)
    )


# --- Where it ends ----------------------------------------------------------------------------------------------------


def _is_rounded(inputs: Inputs) -> bool:
    """Whether weights that trained in 32 bits are finished in the 16 of their base."""
    return inputs.dtype == "float32" and dtype_of(inputs.model) in (torch.bfloat16, torch.float16)


def _finish_weights(folder: Path, arm: Arm, run: Run) -> WeightsRecord:
    """OUT/model without its card: the last stage's weights with the merged tokenizer's files, byte for byte.

    Weights that trained in 32 bits are rounded to the base's type where that has 16, as a base in bf16 is published and
    served, and measured again; the last stage's folder keeps all bits.
    """
    rounds, of_base = _is_rounded(run.inputs), dtype_of(run.inputs.model)
    files = {
        str(path.relative_to(arm.tokenizer)): path.read_bytes()
        for path in sorted(arm.tokenizer.rglob("*"))
        if path.is_file() and path.name != _CARD and not is_own(path.name)
    }

    def write() -> None:
        if rounds:
            save_model(load_model(arm.last_model, dtype=of_base), folder, files=files)
        else:
            link_model(arm.last_model, folder, files=files)

    main_only(write)
    scores = None
    if rounds:
        scores = bits_per_byte(run.scores("the rounded weights", run.load(folder), load_tokenizer(str(folder))))
    trained = run.inputs.dtype
    saved = dtype_name(of_base) if rounds else trained
    return WeightsRecord(base=dtype_name(of_base), trained=trained, saved=saved, bits_per_byte=scores)


# --- What it says of itself -------------------------------------------------------------------------------------------


def _notes(options: AdaptOptions, packed: Sequence[PackedText]) -> list[str]:
    """What a step takes where it is not what was asked for, what the tokenizer has no token for, and a late gate."""
    # A note for all stages appears once.
    told = list(dict.fromkeys(note for text in packed for note in step_batch(options, text).notes(options.batch)))
    lost: Counter[str] = Counter()
    for text in packed:
        lost.update({name: source.n_lost_chars for name, source in text.sources.items()})
    if counted := ", ".join(f"{name} {n:,}" for name, n in lost.items() if n):
        told.append(
            f"Characters of the training text that the tokenizer has no token for: {counted}. They are left out or "
            "become its unknown token."
        )
    if options.eval_every == "end" and options.max_forgetting is not None:
        told.append(
            "--max-forgetting: is judged after the last stage only, since --eval-every end measures no other one."
        )
    return told


def _train_control(control: Arm, run: Run, start: StartRecord, write: Callable[[ControlRecord], None]) -> None:
    """The original tokenizer and model on the same text and plan, written after each stage."""
    record = ControlRecord(plan=control.plan.name, before=start.before, stages=(), after=start.before)

    def on_stage(stages: tuple[StageRecord, ...]) -> None:
        nonlocal record
        record = msgspec.structs.replace(record, stages=stages, after=bits_after(stages, start.before))
        write(record)

    run_arm(control, run, pack_arm(control, run), on_stage)
    write(msgspec.structs.replace(record, samples=_samples(start.continued, control, run)))


def _first_record(
    run: Run, start: StartRecord, arm: Arm, packed: Sequence[PackedText], gate: Gate, warnings: Sequence[str]
) -> AdaptRecord:
    """What adapt.json holds before the first stage."""
    inputs, options = run.inputs, run.inputs.options
    return AdaptRecord(
        status="running",
        n_added=len(inputs.extension.new_ids),
        plan=inputs.plan.name,
        init=options.init,
        model=options.model,
        tokenizer=str(options.tokenizer_dir),
        out=str(options.out),
        options={**options.as_record(), **inputs.resolved(), "stages": inputs.plan.as_record()["stages"]},
        versions=versions("torch", "transformers", "accelerate", "peft", "safetensors"),
        device=inputs.device_name,
        n_params=start.n_params,
        texts={
            text.name: TextRecord(
                role=text.role,
                n_documents=len(text.documents),
                n_bytes=text.n_bytes,
                n_tokens_before=start.n_tokens_before[text.name],
                n_tokens_after=start.n_tokens_after[text.name],
            )
            for text in inputs.evals
        },
        document_ends=inputs.ends,
        training_text=inputs.text.in_numbers(),
        self_replay=inputs.self_replay,
        exposure=exposure(packed, arm.new_ids),
        init_log=start.init_log,
        before=start.before,
        initialised=start.initialised,
        after=start.initialised,
        gate=gate,
        full_training=_full_training(inputs, run.settings(packed[0])),
        warnings=tuple(warnings),
    )


def _check_room(inputs: Inputs, arms: Sequence[Arm]) -> None:
    """Room for the models that are not written yet: at the start of the first arm, after every stage, at the end.

    Checkpoints are left out: a stage looks for their room before it starts.

    Args:
        arms: the adapted one, and its control where there is one.

    Raises:
        RunDirectoryError: the disk has less.
    """
    config = inputs.config
    n_rows = inputs.extension.n_rows_of_table(int(config.get_text_config().vocab_size))
    sizes = [outline_of(with_rows(config, n_rows)).n_params, outline_of(config).n_params]
    of_each = 2 if inputs.dtype == "bfloat16" else 4
    written: list[Written] = []
    for arm, n_params in zip(arms, sizes, strict=False):
        stages = range(1, len(arm.plan.stages) + 1)
        n_left = sum(not is_finished(arm.stage_folder(number)) for number in stages)
        is_first = arm is arms[0]
        written += of_arm(
            n_params * of_each,
            [0] * n_left,
            starts=is_first and n_left > 0 and not (arm.start / "config.json").is_file(),
            keeps_all=inputs.options.keep_stages == "all",
            frees_start=inputs.device.type != "cpu" and (is_first or n_left < len(arm.plan.stages)),
        )
    # What is not rounded is a link.
    if _is_rounded(inputs):
        written.append(Written(n_bytes=2 * sizes[0]))
    what = f"the {len(written)} whole models that are to be written (--keep-stages {inputs.options.keep_stages}) take"
    check_room(arms[0].folder, highest_bytes(written), what)


def _full_training(inputs: Inputs, settings: StageSettings) -> PeakRecord | None:
    """Peak memory of plan full with the same settings, as `vocabopt plan` predicts it for one process.

    None for a model that cannot be predicted (mixtures of experts), or where weights are sharded over processes.
    """
    if settings.shard:
        return None
    config = inputs.config
    n_rows = inputs.extension.n_rows_of_table(int(config.get_text_config().vocab_size))
    step = step_settings(settings, n_processes(), inputs.device)
    (stage,) = named_plan("full").stages
    try:
        cost = predict_stage(outline_of(with_rows(config, n_rows)), stage, step, n_new=len(inputs.extension.new_ids))
    except Exception:  # a line in a figure: no model may fail for want of it
        return None
    return PeakRecord(peak_bytes=cost.peak_bytes(settings.optimizer), source="predicted by vocabopt plan")

"""The whole path of `vocabopt adapt`: inputs -> new rows -> stages -> control -> model folder, card and adapt.json."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from trainer.adapt.arm import Arm, ArmRun, StageRecord, final_scores, pack_arm, run_arm
from trainer.adapt.early import check_early
from trainer.adapt.finish import finish_weights, write_card
from trainer.adapt.full_training import full_training
from trainer.adapt.inputs import Inputs, read_inputs, step_batch
from trainer.adapt.owner import ADAPT_JSON, check_folder, take_folder
from trainer.adapt.record import adapt_record
from trainer.adapt.room import check_room_of_run
from trainer.adapt.start import Start, initialise, initialised_model
from trainer.data import Exposure, PackedText, exposure
from trainer.evaluate import Gate
from trainer.options import AdaptOptions
from trainer.processes import is_main, main_only
from vocabopt.artifacts import write_json_atomic
from vocabopt.console import Console
from vocabopt.errors import ForgettingError


def adapt(
    options: AdaptOptions, console: Console | None = None, *, resume: bool = False, measured: Path | None = None
) -> dict[str, Any]:
    """Adapt a model to its merged tokenizer; see `AdaptOptions` for what goes in.

    Writes OUT/model, OUT/adapt.json (before the first stage and after each), OUT/stages and OUT/control. A finished
    run is left as it is.

    Args:
        resume: go on with the run in the folder; the result is that of a run never stopped.
        measured: the folder of measurements, for runs that share some; None takes one of this run's own.

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
    inputs = read_inputs(checked, console)
    take_folder(options, inputs.identity())
    arm = Arm(
        folder=options.out,
        start=initialised_model(options),
        tokenizer=options.tokenizer_dir,
        plan=inputs.plan,
        new_ids=inputs.extension.new_ids,
    )
    run = inputs.arm_run(
        options, resume=resume, console=console, measured=measured or options.out / "stages" / "measured"
    )
    packed = pack_arm(arm, run)
    warnings = [*inputs.warnings, *_batch_notes(options, packed), *_loss_notes(packed)]
    if options.eval_every == "end" and options.max_forgetting is not None:
        warnings.append(_GATE_AT_END)
    for warning in warnings:
        console.note(warning)
    check_room_of_run(inputs, [arm, *([_control_arm(options, inputs)] if options.control else [])])
    start = initialise(options, inputs, run)
    gate = Gate(max_forgetting=options.max_forgetting, texts=inputs.base_texts)
    full = full_training(inputs, run.settings_of(packed[0]))
    write = _Writer(options, inputs, start, exposure(packed, arm.new_ids), gate, full, warnings)

    def on_stage(stages: list[StageRecord]) -> None:
        write(stages)
        try:
            gate.check(
                start.before,
                stages[-1]["bits_per_byte"],
                stage=stages[-1]["name"],
                folder=arm.stage_folder(len(stages)) / "model",
            )
        except ForgettingError as error:
            write(stages, status=f"stopped: {error}")
            raise

    write([])
    stages = run_arm(arm, run, packed, on_stage)
    samples = start.continued_by(run.load(arm.last_model), arm.tokenizer, options, run.ends, console)
    control = _control(options, inputs, start, run, lambda record: write(stages, samples=samples, control=record))
    weights = finish_weights(options.out / "model", inputs.model, arm, run)
    record = write.record(stages, status="finished", samples=samples, control=control, weights=weights)
    main_only(lambda: write_card(options.out / "model", record))
    # Last: where adapt.json says that it is finished, the model is there.
    return write(stages, status="finished", samples=samples, control=control, weights=weights)


_GATE_AT_END = "--max-forgetting: is judged after the last stage only, since --eval-every end measures no other one."


def _batch_notes(options: AdaptOptions, packed: Sequence[PackedText]) -> list[str]:
    """What a step takes where it is not what was asked for; the same in all stages is told once."""
    notes = [note for text in packed for note in step_batch(options, text).notes(options.batch)]
    return list(dict.fromkeys(notes))


def _loss_notes(packed: Sequence[PackedText]) -> list[str]:
    """What the tokenizer has no token for, over all stages."""
    lost: Counter[str] = Counter()
    for text in packed:
        lost.update({name: source["n_lost_chars"] for name, source in text.sources.items()})
    counted = ", ".join(f"{name} {n:,}" for name, n in lost.items() if n)
    if not counted:
        return []
    sentence = "Characters of the training text that the tokenizer has no token for"
    return [f"{sentence}: {counted}. They are left out or become its unknown token."]


class _Writer:
    """Writes adapt.json, complete at any time for what is done so far."""

    def __init__(
        self,
        options: AdaptOptions,
        inputs: Inputs,
        start: Start,
        seen: Exposure,
        gate: Gate,
        full: Mapping[str, Any] | None,
        warnings: Sequence[str],
    ) -> None:
        self._options, self._inputs, self._start = options, inputs, start
        self._seen, self._gate, self._full, self._warnings = seen, gate, full, warnings

    def __call__(self, stages: list[StageRecord], **more: Any) -> dict[str, Any]:
        record = self.record(stages, **more)
        if is_main():
            write_json_atomic(self._options.out / ADAPT_JSON, record)
        return record

    def record(
        self,
        stages: list[StageRecord],
        *,
        status: str = "running",
        samples: list[dict[str, str]] | None = None,
        control: Mapping[str, Any] | None = None,
        weights: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """What adapt.json would hold. weights: of the finished folder (`finish_weights`)."""
        return adapt_record(
            self._options,
            self._inputs,
            self._start,
            seen=self._seen,
            stages=stages,
            status=status,
            samples=samples or [],
            control=control,
            gate=self._gate,
        ) | {"full_training": self._full, "weights": weights, "warnings": list(self._warnings)}


def _control(
    options: AdaptOptions, inputs: Inputs, start: Start, run: ArmRun, write: Callable[[Mapping[str, Any]], object]
) -> dict[str, Any] | None:
    """The original tokenizer and model on the same text and plan; None where it was not asked for."""
    if not options.control:
        return None
    arm = _control_arm(options, inputs)
    record: dict[str, Any] = {"plan": arm.plan.name, "before": start.before, "stages": [], "after": start.before}

    def on_stage(stages: list[StageRecord]) -> None:
        record.update(stages=stages, after=final_scores(stages, record["before"]))
        write(record)

    run_arm(arm, run, pack_arm(arm, run), on_stage)
    record["samples"] = start.continued_by(run.load(arm.last_model), arm.tokenizer, options, run.ends, run.console)
    return record


def _control_arm(options: AdaptOptions, inputs: Inputs) -> Arm:
    return Arm(
        folder=options.out / "control",
        start=inputs.model,
        tokenizer=inputs.model,
        plan=inputs.plan.with_own_tokenizer(),
        new_ids=(),
    )

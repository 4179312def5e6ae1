"""One model on its way through a plan: the adapted one, its control, or one of a probe."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from trainer.adaptation.inputs import Inputs, settings_for
from trainer.adaptation.measurements import Measurements, bits_per_byte
from trainer.adaptation.record import ScoresRecord, StageRecord
from trainer.data import PackedText, pack_stage
from trainer.evaluate.run import load_tokenizer
from trainer.init import load_model, place_model
from trainer.init.models import CONFIG
from trainer.plan import Plan, Stage
from trainer.processes import from_main, main_first, main_only
from trainer.stages import StageSettings, check_size, finished_run, read_run, run_stage
from vocabopt.console import Console
from vocabopt.records import read_record, write_record


@dataclass(frozen=True, kw_only=True)
class Arm:
    """folder: where its stages are. start: the model it begins from. new_ids: rows that count as new, () for none."""

    folder: Path
    start: Path
    tokenizer: Path
    plan: Plan
    new_ids: tuple[int, ...]

    def stage_folder(self, number: int) -> Path:
        """Of the stage with this number, from 1."""
        return self.folder / "stages" / f"{number}-{self.plan.stages[number - 1].name}"

    @property
    def last_model(self) -> Path:
        return self.stage_folder(len(self.plan.stages)) / "model"

    def model_before(self, number: int) -> Path:
        """What the stage with this number begins with."""
        return self.start if number == 1 else self.stage_folder(number - 1) / "model"

    def drop_superseded(self, number: int) -> None:
        """Remove the model that a finished stage began with, if this run wrote it: it is among the stages' folders."""
        superseded = self.model_before(number)
        if superseded.parent.parent == self.folder / "stages":
            # Its config first: a folder that holds one holds a whole model.
            (superseded / CONFIG).unlink(missing_ok=True)
            shutil.rmtree(superseded, ignore_errors=True)


@dataclass(frozen=True, kw_only=True)
class Run:
    """What all arms of a comparison share: the inputs, and what measures a model."""

    inputs: Inputs
    scores: Measurements
    resume: bool
    console: Console

    def settings(self, packed: PackedText) -> StageSettings:
        """For one stage's text, since a batch may be stated in bytes."""
        return settings_for(self.inputs.options, self.inputs.precision, packed)

    def load(self, folder: Path) -> PreTrainedModel:
        """A model on the device that trains and measures."""
        return place_model(load_model(folder, dtype=self.inputs.dtype), self.inputs.device)


def pack_arm(arm: Arm, run: Run) -> list[PackedText]:
    """The token ids of every stage, before anything trains: what is wrong with the text is said at the start."""
    tokenizer = load_tokenizer(str(arm.tokenizer))
    with main_first():
        packed = [
            pack_stage(
                run.inputs.text,
                number,
                tokenizer,
                context_tokens=run.inputs.options.context,
                folder=arm.folder / "text" / str(number + 1),
                ends=run.inputs.ends,
                console=run.console,
            )
            for number in range(len(arm.plan.stages))
        ]
    for stage, text in zip(arm.plan.stages, packed, strict=True):
        check_size(text, stage, run.settings(text))
    return packed


def run_arm(
    arm: Arm, run: Run, packed: Sequence[PackedText], on_stage: Callable[[tuple[StageRecord, ...]], None]
) -> None:
    """Run the stages that are not finished yet, each scored at its end.

    Args:
        on_stage: called with the records so far after every stage, as adapt.json holds them; what it raises ends the
            run, the stage kept.
    """
    options = run.inputs.options
    tokenizer = load_tokenizer(str(arm.tokenizer))
    model: PreTrainedModel | None = None
    records: tuple[StageRecord, ...] = ()
    for number, (stage, text) in enumerate(zip(arm.plan.stages, packed, strict=True), start=1):
        folder = arm.stage_folder(number)
        if finished_run(folder) is None:
            before = arm.model_before(number)
            settings = run.settings(text)
            if model is None:
                # What is split goes to the devices block by block.
                model = load_model(before, dtype=run.inputs.dtype) if settings.shard else run.load(before)
            run_stage(
                model,
                stage,
                text,
                settings,
                folder,
                new_ids=arm.new_ids,
                resume=run.resume,
                console=run.console,
            )
            if settings.shard:
                model = None  # used up: the next stage reads the file
        else:
            model = None
        measures = options.eval_every == "stage" or number == len(arm.plan.stages)
        records += (_record(stage, folder, model, tokenizer, run, measures=measures),)
        on_stage(records)
        if options.keep_stages == "last":
            main_only(partial(arm.drop_superseded, number))


def _record(
    stage: Stage,
    folder: Path,
    model: PreTrainedModel | None,
    tokenizer: PreTrainedTokenizerBase,
    run: Run,
    *,
    measures: bool,
) -> StageRecord:
    """A finished stage with its scores, kept in its folder; without scores where it is not measured."""
    path = folder / "scores.json"
    # A run that is gone on with may ask for the scores of a model that it did not keep.
    if from_main(
        lambda: measures and not path.is_file() and (model is not None or (folder / "model" / CONFIG).is_file())
    ):
        model = run.load(folder / "model") if model is None else model
        scores = ScoresRecord(bits_per_byte=bits_per_byte(run.scores(f"after {stage.name}", model, tokenizer)))
        main_only(lambda: write_record(path, scores))
    return StageRecord(
        **vars(read_run(folder)),
        learning_rate=stage.learning_rate,
        trains=_in_words(stage),
        bits_per_byte=read_record(path, ScoresRecord).bits_per_byte if path.is_file() else {},
    )


def _in_words(stage: Stage) -> str:
    """ "embeddings (all rows), blocks odd" """
    parts = [f"{name} ({rows} rows)" for name, rows in (("embeddings", stage.embeddings), ("head", stage.head)) if rows]
    blocks = stage.blocks if isinstance(stage.blocks, str) else ", ".join(str(number) for number in stage.blocks)
    if blocks != "none":
        parts.append(f"rank {stage.lora.rank} adapters on blocks: {blocks}" if stage.lora else f"blocks: {blocks}")
    if stage.other:
        parts.append("norms and positions")
    return "; ".join(parts)

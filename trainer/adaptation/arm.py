"""One model on its way through a plan: the adapted one, its control, or one of a probe."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from trainer.adaptation.measurements import Measurements, bits_per_byte
from trainer.adaptation.record import StageRecord
from trainer.data import PackedText, TextPlan, pack_stage
from trainer.document_ends import DocumentEnds
from trainer.evaluate.run import load_tokenizer
from trainer.init import load_model, place_model
from trainer.init.models import CONFIG
from trainer.plan import Plan, Stage
from trainer.processes import from_main, main_first, main_only
from trainer.stages import StageSettings, check_size, finished_run, read_run, run_stage
from vocabopt.console import Console
from vocabopt.fields import NUMBER, check_fields
from vocabopt.folder import FORMAT_VERSION, read_json, write_json_atomic


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
            main_only(lambda: _remove(superseded))


def _remove(model: Path) -> None:
    # Its config first: a folder that holds one holds a whole model.
    (model / CONFIG).unlink(missing_ok=True)
    shutil.rmtree(model, ignore_errors=True)


@dataclass(frozen=True, kw_only=True)
class ArmRun:
    """What all arms of a comparison share: the text, what is measured, how a step is computed.

    settings_of: the settings for one stage's text, since a batch may be stated in bytes. scores: measures a model.
    eval_every: "stage" measures after every stage, "end" after the last one. keep_stages: "last" removes the model that
    a stage began with once the stage is finished and measured, "all" keeps them.
    """

    text: TextPlan
    settings_of: Callable[[PackedText], StageSettings]
    scores: Measurements
    context_tokens: int
    eval_every: Literal["stage", "end"]
    keep_stages: Literal["last", "all"]
    ends: DocumentEnds
    resume: bool
    console: Console
    dtype: Literal["float32", "bfloat16"]
    device: torch.device

    def load(self, folder: Path) -> PreTrainedModel:
        """A model on the device that trains and measures."""
        return place_model(load_model(folder, dtype=self.dtype), self.device)


def pack_arm(arm: Arm, run: ArmRun) -> list[PackedText]:
    """The token ids of every stage, before anything trains: what is wrong with the text is said at the start."""
    tokenizer = load_tokenizer(str(arm.tokenizer))
    with main_first():
        packed = [
            pack_stage(
                run.text,
                number,
                tokenizer,
                context_tokens=run.context_tokens,
                folder=arm.folder / "text" / str(number + 1),
                ends=run.ends,
                console=run.console,
            )
            for number in range(len(arm.plan.stages))
        ]
    for stage, text in zip(arm.plan.stages, packed, strict=True):
        check_size(text, stage, run.settings_of(text))
    return packed


def run_arm(
    arm: Arm, run: ArmRun, packed: Sequence[PackedText], on_stage: Callable[[tuple[StageRecord, ...]], None]
) -> tuple[StageRecord, ...]:
    """Run the stages that are not finished yet, each scored at its end.

    Args:
        on_stage: called with the records so far after every stage; what it raises ends the run, the stage kept.

    Returns:
        A record of each stage, as adapt.json holds them.
    """
    tokenizer = load_tokenizer(str(arm.tokenizer))
    model: PreTrainedModel | None = None
    records: tuple[StageRecord, ...] = ()
    for number, (stage, text) in enumerate(zip(arm.plan.stages, packed, strict=True), start=1):
        folder = arm.stage_folder(number)
        if finished_run(folder) is None:
            before = arm.model_before(number)
            settings = run.settings_of(text)
            if model is None:
                # What is split goes to the devices block by block.
                model = load_model(before, dtype=run.dtype) if settings.shard else run.load(before)
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
        measures = run.eval_every == "stage" or number == len(arm.plan.stages)
        records += (_record(stage, folder, model, tokenizer, run, measures=measures),)
        on_stage(records)
        if run.keep_stages == "last":
            arm.drop_superseded(number)
    return records


def _record(
    stage: Stage,
    folder: Path,
    model: PreTrainedModel | None,
    tokenizer: PreTrainedTokenizerBase,
    run: ArmRun,
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
        scores = run.scores(f"after {stage.name}", model, tokenizer)
        main_only(
            lambda: write_json_atomic(path, {"format_version": FORMAT_VERSION, "bits_per_byte": bits_per_byte(scores)})
        )
    scored: dict[str, Any] = {"bits_per_byte": {}}
    if path.is_file():
        next_step = "Remove it: it is measured again."
        scored = read_json(path, next_step=next_step)
        check_fields(scored, {"bits_per_byte": {"*": NUMBER}}, path, next_step)
    finished = msgspec.structs.asdict(read_run(folder))
    del finished["format_version"]
    return StageRecord(
        **finished,
        learning_rate=stage.learning_rate,
        trains=trains_in_words(stage),
        bits_per_byte=scored["bits_per_byte"],
    )


def trains_in_words(stage: Stage) -> str:
    """ "embeddings (all rows), blocks odd" """
    parts = [f"{name} ({rows} rows)" for name, rows in (("embeddings", stage.embeddings), ("head", stage.head)) if rows]
    blocks = stage.blocks if isinstance(stage.blocks, str) else ", ".join(str(number) for number in stage.blocks)
    if blocks != "none":
        parts.append(f"rank {stage.lora.rank} adapters on blocks: {blocks}" if stage.lora else f"blocks: {blocks}")
    if stage.other:
        parts.append("norms and positions")
    return "; ".join(parts)

"""One model on its way through a plan: the adapted one, its control, or one of a probe; and what measures it.

Scores are kept by a hash of everything that moves them.
"""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from itertools import chain
from operator import add
from pathlib import Path
from typing import Any

import msgspec
import torch
import torch.distributed as dist
import xxhash
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from trainer.adaptation.inputs import EvalText, Inputs, settings_for
from trainer.adaptation.record import MeasuredRecord, ScoresRecord
from trainer.data import PackedText, pack_stages
from trainer.evaluate import TextScore, loss_note, score_text
from trainer.evaluate.run import load_tokenizer
from trainer.init import load_model, place_model
from trainer.init.models import CONFIG
from trainer.plan import Plan, Stage
from trainer.processes import from_main, main_first, main_only, n_processes
from trainer.stages import StageSettings, check_size, finished_run, read_run, run_stage
from vocabopt.console import Console
from vocabopt.errors import tell
from vocabopt.folder import digest
from vocabopt.records import read_record, write_record
from vocabopt.training_record import DocumentEnds, StageRecord


def bits_per_byte(scores: Mapping[str, TextScore]) -> dict[str, float]:
    """Name -> bits per byte, rounded to what its digits mean."""
    return {name: round(score.bits_per_byte, 6) for name, score in scores.items()}


@dataclass(frozen=True, kw_only=True)
class Measurements:
    """The texts of a run and how they are measured.

    folder: a file for each measurement, named by a hash of the model's weights and config, the tokenizer, the texts,
    the windows and the kind of device: a run that is resumed, its control and the cells of a probe find there what
    was measured before.
    """

    folder: Path
    texts: Sequence[EvalText]
    context_tokens: int
    batch_size: int
    ends: DocumentEnds
    console: Console

    def __call__(self, what: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> dict[str, TextScore]:
        """Score every text, or take the scores that are there.

        Args:
            what: is measured, for the console.
        """
        path, kept = from_main(lambda: self._kept(model, tokenizer))
        scores = self._measured(what, model, tokenizer) if kept is None else kept
        if kept is None:
            main_only(lambda: write_record(path, MeasuredRecord(texts=scores)))
        for name, score in scores.items():
            if (note := loss_note(name, score)) is not None:
                # Every model of a run loses about the same of it.
                tell(f"lost in {name}", note)
        return scores

    def _measured(self, what: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> dict[str, TextScore]:
        """With several processes each takes its part of the documents, and all get the sums."""
        rank, world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        rank_bytes = sum(text.n_bytes for text in self.texts) // n_processes()
        scores: dict[str, TextScore] = {}
        with self.console.step(f"measure {what}", rank_bytes, "bytes") as advance:
            n_before = 0

            def advance_from_before(n_bytes: int) -> None:
                advance(n_before + n_bytes)

            for text in self.texts:
                scores[text.name] = score_text(
                    model,
                    tokenizer,
                    text.documents[rank::world],
                    context_tokens=self.context_tokens,
                    batch_size=self.batch_size,
                    ends=self.ends,
                    advance=advance_from_before,
                )
                n_before += scores[text.name].n_bytes
        if world == 1:
            return scores
        gathered: list[Any] = [None] * world
        dist.all_gather_object(gathered, scores)
        return {text.name: reduce(add, (part[text.name] for part in gathered)) for text in self.texts}

    def _kept(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
    ) -> tuple[Path, dict[str, TextScore] | None]:
        """Where the scores are kept, and those that are there."""
        # Files with other fields are of another version, and have another name.
        fields = [*TextScore.__struct_fields__]
        opened, device = self.ends.as_record(), model.device.type
        settings = [self.context_tokens, self.batch_size, opened, device, n_processes(), torch.__version__, fields]
        texts = [[text.name, *text.documents] for text in self.texts]
        key = digest([_identity_of(model), _identity_of_tokenizer(tokenizer), digest(texts), settings])[:32]
        path = self.folder / f"{key}.json"
        kept = read_record(path, MeasuredRecord).texts if path.is_file() else {}
        return path, kept if kept.keys() == {text.name for text in self.texts} else None


def _identity_of(model: PreTrainedModel) -> list[object]:
    """A hash of every weight. It takes a second for a few gigabytes, where measuring takes minutes."""
    hashed = xxhash.xxh3_128()
    for name, tensor in chain(model.named_parameters(), model.named_buffers()):
        hashed.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        data: Any = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        hashed.update(data)
    config = model.config.to_dict()
    for name in ("_name_or_path", "transformers_version"):  # where a model lies, and not what it computes
        config.pop(name, None)
    return [type(model).__name__, hashed.hexdigest(), json.dumps(config, sort_keys=True, default=str)]


def _identity_of_tokenizer(tokenizer: PreTrainedTokenizerBase) -> list[object]:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    ids = json.dumps(tokenizer.get_vocab(), sort_keys=True) if backend is None else backend.to_str()
    return [type(tokenizer).__name__, digest([ids]), sorted(map(str, tokenizer.special_tokens_map.items()))]


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
    """The token ids of every stage of the arm, before its first stage trains: a fault of the text is told at once."""
    tokenizer = load_tokenizer(str(arm.tokenizer))
    with main_first():
        packed = pack_stages(
            run.inputs.text,
            tokenizer,
            {number: arm.folder / "text" / str(number + 1) for number in range(len(arm.plan.stages))},
            context_tokens=run.inputs.options.context,
            ends=run.inputs.ends,
            engine_options=run.inputs.options,
            console=run.console,
        )
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
                held_ids=run.inputs.held_ids,
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
    # A resumed run may ask for the scores of a model that it did not keep.
    if from_main(
        lambda: measures and not path.is_file() and (model is not None or (folder / "model" / CONFIG).is_file())
    ):
        model = run.load(folder / "model") if model is None else model
        scores = ScoresRecord(bits_per_byte=bits_per_byte(run.scores(f"after {stage.name}", model, tokenizer)))
        main_only(lambda: write_record(path, scores))
    return StageRecord(
        **msgspec.structs.asdict(read_run(folder)),
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

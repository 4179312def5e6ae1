"""What would make a stage fit into a GPU that it does not fit into, computed, the least harmful first.

On one GPU, each beside those before it: smaller micro-batch, recomputed blocks, a fused loss (the same result); AdamW
in 8 bits, weights in 16 bits (nearly the same); adapters instead of whole blocks (another training). What turns out
not to be needed is left out again, the most harmful first. And more GPUs, over which weights, gradients and optimizer
state are sharded.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from trainer.memory.fleet import Fleet
from trainer.memory.predict import StageCost, StepSettings
from trainer.plan import Lora, Stage
from trainer.stages.settings import Optimizer
from vocabopt.amounts import shown_bytes

#: The cost of a stage under settings.
Predict: TypeAlias = Callable[[Stage, StepSettings], StageCost]

_MAX_GPUS = 1_024


@dataclass(frozen=True, kw_only=True)
class Case:
    """A way to run a stage, and on what."""

    stage: Stage
    settings: StepSettings
    optimizer: Optimizer
    fleet: Fleet = field(default_factory=Fleet)

    def peak_bytes(self, predict: Predict) -> int:
        """On one device."""
        settings = self.settings
        if self.fleet.is_sharded:
            # Gradients that wait for the next pass are split: what a pass makes comes on top of them.
            settings = replace(settings, shard=True, accumulates=True)
        return self.fleet.peak_bytes(predict(self.stage, settings), self.optimizer)


@dataclass(frozen=True, kw_only=True)
class Remedy:
    """What to change, in words and as it is written for a command or a plan, and the highest bytes on a device then."""

    changes: tuple[str, ...]
    peak_bytes: int
    options: tuple[str, ...] = ()
    n_gpus: int = 1

    @property
    def in_words(self) -> str:
        return f"{_listed(self.changes)}: {shown_bytes(self.peak_bytes)}"


def _listed(parts: tuple[str, ...]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def _smaller_batch(case: Case) -> Case:
    if case.settings.micro_batch == 1:
        return case
    return replace(case, settings=replace(case.settings, micro_batch=1, accumulates=True))


def _recomputed(case: Case) -> Case:
    return replace(case, settings=replace(case.settings, gradient_checkpointing=True))


def _fused(case: Case) -> Case:
    return replace(case, settings=replace(case.settings, fused_loss=True))


def _in_8_bits(case: Case) -> Case:
    return replace(case, optimizer="adamw-8bit")


def _in_16_bits(case: Case) -> Case:
    return replace(case, settings=replace(case.settings, precision="bf16"))


def _with_adapters(case: Case, lora: Lora) -> Case:
    stage = case.stage
    return case if stage.lora or stage.blocks == "none" else replace(case, stage=replace(stage, lora=lora))


#: Options that may change when a run goes on: how it is computed.
_SAME_RESULT = ("--micro-batch 1", "--gradient-checkpointing")


def same_result(options: tuple[str, ...]) -> bool:
    """Whether a run can go on with these options."""
    return all(option in _SAME_RESULT for option in options)


def _ladder(case: Case, lora: Lora) -> list[tuple[str, str, Callable[[Case], Case]]]:
    """In words, as it is written, and the change. On a CPU there is neither a fused loss nor 8-bit AdamW."""
    of_gpus: list[tuple[str, str, Callable[[Case], Case]]] = [
        ("a fused loss", "--fused-loss", _fused),
        ("8-bit AdamW", "--optimizer adamw-8bit", _in_8_bits),
    ]
    return [
        ("micro-batch 1", "--micro-batch 1", _smaller_batch),
        ("gradient checkpointing", "--gradient-checkpointing", _recomputed),
        *(of_gpus if case.settings.device == "cuda" else ()),
        ("bf16 weights", "--precision bf16", _in_16_bits),
        (
            f"LoRA of rank {lora.rank} instead of whole blocks",
            f"lora of rank {lora.rank} in this stage (a plan file's [stage.lora])",
            lambda case: _with_adapters(case, lora),
        ),
    ]


def first_that_fits(case: Case, predict: Predict, limit_bytes: int, lora: Lora) -> Remedy | None:
    """The first set of changes with which the stage fits one device; None where none does."""
    ladder = _ladder(case, lora)

    def peak(chosen: list[int]) -> int:
        changed = case
        for index in chosen:
            changed = ladder[index][2](changed)
        return changed.peak_bytes(predict)

    chosen: list[int] = []
    for index, (_, _, change) in enumerate(ladder):
        if change(case) == case:
            continue
        chosen.append(index)
        if peak(chosen) > limit_bytes:
            continue
        for unneeded in reversed(chosen[:-1]):
            without = [kept for kept in chosen if kept != unneeded]
            if peak(without) <= limit_bytes:
                chosen = without
        return Remedy(
            changes=tuple(ladder[kept][0] for kept in chosen),
            options=tuple(ladder[kept][1] for kept in chosen),
            peak_bytes=peak(chosen),
        )
    return None


def sharded(case: Case, predict: Predict, limit_bytes: int) -> Remedy | None:
    """The fewest GPUs, by doubling, that hold the stage sharded; with gradient checkpointing where that takes fewer.

    Returns:
        None where what each holds whole does not fit: its activations, or the weights while they are measured.
    """
    found = [_on_gpus(case, predict, limit_bytes, ())]
    if not case.settings.gradient_checkpointing:
        found.append(_on_gpus(_recomputed(case), predict, limit_bytes, ("gradient checkpointing",)))
    return min((remedy for remedy in found if remedy), key=lambda remedy: remedy.n_gpus, default=None)


def _on_gpus(case: Case, predict: Predict, limit_bytes: int, changes: tuple[str, ...]) -> Remedy | None:
    n_gpus = max(2, case.fleet.n_gpus * (2 if case.fleet.shard else 1))
    while n_gpus <= _MAX_GPUS:
        fleet = replace(case.fleet, n_gpus=n_gpus, shard=True)
        peak_bytes = replace(case, fleet=fleet).peak_bytes(predict)
        if peak_bytes <= limit_bytes:
            return Remedy(changes=(*changes, f"{n_gpus} GPUs, sharded"), peak_bytes=peak_bytes, n_gpus=n_gpus)
        n_gpus *= 2
    return None

"""Training FLOPs of an arm, and the text that gives another arm as many."""

import json
from collections.abc import Mapping
from pathlib import Path
from statistics import mean
from typing import Any

from transformers import AutoConfig

from trainer.memory.predict import StepSettings, predict_plan
from trainer.plan import Lora, named_plan
from vocabopt.errors import RunDirectoryError

#: The arm that all others get as many FLOPs as.
REFERENCE = "full"


def arm_flops(
    model: Path, plan: str, stages: list[Mapping[str, Any]], *, n_rows: int, n_new: int, lora_rank: int, context: int
) -> int:
    """Training FLOPs of the stages of an arm, by the tokens they read (`vocabopt plan`'s count).

    Args:
        stages: as adapt.json holds them. n_rows, n_new: of the arm's tables; n_new is 0 for the original tokenizer.
    """
    told = named_plan(plan, Lora(rank=lora_rank, alpha=2 * lora_rank))
    told = told if n_new else told.with_own_tokenizer()
    settings = StepSettings(context_tokens=context, micro_batch=1, accumulates=False, precision="fp32", device="cpu")
    costs = predict_plan(AutoConfig.from_pretrained(model), told, settings, n_rows=n_rows, n_new=n_new)
    return sum(cost.training_flops(int(stage["tokens"])) for cost, stage in zip(costs, stages, strict=True))


def factors(folder: Path) -> dict[tuple[str, str], float]:
    """(plan, arm) -> how much more text than in `folder`'s cells of equal text gives it the reference's FLOPs.

    Raises:
        RunDirectoryError: the folder holds no cell of the reference plan.
    """
    counted: dict[tuple[str, str], list[int]] = {}
    for cell in read_cells(folder):
        for kind, arm in cell["arms"].items():
            counted.setdefault((cell["cell"]["plan"], kind), []).append(int(arm["flops"]))
    if (REFERENCE, "adapted") not in counted:
        raise RunDirectoryError(
            f"{folder}: holds no cells of plan {REFERENCE}. Run the comparison at equal text first."
        )
    flops = {arm: mean(counts) for arm, counts in counted.items()}
    return {arm: flops[REFERENCE, "adapted"] / count for arm, count in flops.items()}


def read_cells(folder: Path) -> list[dict[str, Any]]:
    """The cells of a folder, in order of their names."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]
    return [cell for cell in found if "arms" in cell]

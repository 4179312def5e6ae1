"""One cell of a comparison: an adaptation, its control beside it, boiled down to one JSON file."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from trainer.adapt import AdaptOptions, adapt
from vocabopt.artifacts import FORMAT_VERSION, write_json_atomic
from vocabopt.console import Console


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What all cells of a comparison share."""

    model: Path
    run: Path
    texts: Mapping[str, str]
    evals: Mapping[str, str]
    budget: str
    batch: str
    context_tokens: int
    micro_batch: int
    lora_rank: int
    learning_rate_factor: float
    eval_bytes: str
    equal: str


@dataclass(frozen=True, kw_only=True)
class Cell:
    """scratch: random weights instead of the base's."""

    plan: str
    init: str
    seed: int
    control: bool
    scratch: bool

    @property
    def name(self) -> str:
        return f"{'scratch' if self.scratch else self.plan}-{self.init}-{self.seed}"


def run_cell(cell: Cell, setting: Setting, out: Path, console: Console) -> dict[str, Any]:
    """Run it, and keep what the tables need."""
    work = out / f".{cell.name}.work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    model = _random_model(setting.model, work / "random", cell.seed) if cell.scratch else setting.model
    record = adapt(
        AdaptOptions(
            model=str(model),
            run=setting.run,
            out=work / "run",
            texts=setting.texts,
            evals=setting.evals,
            plan=cell.plan,
            init=cell.init,
            seed=cell.seed,
            control=cell.control,
            budget=setting.budget,
            batch=setting.batch,
            context_tokens=setting.context_tokens,
            micro_batch=setting.micro_batch,
            lora_rank=setting.lora_rank,
            learning_rate_factor=setting.learning_rate_factor,
            eval_bytes=setting.eval_bytes,
            n_samples=0,
            report_to=(),
        ),
        console,
    )
    kept = {
        "format_version": FORMAT_VERSION,
        "cell": vars(cell),
        **{name: record[name] for name in ("n_added", "texts", "training_text", "exposure", "before", "initialised")},
        "arms": {"scratch" if cell.scratch else "adapted": _arm(record)}
        | ({"control": _arm(record["control"])} if record["control"] else {}),
    }
    write_json_atomic(out / f"{cell.name}.json", kept)
    shutil.rmtree(work)
    return kept


def _arm(record: Mapping[str, Any]) -> dict[str, Any]:
    drop = ("curve",)
    return {
        "after": record["after"],
        "stages": [{name: value for name, value in stage.items() if name not in drop} for stage in record["stages"]],
    }


def _random_model(base: Path, folder: Path, seed: int) -> Path:
    """The base's architecture with weights never trained."""
    torch.manual_seed(seed)
    AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(base)).save_pretrained(folder)
    AutoTokenizer.from_pretrained(base).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer.model"):
        if (base / name).is_file():
            shutil.copyfile(base / name, folder / name)
    return folder

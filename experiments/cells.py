"""One cell of a comparison: an adaptation, its control beside it, boiled down to one JSON file."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from experiments.flops import arm_flops
from trainer.adaptation import AdaptOptions, adapt
from trainer.data import parse_budget
from trainer.init import InitMethod
from trainer.init.models import tokenizer_files
from trainer.replay_options import parse_replays
from vocabopt.console import Console
from vocabopt.errors import RunDirectoryError
from vocabopt.folder import FORMAT_VERSION, read_json, write_json_atomic
from vocabopt.records import json_of

#: What all cells of a folder were made with.
SETTING_JSON = "setting.json"
KEPT = ("n_added", "texts", "training_text", "exposure", "before", "initialised", "options", "versions", "device")
Kind = Literal["adapted", "control", "both", "scratch"]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What all cells of a comparison share."""

    model: Path
    run: Path
    texts: Mapping[str, str]
    evals: Mapping[str, str]
    #: As `adapt --replay` takes them.
    replays: tuple[str, ...] = ()
    budget: str
    batch: str
    context_tokens: int
    micro_batch: int
    lora_rank: int
    learning_rate_factor: float
    eval_bytes: str
    precision: Literal["auto", "fp32", "bf16-mixed", "bf16"]
    threads: int | None

    def as_record(self) -> dict[str, Any]:
        return {**asdict(self), "model": str(self.model), "run": str(self.run)}

    def take(self, out: Path) -> None:
        """Claim a folder of cells, or go on with one of the same setting.

        Raises:
            RunDirectoryError: its cells were made with another setting.
        """
        path = out / SETTING_JSON
        now = json.loads(json.dumps(self.as_record()))
        if path.is_file():
            earlier = read_json(path, next_step="Choose another folder with --out.")
            for name, value in now.items():
                if earlier.get(name) != value:
                    raise RunDirectoryError(
                        f"{out}: holds cells with another {name}: {earlier.get(name)!r} then, {value!r} now. Choose "
                        "another folder with --out."
                    )
        write_json_atomic(path, {"format_version": FORMAT_VERSION, **now})


@dataclass(frozen=True, kw_only=True)
class Cell:
    """kind: which arms are kept; "scratch" is random weights instead of the base's. factor: of the text's budget."""

    plan: str
    init: InitMethod
    seed: int
    kind: Kind = "both"
    factor: float = 1.0

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.plan}-{self.init}-{self.seed}" + ("" if self.factor == 1 else f"-x{self.factor:.3f}")


def run_cell(cell: Cell, setting: Setting, out: Path, console: Console) -> None:
    """Run it, and keep what the tables need."""
    work = out / f".{cell.name}.work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    model = _random_model(setting.model, work / "random", cell.seed) if cell.kind == "scratch" else setting.model
    budget = parse_budget(setting.budget)
    done = adapt(
        AdaptOptions(
            model=str(model),
            run=setting.run,
            out=work / "run",
            texts=setting.texts,
            evals=setting.evals,
            replays=parse_replays(setting.replays, "--replay"),
            plan=cell.plan,
            init=cell.init,
            seed=cell.seed,
            control=cell.kind in ("both", "control"),
            budget=f"{budget.amount * cell.factor / 1000:.3f}kB",
            batch=setting.batch,
            context_tokens=setting.context_tokens,
            micro_batch=setting.micro_batch,
            lora_rank=setting.lora_rank,
            learning_rate_factor=setting.learning_rate_factor,
            eval_bytes=setting.eval_bytes,
            precision=setting.precision,
            threads=setting.threads,
            n_samples=0,
            report_to=(),
        ),
        console,
    )
    record = json_of(done)
    arms = {"scratch" if cell.kind == "scratch" else "adapted": record} if cell.kind != "control" else {}
    if record["control"] is not None:
        arms["control"] = record["control"]
    kept = {
        "format_version": FORMAT_VERSION,
        "cell": vars(cell),
        **{name: record[name] for name in KEPT},
        "arms": {kind: _arm(arm, kind, cell, setting, record) for kind, arm in arms.items()},
    }
    write_json_atomic(out / f"{cell.name}.json", kept)
    shutil.rmtree(work)


def _arm(arm: Mapping[str, Any], kind: str, cell: Cell, setting: Setting, record: Mapping[str, Any]) -> dict[str, Any]:
    n_new = 0 if kind == "control" else int(record["n_added"])
    config = AutoConfig.from_pretrained(setting.model)
    flops = arm_flops(
        setting.model,
        cell.plan,
        arm["stages"],
        n_rows=config.vocab_size + n_new,
        n_new=n_new,
        lora_rank=setting.lora_rank,
        context=setting.context_tokens,
    )
    kept = [{name: value for name, value in stage.items() if name != "curve"} for stage in arm["stages"]]
    return {"after": arm["after"], "flops": flops, "stages": kept}


def _random_model(base: Path, folder: Path, seed: int) -> Path:
    """The base's architecture with weights never trained, and its tokenizer."""
    torch.manual_seed(seed)
    AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(base)).save_pretrained(folder)
    for name, data in tokenizer_files(base).items():
        (folder / name).write_bytes(data)
    return folder

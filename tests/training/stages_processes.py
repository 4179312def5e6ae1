"""Stages on one process or on several (torchrun): OUT. Prints {case: {stage: [[loss, norm], ...]}}."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file
from stages import CONTEXT, NEW_IDS, TinyText, tiny_llama, tiny_qwen2
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel

from trainer.plan import Lora, Stage
from trainer.stages.run import run_stage
from trainer.stages.settings import StageSettings
from vocabopt.console import Console
from vocabopt.training_record import CurvePoint

TABLES = Stage(name="tables", embeddings="new", head="all", other=True, learning_rate=1e-2, new_rows_factor=3.0)
LORA = Stage(name="lora", blocks="all", lora=Lora(rank=4, alpha=8), learning_rate=1e-2)
ODD = Stage(name="odd", blocks="odd", learning_rate=1e-2)
#: Name -> model, its stages, and whether it is split over the processes where there are several.
CASES: dict[str, tuple[Callable[[], PreTrainedModel], tuple[Stage, ...], bool]] = {
    "copies": (tiny_llama, (TABLES, ODD), False),
    "shards": (tiny_llama, (TABLES,), True),
    "tied shards": (tiny_qwen2, (TABLES, LORA), True),
}
# In steps of 8; the last one has 5, which are no whole number of micro-batches.
TEXT = TinyText(n_blocks=21)
N_PROCESSES = int(os.environ.get("WORLD_SIZE", "1"))


class StoppedError(Exception):
    """In the middle of a stage, from outside of it."""


def stop_in_second_step(model: PreTrainedModel, is_split: bool) -> Callable[[CurvePoint], None]:
    def on_log(point: CurvePoint) -> None:
        for name, parameter in model.named_parameters():
            assert isinstance(parameter, DTensor) is is_split, name
            if isinstance(parameter, DTensor) and parameter.shape[0] % N_PROCESSES == 0:
                assert parameter.to_local().numel() * N_PROCESSES == parameter.numel(), name
        if point.step == 2:
            raise StoppedError

    return on_log


def run_case(out: Path, case: str) -> dict[str, list[list[float]]]:
    """Every stage is stopped in its second step, and goes on from the checkpoint of its first."""
    make, stages, is_split = CASES[case]
    is_split = is_split and N_PROCESSES > 1
    settings = StageSettings(
        context_tokens=CONTEXT,
        batch_tokens=8 * CONTEXT,
        micro_batch=2,
        log_every_steps=1,
        save_every_steps=1,
        gradient_checkpointing=is_split,
        cpu=True,
        shard=is_split,
        threads=1,
    )
    model, curves = make(), {}
    for stage in stages:
        start = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        folder, console = out / case / stage.name, Console(quiet=True)
        stop = stop_in_second_step(model, is_split)
        try:
            run_stage(model, stage, TEXT, settings, folder, new_ids=NEW_IDS, console=console, on_log=stop)
        except StoppedError:
            model = make()
            model.load_state_dict(start)
        run = run_stage(model, stage, TEXT, settings, folder, new_ids=NEW_IDS, console=console, resume=True)
        if is_split:  # used up
            model = make()
            model.load_state_dict({**model.state_dict(), **load_file(folder / "model" / "model.safetensors")})
        assert type(model) is type(make())
        assert not any(isinstance(parameter, DTensor) for parameter in model.parameters())
        curves[stage.name] = [[point.loss, point.grad_norm] for point in run.curve]
    return curves


if __name__ == "__main__":
    found = {case: run_case(Path(sys.argv[1]), case) for case in CASES}
    if os.environ.get("RANK", "0") == "0":
        print(json.dumps(found))
    torch.distributed.destroy_process_group()

"""RedWhale's stages on a tiny model, in processes that are killed: OUT SEED.

Writes OUT/unbroken and OUT/broken, each with the stages' folders, and prints the kills as JSON: [[stage, step], ...].
Processes are forked from one that has imported torch, which takes longer than all they do.
"""

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from stages import CONTEXT, NEW_IDS, TinyText, tiny_gpt2
from transformers import AutoModelForCausalLM

from trainer.plan import Lora, named_plan
from trainer.stages.run import finished_run, run_stage
from trainer.stages.settings import StageSettings
from vocabopt.console import Console

N_STEPS = 10
STAGES = named_plan("redwhale", Lora(rank=4, alpha=8, dropout=0.1)).stages
SETTINGS = StageSettings(
    context_tokens=CONTEXT,
    batch_tokens=4 * CONTEXT,
    micro_batch=2,
    save_every_steps=3,
    log_every_steps=1,
    threads=1,
    cpu=True,
)


def run_stages(out: Path, tell: Callable[[str, int], None]) -> None:
    """What `vocabopt adapt --resume` does: finished stages are left, the next one begins with the last one's model."""
    model = tiny_gpt2(3)
    for stage in STAGES:
        folder = out / stage.name
        if finished_run(folder):
            model = AutoModelForCausalLM.from_pretrained(folder / "model")
            continue
        run_stage(
            model,
            stage,
            TinyText(n_blocks=4 * N_STEPS - 2),
            SETTINGS,
            folder,
            new_ids=NEW_IDS,
            resume=True,
            console=Console(quiet=True),
            on_log=lambda point, name=stage.name: tell(name, point.step),  # type: ignore[misc]
        )


def moment(name: str, step: int) -> tuple[int, int]:
    return [stage.name for stage in STAGES].index(name), step


def start(out: Path, *, is_killed: bool) -> tuple[int, int]:
    """A process that runs the stages and writes "STAGE STEP" lines to a pipe. Its id, and the pipe's end to read.

    One that is to be killed waits for it where it is faster than that.
    """
    reads, writes = os.pipe()
    if pid := os.fork():
        os.close(writes)
        return pid, reads
    os.close(reads)
    try:
        run_stages(out, lambda name, step: os.write(writes, f"{name} {step}\n".encode()) and None)
    except BaseException:
        import traceback

        traceback.print_exc()
        os._exit(1)
    if is_killed:
        time.sleep(60)
    os._exit(0)


def run_until(out: Path, last: tuple[str, int] | None, delay_seconds: float) -> bool:
    """Run until a step of a stage, or one after it, is told, and kill it some time later. Whether it was killed."""
    pid, reads = start(out, is_killed=last is not None)
    with os.fdopen(reads) as lines:
        for line in lines:
            name, step = line.split()
            if last is not None and moment(name, int(step)) >= moment(*last):
                time.sleep(delay_seconds)
                os.kill(pid, signal.SIGKILL)
                break
        _, status = os.waitpid(pid, 0)
    if not os.WIFSIGNALED(status) and os.WEXITSTATUS(status):
        sys.exit("the stages failed")
    return os.WIFSIGNALED(status)


def main(out: Path, seed: int) -> None:
    torch.set_num_threads(1)
    began = time.perf_counter()
    run_until(out / "unbroken", None, 0)
    of_step = (time.perf_counter() - began) / (N_STEPS * len(STAGES))
    draw = random.Random(seed)
    # One in each stage and one more in any, in order, so that each is met on the way; not so late that all has ended.
    names = [stage.name for stage in STAGES]
    drawn = {(name, draw.randint(1, N_STEPS - 3)) for name in names}
    while len(drawn) < 5:
        drawn.add((draw.choice(names), draw.randint(1, N_STEPS - 3)))
    kills = sorted(drawn, key=lambda kill: moment(*kill))
    for kill in kills:
        # Up to two steps later: while it computes, writes a checkpoint, or writes the stage's end.
        if not run_until(out / "broken", kill, draw.uniform(0, 2) * of_step):
            sys.exit(f"ended before it was killed at {kill}")
    run_until(out / "broken", None, 0)
    print(json.dumps(kills))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))

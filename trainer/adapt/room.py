"""Whether the disk has room for a whole run, before its first stage."""

from collections.abc import Sequence

import torch

from trainer.adapt.arm import Arm
from trainer.adapt.finish import is_rounded
from trainer.adapt.inputs import Inputs
from trainer.memory.build import outline_of
from trainer.memory.disk import Written, highest_bytes, of_arm
from trainer.memory.target import with_rows
from trainer.stages import is_finished
from trainer.stages.room import check_room


def check_room_of_run(inputs: Inputs, arms: Sequence[Arm]) -> None:
    """Room for the models that are not written yet: at the start of the first arm, after every stage, at the end.

    Checkpoints are left out: a stage looks for their room before it starts.

    Args:
        arms: the adapted one, and its control where there is one.

    Raises:
        RunDirectoryError: the disk has less.
    """
    config = inputs.config
    n_rows = inputs.extension.n_rows_of_table(int(config.get_text_config().vocab_size))
    sizes = [outline_of(with_rows(config, n_rows)).n_params, outline_of(config).n_params]
    of_each = 2 if inputs.dtype == "bfloat16" else 4
    written: list[Written] = []
    for arm, n_params in zip(arms, sizes, strict=False):
        stages = range(1, len(arm.plan.stages) + 1)
        n_left = sum(not is_finished(arm.stage_folder(number)) for number in stages)
        is_first = arm is arms[0]
        written += of_arm(
            n_params * of_each,
            [0] * n_left,
            starts=is_first and n_left > 0 and not (arm.start / "config.json").is_file(),
            keeps_all=inputs.options.keep_stages == "all",
            frees_start=inputs.device.type != "cpu" and (is_first or n_left < len(arm.plan.stages)),
        )
    # What is not rounded is a link.
    if is_rounded(getattr(torch, inputs.dtype), inputs.model):
        written.append(Written(n_bytes=2 * sizes[0]))
    what = f"the {len(written)} whole models that are to be written (--keep-stages {inputs.options.keep_stages}) take"
    check_room(arms[0].folder, highest_bytes(written), what)

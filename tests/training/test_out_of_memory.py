"""Out of memory at every part of the work: what was being done, and which option would fit."""

import json
import re
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from limits import address_space
from safetensors.torch import load_file
from stages import NEW_IDS, TinyText, tiny_llama

from trainer.init import load_model
from trainer.memory.build import outline_of
from trainer.memory.machine import DEFAULT_PROCESS_BYTES
from trainer.memory.predict import predict_stage
from trainer.memory.remedies import memory_bytes, step_settings, what_fits
from trainer.out_of_memory import memory_guard
from trainer.plan import Stage
from trainer.stages import StageSettings, run_stage
from vocabopt.console import Console
from vocabopt.errors import TrainingError

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
LIMIT_BYTES = 64 << 30


class LongText(TinyText):
    """One block whose attention scores take 640 GB."""

    n_context = 400_000

    def dataset(self, seed: int) -> Any:
        n = self.n_context
        block = {"input_ids": torch.zeros(n, dtype=torch.int64), "position_ids": torch.arange(n) % 8}
        blocks: Any = [block | {"labels": torch.zeros(n, dtype=torch.int64)}]
        return blocks


def test_a_stage_names_the_step_and_an_option_that_fits(tmp_path: Path) -> None:
    n, stage = LongText.n_context, Stage(name="s", blocks="odd")
    settings = StageSettings(context_tokens=n, batch_tokens=n, micro_batch=1, cpu=True)
    with address_space(LIMIT_BYTES):
        limit_bytes = memory_bytes(CPU)
        with pytest.raises(
            TrainingError,
            match=r"stage 's': out of memory while step 1 trains on 1 block of 400000 tokens at once\. By prediction "
            r"the stage takes [\d,.]+ TB, the process's own 1\.0 GB included, and cpu has [\d.]+ GB, of which 5% stay "
            r"free\. It would fit with --context \d+ --gradient-checkpointing \([\d.]+ GB\); that needs a run from "
            r"the start\.",
        ) as caught:
            run_stage(
                tiny_llama(), stage, LongText(n_blocks=1), settings, tmp_path, new_ids=NEW_IDS,
                console=Console(quiet=True),
            )  # fmt: skip
    found = re.search(r"--context (\d+)", str(caught.value))
    assert found is not None
    # The context it names fits, and twice as much does not.
    outline = outline_of(tiny_llama().config)
    for n_tokens, fits in ((int(found[1]), True), (2 * int(found[1]), False)):
        of_step = replace(step_settings(settings, 1, CPU), context_tokens=n_tokens, gradient_checkpointing=True)
        peak_bytes = predict_stage(outline, stage, of_step, n_new=10).peak_bytes("adamw") + DEFAULT_PROCESS_BYTES
        assert (peak_bytes <= limit_bytes * 0.95) is fits


def test_the_first_option_that_fits_leaves_the_result_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A micro-batch of 1 where that is enough: a run can go on with it, and on a CPU no option of GPUs is named."""
    settings = StageSettings(context_tokens=64, batch_tokens=8 * 64, micro_batch=8, cpu=True)
    outline, stage = outline_of(tiny_llama().config), Stage(name="s", blocks="odd")
    smaller = replace(step_settings(settings, 1, CPU), micro_batch=1, accumulates=True)
    needed = predict_stage(outline, stage, smaller, n_new=10).peak_bytes("adamw")

    def told(n_bytes: int) -> str:
        """On a device with room for so many bytes beside the process's own and the margin."""
        limit_bytes = (n_bytes + DEFAULT_PROCESS_BYTES) * 100 // 95 + 100
        monkeypatch.setattr("trainer.memory.remedies.memory_bytes", lambda device: limit_bytes)
        return what_fits(tiny_llama().config, stage, settings, n_new=10, n_processes=1, device=CPU)

    assert told(needed).endswith("It would fit with --micro-batch 1 (1.0 GB).")
    assert "8bit" not in told(needed * 3 // 4)
    assert "fused" not in told(needed * 3 // 4)
    assert told(1).endswith(
        "No option tried here makes it fit: it takes a device with more memory, or several (--shard)."
    )


def test_a_model_that_does_not_fit_says_what_its_weights_take(tmp_path: Path) -> None:
    """Its table has 2**30 rows, which take no room on the disk."""
    tiny_llama().save_pretrained(tmp_path)
    _widen(tmp_path, n_rows=1 << 30)
    with (
        address_space(LIMIT_BYTES),
        pytest.raises(
            TrainingError,
            match=r"out of memory while the model is loaded\. 68,719,\d+,\d+ parameters take 274\.9 GB in 32 bits and "
            r"137\.4 GB in 16 \(--precision bf16; for init: --dtype bfloat16\)",
        ),
    ):
        load_model(tmp_path, dtype="float32")


def _widen(folder: Path, n_rows: int) -> None:
    weights, header, end = load_file(folder / "model.safetensors"), {}, 0
    for name, tensor in weights.items():
        shape = [n_rows if n == 96 else n for n in tensor.shape]
        start, end = end, end + 2 * torch.Size(shape).numel()
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [start, end]}
    written = json.dumps(header).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(written)) + written)
        file.truncate(8 + len(written) + end)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"vocab_size": n_rows}))


def test_the_guard_tells_what_was_done_and_lets_other_errors_through() -> None:
    with (
        pytest.raises(TrainingError, match=r"^stage 's': out of memory while rows are made\. Buy some\.$"),
        memory_guard("rows are made", lambda: "Buy some.", place="stage 's'"),
    ):
        torch.empty(1 << 60)
    with pytest.raises(RuntimeError, match="size"), memory_guard("rows are made", lambda: "Buy some."):
        torch.zeros(2) @ torch.zeros(3)

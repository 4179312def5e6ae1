"""OUT/model: the last stage's weights, in the base's type, with the merged tokenizer and the card."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from trainer.adapt.arm import Arm, ArmRun
from trainer.adapt.card import model_card
from trainer.adapt.evals import bits_per_byte
from trainer.evaluate.subject import load_tokenizer
from trainer.init import dtype_of, link_model, load_model, save_model
from trainer.processes import main_only
from vocabopt.artifacts import write_bytes_atomic
from vocabopt.locks import is_own

_CARD = "README.md"
_IN_16_BITS = (torch.bfloat16, torch.float16)


def is_rounded(trained: torch.dtype, base: Path) -> bool:
    """Whether weights that trained in 32 bits are finished in the 16 of their base."""
    return trained == torch.float32 and dtype_of(base) in _IN_16_BITS


def finish_weights(folder: Path, base: Path, arm: Arm, run: ArmRun) -> dict[str, Any]:
    """Write the finished model, without its card.

    Weights that trained in 32 bits are rounded to the base's type where that has 16, as a base in bf16 is published and
    served; the last stage's folder keeps all bits. Files are those of the tokenizer's folder, byte for byte.

    Returns:
        For adapt.json: the types of the base, of training and of the folder; and, where weights were rounded, the bits
        per byte of what was written.
    """
    trained, of_base = getattr(torch, run.dtype), dtype_of(base)
    rounds = is_rounded(trained, base)
    files = {
        str(path.relative_to(arm.tokenizer)): path.read_bytes()
        for path in sorted(arm.tokenizer.rglob("*"))
        if path.is_file() and path.name != _CARD and not is_own(path.name)
    }

    def write() -> None:
        if rounds:
            save_model(load_model(arm.last_model, dtype=of_base), folder, files=files)
        else:
            link_model(arm.last_model, folder, files=files)

    main_only(write)
    scores = None
    if rounds:
        scores = bits_per_byte(run.scores("the rounded weights", run.load(folder), load_tokenizer(str(folder))))
    saved = of_base if rounds else trained
    return {"base": _name(of_base), "trained": _name(trained), "saved": _name(saved), "bits_per_byte": scores}


def write_card(folder: Path, record: Mapping[str, Any]) -> None:
    """The card, with the numbers of adapt.json."""
    write_bytes_atomic(folder / _CARD, model_card(record).encode())


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")

"""Training a small model from random weights: one plain loop.

Not transformers' Trainer: a base has one stage, no checkpoints (it is made in minutes, or on a GPU within one command)
and the same steps on every machine; what is left of a loop is thirty lines. What adapts it is another matter, and runs
on the Trainer (trainer/stages).
"""

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch

from demo.model import drop_in_training
from demo.options import DemoOptions
from demo.text import Batch
from trainer.evaluate import score_text
from trainer.processes import pick_device
from vocabopt.console import Console
from vocabopt.errors import TrainingError
from vocabopt.records import Record

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_WARMUP_SHARE = 0.05
_FINAL_FACTOR = 0.1
_BETAS = (0.9, 0.95)
_MAX_GRAD_NORM = 1.0
#: Windows of held-out text computed at once.
EVAL_BATCH = 16


class DemoPoint(Record, frozen=True, kw_only=True):
    """A measurement. loss: nats per predicted token, the mean since the last one; bits_per_byte: of held-out text."""

    step: int
    tokens: int
    loss: float
    bits_per_byte: float


def train_base(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    batches: Iterator[Batch],
    held_out: Sequence[str],
    options: DemoOptions,
    console: Console,
) -> tuple[DemoPoint, ...]:
    """Train `model` in place for `options.steps` steps and measure it on the way and at the end.

    Raises:
        OptionError: there is no such device. TrainingError: a loss is not a number, or no memory.
    """
    device = pick_device(options.device)
    torch.nn.Module.to(model, device)
    drops = drop_in_training(model, options.dropout)
    # Norms and biases are not pulled towards 0.
    matrices = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    vectors = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": options.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=options.learning_rate, betas=_BETAS)
    points: list[DemoPoint] = []
    step_tokens = options.batch * options.context_tokens
    # Dropout's own numbers, whatever drew before.
    torch.manual_seed(options.seed)
    model.train()
    with console.step("train base", options.steps * step_tokens, "tokens") as advance:
        losses: list[torch.Tensor] = []
        for step in range(1, options.steps + 1):
            for group in optimizer.param_groups:
                group["lr"] = options.learning_rate * rate_factor(step, options.steps)
            losses.append(_step(model, next(batches), optimizer, in_16_bits=options.precision != "fp32"))
            advance(step * step_tokens)
            if step % options.eval_every == 0 or step == options.steps:
                loss = float(torch.stack(losses).mean())
                losses = []
                if not math.isfinite(loss):
                    raise TrainingError(
                        f"the loss before step {step:,} is not a number. Try a --learning-rate below "
                        f"{options.learning_rate}."
                    )
                score = score_text(
                    model, tokenizer, held_out, context_tokens=options.context_tokens, batch_size=EVAL_BATCH
                )
                points.append(
                    DemoPoint(step=step, tokens=step * step_tokens, loss=loss, bits_per_byte=score.bits_per_byte)
                )
    for drop in drops:
        drop.remove()
    torch.nn.Module.to(model, torch.device("cpu"))
    return tuple(points)


def rate_factor(step: int, n_steps: int) -> float:
    """Of the highest learning rate in step 1 to n_steps: a straight rise, then a cosine down to a tenth."""
    n_warmup = max(1, round(_WARMUP_SHARE * n_steps))
    if step <= n_warmup:
        return step / n_warmup
    progress = (step - n_warmup) / (n_steps - n_warmup)
    return _FINAL_FACTOR + (1 - _FINAL_FACTOR) * (1 + math.cos(math.pi * progress)) / 2


def _step(
    model: "PreTrainedModel", batch: Batch, optimizer: torch.optim.Optimizer, *, in_16_bits: bool
) -> torch.Tensor:
    """One step of the optimizer; the loss in nats per predicted token, still on the device."""
    ids, positions, labels = (
        torch.from_numpy(part).to(model.device) for part in (batch.ids, batch.positions, batch.labels)
    )
    try:
        with torch.autocast(model.device.type, torch.bfloat16, enabled=in_16_bits):
            loss = model(input_ids=ids, position_ids=positions, labels=labels, use_cache=False).loss
        loss.backward()
    except torch.OutOfMemoryError as error:
        raise TrainingError(
            f"--batch {len(ids)}: {ids.numel():,} tokens a step do not fit into the memory of {model.device}. Try a "
            "smaller --batch, or --precision bf16-mixed."
        ) from error
    torch.nn.utils.clip_grad_norm_(model.parameters(), _MAX_GRAD_NORM)
    optimizer.step()
    optimizer.zero_grad()
    detached: torch.Tensor = loss.detach()
    return detached

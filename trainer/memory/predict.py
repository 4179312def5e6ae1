"""Parameters, FLOPs and peak memory of a training stage, from the model's config alone.

A forward and backward pass runs on tensors without memory (torch's FakeTensorMode), the model frozen as the stage
says; every storage is noted when it appears and when it goes, every product's FLOPs with it (trace.py). Deep models
run as a sample with each kind of their blocks, whose segments are repeated (build.py). The peak is the highest level of
the pass plus weights, buffers and the optimizer's state.

Sequences are packed: a mask keeps their documents apart, so that on CUDA the memory-efficient attention runs, for
which torch makes and keeps a mask of 16 or 32 bits in every block.

Left out: what allocators lose by fragmentation (a few per cent), the CUDA context and libraries (0.5 to 1 GB), work
space inside kernels (on a CPU in pure bf16 a 32-bit copy of the table's gradient), the batch's token ids, and buffers
of communication between devices.
"""

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import PreTrainedConfig, PreTrainedModel

from trainer.layout import layout_of
from trainer.memory.build import Outline, build, outline_of, sample_of, to_cpu
from trainer.memory.kernels import CudaSemantics, fused_loss
from trainer.memory.target import with_rows
from trainer.memory.trace import Segment, record, replay
from trainer.plan import Plan, Stage
from trainer.stages.checkpoints import state_bytes
from trainer.stages.freeze import frozen_matrices, narrows_frozen, prepare_stage
from trainer.stages.settings import OPTIMIZERS, Optimizer, Precision
from vocabopt.errors import ModelError


@dataclass(frozen=True, kw_only=True)
class StepSettings:
    """What moves the memory of one step.

    micro_batch: sequences in one forward pass. accumulates: whether a step has more than one pass, so that gradients
    are there while the next ones come. device: whose kernels run. shard: whether weights are split over processes; the
    cost is that of one process without.
    """

    context_tokens: int = 4_096
    micro_batch: int = 1
    accumulates: bool = True
    precision: Precision = "bf16-mixed"
    gradient_checkpointing: bool = False
    fused_loss: bool = False
    device: Literal["cuda", "cpu"] = "cuda"
    shard: bool = False

    @property
    def dtype(self) -> torch.dtype:
        return torch.bfloat16 if self.precision == "bf16" else torch.float32


@dataclass(frozen=True, kw_only=True)
class StageCost:
    """What a stage costs: integers only.

    n_trainable: parameters that the optimizer moves. weight_bytes: all weights and buffers while it trains.
    resting_bytes: the same before and after, when frozen ones have all their bits. gradient_bytes: of all
    trained parameters. state_bytes: of each optimizer. pass_bytes: the highest level of a forward and backward pass
    over weights and state: activations, logits, and gradients; held_bytes of it are gradients of the step's passes
    before. (The optimizer then holds nothing more: AdamW runs fused.) root_bytes, block_bytes: the weights outside the
    blocks, and of the largest block, which sharding puts together at once. flops: of one forward and backward pass, of
    tokens_per_pass tokens, recomputation included.
    """

    n_params: int
    n_trainable: int
    weight_bytes: int
    resting_bytes: int
    gradient_bytes: int
    state_bytes: dict[Optimizer, int]
    pass_bytes: int
    held_bytes: int
    root_bytes: int
    block_bytes: int
    flops: int
    tokens_per_pass: int

    def peak_bytes(self, optimizer: Optimizer) -> int:
        """Highest bytes of live tensors: in a pass, or outside of training."""
        return max(self.weight_bytes + self.state_bytes[optimizer] + self.pass_bytes, self.resting_bytes)

    @property
    def activation_bytes(self) -> int:
        """What of the pass no sharding of weights takes away."""
        return self.pass_bytes - self.held_bytes

    def training_flops(self, n_tokens: int) -> int:
        return self.flops * n_tokens // self.tokens_per_pass


def predict_stage(outline: Outline, stage: Stage, settings: StepSettings, *, n_new: int) -> StageCost:
    """The cost of a stage on a model.

    Args:
        n_new: rows of the tables that are new, for stages that train those alone.

    Raises:
        PlanError: the stage names blocks that are not there, or nothing.
        ModelError: the model cannot run without values (its operations depend on them).
    """
    sample = sample_of(outline, stage, is_checkpointed=settings.gradient_checkpointing)
    model = build(sample.config, settings.dtype)
    layout = layout_of(model)
    blocks = list(layout.blocks_of(model))
    n_rows = outline.shapes[layout.embeddings][0]
    prepared = prepare_stage(model, sample.stage, layout, range(n_rows - n_new, n_rows))
    narrows = narrows_frozen(settings.precision, settings.device, shard=settings.shard)
    for matrix in frozen_matrices(model).values() if narrows else ():
        matrix.data = matrix.data.to(torch.bfloat16)
    if settings.gradient_checkpointing:
        # As transformers' Trainer enables it. A function mode is off while backward() runs, and so in recomputation.
        again = CudaSemantics if settings.device == "cuda" else nullcontext
        keywords = {"use_reentrant": False, "context_fn": lambda: (nullcontext(), again())}
        model.activation_checkpointing_enable(keywords)
    model.train()
    with FakeTensorMode():
        to_cpu(model)
        # Parameters and buffers, each once, with how many of the whole model's they stand for.
        stands_for = {
            id(tensor): sample.sample_of.count(number)
            for number, block in enumerate(blocks, 1)
            for tensor in (*block.parameters(), *block.buffers())
        }
        each_once = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
        tensors = [(tensor, stands_for.get(key, 1)) for key, tensor in each_once.items()]
        trained = [(t, n) for t, n in tensors if t.requires_grad]
        gradients = sum(n * t.nbytes for t, n in trained)
        if settings.accumulates:
            for parameter, _ in trained:
                parameter.grad = torch.empty_like(parameter)
        segments = _run(model, blocks, settings)
    peak, flops = replay(segments, sample.sample_of)
    held = gradients if settings.accumulates else 0
    of_blocks = [sum(parameter.nbytes for parameter in block.parameters()) for block in blocks]
    # Rows that are split from a table that trains too are in both, and count once.
    n_twice = sum(t.numel() for t in model.parameters() if t.requires_grad) - prepared.n_trainable
    return StageCost(
        n_params=outline.n_params,
        n_trainable=sum(n * t.numel() for t, n in trained) - n_twice,
        weight_bytes=sum(n * t.nbytes for t, n in tensors),
        resting_bytes=sum(n * t.numel() * max(t.element_size(), settings.dtype.itemsize) for t, n in tensors),
        gradient_bytes=gradients,
        state_bytes={optimizer: sum(n * state_bytes(t, optimizer) for t, n in trained) for optimizer in OPTIMIZERS},
        pass_bytes=held + peak,
        held_bytes=held,
        root_bytes=sum(t.nbytes for t in model.parameters()) - sum(of_blocks),
        block_bytes=max(of_blocks),
        flops=flops,
        tokens_per_pass=settings.micro_batch * settings.context_tokens,
    )


def predict_plan(
    config: PreTrainedConfig, plan: Plan, settings: StepSettings, *, n_rows: int, n_new: int
) -> tuple[StageCost, ...]:
    """The cost of every stage of a plan on a model with tables of `n_rows` rows. Raises as `predict_stage`."""
    outline = outline_of(with_rows(config, n_rows))
    return tuple(predict_stage(outline, stage, settings, n_new=n_new) for stage in plan.stages)


def _run(model: PreTrainedModel, blocks: list[nn.Module], settings: StepSettings) -> list[Segment]:
    """The segments of one forward and backward pass, the loss as the trainer computes it."""
    shape = (settings.micro_batch, settings.context_tokens)
    # Positions restart at each document, from which transformers builds the mask that keeps documents apart.
    batch = {name: torch.zeros(shape, dtype=torch.int64) for name in ("input_ids", "position_ids")}
    labels = torch.zeros(shape, dtype=torch.int64)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=settings.precision == "bf16-mixed"):
            loss: Tensor
            if settings.fused_loss:
                # No names for hidden states and table (new rows make one): they go before the backward pass.
                loss = fused_loss(
                    model.base_model(**batch, use_cache=False).last_hidden_state,
                    model.get_output_embeddings().weight,  # type: ignore[no-untyped-call]
                )
            else:
                loss = model(**batch, labels=labels, use_cache=False).loss
        loss.backward()  # type: ignore[no-untyped-call]

    try:
        with CudaSemantics() if settings.device == "cuda" else nullcontext():
            return record(step, model, blocks)
    except (RuntimeError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(
            f"{type(model).__name__}: its training step cannot be followed without values ({reason}). Measure it: "
            "adapt on a little text and read peak_bytes in adapt.json."
        ) from error

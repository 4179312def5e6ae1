"""What one training step allocates and computes, in order, cut into segments by block.

A `Recorder` sees every operation of a step on tensors without memory (torch's FakeTensorMode) and notes each storage
when it appears and when it goes, and the FLOPs. Segments, in time:

    head        embedding, positions, masks
    forward i   block i, i from 1; the last one ends with the block, the others where the next begins
    tail        final norm, output head, loss, and their backward pass
    backward i  block i, from the last; the lowest one that trains ends the step where nothing below it trains
    foot        the backward pass of the embedding

A storage belongs to the block in whose segment it appeared, which `replay` needs.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from math import prod
from typing import Any

from torch import Tensor, nn
from torch.utils.flop_counter import flop_registry

from trainer.stages.peak import LiveBytes, tensors_there

#: Fused attention, whose FLOPs are counted as those of the written-out one: two products forward, four backward.
#: torch's counter adds the fused backward's recomputation, and does not know the kernels of a CPU.
_ATTENTION = "_scaled_dot_product_"


@dataclass(kw_only=True)
class Segment:
    """Part of a step: bytes that came (+) and went (-), in order, each with the block it belongs to; and FLOPs."""

    name: str
    block: int | None  # whose forward or backward pass this is; None outside the blocks
    events: list[tuple[int, int | None]] = field(default_factory=list)
    flops: int = 0


class Recorder(LiveBytes):  # type: ignore[no-untyped-call]
    """Notes storages and FLOPs of all operations while it is entered. Storages in `known` are not counted."""

    def __init__(self, known: Sequence[Tensor]) -> None:
        self.segments = [Segment(name="known", block=None)]
        super().__init__(known)
        self.known = [tensor.untyped_storage() for tensor in known]  # kept alive, so that none of them goes
        self.segments = [Segment(name="head", block=None)]

    def start(self, name: str, block: int | None = None) -> None:
        self.segments.append(Segment(name=name, block=block))

    def came(self, n_bytes: int) -> int | None:
        self.segments[-1].events.append((n_bytes, self.segments[-1].block))
        return self.segments[-1].block

    def went(self, n_bytes: int, mark: int | None) -> None:
        self.segments[-1].events.append((-n_bytes, mark))

    def ran(self, operation: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], result: Any) -> None:
        packet = operation.overloadpacket
        if packet.__name__.startswith(_ATTENTION):
            # [B, heads, T, width] each; the backward pass has the output's gradient before them.
            is_backward = "_backward" in packet.__name__
            query, key, value = args[1:4] if is_backward else args[:3]
            scores = prod(query.shape[:-1]) * key.shape[-2]
            self.segments[-1].flops += (4 if is_backward else 2) * scores * (query.shape[-1] + value.shape[-1])
        elif packet in flop_registry:
            self.segments[-1].flops += int(flop_registry[packet](*args, **kwargs, out_val=result))


def record(step: Callable[[], None], model: nn.Module, blocks: Sequence[nn.Module]) -> list[Segment]:
    """The segments of `step`, a forward and backward pass of `model`: a new one starts wherever it enters a block.

    What is there before (weights, buffers, gradients of an earlier pass) is not in them.
    """
    recorder = Recorder(tensors_there(model))

    def forward_of(number: int) -> Callable[..., None]:
        def entered(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if recorder.segments[-1].name not in ("head", "forward"):
                return  # recomputation, by versions of transformers that checkpoint around the hooks
            recorder.start("forward", number)
            hidden_BTD = args[0] if args else kwargs["hidden_states"]
            if hidden_BTD.requires_grad:
                hidden_BTD.register_hook(lambda _: backward_of(number - 1))

        return entered

    def backward_of(number: int) -> None:
        recorder.start("backward", number) if number else recorder.start("foot")

    def left(module: nn.Module, args: Any, out: Any) -> None:
        if recorder.segments[-1].name != "forward":
            return
        recorder.start("tail")
        hidden_BTD = out[0] if isinstance(out, tuple) else out
        if hidden_BTD.requires_grad:
            hidden_BTD.register_hook(lambda _: backward_of(len(blocks)))

    with ExitStack() as stack:
        for number, block in enumerate(blocks, 1):
            stack.callback(block.register_forward_pre_hook(forward_of(number), with_kwargs=True).remove)
        stack.callback(blocks[-1].register_forward_hook(left).remove)
        with recorder:
            step()
    return recorder.segments


def replay(segments: list[Segment], sample_of: tuple[int, ...]) -> tuple[int, int]:
    """The highest bytes and all FLOPs of a deeper model's step, each of whose blocks is like one of the sample's.

    Args:
        segments: of the sample.
        sample_of: for each block of the deeper model the number, from 1, of the sample's block that stands for it.
            The sample's first and last blocks must stand for the deeper model's own alone.

    A block's segments repeat for every block it stands for. What a block leaves behind and another part clears (the
    16-bit copies that autocast keeps to the end of the forward pass) is cleared there for all of them.
    """
    weights = Counter(sample_of)
    named = {(segment.name, segment.block): segment for segment in segments}
    order = [("head", None), *(("forward", number) for number in sample_of), ("tail", None)]
    order += [*(("backward", number) for number in reversed(sample_of)), ("foot", None)]
    level = peak = flops = 0
    for segment in (named[key] for key in order if key in named):
        flops += segment.flops
        for n_bytes, owner in segment.events:
            level += n_bytes * (weights[owner] if segment.block is None and owner is not None else 1)
            peak = max(peak, level)
    return peak, flops

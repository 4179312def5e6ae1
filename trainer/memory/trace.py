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

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from math import prod
from typing import Any

from torch import Tensor, nn
from torch.utils.flop_counter import flop_registry

from trainer.stages.peak import StorageWatch

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


class Recorder(StorageWatch):  # type: ignore[no-untyped-call]
    """Notes storages and FLOPs of all operations while it is entered. Storages in `known` are not counted."""

    def __init__(self, known: Sequence[Tensor]) -> None:
        super().__init__()
        self.segments: list[Segment] = [Segment(name="known", block=None)]
        self.known = [tensor.untyped_storage() for tensor in known]  # kept alive, so that none of them goes
        for tensor in known:
            self.watch(tensor)
        self.segments.clear()

    def start(self, name: str, block: int | None = None) -> None:
        self.segments.append(Segment(name=name, block=block))

    def came(self, n_bytes: int) -> int | None:
        self.segments[-1].events.append((n_bytes, self.segments[-1].block))
        return self.segments[-1].block

    def went(self, n_bytes: int, mark: int | None) -> None:
        self.segments[-1].events.append((-n_bytes, mark))

    def ran(self, operation: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], result: Any) -> None:
        self.segments[-1].flops += _flops(operation, args, kwargs, result)


def _flops(func: Any, args: Any, kwargs: Any, out: Any) -> int:
    packet = func.overloadpacket
    name = packet.__name__
    if name.startswith(_ATTENTION):
        # [B, heads, T, width] each; the backward pass has the output's gradient before them.
        query, key, value = args[1:4] if "_backward" in name else args[:3]
        scores = prod(query.shape[:-1]) * key.shape[-2]
        forward: int = 2 * scores * (query.shape[-1] + value.shape[-1])
        return 2 * forward if "_backward" in name else forward
    if packet in flop_registry:
        return int(flop_registry[packet](*args, **kwargs, out_val=out))
    return 0


@contextmanager
def _hooks(recorder: Recorder, blocks: Iterable[nn.Module]) -> Iterator[None]:
    """Start a new segment wherever a pass enters a block, or leaves the last one."""
    listed = list(blocks)
    is_forward = True

    def entered(number: int) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if not is_forward:
                return  # recomputation, by versions of transformers that checkpoint around the hooks
            recorder.start("forward", number)
            hidden_BTD = args[0] if args else kwargs["hidden_states"]
            if hidden_BTD.requires_grad:
                hidden_BTD.register_hook(lambda _: backward_of(number - 1))

        return hook

    def backward_of(number: int) -> None:
        recorder.start("backward", number) if number else recorder.start("foot")

    def left(module: nn.Module, args: Any, out: Any) -> None:
        nonlocal is_forward
        if not is_forward:
            return
        is_forward = False
        recorder.start("tail")
        hidden_BTD = out[0] if isinstance(out, tuple) else out
        if hidden_BTD.requires_grad:
            hidden_BTD.register_hook(lambda _: backward_of(len(listed)))

    with ExitStack() as stack:
        for number, block in enumerate(listed, 1):
            handle = block.register_forward_pre_hook(entered(number), with_kwargs=True)
            stack.callback(handle.remove)
        stack.callback(listed[-1].register_forward_hook(left).remove)
        yield


def record(step: Callable[[], None], model: nn.Module, blocks: Iterable[nn.Module]) -> list[Segment]:
    """The segments of `step`, a forward and backward pass of `model`.

    What is there before (weights, buffers, gradients of an earlier pass) is not in them.
    """
    known = [*model.parameters(), *model.buffers()]
    known += [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    recorder = Recorder(known)
    with _hooks(recorder, blocks), recorder:
        recorder.start("head")
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
    weights = {number: sample_of.count(number) for number in set(sample_of)}
    forward = {s.block: s for s in segments if s.name == "forward"}
    backward = {s.block: s for s in segments if s.name == "backward"}
    (head,) = (s for s in segments if s.name == "head")
    order = [head, *(forward[number] for number in sample_of), *(s for s in segments if s.name == "tail")]
    order += [backward[number] for number in reversed(sample_of) if number in backward]
    order += [s for s in segments if s.name == "foot"]
    level = peak = flops = 0
    for segment in order:
        flops += segment.flops
        for n_bytes, owner in segment.events:
            level += n_bytes * (weights[owner] if segment.block is None and owner is not None else 1)
            peak = max(peak, level)
    return peak, flops

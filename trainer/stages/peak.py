"""The highest memory of a stage."""

import weakref
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import nn

# Where torch's notes on extending it import this class from; it has no other place.
from torch.utils._python_dispatch import TorchDispatchMode

MEASURED_STEPS = 2


def tensors_in(result: Any) -> Iterator[torch.Tensor]:
    """The tensors that an operation of torch gave: one, or some in tuples and lists."""
    if isinstance(result, torch.Tensor):
        yield result
    elif isinstance(result, (tuple, list)):
        for part in result:
            yield from tensors_in(part)


def tensors_there(model: nn.Module) -> list[torch.Tensor]:
    """Weights, buffers and gradients."""
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    return [*model.parameters(), *model.buffers(), *gradients]


class LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Bytes of tensors that are alive, and the most there were since it was entered. What kernels hold is not seen."""

    def __init__(self, there: Iterable[torch.Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.n_bytes = self.peak_bytes = 0
        self._alive: dict[int, Any] = {}
        for tensor in there:
            self.watch(tensor)

    def came(self, n_bytes: int) -> Any:
        """A storage appears. Returns a mark that `went` gets back."""
        self.n_bytes += n_bytes
        self.peak_bytes = max(self.peak_bytes, self.n_bytes)

    def went(self, n_bytes: int, mark: Any) -> None:
        """That storage goes."""
        self.n_bytes -= n_bytes

    def ran(self, operation: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], result: Any) -> None:
        """An operation of torch has run."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        self.ran(func, args, kwargs or {}, result)
        for tensor in tensors_in(result):
            self.watch(tensor)
        return result

    def watch(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        key, n_bytes = id(storage), storage.nbytes()
        if key in self._alive:
            return
        mark = self.came(n_bytes)

        def gone(_: object) -> None:
            del self._alive[key]
            self.went(n_bytes, mark)

        # The reference keeps watch and must outlive the storage, which is why it is kept.
        self._alive[key] = weakref.ref(storage, gone)

    def close(self) -> None:
        """Let go of all storages."""
        self._alive.clear()


class PeakMeter:
    """The highest bytes of a stage: weights, gradients, optimizer state, activations.

    On CUDA what torch's allocator held at most over the whole stage. On a CPU live tensors over the first two steps
    (the second has the optimizer's state from its start): all steps are alike, and a process's own high-water mark
    would be that of the stages before. is_watched: False where tensors cannot be watched (split or compiled models).
    """

    def __init__(self, model: nn.Module, device: torch.device, *, is_watched: bool) -> None:
        self.model, self.device = model, device
        self._is_cuda = device.type == "cuda"
        self._n_left = 0 if self._is_cuda or not is_watched else MEASURED_STEPS
        self._live: LiveBytes | None = None
        self._peak: int | None = None

    def start(self) -> None:
        if self._is_cuda:
            torch.cuda.reset_peak_memory_stats(self.device)

    def begin_step(self, optimizer: torch.optim.Optimizer) -> None:
        if self._n_left and self._live is None:
            states = [value for state in optimizer.state.values() for value in state.values() if torch.is_tensor(value)]
            self._live = LiveBytes([*tensors_there(self.model), *states])
            self._live.__enter__()  # type: ignore[no-untyped-call]

    def end_step(self) -> None:
        if self._live is not None:
            self._n_left -= 1
            if not self._n_left:
                self.close()

    def close(self) -> None:
        """Stop watching, wherever the stage has stopped."""
        if self._live is not None:
            self._live.__exit__(None, None, None)  # type: ignore[no-untyped-call]
            self._live.close()
            self._peak, self._live = self._live.peak_bytes, None

    @property
    def peak_bytes(self) -> int | None:
        """None where nothing was measured."""
        return torch.cuda.max_memory_allocated(self.device) if self._is_cuda else self._peak

"""Documents as windows of tokens, and windows in batches of similar length. No torch here."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

#: Batches that are sorted by length together; the more, the less padding, and the more is held in memory.
_SORTED_BATCHES = 32


class Window(NamedTuple):
    """Some tokens of one document, of which the last `n_scored` are scored; the others are context.

    The model reads the start token and all of them but the last, and is asked for each of them.
    """

    ids: Sequence[int]
    n_scored: int


def windows_of(ids: Sequence[int], context_tokens: int, stride: int | None) -> Iterator[Window]:
    """The windows of a document, each opened by the start token, which is one of the `context_tokens`.

    Args:
        stride: tokens that each window after the first one adds; the others repeat what comes before them. None: no
            overlap, so that every token is read once.
    """
    size = context_tokens - 1
    step = size if stride is None else stride
    assert 1 <= step <= size
    if ids:
        yield Window(ids[:size], min(size, len(ids)))
    for end in range(size + step, len(ids) + step, step):
        part = ids[end - size : end]
        yield Window(part, step - (end - min(end, len(ids))))


def batches_of(windows: Iterable[Window], batch_tokens: int) -> Iterator[list[Window]]:
    """Batches of windows of similar length: padded to the longest, each has at most `batch_tokens` tokens.

    A window that is longer than that is a batch of its own. All windows come, in another order.
    """
    gathered: list[Window] = []
    n_gathered = 0
    for window in windows:
        gathered.append(window)
        n_gathered += len(window.ids)
        if n_gathered >= _SORTED_BATCHES * batch_tokens:
            yield from _sorted_batches(gathered, batch_tokens)
            gathered, n_gathered = [], 0
    yield from _sorted_batches(gathered, batch_tokens)


def _sorted_batches(windows: list[Window], batch_tokens: int) -> Iterator[list[Window]]:
    batch: list[Window] = []
    # The longest first: what does not fit into memory fails at once.
    for window in sorted(windows, key=lambda window: -len(window.ids)):
        if batch and (len(batch) + 1) * len(batch[0].ids) > batch_tokens:
            yield batch
            batch = []
        batch.append(window)
    if batch:
        yield batch

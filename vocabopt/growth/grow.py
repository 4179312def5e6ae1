"""The growth pass: the merges that save most tokens of a text, and exact token counts at every number of them.

The pass is kernel.py; here is what it is given. curve.py makes tables of what it gives.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from vocabopt.errors import CorpusError
from vocabopt.growth import kernel as kernel
from vocabopt.growth.balance import ONE_TARGET, Balance
from vocabopt.growth.chunk_kernel import add_up_groups
from vocabopt.growth.counts import ChunkCounts
from vocabopt.growth.curve import Curve, Merges, Uses
from vocabopt.growth.symbols import Segmentation, Symbols
from vocabopt.text.scripts import byte_guard, contains_target, piece_is_guarded
from vocabopt.text.sets import N_FOLDS
from vocabopt.tokenizer import Tokenizer

#: The threshold below which candidates are not even stored falls by this factor from index to index. Measured on
#: 117 MB of Korean (reports/LOG.md).
THRESHOLD_DIVISOR = 64
#: Sizes at which counts per fold are kept.
N_FOLD_SIZES = 100
_POLL_SECONDS = 0.05

R = TypeVar("R")


@dataclass(frozen=True, kw_only=True)
class Growth(Curve):
    """What the pass gave: the curve of the text that it learned from, and the merges, to count other text with.

    exhausted_at: the size at which the text ran dry, None if it did not. n_blocked: candidates that were best and
    would have changed protected text.
    """

    merges: Merges
    exhausted_at: int | None
    n_blocked: int


@dataclass(frozen=True)
class GrowthOptions:
    """What moves the growth curve.

    scripts: every new piece holds a character of these; () = no guard. max_added: rows to add at most. min_saving:
    stop when the best candidate saves fewer tokens of the training text than this. cross_spaces: a new piece may hold a
    space after another character; the text was then counted so (`count_chunks`). balance: between several targets.
    """

    scripts: tuple[str, ...]
    max_added: int
    min_saving: int
    cross_spaces: bool = False
    balance: Balance = ONE_TARGET


def protected_chunks(
    counts: ChunkCounts,
    weights: NDArray[np.int64],
    set_indices: list[int],
    scripts: tuple[str, ...],
    cut: Tokenizer | None = None,
) -> NDArray[np.bool_]:
    """Chunks of the protected sets; with a script guard only those without characters of the target script.

    Args:
        cut: the base, where chunks are spelled bytes that may be parts of characters (`Tokenizer.cuts_bytes`).
    """
    protected: NDArray[np.bool_] = np.any(weights[:, set_indices] > 0, axis=1)
    if scripts and protected.any():
        chosen = np.flatnonzero(protected)
        texts = counts.texts().gather(chosen).to_list()
        if cut is None:
            protected[chosen] = [not contains_target(text, scripts) for text in texts]
        else:
            guard, inside = byte_guard(scripts), bytes(range(0x80, 0xC0))
            own = (cut.piece_bytes(text).lstrip(inside) for text in texts)
            protected[chosen] = [not piece_is_guarded(data, guard) for data in own]
    return protected


def grow(
    base: Tokenizer,
    counts: ChunkCounts,
    segmentation: Segmentation,
    weights: NDArray[np.int64],
    protected: NDArray[np.bool_],
    options: GrowthOptions,
    advance: Callable[[int], None] = lambda n_rows: None,
) -> Growth:
    """Grow the base tokenizer on the counted text.

    Args:
        weights: [n_chunks, n_sets], the training set first, or those of all targets.
        protected: [n_chunks], chunks that no merge may change.
        advance: told the rows done so far, for a progress bar.

    Raises:
        CorpusError: more text than 32-bit places can address.
    """
    if len(segmentation.slots) >= 2**31:
        raise CorpusError(
            f"{len(segmentation.slots):,} symbols of unique text are more than this engine addresses (2,147,483,648). "
            "Sweep a sample of the corpus."
        )
    symbols = Symbols(
        base, segmentation.closed, options.scripts, n_new=options.max_added, cross_spaces=options.cross_spaces
    )
    # Denser where the curve is steeper, and where a small text runs dry.
    fold_sizes = np.unique((options.max_added * np.linspace(0, 1, N_FOLD_SIZES + 1) ** 2).astype(np.int64))
    progress, n_groups = np.zeros(2, np.int64), len(counts.sets) * N_FOLDS
    # Nothing is learned from chunks that lose characters: what is left of them are neighbours that no other text has.
    # They are counted all the same, so what drives the pass then stands in columns of its own.
    driving = options.balance.driving(weights, segmentation.n_lost_chars > 0)
    steering = options.balance.steering(driving.shape[1], segmentation.token_counts.sum(axis=1))
    # fmt: off
    arguments = (
        segmentation.slots, np.pad(np.column_stack([driving, weights]), ((0, 0), (0, 1))),
        protected, bool(protected.any()),
        symbols.table, symbols.is_open, symbols.n_symbols, symbols.text, symbols.n_text,
        symbols.reserved, symbols.guard, symbols.crossings,
        options.max_added, options.balance.least_saving(options.min_saving), THRESHOLD_DIVISOR, steering,
        fold_sizes, n_groups, (counts.offsets, counts.groups, counts.counts),
        np.empty((len(segmentation.slots) // 2 + 1, kernel.WEIGHT + steering.shape[1]), np.int64),
        np.empty(len(segmentation.slots) // 2 + 1, np.int32), progress,
    )
    # fmt: on
    events, fold_saved, blocked = run_watched(kernel.grow, arguments, progress, advance)
    events = np.delete(events, kernel.EVENT_COUNTS + np.arange(driving.shape[1]), axis=1)
    n_rows = int(progress[kernel.ROWS_DONE])
    # The kernel notes the sizes in order; the first that was not reached stands for where the text ran dry.
    fold_sizes = np.append(fold_sizes[fold_sizes < n_rows], n_rows)
    fold_tokens = np.zeros(n_groups, np.int64)
    add_up_groups(counts.offsets, counts.groups, counts.counts, segmentation.tokens_per_chunk, fold_tokens)
    merges = Merges.of(base, segmentation.closed, events[:, : kernel.EVENT_COUNTS].copy(), fold_sizes)
    counted = Uses(
        per_merge=events[:, kernel.EVENT_COUNTS :],
        late={},
        token_counts=segmentation.token_counts,
        fold_tokens=fold_tokens,
        fold_saved=fold_saved[: len(fold_sizes)],
        n_lost_chars=segmentation.n_lost_chars_of,
        n_parts=segmentation.n_parts_of,
    )
    uses, sets = options.balance.uses_with_sums(counted, counts.sets), options.balance.with_sums(counts.sets)
    return Growth(
        **vars(Curve.of(base, merges, uses, sets)),
        merges=merges,
        exhausted_at=n_rows if n_rows < options.max_added else None,
        n_blocked=len(np.unique(blocked, axis=0)),
    )


def warm_up() -> None:
    """Compile the kernel, or load it from numba's cache: 6 s and 0.05 s, better spent behind the counting."""
    no_rows, no_folds = np.zeros((1, 2), np.int64), np.zeros(1, np.int64)
    guard = np.zeros((1, 256), np.int16), np.zeros((1, 256), bool)
    folds = np.zeros(1, np.int64), np.zeros(0, np.int32), np.zeros(0, np.int64)
    symbols, is_open = np.zeros((1, kernel.N_SYMBOL_COLUMNS), np.int64), np.zeros(1, bool)
    near, places, crossings = np.zeros((1, 3), np.int64), np.zeros(1, np.int32), np.zeros((4, 4), bool)
    kernel.grow(
        np.zeros((1, 2), np.int32), no_rows, np.zeros(1, bool), False, symbols, is_open, 1,
        np.zeros(1, np.uint8), 0, no_rows[:0], guard, crossings, 0, 1, THRESHOLD_DIVISOR,
        np.ones((3, 1), np.int64), no_folds, 1, folds, near, places, np.zeros(2, np.int64),
    )  # fmt: skip


def run_watched(
    function: Callable[..., R],
    arguments: tuple[object, ...],
    progress: NDArray[np.int64],
    advance: Callable[[int], None],
) -> R:
    """Run a kernel in a thread, so that progress is shown and Ctrl-C is heard.

    Args:
        progress: shared with it: rows done so far, and whether it is to stop.
    """
    result: list[R] = []
    failure: list[BaseException] = []

    def work() -> None:
        try:
            result.append(function(*arguments))
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=work, name="growth", daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(_POLL_SECONDS)
            advance(int(progress[kernel.ROWS_DONE]))
    except BaseException:
        progress[kernel.STOP] = 1
        thread.join()
        raise
    if failure:
        raise failure[0]
    return result[0]

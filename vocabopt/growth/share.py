"""The share of the documents that merges are learned from, where not all of them fit into memory.

Documents are picked by the hash of their content: the same ones on every machine, in any order of the text and with
any number of threads. The share is made smaller until what it holds fits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vocabopt.amounts import shown_bytes
from vocabopt.records import Learned
from vocabopt.text.sets import N_BELOW, N_FOLDS
from vocabopt.tokenizer.families import Family

if TYPE_CHECKING:
    from vocabopt.growth.counts import ChunkStore

#: What a sweep takes without any text: the libraries, a base, a report.
PROCESS_BYTES = 600 << 20
#: Peak of learning for each unique chunk and for each byte of their text, by family of the base, and for each fold
#: that a chunk occurs in; measured on 30 and 117 MB of Korean (reports/LOG.md).
_CHUNK_BYTES: dict[Family | None, int] = {"sentencepiece-bpe": 42, "byte-level-bpe": 142}
_TEXT_BYTES: dict[Family | None, int] = {"sentencepiece-bpe": 16, "byte-level-bpe": 28}
_ENTRY_BYTES = 48
#: The count of a chunk in a text set, three times.
_WEIGHT_BYTES = 24
#: What each further target takes for a byte of text: a number for every place where a token may begin.
_TARGET_BYTES = 8
#: A worker that counts, without any text, and the least that it needs to be of use.
_WORKER_BYTES, _LEAST_COUNTER_BYTES = 350 << 20, 64 << 20
#: Text of unique chunks that the growth pass can address: a symbol has a byte at least.
MOST_TEXT = 2**31 - 1
#: Stored text that a share may begin with, as a multiple of the memory: where it is more, a fold is a coarse step.
_MOST_TEXT = 2


class TooMuchTextError(Exception):
    """Not even one fold of the share fits into memory, or it is not to be made smaller."""


@dataclass(kw_only=True)
class LearnedShare:
    """Documents whose hash is below n_below / 2^16 of all hashes, and of these the first n_folds of N_FOLDS folds.

    memory_bytes: what learning may take in all. family: of the base. is_always: bool [n_sets], text sets of which all
    documents are taken. train_alone: of the other sets only the first, the training set, is taken; or the first
    n_targets, where there are several targets. is_fixed: the share
    is what was asked for; it is not made smaller. n_documents, n_bytes: int64 [N_FOLDS], what was taken of the training
    set.
    """

    memory_bytes: int
    family: Family | None
    is_always: NDArray[np.bool_]
    n_targets: int = 1
    train_alone: bool = False
    n_below: int = N_BELOW
    n_folds: int = N_FOLDS
    is_fixed: bool = False
    n_documents: NDArray[np.int64] = field(default_factory=lambda: np.zeros(N_FOLDS, np.int64))
    n_bytes: NDArray[np.int64] = field(default_factory=lambda: np.zeros(N_FOLDS, np.int64))

    @property
    def is_all(self) -> bool:
        """Whether all text of all sets is learned from."""
        return self.n_below == N_BELOW and self.n_folds == N_FOLDS and not self.train_alone

    @property
    def has_protected(self) -> bool:
        """Whether all protected text is there."""
        return self.is_all or bool(self.is_always.any())

    def fixed(self, share: float) -> "LearnedShare":
        """This share of the training text, whatever memory it takes; 1 takes all text."""
        n_below = max(1, round(share * N_BELOW))
        return replace(self, n_below=n_below, train_alone=n_below < N_BELOW, is_fixed=True)

    def begin_with(self, n_stored_bytes: int | None) -> "LearnedShare":
        """Half of it, or half of that ..., where the stored text is much larger than memory. None: nobody knows."""
        share = self
        while n_stored_bytes and n_stored_bytes * share.n_below / N_BELOW > _MOST_TEXT * self.memory_bytes:
            share = share.halved()
        return share

    def halved(self) -> "LearnedShare":
        """Of half as many documents, with all folds."""
        none = np.zeros(N_FOLDS, np.int64)
        half = self.n_below // 2
        return replace(self, n_below=half, n_folds=N_FOLDS, train_alone=True, n_documents=none, n_bytes=none.copy())

    def of_record(self, record: Learned, is_protected: NDArray[np.bool_]) -> "LearnedShare":
        """The share that an earlier run learned from, to be told; not to count with. is_protected: bool [n_sets]."""
        return replace(
            self,
            n_below=record.n_below,
            n_folds=record.n_folds,
            train_alone=record.train_alone,
            is_always=is_protected & record.all_protected,
            n_documents=np.array([record.n_documents]),
            n_bytes=np.array([record.n_bytes]),
        )

    def record(self, n_tokens_base: Mapping[str, int]) -> Learned:
        """As sweep.json and counts.parquet hold it. n_tokens_base: of what was counted."""
        return Learned(
            n_below=self.n_below,
            n_folds=self.n_folds,
            train_alone=self.train_alone,
            all_protected=bool(self.is_always.any()),
            n_documents=int(self.n_documents[: self.n_folds].sum()),
            n_bytes=int(self.n_bytes[: self.n_folds].sum()),
            n_tokens_base=dict(n_tokens_base),
        )

    def takes(
        self, hashes: NDArray[np.uint64], groups: NDArray[np.int64], lengths: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """Which documents are in the share. hashes: of their content; groups: index of the set x N_FOLDS + fold;
        lengths: in bytes."""
        # Bits that neither pick held-out documents nor folds.
        taken = self._has_group(groups) & (
            self.is_always[groups // N_FOLDS] | ((hashes >> np.uint64(48)).astype(np.int64) < self.n_below)
        )
        of_train = taken & (groups < self.n_targets * N_FOLDS)
        folds = groups[of_train] % N_FOLDS
        self.n_documents += np.bincount(folds, minlength=N_FOLDS)
        self.n_bytes += np.bincount(folds, lengths[of_train], minlength=N_FOLDS).astype(np.int64)
        return taken

    def narrowed(self, prepared: tuple[NDArray[Any], ...]) -> tuple[NDArray[Any], ...]:
        """Documents that were in the share, as `Opened.for_kernel` gives them: those that are still in it."""
        data, *columns, groups, _ = prepared
        keep = self._has_group(groups)
        if keep.all():
            return prepared
        return data, *(column[keep] for column in columns), groups[keep], np.argsort(groups[keep], kind="stable")

    def _has_group(self, groups: NDArray[np.int64]) -> NDArray[np.bool_]:
        sets, folds = np.divmod(groups, N_FOLDS)
        has_set = sets < self.n_targets if self.train_alone else np.ones(len(groups), bool)
        has_group: NDArray[np.bool_] = self.is_always[sets] | (has_set & (folds < self.n_folds))
        return has_group

    def fit(self, stores: "Sequence[ChunkStore]") -> None:
        """Leave out the sets that are only measured, then folds, until what was counted fits into memory.

        Raises:
            TooMuchTextError: not even one fold fits, or the share is fixed.
        """
        while not self._fits(stores):
            for store in stores:
                store.add_up_entries()
            # Only now does the sum depend on the text alone, and not on how it came in blocks.
            if self._fits(stores):
                break
            if self.train_alone and (self.is_fixed or self.n_folds == 1):
                raise TooMuchTextError
            if self.train_alone:
                self.n_folds -= 1
            self.train_alone = True
            keep = self._has_group(np.arange(stores[0].n_groups))
            for store in stores:
                store.keep_groups(keep)

    def _fits(self, stores: "Sequence[ChunkStore]") -> bool:
        n_chunks, n_text, n_entries = (sum(sizes) for sizes in zip(*(store.used for store in stores), strict=True))
        n_bytes = learning_bytes(self.family, len(self.is_always), self.n_targets, n_chunks, n_text, n_entries)
        return n_text < MOST_TEXT and n_bytes <= self.memory_bytes


def learning_bytes(
    family: Family | None, n_sets: int, n_targets: int, n_chunks: int, n_text: int, n_entries: int
) -> int:
    """Peak of learning from unique chunks of so many text sets: their number, their bytes, and the folds of all."""
    text_bytes = _TEXT_BYTES[family] + _TARGET_BYTES * (n_targets - 1)
    chunks = n_chunks * (_CHUNK_BYTES[family] + _WEIGHT_BYTES * n_sets) + n_text * text_bytes
    return PROCESS_BYTES + chunks + n_entries * _ENTRY_BYTES


def too_little_memory(memory_bytes: int) -> str:
    """What to say where nothing can be learned in so much memory."""
    return (
        f"--memory: {shown_bytes(memory_bytes)} is too little to learn anything from this text "
        f"({shown_bytes(PROCESS_BYTES)} are needed without any). Raise it."
    )


def counter_bytes(memory_bytes: int, n_workers: int) -> int:
    """What each worker that counts may keep of the chunks it met."""
    return max(_LEAST_COUNTER_BYTES, (memory_bytes - PROCESS_BYTES) // n_workers - _WORKER_BYTES)

"""The union of a base with a vocabulary of one size: what it makes of chunks, of single pieces and of documents."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from vocabopt.folder import digest
from vocabopt.growth.counts import ChunkCounts
from vocabopt.growth.grow import protected_chunks
from vocabopt.growth.proof import recount
from vocabopt.merging.export import extended_original, merged_base
from vocabopt.merging.extension import Addition, Scores
from vocabopt.merging.recounting import Arrays
from vocabopt.text.scripts import contains_target
from vocabopt.tokenizer import Tokenizer
from vocabopt.tokenizer.encoders import Encoder, JsonEncoder, ModelEncoder
from vocabopt.tokenizer.families import decoded
from vocabopt.union.vocabulary import Vocabulary, union_addition

#: Text set -> its documents, read again, in blocks.
DocumentsOf = Mapping[str, Callable[[], Iterable[pl.Series]]]
#: Encoders of chunks, the one that is named where several were used comes last.
_ENCODERS = ("gigatoken", "tokenizers", "sentencepiece")
#: Documents, and those that changed, of a set without any.
NO_DOCUMENTS = np.zeros(2, np.int64)


@dataclass(frozen=True, kw_only=True)
class UnionSizes:
    """A vocabulary at the sizes that are measured. scripts: of the target: text with a character of these may
    change."""

    vocabulary: Vocabulary
    sizes: tuple[int, ...]
    scores: Scores
    scripts: tuple[str, ...]

    @property
    def numbers(self) -> range:
        return range(len(self.sizes))

    @property
    def identity(self) -> str:
        """Changes with whatever the counts of a size depend on, beside text and base."""
        return digest([self.vocabulary.sha256, [*self.sizes], self.scores, [*self.scripts]])

    def n_added(self, number: int) -> int:
        """Pieces of a size: those that the base lacks, at most."""
        return len(self.pieces(number))

    def pieces(self, number: int) -> list[str]:
        """The pieces of a size."""
        return self.vocabulary.at(self.sizes[number]) if self.vocabulary.is_bpe else list(self.vocabulary.pieces)

    def at(self, base: Tokenizer, number: int) -> "Joined":
        """The base with the pieces of a size."""
        place = f"the vocabulary of {self.sizes[number]:,} pieces"
        return Joined(base, union_addition(base, self.pieces(number), scores=self.scores, place=place), self.scripts)


@dataclass(frozen=True)
class _ScoredRuns:
    """Runs of chunks by sentencepiece, as `ChunkEncoder` encodes them."""

    encoder: Encoder
    name: str = "sentencepiece"

    def encode(self, data: bytes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        rows = self.encoder.encode(data.decode().split("\0"))
        ends = np.cumsum(np.fromiter(map(len, rows), np.int64, len(rows)))
        return np.fromiter((index for row in rows for index in row), np.int64), ends


class Joined:
    """A base, and the same with an addition; both encode chunks and single pieces as they stand, and documents with
    the dummy prefix."""

    def __init__(self, base: Tokenizer, addition: Addition, scripts: tuple[str, ...]) -> None:
        self.base, self.addition, self._scripts = base, addition, scripts
        self.merged = merged_base(base, addition)

    @cached_property
    def _forms(self) -> tuple[bytes, bytes] | None:
        """The models before and after, with tied scores: sentencepiece then merges the leftmost pair, whichever piece
        it makes, as no tokenizer.json does."""
        if self.addition.scores != "zero":
            return None
        form = next(form for form in self.base.originals if form.kind == "tokenizer.model")
        return form.data, extended_original(self.base, form, self.addition)

    @cached_property
    def _of_chunks(self) -> tuple[Encoder, Encoder]:
        if self._forms is not None:
            old, new = (ModelEncoder.of(data, prefix=False) for data in self._forms)
            return old, new
        before, after = (JsonEncoder(one.whole_chunk_tokenizer, one.source) for one in (self.base, self.merged))
        return before, after

    @cached_property
    def _of_documents(self) -> tuple[Encoder, Encoder]:
        if self._forms is not None:
            old, new = map(ModelEncoder.of, self._forms)
            return old, new
        return JsonEncoder(self.base.full, self.base.source), JsonEncoder(self.merged.full, self.merged.source)

    # --- Text ---------------------------------------------------------------------------------------------------------

    def count(self, counts: ChunkCounts, weights: NDArray[np.int64]) -> Arrays:
        """Tokens of each set, special tokens inside the text left out; how often each new one occurs in it; and which
        library encoded."""
        scored = None if self._forms is None else _ScoredRuns(self._of_chunks[1])
        counted = recount(self.merged, counts, weights, scored)
        return {
            "n_tokens": counted.token_counts.sum(axis=1),
            "n_new": counted.token_counts[:, self.base.n_tokens :].copy(),
            "encoders": np.array([name == counted.encoder for name in _ENCODERS]).astype(np.int64),
        }

    def count_all(self, counts: ChunkCounts, protected: DocumentsOf) -> Arrays:
        """The same of all text at once, with the documents of protected sets that changed."""
        weights = counts.weights()
        found = self.count(counts, weights)
        changed = sorted(self.changed_texts(counts, weights, [*protected]))
        for name, blocks in protected.items():
            found |= self.changed_documents(name, changed, blocks())
        return found

    def changed_texts(self, counts: ChunkCounts, weights: NDArray[np.int64], names: Sequence[str]) -> set[str]:
        """A document changes when a chunk of it does; so only those that hold such a text are encoded."""
        chosen = [list(counts.sets).index(name) for name in names]
        if not chosen:
            return set()
        mask = protected_chunks(counts, weights, chosen, self._scripts)
        texts = counts.texts().filter(mask).to_list()
        encoded = zip(texts, *(encoder.encode(texts) for encoder in self._of_chunks), strict=True)
        return {text.strip(" ") for text, old, new in encoded if old != new}

    def changed_documents(self, name: str, changed: Sequence[str], blocks: Iterable[pl.Series]) -> Arrays:
        """Documents of a set, without those that hold a character of the target script, and those that changed."""
        n_documents = n_changed = 0
        for block in blocks:
            judged = block
            if self._scripts:
                own = [text for text in block if not contains_target(text, self._scripts)]
                judged = pl.Series(own, dtype=pl.String)
            n_documents += len(judged)
            # A literal ▁ is counted as the space it stands for.
            suspects = judged.str.contains("▁", literal=True)
            if changed:  # polars refuses an empty list
                suspects |= judged.str.contains_any(list(changed))
            texts = judged.filter(suspects).to_list() if "" not in changed else judged.to_list()
            both = zip(*(encoder.encode(texts) for encoder in self._of_documents), strict=True)
            n_changed += sum(old != new for old, new in both)
        return {f"changed_{name}": np.array([n_documents, n_changed])}

    # --- Pieces -------------------------------------------------------------------------------------------------------

    def n_unreachable(self) -> int:
        """New pieces that their own text does not give."""
        texts = [text.decode() for text in self.addition.texts]
        rows = self._of_chunks[1].encode(texts)
        return sum(ids != [index] for index, ids in enumerate(rows, self.base.n_tokens))

    def n_base_broken(self) -> int:
        """Tokens of the base that their own text gave before and gives no more."""
        texts = {index: text for index, data in enumerate(self.base.pieces) if (text := decoded(data))}
        before, after = (encoder.encode([*texts.values()]) for encoder in self._of_chunks)
        return sum(old == [index] != new for index, old, new in zip(texts, before, after, strict=True))


def encoder_of(found: Arrays) -> str:
    """Which library encoded; where several did, the slowest."""
    return [name for name, n in zip(_ENCODERS, found["encoders"].tolist(), strict=True) if n][-1]

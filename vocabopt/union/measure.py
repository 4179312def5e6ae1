"""The union method at a vocabulary size: what it saves, what of it is of no use, what it does to other text."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from vocabopt.choice.complexity import EmbeddingTable, ratio
from vocabopt.growth.counts import ChunkCounts
from vocabopt.growth.grow import protected_chunks
from vocabopt.growth.recount import recount
from vocabopt.merge.addition import Addition, Scores
from vocabopt.merge.export import merged_base
from vocabopt.text.scripts import contains_target
from vocabopt.text.sets import HELDOUT
from vocabopt.tokenizer import Base
from vocabopt.union.encoders import ScoredEncoder, TextEncoder, encoders_of
from vocabopt.union.vocabulary import Vocabulary, union_addition

#: Text set -> its documents, read again, in blocks.
DocumentsOf = Mapping[str, Callable[[], Iterable[pl.Series]]]


@dataclass(frozen=True, kw_only=True)
class Measure:
    """What every size is measured on.

    weights: int64 [n_chunks, n_sets]. base_tokens: tokens per text set with the base. protected: the text sets that
    must not change.
    """

    base: Base
    counts: ChunkCounts
    weights: NDArray[np.int64]
    base_tokens: Mapping[str, int]
    scripts: tuple[str, ...]
    table: EmbeddingTable
    protected: DocumentsOf

    def __call__(self, vocabulary: Vocabulary, size: int, scores: Scores) -> dict[str, Any]:
        """The record of one size, as union.json holds it.

        n_unreachable: new pieces that their own text, without a dummy prefix, does not give. n_unused: those that
        held-out text never gives; None where nothing was held out. n_base_broken: tokens of the base that their own
        text gave before and gives no more. protected: per set its documents without characters of the target, and how
        many of them changed.
        """
        pieces = vocabulary.at(size) if vocabulary.is_bpe else list(vocabulary.pieces)
        addition = union_addition(self.base, pieces, scores=scores, place=f"the vocabulary of {size:,} pieces")
        merged = merged_base(self.base, addition)
        before, after = encoders_of(self.base, merged, addition)
        counted = recount(merged, self.counts, self.weights, after if isinstance(after, ScoredEncoder) else None)
        heldout = list(self.counts.sets).index(HELDOUT)
        n_tokens = counted.n_tokens(self.counts)
        return {
            "vocab_size": size,
            "n_overlap": len(pieces) - addition.n_added,
            "n_added": addition.n_added,
            "n_rows_total": self.table.n_rows(addition.n_added),
            "n_embedding_params": self.table.n_params(addition.n_added),
            "ratio_embedding": self.table.ratio(addition.n_added),
            "n_unreachable": _n_unreachable(self.base.n_tokens, addition, after),
            "n_unused": int((counted.token_counts[heldout, self.base.n_tokens :] == 0).sum())
            if n_tokens[HELDOUT]
            else None,
            "n_base_broken": self._n_base_broken(before, after),
            "protected": self._protected(before, after),
            "encoder": counted.encoder,
            "sets": {
                name: {"n_tokens": n, "ratio_input": ratio(n, self.base_tokens[name])} for name, n in n_tokens.items()
            },
        }

    def _n_base_broken(self, before: TextEncoder, after: TextEncoder) -> int:
        texts = {index: text for index, data in enumerate(self.base.pieces) if (text := _text_of(data))}
        both = zip(texts, before.chunk_ids([*texts.values()]), after.chunk_ids([*texts.values()]), strict=True)
        return sum(old == [index] != new for index, old, new in both)

    def _protected(self, before: TextEncoder, after: TextEncoder) -> dict[str, dict[str, int]]:
        """Documents of the protected sets that changed.

        A document changes when a chunk of it does; so only those that hold the text of a changed chunk are encoded.
        """
        sets = list(self.counts.sets)
        chosen = [sets.index(name) for name in self.protected]
        if not chosen:
            return {}
        mask = protected_chunks(self.counts, self.weights, chosen, self.scripts)
        chunks = self.counts.texts().filter(mask).to_list()
        both = zip(chunks, before.chunk_ids(chunks), after.chunk_ids(chunks), strict=True)
        changed = sorted({chunk.strip(" ") for chunk, old, new in both if old != new})
        return {name: self._changed_documents(name, changed, before, after) for name in self.protected}

    def _changed_documents(
        self, name: str, changed: list[str], before: TextEncoder, after: TextEncoder
    ) -> dict[str, int]:
        n_documents = n_changed = 0
        for block in self.protected[name]():
            judged = block
            if self.scripts:
                judged = pl.Series([text for text in block if not contains_target(text, self.scripts)], dtype=pl.String)
            n_documents += len(judged)
            # A literal ▁ is counted as the space it stands for.
            suspects = judged.str.contains("▁", literal=True)
            if changed:  # polars refuses an empty list
                suspects |= judged.str.contains_any(changed)
            texts = judged.filter(suspects).to_list() if "" not in changed else judged.to_list()
            pairs = zip(before.document_ids(texts), after.document_ids(texts), strict=True)
            n_changed += sum(old != new for old, new in pairs)
        return {"n_documents": n_documents, "n_changed": n_changed}


def _n_unreachable(first_id: int, addition: Addition, after: TextEncoder) -> int:
    texts = [text.decode() for text in addition.texts]
    return sum(ids != [first_id + i] for i, ids in enumerate(after.chunk_ids(texts)))


def _text_of(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return ""

"""The proof on whole documents: what a tokenizer.json makes of them, beside what their chunks say.

On one side stand the documents as they were read, encoded by the `tokenizers` library with the very tokenizer.json that
is written (its settings for batches apart). On the other side stands the way of counting: added tokens taken out, text
cut into chunks, chunks encoded one by one.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl
import tokenizers
from numpy.typing import NDArray

from vocabopt.errors import PromiseError, quoted
from vocabopt.growth import chunk_kernel as kernel
from vocabopt.growth.counts import ChunkCounts, count_opened
from vocabopt.growth.proof_sample import Sample
from vocabopt.records import DocumentProof
from vocabopt.text.documents import bytes_of_texts
from vocabopt.tokenizer import Tokenizer
from vocabopt.tokenizer.added_tokens import AddedTokens, open_documents
from vocabopt.tokenizer.chunks import ChunkEncoder, batches, cuts_of, refine
from vocabopt.tokenizer.model_check import check_text

#: Characters of a document that a message shows.
_SHOWN_CHARS = 200


@dataclass(frozen=True, kw_only=True)
class CountedDocuments:
    """Documents as chunks. chunks: unique ones, and how often each occurs in each document (its group). n_added: added
    tokens, int64, one a document."""

    chunks: ChunkCounts
    n_added: NDArray[np.int64]


def count_documents(base: Tokenizer, sample: Sample, *, cross_spaces: bool) -> CountedDocuments:
    """Count the chunks of each document as a sweep does."""
    data, starts, ends = bytes_of_texts(pl.Series(sample.texts, dtype=pl.String))
    added = AddedTokens(base)
    _, _, suspects = kernel.scan_documents(np.frombuffer(data, np.uint8), starts, ends, np.uint64(0), added.suspicious)
    opened = open_documents(added, base, data, starts, ends, suspects, np.arange(len(starts)))
    chunks = count_opened(opened, cuts_of(base, cross_spaces=cross_spaces), n_groups=len(starts))
    return CountedDocuments(chunks=chunks, n_added=opened.n_added)


def prove_documents(
    tokenizer: tokenizers.Tokenizer, base: Tokenizer, counted: CountedDocuments, sample: Sample, *, what: str
) -> DocumentProof:
    """Encode the documents whole, and compare each with what its chunks give.

    Args:
        tokenizer: what `tokenizers` makes of the finished file; without truncation and padding.
        base: the same, which encodes the chunks.
        what: what the tokenizer is, for the message.

    Raises:
        PromiseError: a document differs; the message names the first.
    """
    promised = _tokens_by_chunks(base, counted)
    encodings = tokenizer.encode_batch_fast(list(sample.texts), add_special_tokens=False)
    found = np.fromiter(map(len, encodings), np.int64, len(sample.texts))
    if len(different := np.flatnonzero(found != promised)):
        first = int(different[0])
        raise PromiseError(
            f"{what}: {len(different):,} of {len(sample.texts):,} documents have other token counts when they are "
            f"encoded whole than the count of their parts says. The first: {int(found[first]):,} tokens, counted "
            f"{int(promised[first]):,}, in {quoted(sample.texts[first], _SHOWN_CHARS)}. Nothing counted with this base "
            "can be relied on; please report this with the base."
        )
    return DocumentProof(
        n_documents=len(sample.texts),
        n_whole_documents=len(sample.texts) - sum(sample.is_excerpt),
        n_excerpts=sum(sample.is_excerpt),
        n_bytes=sample.n_bytes,
        n_tokens=int(found.sum()),
        is_all=sample.is_all,
        n_features=sample.n_features,
        n_features_held=sample.n_features_held,
    )


def prove_base(
    base: Tokenizer, sample: Sample, *, cross_spaces: bool = False, tell: Callable[[str], None]
) -> DocumentProof:
    """Prove on documents that counting in chunks is exact with a base: before anything is made of the counts.

    Args:
        cross_spaces: as the text was counted.
        tell: given a sentence where tokenizer.json is not what the base's SentencePiece model is.

    Raises:
        BaseTokenizerError: the base was read from a model, and differs from it on these documents.
        PromiseError: a document has other tokens than its chunks.
    """
    if told := check_text(base, sample.texts):
        tell(told)
    counted = count_documents(base, sample, cross_spaces=cross_spaces)
    return prove_documents(base.full, base, counted, sample, what=f"{base.name} without added tokens")


def missing_chunk(counted: CountedDocuments, sample: Sample, counts: ChunkCounts) -> str | None:
    """A chunk of the whole documents that the counted text of the run does not have, or None: all are counted."""
    chunks = counted.chunks
    chunk_of_entry = np.repeat(np.arange(chunks.n_chunks), np.diff(chunks.offsets))
    is_whole = ~np.array(sample.is_excerpt, bool)
    whole = np.unique(chunk_of_entry[is_whole[chunks.groups]])
    texts = chunks.texts().gather(whole)
    missing = texts.filter(~texts.is_in(counts.texts().implode()))
    return None if not len(missing) else str(missing[0])


def _tokens_by_chunks(base: Tokenizer, counted: CountedDocuments) -> NDArray[np.int64]:
    """Tokens of each document: those of its chunks, and its added tokens."""
    chunks = refine(base, counted.chunks) if base.family == "byte-level-bpe" else counted.chunks
    encoder = ChunkEncoder.of(base.chunk_tokenizer, base.fast_chunk_tokenizer, chunks)
    lengths = [np.diff(encoder.encode(data)[1], prepend=0) for data in batches(chunks)]
    n_tokens = np.concatenate(lengths) if lengths else np.zeros(0, np.int64)
    per_entry = np.repeat(n_tokens, np.diff(chunks.offsets)) * chunks.counts
    totals = np.bincount(chunks.groups, weights=per_entry, minlength=len(counted.n_added)).astype(np.int64)
    return totals + counted.n_added

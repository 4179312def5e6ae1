"""Proofs that share nothing with the growth pass: text encoded with the finished tokenizer, beside what was counted.

On whole documents: on one side they are encoded as they were read, by the `tokenizers` library with the very
tokenizer.json that is written (its settings for batches apart). On the other side stands the way of counting: added
tokens taken out, text cut into chunks, chunks encoded one by one.

On the counts of a curve (P1): the unique chunks of a run, encoded again. The growth pass never encodes with the
tokenizers it makes; here their own encoder does, so that a fault in the pass or in the export shows as a difference.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import msgspec
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
from vocabopt.tokenizer.model_check import by_model, check_text

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
    # Tokens of each document: those of its chunks, and its added tokens.
    chunks = refine(base, counted.chunks) if base.family == "byte-level-bpe" else counted.chunks
    encoder = ChunkEncoder.of(base.chunk_tokenizer, base.fast_chunk_tokenizer, chunks)
    lengths = [np.diff(encoder.encode(data)[1], prepend=0) for data in batches(chunks)]
    per_chunk = np.concatenate([np.zeros(0, np.int64), *lengths])
    per_entry = np.repeat(per_chunk, np.diff(chunks.offsets)) * chunks.counts
    promised = np.bincount(chunks.groups, per_entry, len(counted.n_added)).astype(np.int64) + counted.n_added
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
    proof = prove_documents(base.full, base, counted, sample, what=f"{base.name} without added tokens")
    if not base.has_ties:
        return proof
    n_otherwise, n_tokens = by_model(base, sample.texts)
    return msgspec.structs.replace(proof, n_otherwise_by_model=n_otherwise, n_tokens_by_model=n_tokens)


def missing_chunk(counted: CountedDocuments, sample: Sample, counts: ChunkCounts) -> str | None:
    """A chunk of the whole documents that the counted text of the run does not have, or None: all are counted."""
    chunks = counted.chunks
    chunk_of_entry = np.repeat(np.arange(chunks.n_chunks), np.diff(chunks.offsets))
    is_whole = ~np.array(sample.is_excerpt, bool)
    texts = chunks.texts().gather(np.unique(chunk_of_entry[is_whole[chunks.groups]]))
    missing = texts.filter(~texts.is_in(counts.texts().implode()))
    return None if not len(missing) else str(missing[0])


# --- Counting again --------------------------------------------------------------------------------------------------


class Encoder(Protocol):
    """What encodes runs of chunks, as `ChunkEncoder` does."""

    @property
    def name(self) -> str: ...

    def encode(self, data: bytes) -> tuple[NDArray[np.int64], NDArray[np.int64]]: ...


@dataclass(frozen=True, kw_only=True)
class Recount:
    """Tokens of a tokenizer on counted text.

    token_counts: int64 [n_sets, n_tokens], how often each id occurs, special tokens inside the text left out.
    encoder: which library encoded.
    """

    token_counts: NDArray[np.int64]
    encoder: str

    def n_tokens(self, counts: ChunkCounts) -> dict[str, int]:
        """Tokens of each text set, special tokens inside the text included."""
        totals = self.token_counts.sum(axis=1)
        return {
            name: int(total) + stats.n_special_tokens
            for (name, stats), total in zip(counts.sets.items(), totals, strict=True)
        }


def recount(
    tokenizer: Tokenizer, counts: ChunkCounts, weights: NDArray[np.int64], encoder: Encoder | None = None
) -> Recount:
    """Encode every unique chunk and add its tokens up, times `weights` [n_chunks, n_sets].

    Args:
        encoder: what encodes; None for the tokenizer's own (`ChunkEncoder`).
    """
    token_counts = np.zeros((weights.shape[1], tokenizer.n_tokens), np.int64)
    if encoder is None:
        encoder = ChunkEncoder.of(tokenizer.whole_chunk_tokenizer, tokenizer.fast_chunk_tokenizer, counts)
    first = 0
    for data in batches(counts):
        ids, ends = encoder.encode(data)
        lengths = np.diff(ends, prepend=0)
        for text_set in range(weights.shape[1]):
            weight = np.repeat(weights[first : first + len(ends), text_set], lengths)
            # Exact: the sums stay far below 2^53.
            token_counts[text_set] += np.bincount(ids, weight, minlength=tokenizer.n_tokens).astype(np.int64)
        first += len(ends)
    return Recount(token_counts=token_counts, encoder=encoder.name)


def changed_chunks(before: Tokenizer, after: Tokenizer, counts: ChunkCounts, chosen: NDArray[np.int64]) -> list[str]:
    """The chunks, of those `chosen` by number, that the two tokenizers encode differently."""
    if not len(chosen):
        return []
    texts = counts.texts().gather(chosen)
    data = texts.str.join("\0").cast(pl.Binary).item()
    (old, old_ends), (new, new_ends) = (
        ChunkEncoder.of(base.whole_chunk_tokenizer, base.fast_chunk_tokenizer, counts).encode(data)
        for base in (before, after)
    )
    if np.array_equal(old, new) and np.array_equal(old_ends, new_ends):
        return []
    rows = zip(texts.to_list(), np.split(old, old_ends[:-1]), np.split(new, new_ends[:-1]), strict=True)
    return [text for text, a, b in rows if not np.array_equal(a, b)]

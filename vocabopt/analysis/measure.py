"""One tokenizer on all text sets: how often each token occurs, and how it treats words. Integers only.

Text is encoded shard by shard (`engine`), and what is found adds up.

A base that can be grown is counted in unique chunks, each encoded once (tokenizer/chunks.py says why that is exact);
every other tokenizer encodes each document whole. A part of the text proves that chunks and whole documents give the
same, as in a sweep (growth/proof.py). Both end in `Tally.add`.

The numbers that are more than a quotient (Renyi efficiency, Gini, parity) are None where they are not defined.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import parent_process

import numpy as np
from numpy.typing import NDArray

from vocabopt.analysis.record import SetNumbers, TokenizerNumbers
from vocabopt.analysis.subjects import Spans, Subject, Subjects
from vocabopt.analysis.vocabulary import Vocabulary
from vocabopt.analysis.words import tokens_of_words, words_of
from vocabopt.engine import Engine
from vocabopt.growth.counts import Documents, SetStats, count_chunks
from vocabopt.growth.floor import Floor
from vocabopt.growth.proof import prove_base
from vocabopt.growth.proof_sample import ProofSample
from vocabopt.text.readers import ReadOptions
from vocabopt.text.shards import Shard, documents_of_shard
from vocabopt.tokenizer import Tokenizer
from vocabopt.tokenizer.chunks import ChunkEncoder, batches, refine

Ints = NDArray[np.int64]

#: Text encoded whole at a time: bounds what places of tokens take.
_BATCH_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a tokenizer makes of one shard: the sums of `Tally` for the shard's text set, the library that encoded, and
    what the user should be told."""

    shard: Shard
    token_counts: Ints
    n_added: int
    n_chunks: int
    word_counts: Ints
    encoder: str
    told: tuple[str, ...]


@dataclass(frozen=True)
class Measurer:
    """A worker (`engine.engine`) that encodes shards with the tokenizers of `subjects`: (number of a tokenizer, shard)
    in."""

    subjects: Subjects
    read: ReadOptions

    def __call__(self, job: tuple[int, Shard]) -> Measured:
        """Encode a shard.

        Raises:
            BaseTokenizerError: a base was read from a SentencePiece model, and differs from it on this text.
            CorpusError: a document cannot be read.
            PromiseError: a document has other tokens when it is encoded whole than its chunks have.
        """
        number, shard = job
        subject = self.subjects.loaded[number]
        told: list[str] = []
        tally = Tally([shard.text_set], subject.vocabulary)
        blocks = documents_of_shard(shard, self.read)
        if subject.base is not None:
            _count_chunks(subject.base, blocks, tally, told.append)
        else:
            _encode_whole(subject, blocks, tally)
        return Measured(
            shard=shard,
            token_counts=tally.token_counts[0],
            n_added=int(tally.n_added[0]),
            n_chunks=int(tally.n_chunks[0]),
            word_counts=tally.word_counts[0],
            encoder=tally.encoder,
            told=tuple(told),
        )


def measure(
    number: int,
    subject: Subject,
    shards: Sequence[Shard],
    names: list[str],
    workers: Engine[tuple[int, Shard], Measured],
    advance: Callable[[int], None],
    tell: Callable[[str], None],
) -> "Tally":
    """Encode all text with a tokenizer.

    Args:
        number: of the tokenizer among the workers' subjects.
        names: of the text sets, in order.
        advance: told the stored bytes of each shard, for a progress bar.
        tell: given a sentence where a tokenizer.json is not what the SentencePiece model beside it is.

    Raises:
        VocaboptError: what `Measurer` raises; or a worker was lost.
    """
    tally, told, encoders = Tally(names, subject.vocabulary), dict[int, tuple[str, ...]](), set[str]()
    for found in workers.run([(number, shard) for shard in shards], step=f"encode {subject.name}"):
        tally.add_shard(found)
        encoders.add(found.encoder)
        told[found.shard.number] = found.told
        advance(found.shard.n_stored_bytes)
    for sentence in [sentence for shard in sorted(told) for sentence in told[shard]][:1]:
        tell(sentence)
    # The slower one, where the fast one did not agree on all text.
    tally.encoder = max(encoders, default="")
    return tally


def _encode_whole(subject: Subject, blocks: Iterator[Documents], tally: "Tally") -> None:
    for block in blocks:
        first = 0
        while first < len(block.ends):
            limit = int(block.starts[first]) + _BATCH_BYTES
            last = max(first + 1, int(np.searchsorted(block.ends, limit)))
            texts = block.data[block.starts[first] : block.ends[last - 1]].decode().split("\0")
            tally.n_chunks += subject.n_chunks(texts) or 0
            tally.add("\0".join(texts), subject.spans(texts), np.ones((len(texts), 1), np.int64))
            first = last
    # Strings of added tokens are counted apart, as they are where chunks are counted.
    is_added = subject.vocabulary.is_added & ~subject.vocabulary.is_unknown
    tally.n_added += tally.token_counts[:, is_added].sum(axis=1)
    tally.token_counts[:, is_added] = 0
    tally.encoder = "tokenizers" if subject.side.encodes_as_json else "sentencepiece"


class Tally:
    """What a tokenizer makes of text sets: sums over texts, each as often as it occurs in each set.

    token_counts: int64 [n_sets, n_ids], strings of added tokens in the text left out; n_added: int64 [n_sets] of those.
    n_chunks: int64 [n_sets], parts that no token crosses, those strings included; 0 where nothing but the model cuts.
    word_counts: int64 [n_sets, 5] of words as the tokenizer meets them, whole ones, continued ones, eojeols, and tokens
    of eojeols. encoder: the library that encoded.
    """

    def __init__(self, names: list[str], vocabulary: Vocabulary) -> None:
        self.names, self.vocabulary, self.encoder = names, vocabulary, ""
        self.token_counts = np.zeros((len(names), len(vocabulary.is_plain)), np.int64)
        self.n_added, self.n_chunks = np.zeros(len(names), np.int64), np.zeros(len(names), np.int64)
        self.word_counts = np.zeros((len(names), 5), np.int64)

    def n_tokens(self, index: int) -> int:
        return int(self.token_counts[index].sum() + self.n_added[index])

    def add_shard(self, found: Measured) -> None:
        """Add what was found in a shard of one of the sets."""
        index = self.names.index(found.shard.text_set)
        self.token_counts[index] += found.token_counts
        self.n_added[index] += found.n_added
        self.n_chunks[index] += found.n_chunks
        self.word_counts[index] += found.word_counts

    def add(self, joined: str, spans: Spans, weights: Ints) -> None:
        """Add texts joined by NUL; weights: int64 [n_texts, n_sets]."""
        words = words_of(joined, in_bytes=spans.in_bytes)
        first, n_tokens = tokens_of_words(words, spans)
        n_unknown = np.concatenate([[0], np.cumsum(self.vocabulary.is_unknown[spans.ids])])
        before, after = (n_unknown[np.minimum(at, len(spans.ids))] for at in (first, first + n_tokens))
        is_known = before == after
        is_whole, is_continued = (n_tokens == 1) & is_known, (n_tokens > 1) & is_known
        of_word = (np.ones(words.n_words), is_whole, is_continued, words.is_eojeol, words.is_eojeol * n_tokens)
        # Exact: the sums stay far below 2^53.
        per_text = np.stack([np.bincount(words.text_of_word, values, minlength=words.n_texts) for values in of_word])
        self.word_counts += (per_text @ weights).T.astype(np.int64)
        text_of_token = spans.text_of_token
        for index in np.flatnonzero(weights.any(axis=0)):
            counted = np.bincount(spans.ids, weights[text_of_token, index], minlength=self.token_counts.shape[1])
            self.token_counts[index] += counted.astype(np.int64)


def _count_chunks(
    base: Tokenizer,
    blocks: Iterator[Documents],
    tally: Tally,
    tell: Callable[[str], None],
) -> None:
    stats = {name: SetStats(role="eval") for name in tally.names}
    sample = ProofSample(0)
    # A worker process has a core to itself.
    n_threads = 2 if parent_process() is None else 1
    counts = count_chunks(blocks, stats, base, heldout_share=0.0, seed=0, proof_sample=sample, n_threads=n_threads)
    prove_base(base, sample.sample(), tell=tell)
    weights = counts.weights()
    tally.n_added += [stats[name].n_special_tokens for name in tally.names]
    tally.n_chunks += tally.n_added
    floor = Floor.of(base, cross_spaces=False)
    if base.family == "byte-level-bpe":
        tally.n_chunks += refine(base, counts).weights().sum(axis=0)
    encoder = ChunkEncoder.of(base.whole_chunk_tokenizer, base.fast_chunk_tokenizer, counts)
    # The whole tokenizer is built (a second for 128k tokens) only where it normalises.
    normalizes = base.family == "byte-level-bpe" and base.tokenizer_json.get("normalizer") is not None
    normalizer = base.full.normalizer if normalizes else None
    first = 0
    for data in batches(counts):
        ids, ends = encoder.encode(data)
        if base.family == "sentencepiece-bpe":
            tally.n_chunks += floor.parts(ids, ends) @ weights[first : first + len(ends)]
        text = data.decode()
        if normalizer is not None and not text.isascii():
            chunks = text.split("\0")
            text = "\0".join(chunk if chunk.isascii() else normalizer.normalize_str(chunk) for chunk in chunks)
        # The bytes of the tokens, put together, are the text.
        n_tokens, lengths = np.diff(ends, prepend=0), tally.vocabulary.n_bytes[ids]
        places = np.cumsum(lengths) + np.repeat(np.arange(len(ends)), n_tokens)
        assert not len(ids) or places[-1] == len(text.encode()), "tokens that do not add up to their text"
        spans = Spans(ids=ids, starts=places - lengths, ends=places, n_tokens=n_tokens, in_bytes=True)
        tally.add(text, spans, weights[first : first + len(ends)])
        first += len(ends)
    tally.encoder = encoder.name


#: The order of the Renyi entropy that follows translation quality best in arXiv 2306.16842.
RENYI_ALPHA = 2.5
#: Above this share of unknown tokens, text is lost, and a low count of tokens is no merit.
MAX_UNKNOWN_SHARE = 0.01


def renyi_efficiency(token_counts: Ints, n_vocabulary: int, alpha: float = RENYI_ALPHA) -> float | None:
    """Renyi efficiency of a distribution of tokens (Zouhar et al., arXiv 2306.16842):

        H_alpha(p) / log |V|,   H_alpha(p) = log(sum of p^alpha) / (1 - alpha),   p = token counts / their sum

    |V| is the whole vocabulary, special tokens included, whether the text uses it or not: with the tokens observed in
    its place, a tokenizer could gain by never using most of its vocabulary. 1 for a vocabulary used evenly, 0 for text
    of one token. A second opinion: it has counterexamples (arXiv 2402.14614).

    Args:
        alpha: not 1.

    Returns:
        None where there are no tokens, or a vocabulary of one.
    """
    used = token_counts[token_counts > 0]
    if not len(used) or n_vocabulary < 2:
        return None
    shares = used / used.sum()
    entropy = math.log(float((shares**alpha).sum())) / (1 - alpha)
    return max(entropy, 0.0) / math.log(n_vocabulary)


def gini(costs: Sequence[float]) -> float | None:
    """Gini coefficient of what each text set costs: the Tokenizer Fairness Gini of Foroutan et al., tokenizer-analysis
    (github.com/cimeister/tokenizer-analysis-suite; arXiv 2508.04796):

        sum over i and j of |c_i - c_j|  /  (2 n^2 x mean of c)

    with one cost c_i = n_tokens / n_bytes per set, or n_tokens / n_documents where the sets are aligned. Each set
    counts once, however large. 0 where all cost the same; at most 1 - 1/n.

    Returns:
        None for fewer than two sets.
    """
    if len(costs) < 2 or not sum(costs):
        return None
    values = np.array(costs, np.float64)
    return float(np.abs(values[:, None] - values[None, :]).sum() / (2 * len(values) ** 2 * values.mean()))


def parity(n_tokens: int, n_tokens_aligned: int | None) -> float | None:
    """Tokens for each token of the aligned text (the premium of Petrov et al., arXiv 2305.15425; the ratio of sums over
    all documents, not the mean of ratios). None where no text is aligned, or either is empty."""
    return n_tokens / n_tokens_aligned if n_tokens and n_tokens_aligned else None


def use_of(vocabulary: Vocabulary, token_counts: Ints, rare: int) -> tuple[int | None, int | None]:
    """Plain tokens of the vocabulary that never occur, and those that do, but fewer than `rare` times.

    None where there is no text.
    """
    if not token_counts.any():
        return None, None
    counts = token_counts[vocabulary.is_plain]
    return int((counts == 0).sum()), int(((counts > 0) & (counts < rare)).sum())


def loses_text(counts: SetNumbers) -> bool:
    """Whether so much of a set became the unknown token that its number of tokens compares with no other's."""
    return (counts.share_unknown_tokens or 0.0) > MAX_UNKNOWN_SHARE


def best(tokenizers: Sequence[TokenizerNumbers], text_set: str, key: str, *, is_smallest: bool) -> float | None:
    """The best value of a number of each set, of the tokenizers that lose no text; None where fewer than two tokenizers
    have one."""
    counts = [tokenizer.sets[text_set] for tokenizer in tokenizers]
    values = [getattr(given, key) for given in counts if getattr(given, key) is not None and not loses_text(given)]
    if len(values) < 2:
        return None
    return float(min(values) if is_smallest else max(values))

"""The measures: each from counts alone, None where it is not defined."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vocabopt.analyze.subject import Subject
from vocabopt.analyze.text import Text
from vocabopt.verify.encoders import Encoder

#: Renyi's order: 2.5 correlates best with translation quality in 2306.16842.
RENYI_ALPHA = 2.5
_BATCH = 4_096


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One tokenizer on one text set; ratios are quotients of the counts.

    n_words_whole: word occurrences that are one token where they stand inside a text, their space included.
    n_fallback: tokens that spell one byte of a longer character. n_cut: tokens that begin or end inside a character.
    n_unknown: tokens that stand for what the tokenizer cannot spell. n_unused, n_rare: tokens of the vocabulary, added
    ones left out, that never occur; that do, but fewer times than asked.
    renyi_efficiency: H_2.5 / log |V| with |V| the whole vocabulary, not what occurred (2306.16842).
    """

    n_documents: int
    n_words: int
    n_chars: int
    n_bytes: int
    n_tokens: int
    n_words_whole: int
    n_fallback: int
    n_cut: int
    n_unknown: int
    n_unused: int
    n_rare: int
    renyi_efficiency: float | None

    @property
    def fertility(self) -> float | None:
        """Tokens per word (Rust et al. 2021, 2012.15613; words here are runs between white space)."""
        return quotient(self.n_tokens, self.n_words)

    @property
    def bytes_per_token(self) -> float | None:
        return quotient(self.n_bytes, self.n_tokens)

    @property
    def chars_per_token(self) -> float | None:
        return quotient(self.n_chars, self.n_tokens)

    @property
    def share_words_whole(self) -> float | None:
        """STRR, the single token retention rate (2510.09947)."""
        return quotient(self.n_words_whole, self.n_words)

    @property
    def share_words_continued(self) -> float | None:
        """Words cut into two tokens or more (Rust et al. 2021, 2012.15613)."""
        return quotient(self.n_words - self.n_words_whole, self.n_words)

    @property
    def share_fallback(self) -> float | None:
        return quotient(self.n_fallback, self.n_tokens)

    @property
    def share_unknown(self) -> float | None:
        return quotient(self.n_unknown, self.n_tokens)

    @property
    def share_cut(self) -> float | None:
        return quotient(self.n_cut, self.n_tokens)

    def as_record(self) -> dict[str, Any]:
        ratios = (
            "fertility", "bytes_per_token", "chars_per_token", "share_words_whole", "share_words_continued",
            "share_fallback", "share_cut", "share_unknown",
        )  # fmt: skip
        return asdict(self) | {name: getattr(self, name) for name in ratios}


def quotient(numerator: float, denominator: float) -> float | None:
    return numerator / denominator if denominator else None


def measure(subject: Subject, text: Text, *, n_rare: int) -> Measured:
    """Count how a tokenizer cuts a text, document by document as `encode(text, add_special_tokens=False)` does."""
    counts = token_counts(subject.encoder, text.documents, subject.n_tokens)
    rows = subject.encode_words(list(text.words))
    whole = sum(n for n, ids in zip(text.words.values(), rows, strict=True) if subject.is_one_token(ids))
    seen = counts[subject.is_text]
    return Measured(
        n_documents=len(text.documents),
        n_words=text.n_words,
        n_chars=text.n_chars,
        n_bytes=text.n_bytes,
        n_tokens=int(counts.sum()),
        n_words_whole=whole,
        n_fallback=int(counts[subject.is_fallback].sum()),
        n_cut=int(counts[subject.is_cut].sum()),
        n_unknown=0 if subject.unknown_id is None else int(counts[subject.unknown_id]),
        n_unused=int((seen == 0).sum()),
        n_rare=int(((seen > 0) & (seen < n_rare)).sum()),
        renyi_efficiency=renyi_efficiency(counts, subject.n_tokens),
    )


def token_counts(encoder: Encoder, documents: Sequence[str], n_tokens: int) -> NDArray[np.int64]:
    """How often each id occurs, [n_tokens]."""
    counts = np.zeros(n_tokens, np.int64)
    for first in range(0, len(documents), _BATCH):
        rows = encoder.encode(documents[first : first + _BATCH])
        ids = np.fromiter(chain.from_iterable(rows), np.int64)
        counts += np.bincount(ids, minlength=n_tokens)
    return counts


def renyi_efficiency(counts: NDArray[np.int64], n_vocabulary: int, alpha: float = RENYI_ALPHA) -> float | None:
    """H_alpha / log |V|, H_alpha = log(sum p^alpha) / (1 - alpha) (2306.16842); None without tokens."""
    total = int(counts.sum())
    if not total or n_vocabulary < 2:
        return None
    p = counts[counts > 0] / total
    return float(np.log(np.sum(p**alpha)) / (1 - alpha) / np.log(n_vocabulary))


def gini(costs: Sequence[float]) -> float | None:
    """Gini coefficient of the tokens that texts of the same content take: sum |c_i - c_j| / (2 n^2 mean).

    0: every language pays the same; towards 1: one pays all (Foroutan et al. 2025, Parity-Aware BPE, 2508.04796). None
    for fewer than two.
    """
    c = np.asarray(costs, float)
    if len(c) < 2 or not c.sum():
        return None
    return float(np.abs(c[:, None] - c[None, :]).sum() / (2 * len(c) ** 2 * c.mean()))

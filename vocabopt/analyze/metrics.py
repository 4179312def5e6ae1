"""The numbers of an analysis that are more than a quotient: Renyi efficiency, Gini, parity, use of the vocabulary.

Undefined is None, never 0.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vocabopt.analyze.vocabulary import Vocabulary

#: The order of the Renyi entropy that follows translation quality best in arXiv 2306.16842.
RENYI_ALPHA = 2.5
#: Above this share of unknown tokens, text is lost, and a low count of tokens is no merit.
MAX_UNKNOWN_SHARE = 0.01


def renyi_efficiency(token_counts: NDArray[np.int64], n_vocabulary: int, alpha: float = RENYI_ALPHA) -> float | None:
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


def use_of(vocabulary: Vocabulary, token_counts: NDArray[np.int64], rare: int) -> tuple[int | None, int | None]:
    """Plain tokens of the vocabulary that never occur, and those that do, but fewer than `rare` times.

    None where there is no text.
    """
    if not token_counts.any():
        return None, None
    counts = token_counts[vocabulary.is_plain]
    return int((counts == 0).sum()), int(((counts > 0) & (counts < rare)).sum())


def loses_text(counts: Mapping[str, Any]) -> bool:
    """Whether so much of a set became the unknown token that its number of tokens compares with no other's."""
    return (counts["share_unknown_tokens"] or 0.0) > MAX_UNKNOWN_SHARE


def best(tokenizers: Sequence[Mapping[str, Any]], text_set: str, key: str, *, is_smallest: bool) -> float | None:
    """The best value of a number that analyze.json has for each set, of the tokenizers that lose no text; None where
    fewer than two tokenizers have one."""
    counts = [tokenizer["sets"][text_set] for tokenizer in tokenizers]
    values = [given[key] for given in counts if given[key] is not None and not loses_text(given)]
    if len(values) < 2:
        return None
    return float(min(values) if is_smallest else max(values))

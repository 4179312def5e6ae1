"""Second opinions on the size of a whole vocabulary: Scaling Laws with Vocabulary, and VOLT's marginal utility.

The laws (Tao et al. 2024, arXiv 2407.13623) were fitted to models of 33M to 1.1B non-vocabulary parameters trained
from scratch on English; coefficients are those of the authors' published code. N_nv: parameters outside the embedding;
N_v: of one embedding table, rows x width.
"""

import math

from vocabopt.choice.sizes import Floats, Integers

# Approach 1, section 4.1: N_nv = k1 F^0.5 and N_v = k2 F^0.4163622634135234 on compute-optimal runs.
_LOG_K1, _LOG_K2, _N_V_POWER = -2.4846510161625193, -1.589031299255507, 0.4163622634135234
# Approach 2, section 4.2: N_v grows as N_nv^gamma from the best table found for the smallest model.
_N_V_SMALLEST, _N_NV_SMALLEST, _GAMMA = 3_145_728, 33_000_000, 0.8353974035228025
# Approach 3, section 4.3: loss = -E + A1 / N_nv^alpha1 + A2 / N_v^alpha2 + B / D^beta; parameters in millions, D
# in thousand million tokens. E, A1 and alpha1 do not move the minimum.
_A2, _ALPHA2 = 0.19584238398665638, 0.6707374679896795
_B, _BETA = 2.1241123120064955, 0.44660634152009615


def approach_1(n_nv: float) -> float:
    """N_v on the line through the best runs of each compute budget."""
    return float(math.exp(_LOG_K2) * compute_optimal_flops(n_nv) ** _N_V_POWER)


def compute_optimal_flops(n_nv: float) -> float:
    """Training FLOPs at which a model of this size is compute-optimal: section 4.1's line, turned over."""
    return float((n_nv / math.exp(_LOG_K1)) ** 2)


def approach_2(n_nv: float) -> float:
    """N_v by the derivative of FLOPs with respect to the vocabulary, as a power law of N_nv."""
    return float(_N_V_SMALLEST * (n_nv / _N_NV_SMALLEST) ** _GAMMA)


def approach_3(n_nv: float, flops: float | None = None) -> float:
    """N_v at the minimum of the fitted loss, for a training budget; None for the compute-optimal one.

    With D = F / (6 (N_nv + N_v)) the derivative of the loss is zero where
        alpha2 A2 N_v^-(alpha2 + 1) = beta B (6 / F)^beta (N_nv + N_v)^(beta - 1):
    the left side falls faster than the right, so there is one such N_v, found by halving.
    """
    n_nv_millions = n_nv / 1e6
    budget = (compute_optimal_flops(n_nv) if flops is None else flops) / 1e15

    def excess(log_n_v: float) -> float:
        n_v = math.exp(log_n_v)
        left = math.log(_ALPHA2 * _A2) - (_ALPHA2 + 1) * log_n_v
        right = math.log(_BETA * _B) + _BETA * math.log(6 / budget) + (_BETA - 1) * math.log(n_nv_millions + n_v)
        return left - right

    low, high = math.log(1e-9), math.log(1e12)
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if excess(middle) > 0 else (low, middle)
    return math.exp(low) * 1e6


def marginal_utility(entropy_bits: Floats, n_tokens: Integers, n_chars: int, step: int) -> Floats:
    """VOLT's marginal utility of vocabularization, in bits per character and added token (2012.15671, section 3).

    M(k) = -(H(k) - H(k - step)) / step, with H = entropy of the token distribution / mean characters of a token.

    Returns:
        [n], at sizes step, 2 step, ...; empty where the set is empty or the curve shorter than a step.
    """
    at = range(0, len(n_tokens), step)
    if len(at) < 2 or not n_chars:
        return entropy_bits[:0]
    bits_per_char = entropy_bits[::step] * n_tokens[::step] / n_chars
    return -(bits_per_char[1:] - bits_per_char[:-1]) / step

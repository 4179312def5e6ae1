"""What each rule says of the size: functions of the curve, each with where it comes from, and the question they answer.

A rule gives an answer `at` a size; `at_least` the curve's end, where the curve does not bound it; or `none`, where what
it needs is not there or was not stated. `wording.rule_sentence` says each answer in words.

Two are second opinions, on the size of a whole vocabulary: VOLT's marginal utility, and Scaling Laws with Vocabulary
(Tao et al. 2024, arXiv 2407.13623), fitted to models of 33M to 1.1B non-vocabulary parameters trained from scratch on
English; coefficients are those of the authors' published code. N_nv: parameters outside the embedding; N_v: of one
embedding table, rows x width.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from vocabopt.choice.complexity import EmbeddingTable, Floats, Integers, SizeCurve
from vocabopt.choice.cost import ModelCost
from vocabopt.choice.knee import kneedle
from vocabopt.choice.options import ChoiceOptions
from vocabopt.records import Answer, Bound, RuleKind
from vocabopt.text.sets import HELDOUT, TRAIN

#: Compute that rises by less than this share of its minimum by the curve's end has not turned: counts are whole tokens,
#: so the sum wavers a little.
RISE = 0.001
#: VOLT looks at vocabularies of 1,000, 2,000, ... entries (2012.15671, section 4).
MUV_STEP = 1_000

# Approach 1, section 4.1: N_nv = k1 F^0.5 and N_v = k2 F^0.4163622634135234 on compute-optimal runs.
_LOG_K1, _LOG_K2, _N_V_POWER = -2.4846510161625193, -1.589031299255507, 0.4163622634135234
# Approach 2, section 4.2: N_v grows as N_nv^gamma from the best table found for the smallest model.
_N_V_SMALLEST, _N_NV_SMALLEST, _GAMMA = 3_145_728, 33_000_000, 0.8353974035228025
# Approach 3, section 4.3: loss = -E + A1 / N_nv^alpha1 + A2 / N_v^alpha2 + B / D^beta; parameters in millions, D
# in thousand million tokens. E, A1 and alpha1 do not move the minimum.
_A2, _ALPHA2 = 0.19584238398665638, 0.6707374679896795
_B, _BETA = 2.1241123120064955, 0.44660634152009615

# --- The rules --------------------------------------------------------------------------------------------------------


def cheapest(flops: Floats) -> tuple[int, Bound]:
    """The size of least compute for the same text: argmin of tokens x FLOPs per token.

    Derivation: the first tokens added save much of the body's work, each row adds to every token's head; the sum falls,
    then rises. For a large body it falls, or lies flat, to the end of the curve: then the end is a lower bound.
    """
    best, end = int(np.argmin(flops)), len(flops) - 1
    if end > 0 and flops[end] <= (1 + RISE) * flops[best]:
        return end, "at_least"
    return best, "at"


def exposed(n_occurrences: Integers, scale: float, n_times: int) -> tuple[int, Bound]:
    """The largest size whose last token is seen at least `n_times` in training (EEVE, 2402.14714, asks for 6,000).

    Args:
        n_occurrences: per added token, in the counted training text when it is added.
        scale: planned training text / counted training text.
    """
    seen = np.flatnonzero(n_occurrences * scale >= n_times)
    size = int(seen[-1]) + 1 if len(seen) else 0
    return size, "at_least" if size == len(n_occurrences) and size else "at"


def used(n_used: Integers, share: float) -> tuple[int, Bound]:
    """The largest size at which at least `share` of the added tokens occur in held-out text.

    Derivation: a row that other text of the same kind never needs is paid for and not trained on.
    """
    sizes = np.arange(len(n_used))
    enough = np.flatnonzero(n_used >= share * sizes)
    size = int(enough[-1])
    return size, "at_least" if size == len(n_used) - 1 and size else "at"


def marginal(n_tokens: Integers, step: int, share: float) -> tuple[int, Bound]:
    """The first size whose next `step` tokens save less than `share` of the base's count.

    Derivation: the slope of the curve, on a scale that does not depend on where the curve ends.
    """
    if len(n_tokens) <= step:
        return len(n_tokens) - 1, "at_least"
    saved = n_tokens[:-step] - n_tokens[step:]
    little = np.flatnonzero(saved < share * n_tokens[0])
    return (int(little[0]), "at") if len(little) else (len(n_tokens) - 1, "at_least")


def fitting(n_bytes: Floats | Integers, budget_bytes: int) -> tuple[int, Bound]:
    """The largest size that fits a memory budget; 0 where not even the base does."""
    fits = np.flatnonzero(n_bytes <= budget_bytes)
    size = int(fits[-1]) if len(fits) else 0
    return size, "at_least" if size == len(n_bytes) - 1 and size else "at"


def law_1(n_nv: float) -> float:
    """N_v on the line through the best runs of each compute budget."""
    return float(math.exp(_LOG_K2) * compute_optimal_flops(n_nv) ** _N_V_POWER)


def compute_optimal_flops(n_nv: float) -> float:
    """Training FLOPs at which a model of this size is compute-optimal: section 4.1's line, turned over."""
    return float((n_nv / math.exp(_LOG_K1)) ** 2)


def law_2(n_nv: float) -> float:
    """N_v by the derivative of FLOPs with respect to the vocabulary, as a power law of N_nv."""
    return float(_N_V_SMALLEST * (n_nv / _N_NV_SMALLEST) ** _GAMMA)


def law_3(n_nv: float, flops: float | None = None) -> float:
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


# --- Every rule asked on one curve ------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Question:
    """One curve, the set and window decided on, and the model, as all rules are asked. cost: None where the model or
    its layers are not known."""

    curve: SizeCurve
    text_set: str
    window: tuple[int, int]
    ratio_embedding: Floats
    table: EmbeddingTable
    cost: ModelCost | None
    options: ChoiceOptions

    @property
    def ratio_input(self) -> Floats:
        return self.curve.ratio_input(self.text_set)


def answers(question: Question, knee: int | None) -> list[Answer]:
    """The chord knee, Kneedle, and the rules without a window, in the order they are shown."""
    rules = (_kneedle, _flops, _exposure, _used, _marginal, _memory, _muv, _laws)
    found = [answer for rule in rules for answer in rule(question)]
    return [_answer("knee", "knee", _at(knee)), *found]


def _answer(name: str, kind: RuleKind, found: tuple[int | None, Bound] | None, **more: Any) -> Answer:
    """found: size and bound; None where what the rule needs is not there."""
    size, bound = found or (None, "none")
    return Answer(name=name, kind=kind, n_added=size, bound=bound, **more)


def _at(size: int | None) -> tuple[int, Bound] | None:
    return None if size is None else (size, "at")


def kneedle_sizes(window: tuple[int, int], n_points: int) -> Integers:
    """The even sizes of the window that Kneedle looks at: on every size it would take the first wiggle for a knee."""
    first, last = window
    return np.unique(np.linspace(first, last, min(n_points, last - first + 1)).astype(np.int64))


def _kneedle(question: Question) -> Iterator[Answer]:
    ratio, options = question.ratio_input, question.options
    at, size = kneedle_sizes(question.window, options.kneedle_points), None
    if len(ratio):
        size = kneedle(at, question.ratio_embedding[at], ratio[at], sensitivity=options.kneedle_sensitivity)
    yield _answer("kneedle", "knee", _at(size))


def _flops(question: Question) -> Iterator[Answer]:
    cost, ratio, options = question.cost, question.ratio_input, question.options
    n_train, n_serve = options.train_tokens or 0, options.serve_tokens or 0
    names = ["flops-train", "flops-serve", *(["flops-mix"] if n_train and n_serve else [])]
    if cost is None or not len(ratio):
        yield from (_answer(name, "flops", None) for name in names)
        return
    train = cost.training_flops(ratio, options.context_tokens)
    serve = cost.serving_flops(ratio, options.context_tokens)
    for name, flops in zip(names, (train, serve, train * n_train + serve * n_serve), strict=False):
        size, bound = cheapest(flops)
        yield _answer(name, "flops", (size, bound), ratio_flops=float(flops[size] / flops[0]))


def _exposure(question: Question) -> Iterator[Answer]:
    options, curve = question.options, question.curve
    counted, found = int(curve.n_tokens[TRAIN][0]), None
    for n_times in sorted({options.min_exposure, options.careful_exposure}):
        if options.train_tokens is not None:
            scale = options.train_tokens / counted if counted else 0.0
            found = exposed(curve.n_occurrences, scale, n_times)
        yield _answer(f"exposure-{n_times}", "exposure", found, n_times=n_times)


def exposure_need(curve: SizeCurve, n_added: int, n_times: int) -> int | None:
    """Training tokens of the base after which the last of `n_added` tokens is seen `n_times`; None where unknown."""
    if not 0 < n_added <= curve.end or not curve.n_occurrences[n_added - 1]:
        return None
    return -(-n_times * int(curve.n_tokens[TRAIN][0]) // int(curve.n_occurrences[n_added - 1]))


def _used(question: Question) -> Iterator[Answer]:
    curve, share = question.curve, question.options.used_share
    yield _answer("used", "used", used(curve.n_used[HELDOUT], share) if curve.n_tokens[HELDOUT][0] else None)


def _marginal(question: Question) -> Iterator[Answer]:
    n_tokens, options = question.curve.n_tokens[question.text_set], question.options
    found = marginal(n_tokens, options.marginal_step, options.marginal_share) if n_tokens[0] else None
    yield _answer("marginal", "marginal", found)


def _memory(question: Question) -> Iterator[Answer]:
    cost, options, ratio = question.cost, question.options, question.ratio_input

    def fits(name: str, budget: int | None, n_bytes: Callable[[ModelCost], Floats | Integers]) -> Answer:
        if budget is None or cost is None or not len(ratio):
            return _answer(name, "memory", None)
        needed = n_bytes(cost)
        size, bound = fitting(needed, budget)
        n_base = round(float(needed[0])) if size == 0 and needed[0] > budget else None
        return _answer(name, "memory", (size, bound), n_bytes_base=n_base)

    def training(cost: ModelCost) -> Integers:
        return cost.training_bytes(bytes_per_param=options.bytes_per_param_train, batch_tokens=options.batch_tokens)

    def serving(cost: ModelCost) -> Floats:
        bytes_per_param, context_tokens = options.bytes_per_param_serve, options.context_tokens
        return cost.serving_bytes(
            ratio, bytes_per_param=bytes_per_param, context_tokens=context_tokens, batch=options.serve_batch
        )

    yield fits("memory-train", options.train_memory_bytes, training)
    yield fits("memory-serve", options.serve_memory_bytes, serving)


def _muv(question: Question) -> Iterator[Answer]:
    curve, size = question.curve, None
    utility = marginal_utility(curve.entropy_bits[TRAIN], curve.n_tokens[TRAIN], curve.n_chars[TRAIN], MUV_STEP)
    if len(utility) and np.isfinite(utility).all():
        size = (int(np.argmax(utility)) + 1) * MUV_STEP
    yield _answer("muv", "law", _at(size))


def _laws(question: Question) -> Iterator[Answer]:
    for number, law in enumerate((law_1, law_2, law_3), 1):
        n_rows = n_added = None
        if question.cost is not None:
            architecture = question.cost.architecture
            n_rows = round(law(architecture.n_body_params) / architecture.hidden_size)
            n_added = max(0, n_rows - question.table.base_n_tokens)
        yield _answer(f"law-{number}", "law", _at(n_added), n_rows=n_rows)

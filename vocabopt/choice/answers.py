"""Every rule asked on one curve, each answer with a sentence that a colleague can check."""

from dataclasses import dataclass
from functools import partial

import numpy as np

from vocabopt.amounts import shown_bytes
from vocabopt.choice import laws, rules
from vocabopt.choice.complexity import EmbeddingTable
from vocabopt.choice.cost import ModelCost
from vocabopt.choice.knee import kneedle
from vocabopt.choice.options import ChoiceOptions
from vocabopt.choice.rules import Answer, Bound
from vocabopt.choice.sizes import Floats, SizeCurve
from vocabopt.text.sets import HELDOUT, TRAIN

#: VOLT looks at vocabularies of 1,000, 2,000, ... entries (2012.15671, section 4).
MUV_STEP = 1_000

_FLOPS = "compute per byte of text from config.json: docs/choice.md, The cost model"
_OURS = "vocabopt: docs/choice.md, The rules"


@dataclass(frozen=True, kw_only=True)
class Question:
    """One curve, the set and window decided on, and the model, as all rules are asked."""

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


def shown(n_added: int, bound: Bound) -> str:
    """A size in words: "at least 40,000" where the curve does not bound it."""
    return f"at least {n_added:,} (not bounded by this curve)" if bound == "at_least" else f"{n_added:,}"


def answers(question: Question) -> list[Answer]:
    """Kneedle and the rules without a window, in the order they are shown. The chord knee is told by the choice."""
    asked = [_kneedle, _flops, _exposure, _used, _marginal, _memory, _muv, _laws]
    return [answer for ask in asked for answer in ask(question)]


def _kneedle(question: Question) -> list[Answer]:
    """Kneedle at even sizes of the window: on every size it would take the first wiggle for a knee."""
    first, last = question.window
    ratio, points = question.ratio_input, question.options.kneedle_points
    at = np.unique(np.linspace(first, last, min(points, last - first + 1)).astype(np.int64))
    size = None
    if len(ratio):
        size = kneedle(at, question.ratio_embedding[at], ratio[at], sensitivity=question.options.kneedle_sensitivity)
    of = f"Kneedle at {len(at)} even sizes of {first:,}..{last:,}, S = {question.options.kneedle_sensitivity:g}"
    return [
        Answer(
            name="kneedle",
            kind="knee",
            n_added=size,
            bound="none" if size is None else "at",
            sentence=f"{of}, finds no knee." if size is None else f"{of}: {size:,}.",
            source="Satopaa et al. 2011, Finding a Kneedle in a Haystack",
        )
    ]


def _flops(question: Question) -> list[Answer]:
    cost, ratio, options = question.cost, question.ratio_input, question.options
    names = ["flops-train", "flops-serve"]
    if options.train_tokens and options.serve_tokens:
        names.append("flops-mix")
    answer = partial(Answer, kind="flops", source=_FLOPS)
    why = _no_cost(question)
    if cost is None or why:
        return [answer(name=name, n_added=None, bound="none", sentence=f"Not computed: {why}.") for name in names]
    train = cost.training_flops(ratio, options.context_tokens)
    serve = cost.serving_flops(ratio, options.context_tokens)
    given = {
        "flops-train": (train, f"training, in sequences of {options.context_tokens:,} tokens"),
        "flops-serve": (serve, f"serving texts of {options.context_tokens:,} tokens of the base"),
    }
    if len(names) == 3:
        plan = f"training on {options.train_tokens:,} and serving {options.serve_tokens:,} tokens of the base"
        given["flops-mix"] = (train * (options.train_tokens or 0) + serve * (options.serve_tokens or 0), plan)
    found = []
    for name in names:
        flops, what = given[name]
        size, bound = rules.cheapest(flops)
        least = f"Least compute for {what}: {shown(size, bound)}"
        sentence = f"{least}, with {flops[size] / flops[0]:.1%} of the base's FLOPs for the same text."
        found.append(answer(name=name, n_added=size, bound=bound, sentence=sentence))
    return found


def _no_cost(question: Question) -> str | None:
    """Why compute and memory are not known; None where they are."""
    model = question.table.model
    if model is None:
        return "no model is known: pass --model"
    if question.cost is None:
        return f"the layers of {model.name} are of a kind that is not known here"
    return None if len(question.ratio_input) else "the text has no tokens"


def _exposure(question: Question) -> list[Answer]:
    options, curve = question.options, question.curve
    found = []
    for n_times in sorted({options.min_exposure, options.careful_exposure}):
        answer = partial(Answer, name=f"exposure-{n_times}", kind="exposure", source=f"EEVE (2402.14714); {_OURS}")
        if options.train_tokens is None:
            sentence = (
                f"No training text is planned (--train-tokens), so no token is known to be seen {n_times:,} times."
            )
            found.append(answer(n_added=None, bound="none", sentence=sentence))
            continue
        counted = int(curve.n_tokens[TRAIN][0])
        size, bound = rules.exposed(curve.n_occurrences, options.train_tokens / counted if counted else 0.0, n_times)
        sentence = (
            f"In {options.train_tokens:,} training tokens of the base the last added token is seen {n_times:,} times "
            f"or more up to {shown(size, bound)}."
        )
        found.append(answer(n_added=size, bound=bound, sentence=sentence))
    return found


def exposure_need(question: Question, n_added: int, n_times: int) -> int | None:
    """Training tokens of the base after which the last of `n_added` tokens is seen `n_times`; None where unknown."""
    if not 0 < n_added <= question.curve.end or not question.curve.n_occurrences[n_added - 1]:
        return None
    counted = int(question.curve.n_tokens[TRAIN][0])
    return -(-n_times * counted // int(question.curve.n_occurrences[n_added - 1]))


def _used(question: Question) -> list[Answer]:
    answer = partial(Answer, name="used", kind="used", source=_OURS)
    n_used, share = question.curve.n_used.get(HELDOUT), question.options.used_share
    if n_used is None or not question.curve.n_tokens[HELDOUT][0]:
        return [answer(n_added=None, bound="none", sentence="Not known: no held-out text was counted.")]
    size, bound = rules.used(n_used, share)
    sentence = f"{share:.0%} or more of the added tokens occur in held-out text up to {shown(size, bound)}."
    return [answer(n_added=size, bound=bound, sentence=sentence)]


def _marginal(question: Question) -> list[Answer]:
    answer = partial(Answer, name="marginal", kind="marginal", source=_OURS)
    n_tokens, options = question.curve.n_tokens[question.text_set], question.options
    if not n_tokens[0]:
        return [answer(n_added=None, bound="none", sentence="Not known: the text has no tokens.")]
    size, bound = rules.marginal(n_tokens, options.marginal_step, options.marginal_share)
    step = f"the next {options.marginal_step:,} tokens save less than {options.marginal_share:g} of the base's count"
    sentence = f"From {size:,} on {step}."
    if bound == "at_least":
        sentence = f"Up to {size:,}, the curve's end, there is no size at which {step}."
    return [answer(n_added=size, bound=bound, sentence=sentence)]


def _memory(question: Question) -> list[Answer]:
    cost, options, ratio = question.cost, question.options, question.ratio_input
    found = []
    for name, budget, option in (
        ("memory-train", options.train_memory_bytes, "--train-memory"),
        ("memory-serve", options.serve_memory_bytes, "--serve-memory"),
    ):
        answer = partial(Answer, name=name, kind="memory", source=_FLOPS)
        if budget is None:
            sentence = f"Not asked: no budget is stated ({option})."
            found.append(answer(n_added=None, bound="none", sentence=sentence))
            continue
        why = _no_cost(question)
        if cost is None or why:
            sentence = f"Not computed, so {option} holds nothing back: {why}."
            found.append(answer(n_added=None, bound="none", sentence=sentence))
            continue
        n_bytes: Floats
        if name == "memory-train":
            n_bytes = cost.training_bytes(
                bytes_per_param=options.bytes_per_param_train, batch_tokens=options.batch_tokens
            ).astype(float)
            what = f"weights, gradients, optimizer ({options.bytes_per_param_train} bytes a parameter) and the logits"
        else:
            n_bytes = cost.serving_bytes(
                ratio,
                bytes_per_param=options.bytes_per_param_serve,
                context_tokens=options.context_tokens,
                batch=options.serve_batch,
            )
            what = f"weights ({options.bytes_per_param_serve} bytes a parameter), keys and values"
        size, bound = rules.fitting(n_bytes, budget)
        sentence = f"{what[0].upper()}{what[1:]} fit into {shown_bytes(budget)} up to {shown(size, bound)}."
        if size == 0 and n_bytes[0] > budget:
            sentence = f"Not even the base fits: {what} take {shown_bytes(n_bytes[0])} of {shown_bytes(budget)}."
        found.append(answer(n_added=size, bound=bound, sentence=sentence))
    return found


def _muv(question: Question) -> list[Answer]:
    answer = partial(Answer, name="muv", kind="law", source="VOLT (2012.15671)", second_opinion=True)
    curve = question.curve
    entropy = curve.entropy_bits.get(TRAIN)
    if entropy is None:
        return [answer(n_added=None, bound="none", sentence="Not known: this curve holds no entropies.")]
    utility = laws.marginal_utility(entropy, curve.n_tokens[TRAIN], curve.n_chars[TRAIN], MUV_STEP)
    if not len(utility) or not np.isfinite(utility).all():
        short = f"the curve is shorter than VOLT's step of {MUV_STEP:,} tokens"
        sentence = f"Not known: {short if curve.end < MUV_STEP else 'this run counted no characters or entropies'}."
        return [answer(n_added=None, bound="none", sentence=sentence)]
    size = (int(np.argmax(utility)) + 1) * MUV_STEP
    sentence = f"VOLT's marginal utility, in steps of {MUV_STEP:,} tokens, is largest at {size:,}."
    return [answer(n_added=size, bound="at", sentence=sentence)]


def _laws(question: Question) -> list[Answer]:
    found = []
    for number, approach in enumerate((laws.approach_1, laws.approach_2, laws.approach_3), 1):
        answer = partial(
            Answer,
            name=f"law-{number}",
            kind="law",
            source=f"Scaling Laws with Vocabulary (2407.13623), approach {number}",
            second_opinion=True,
        )
        if question.cost is None:
            sentence = "Not computed: no model is known, or not its layers."
            found.append(answer(n_added=None, bound="none", sentence=sentence))
            continue
        architecture = question.cost.architecture
        n_rows = round(approach(architecture.n_body_params) / architecture.hidden_size)
        n_added = max(0, n_rows - question.table.base_n_tokens)
        sentence = (
            f"A model with {architecture.n_body_params / 1e9:.2f} B parameters outside the embedding deserves a whole "
            f"vocabulary of {n_rows:,}: {n_added:,} more than the base has. Fitted to English from scratch."
        )
        found.append(answer(n_added=n_added, bound="at", sentence=sentence))
    return found

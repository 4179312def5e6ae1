"""The step that chooses a share of the documents, and the choice for coverage of their n-grams."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from vocabopt.amounts import parse_bytes
from vocabopt.errors import OptionError
from vocabopt.option_fields import Check, at_least, option, share_from_0
from vocabopt.preparation import coverage_kernel as kernel
from vocabopt.preparation.mapped import MappedArrays, blocks, features_of, sorted_rows
from vocabopt.preparation.ngrams import shingles
from vocabopt.preparation.step import ABOVE_0, SEED, CorpusStep, Decision, Ints, Sketch, Sketches
from vocabopt.preparation.steps.perplexity import ByModel, load_perplexities
from vocabopt.text.documents import bytes_of_texts, content_hashes

_STEPS = 1 << 16  # from here on log(2 + n) - log(1 + n) is taken as constant: it is below 1/65,536


def sampled_ngrams(texts: pl.Series, n_chars: int, share: float) -> tuple[NDArray[np.uint32], Ints]:
    """Distinct character n-grams of each text, hashed; of all n-grams the same `share`, whatever text they are in.

    Returns:
        features uint32 [n_features], one text after another, and ends int64 [n_texts], where each text's end.
    """
    hashes, ends = shingles(texts, n_chars)
    # Sampled by the higher bits; the lower ones are the place in the table of counts.
    sampled = hashes <= np.uint32(round(share * 0xFFFFFFFF))
    n_before = np.concatenate([np.zeros(1, np.int64), np.cumsum(sampled)])
    return hashes[sampled], n_before[ends]


def choose_for_coverage(
    sketches: Sketches, arrays: MappedArrays, n_bytes: Ints, content: NDArray[np.uint64], budget: int, table_bits: int
) -> tuple[NDArray[np.bool_], NDArray[np.float64], list[float]]:
    """Which documents to keep in a budget of bytes, by the coverage that they add.

    sketches: with `features` and `ends` as `sampled_ngrams` gives them. content: uint64 [N] hashes, which settle ties.

    Returns:
        kept, bool [N]; densities, float64 [N], coverage added per byte (see coverage_kernel.choose); the coverage of
        what is kept, and of as many bytes in a random order.

    At least 1 - 1/sqrt(e) - 0.05 of the most coverage possible (Lin & Bilmes 2010), 1 - 1/e - 0.05 where documents
    are equally long. In memory are 4 bytes for each of 2^table_bits counts; on disk, of which the system holds in
    memory what there is room for, 4 bytes a feature and some 40 a document.
    """
    features, starts = features_of(sketches, arrays)
    assert len(starts) == len(n_bytes) + 1
    order = sorted_rows(arrays, content, content)
    steps = np.log1p(1 / np.arange(1, _STEPS + 1))
    counts = np.zeros(1 << table_bits, np.int32)
    kept, densities = arrays.zeros(len(n_bytes), np.bool_), arrays.zeros(len(n_bytes), np.float64)
    kernel.choose(features, starts, n_bytes, order, budget, counts, steps, kept, densities)
    chosen = float(np.log1p(counts).sum())
    # A document that alone covers more than all of these: short ones went first, and it did not fit any more.
    best, n_best = 0, -1
    for own in blocks(len(order)):
        rows = order[own]
        n_features = np.where(n_bytes[rows] <= budget, starts[rows + 1] - starts[rows], 0)
        if n_features.max() > n_best:
            best, n_best = int(rows[np.argmax(n_features)]), int(n_features.max())
        arrays.release()
    if np.log(2) * n_best > chosen:
        kept[:] = False
        kept[best] = True
    lowest_first = arrays.zeros(len(n_bytes), np.float64)
    budget_left = budget
    for own in blocks(len(kept)):
        lowest_first[own] = -densities[own]
        budget_left -= int(n_bytes[own][kept[own]].sum())
        arrays.release()
    # What adds nothing to the sampled features still fills the budget.
    kernel.fill(sorted_rows(arrays, lowest_first, content), n_bytes, budget_left, kept)
    random = arrays.zeros(len(n_bytes), np.bool_)
    kernel.fill(order, n_bytes, budget, random)
    reached = []
    for which in (kept, random):
        counts[:] = 0
        reached.append(float(kernel.coverage(features, starts, which, counts)))
        arrays.release()
    return kept, densities, reached


@dataclass(frozen=True, kw_only=True)
class Select(ByModel, CorpusStep):
    """Keep whole documents, in their order, up to a budget of bytes of UTF-8 text.

    Documents are taken in an order of preference; one that is longer than what is left of the budget is passed over for
    the next that fits. The choice is by content: text in another order gives the same documents.

    budget: such as "100MB"; or share: of the bytes of all documents.
    by: "random"; "length", by `prefer`, the "long" or "short" first; "perplexity" per character, the lowest first, by a
    kenlm model of characters or one of `reference`, as in the step perplexity; "diversity", for the coverage of
    character n-grams (`choose_for_coverage`).
    skip_lowest_share: of the bytes, those of the lowest perplexity are never kept: repetition is what surprises least.
    n_chars: characters of an n-gram. feature_share: of all n-grams, those that are looked at. At 1 they take 1.4 bytes
    of the work folder for each byte of Korean text. With fewer, the choice covers less, and the coverage among the
    facts, which is of those looked at, overstates it: of film reviews, 0.25 seemed to reach 1.72 times the coverage of
    a random choice and reached 1.24 times; 1 reaches 1.39. table_bits: counts are kept in 2^table_bits places.
    seed: of the random choice; it settles ties in the others. reference_bytes: so much of the reference is read.
    """

    name: ClassVar[str] = "select"
    by: Literal["random", "length", "perplexity", "diversity"] = "random"
    budget: str | None = None
    share: float | None = option(None, check=ABOVE_0)
    seed: int = option(0, check=SEED)
    prefer: Literal["long", "short"] = "long"
    model: str | None = None
    reference: str | None = None
    reference_bytes: str = "50MB"
    skip_lowest_share: float = option(0.0, check=share_from_0())
    n_chars: int = option(4, check=at_least(1))
    feature_share: float = option(1.0, check=ABOVE_0)
    table_bits: int = option(24, check=Check(lambda bits: 10 <= bits <= 30, "must be from 10 to 30"))

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.budget is None) == (self.share is None):
            given = "neither" if self.budget is None else "both"
            raise OptionError(f'[{self.name}] budget, share: {given} given; give one, such as budget = "100MB".')
        for name, text in (("budget", self.budget), ("reference_bytes", self.reference_bytes)):
            if text is not None:
                parse_bytes(text, f"[{self.name}] {name}")
        n_models = len(self.inputs)
        if n_models != (self.by == "perplexity"):
            needed = "give one of them" if self.by == "perplexity" else 'only by = "perplexity" has one'
            raise OptionError(f"[{self.name}] model, reference: {n_models} given with by = {self.by!r}; {needed}.")

    def load(self) -> Callable[[pl.Series], Sketch]:
        """Raises OptionError: kenlm is not installed, or cannot use the model."""
        assert self.by != "perplexity" or self.model is not None, "prepare the step first"
        perplexities = None if self.model is None else load_perplexities(self.name, self.model)

        def sketch(texts: pl.Series) -> Sketch:
            arrays: dict[str, NDArray[Any]] = {
                "n_bytes": texts.str.len_bytes().to_numpy().astype(np.int64),
                "content": _content(texts, self.seed),
            }
            if perplexities is not None:
                arrays["perplexity"] = perplexities(texts)
            if self.by == "diversity":
                arrays["features"], arrays["ends"] = sampled_ngrams(texts, self.n_chars, self.feature_share)
            return arrays

        return sketch

    def decide(self, sketches: Sketches, n_units: Sequence[int]) -> Decision:
        arrays = MappedArrays(sketches)
        n_bytes, content = arrays.gathered("n_bytes", np.int64), arrays.gathered("content", np.uint64)
        assert len(n_bytes) == sum(n_units)
        n_before = sum(int(n_bytes[own].sum()) for own in blocks(len(n_bytes)))
        budget = parse_bytes(self.budget, "budget") if self.budget is not None else int((self.share or 0) * n_before)
        facts: dict[str, Any] = {"n_bytes_before": n_before, "budget_bytes": budget}
        if self.by == "diversity":
            kept, score, reached = choose_for_coverage(sketches, arrays, n_bytes, content, budget, self.table_bits)
            facts |= {"coverage": reached[0], "coverage_random": reached[1]}
        else:
            kept, score = arrays.zeros(len(n_bytes), np.bool_), self._scores(arrays, n_bytes, content)
            # Equal scores in the order of content; equal documents are interchangeable.
            order = sorted_rows(arrays, self._preference(arrays, score), content)
            n_skipped = self._skipped(order, n_bytes, n_before)
            if self.by == "perplexity":
                facts["n_skipped_lowest"] = n_skipped
            kernel.fill(order[n_skipped:], n_bytes, budget, kept)
        facts |= {"n_bytes_kept": sum(int(n_bytes[own][kept[own]].sum()) for own in blocks(len(kept)))}
        return Decision(keep=kept, score=score, facts=facts)

    def _scores(self, arrays: MappedArrays, n_bytes: Ints, content: NDArray[np.uint64]) -> NDArray[np.float64]:
        """What documents are chosen by, float64 [N]: perplexity, length, or a random number from 0 to 1."""
        if self.by == "perplexity":
            return arrays.gathered("perplexity", np.float64)
        score: NDArray[np.float64] = arrays.zeros(len(n_bytes), np.float64)
        for own in blocks(len(score)):
            score[own] = n_bytes[own] if self.by == "length" else content[own] / 2.0**64
            arrays.release()
        return score

    def _preference(self, arrays: MappedArrays, score: NDArray[np.float64]) -> NDArray[np.float64]:
        """The score, or what is the lower the longer the document is."""
        if self.by != "length" or self.prefer != "long":
            return score
        preference: NDArray[np.float64] = arrays.zeros(len(score), np.float64)
        for own in blocks(len(score)):
            preference[own] = -score[own]
            arrays.release()
        return preference

    def _skipped(self, order: Ints, n_bytes: Ints, n_before: int) -> int:
        """How many of the first in `order` are never kept."""
        n_skipped, n_seen = 0, 0
        for own in blocks(len(order)):
            ends = n_seen + np.cumsum(n_bytes[order[own]])
            n_skipped += int((ends <= self.skip_lowest_share * n_before).sum())
            n_seen = int(ends[-1])
        return n_skipped if self.by == "perplexity" else 0

    @classmethod
    def note(cls, facts: Mapping[str, Any]) -> str | None:
        reached, at_random = facts.get("coverage"), facts.get("coverage_random")
        if not reached or not at_random:
            return None
        return f"{reached / at_random:.2f} times the coverage of a random choice of as many bytes."


def _content(texts: pl.Series, seed: int) -> NDArray[np.uint64]:
    """A hash of each text and the seed, uint64 [n], the same on every machine.

    A sweep holds documents out by the lower half of the same hash: a random choice goes by the upper one, so it keeps
    its share of them.
    """
    data, starts, ends = bytes_of_texts(texts)
    return content_hashes(data, starts, ends, seed)

"""The step that chooses a share of the documents, and the choice for coverage of their n-grams."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from vocabopt.choice.options import parse_bytes
from vocabopt.errors import OptionError
from vocabopt.preparation import coverage_kernel as kernel
from vocabopt.preparation.ngrams import shingles
from vocabopt.preparation.step import Decision, Sketch, Sketches
from vocabopt.preparation.steps.perplexity import DEFAULT_MIN_COUNT, DEFAULT_ORDER, load_perplexities, train
from vocabopt.text.documents import bytes_of_texts, content_hashes

_STEPS = 1 << 16  # from here on log(2 + n) - log(1 + n) is taken as constant: it is below 1/65,536


@dataclass(frozen=True)
class Coverage:
    """What was chosen of N documents.

    kept: bool [N]. densities: float64 [N], coverage added per byte (see coverage_kernel.choose). chosen, at_random: the
    coverage of these documents, and of as many bytes in a random order.
    """

    kept: NDArray[np.bool_]
    densities: NDArray[np.float64]
    chosen: float
    at_random: float


def sampled_ngrams(texts: pl.Series, n_chars: int, share: float) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
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
    sketches: Sketches, n_bytes: NDArray[np.int64], content: NDArray[np.uint64], budget: int, table_bits: int
) -> Coverage:
    """Which documents to keep in a budget of bytes, and the coverage reached.

    sketches: with `features` and `ends` as `sampled_ngrams` gives them. content: uint64 [N] hashes, which settle ties.

    At least 1 - 1/sqrt(e) - 0.05 of the most coverage possible (Lin & Bilmes 2010), 1 - 1/e - 0.05 where documents
    are equally long. Memory: 4 bytes a feature, which the system may leave on disk, 4 for each of 2^table_bits counts,
    and some 40 bytes a document.
    """
    features, starts = _features_of(sketches)
    assert len(starts) == len(n_bytes) + 1
    order = np.argsort(content, kind="stable")
    steps = np.log1p(1 / np.arange(1, _STEPS + 1))
    counts = np.zeros(1 << table_bits, np.int32)
    kept, densities = np.zeros(len(n_bytes), np.bool_), np.zeros(len(n_bytes))
    kernel.choose(features, starts, n_bytes, order, budget, counts, steps, kept, densities)
    chosen = float(np.log1p(counts).sum())
    # A document that alone covers more than all of these: short ones went first, and it did not fit any more.
    n_features = np.where(n_bytes <= budget, np.diff(starts), 0)[order]
    best = order[np.argmax(n_features)] if len(order) else 0
    if len(order) and np.log(2) * n_features.max() > chosen:
        kept[:] = np.arange(len(kept)) == best
        budget_left = budget - int(n_bytes[best])
    else:
        budget_left = budget - int(n_bytes[kept].sum())
    # What adds nothing to the sampled features still fills the budget.
    kernel.fill(order[np.argsort(-densities[order], kind="stable")], n_bytes, budget_left, kept)
    random = np.zeros(len(n_bytes), np.bool_)
    kernel.fill(order, n_bytes, budget, random)
    reached = []
    for which in (kept, random):
        counts[:] = 0
        reached.append(float(kernel.coverage(features, starts, which, counts)))
    return Coverage(kept, densities, *reached)


def _features_of(sketches: Sketches) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """All features, in a file that is mapped into memory, and int64 [N + 1], where each document's start."""
    sizes: list[NDArray[np.int64]] = [np.zeros(0, np.int64)]
    with sketches.scratch() as file:
        for sketch in sketches:
            file.write(sketch["features"].data)
            sizes.append(np.diff(sketch["ends"], prepend=0))
        file.flush()
        starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.concatenate(sizes))])
        n_features = int(starts[-1])
        # Read-write, as an array in memory is: the kernel is compiled once for both.
        features = np.memmap(file, np.uint32, "r+", shape=(n_features,)) if n_features else np.zeros(0, np.uint32)
    return np.asarray(features), starts


WAYS = ("random", "length", "perplexity", "diversity")


@dataclass(frozen=True, kw_only=True)
class Select:
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
    unit: ClassVar[str] = "document"
    by: Literal["random", "length", "perplexity", "diversity"] = "random"
    budget: str | None = None
    share: float | None = None
    seed: int = 0
    prefer: Literal["long", "short"] = "long"
    model: str | None = None
    reference: str | None = None
    reference_bytes: str = "50MB"
    skip_lowest_share: float = 0.0
    n_chars: int = 4
    feature_share: float = 1.0
    table_bits: int = 24

    def __post_init__(self) -> None:
        if (self.budget is None) == (self.share is None):
            given = "neither" if self.budget is None else "both"
            raise OptionError(f'[{self.name}] budget, share: {given} given; give one, such as budget = "100MB".')
        for option, text in (("budget", self.budget), ("reference_bytes", self.reference_bytes)):
            if text is not None:
                parse_bytes(text, f"[{self.name}] {option}")
        if self.share is not None and not 0 < self.share <= 1:
            raise OptionError(f"[{self.name}] share {self.share}: must be above 0 and at most 1.")
        if self.by not in WAYS:
            raise OptionError(f"[{self.name}] by {self.by!r}: must be one of {', '.join(WAYS)}.")
        if self.prefer not in ("long", "short"):
            raise OptionError(f"[{self.name}] prefer {self.prefer!r}: must be long or short.")
        n_models = (self.model is not None) + (self.reference is not None)
        if n_models != (self.by == "perplexity"):
            needed = "give one of them" if self.by == "perplexity" else 'only by = "perplexity" has one'
            raise OptionError(f"[{self.name}] model, reference: {n_models} given with by = {self.by!r}; {needed}.")
        if not 0 <= self.skip_lowest_share < 1:
            raise OptionError(
                f"[{self.name}] skip_lowest_share {self.skip_lowest_share}: must be at least 0 and below 1."
            )
        if self.n_chars < 1 or not 0 <= self.seed < 2**64:
            raise OptionError(f"[{self.name}] n_chars {self.n_chars}, seed {self.seed}: need at least 1, and 0.")
        if not 0 < self.feature_share <= 1:
            raise OptionError(f"[{self.name}] feature_share {self.feature_share}: must be above 0 and at most 1.")
        if not 10 <= self.table_bits <= 30:
            raise OptionError(f"[{self.name}] table_bits {self.table_bits}: must be from 10 to 30.")

    @property
    def inputs(self) -> tuple[str, ...]:
        return tuple(path for path in (self.model, self.reference) if path is not None)

    def prepare(self, work: Path) -> "Select":
        """The step with the model of its reference, if it has one, as `Perplexity.prepare`."""
        if self.reference is None:
            return self
        max_bytes = parse_bytes(self.reference_bytes, f"[{self.name}] reference_bytes")
        path = train(self.reference, work, order=DEFAULT_ORDER, min_count=DEFAULT_MIN_COUNT, max_bytes=max_bytes)
        return replace(self, model=str(path), reference=None)

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
        n_bytes = _gathered(sketches, "n_bytes", np.int64)
        content = _gathered(sketches, "content", np.uint64)
        assert len(n_bytes) == sum(n_units)
        budget = self._budget(int(n_bytes.sum()))
        facts: dict[str, Any] = {"n_bytes_before": int(n_bytes.sum()), "budget_bytes": budget}
        if self.by == "diversity":
            found = choose_for_coverage(sketches, n_bytes, content, budget, self.table_bits)
            kept, score = found.kept, found.densities
            facts |= {"coverage": found.chosen, "coverage_random": found.at_random}
        else:
            score = self._score(sketches, n_bytes, content)
            # Equal scores in the order of content; equal documents are interchangeable.
            order = np.lexsort((content, -score if self.by == "length" and self.prefer == "long" else score))
            if self.by == "perplexity":
                skipped = np.cumsum(n_bytes[order]) <= self.skip_lowest_share * n_bytes.sum()
                order = order[~skipped]
                facts["n_skipped_lowest"] = int(skipped.sum())
            kept = np.zeros(len(n_bytes), np.bool_)
            kernel.fill(order, n_bytes, budget, kept)
        facts |= {"n_bytes_kept": int(n_bytes[kept].sum())}
        return Decision(keep=kept, score=score, facts=facts)

    def _budget(self, n_bytes: int) -> int:
        if self.budget is not None:
            return parse_bytes(self.budget, f"[{self.name}] budget")
        assert self.share is not None
        return int(self.share * n_bytes)

    def _score(
        self, sketches: Sketches, n_bytes: NDArray[np.int64], content: NDArray[np.uint64]
    ) -> NDArray[np.float64]:
        """What documents are ordered by: bytes, perplexity, or a random number from 0 to 1."""
        if self.by == "length":
            return n_bytes.astype(np.float64)
        if self.by == "perplexity":
            return _gathered(sketches, "perplexity", np.float64)
        return content / 2.0**64


def _content(texts: pl.Series, seed: int) -> NDArray[np.uint64]:
    """A hash of each text and the seed, uint64 [n], the same on every machine.

    A sweep holds documents out by the lower half of the same hash: a random choice goes by the upper one, so it keeps
    its share of them.
    """
    data, starts, ends = bytes_of_texts(texts)
    return content_hashes(data, starts, ends, seed)


def _gathered(sketches: Sketches, name: str, dtype: Any) -> NDArray[Any]:
    """One array with a row per document, of all shards."""
    return np.concatenate([np.zeros(0, dtype), *(sketch[name] for sketch in sketches)])

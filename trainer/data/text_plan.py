"""Which document goes to which stage, cut by bytes: every arm of a comparison sees the same text.

The text of a source is its documents in the order of pass 0, then in that of pass 1, and so on for as long as the
budget lasts. Stages take slices of it one after the other; a document is in one slice whole.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xxhash
from numpy.typing import NDArray

from trainer.data.documents import ScannedSource
from vocabopt.errors import OptionError
from vocabopt.folder import digest
from vocabopt.training_record import SourceText, TrainingText


@dataclass(frozen=True, kw_only=True)
class StageText:
    """The text of one stage. documents: per source the places of its documents in the source's reading order, in the
    order of the text, repeats included."""

    sources: tuple[ScannedSource, ...]
    documents: tuple[NDArray[np.int64], ...]

    def sizes(self) -> list[NDArray[np.int64]]:
        """Per source the bytes of its documents, in order."""
        parts = zip(self.sources, self.documents, strict=True)
        return [source.sizes[documents].astype(np.int64) for source, documents in parts]

    def order(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """All documents in order: the number of each one's source, and its place in that source's reading order.

        Sources are spread evenly: any stretch of the text holds them in their shares.
        """
        middles = [(np.cumsum(sizes) - sizes / 2) / max(1, int(sizes.sum())) for sizes in self.sizes()]
        spread = np.argsort(np.concatenate(middles), kind="stable")
        of_source = np.repeat(np.arange(len(self.sources)), [len(documents) for documents in self.documents])
        return of_source[spread], np.concatenate(self.documents)[spread]

    def fingerprint(self) -> str:
        """Identity of the text: that of its documents, in order."""
        parts = zip(self.sources, self.documents, strict=True)
        hashes = [(source.name, source.hashes[documents].tobytes()) for source, documents in parts]
        return digest([(name, xxhash.xxh3_128_hexdigest(data)) for name, data in hashes])


@dataclass(frozen=True, kw_only=True)
class TextPlan:
    """The training text of all stages.

    sources: the target first, then what is mixed in. bounds: int64 [n_sources, n_stages + 1], where in the text of
    each source the stages begin and end, in documents, counted on through the passes; bounds_bytes:
    the same in bytes.
    """

    sources: tuple[ScannedSource, ...]
    stage_shares: tuple[float, ...]
    seed: int
    bounds: NDArray[np.int64]
    bounds_bytes: NDArray[np.int64]

    @property
    def n_stages(self) -> int:
        return len(self.stage_shares)

    def stage(self, stage: int) -> StageText:
        """The text of a stage, from 0."""
        documents = []
        for source, bounds in zip(self.sources, self.bounds.tolist(), strict=True):
            start, stop, n = bounds[stage], bounds[stage + 1], source.n_usable
            passes = [
                source.order(self.seed, n_pass)[max(0, start - n_pass * n) : stop - n_pass * n]
                for n_pass in range(start // n, -(-stop // n))
            ]
            documents.append(np.concatenate([np.zeros(0, np.int64), *passes]))
        return StageText(sources=self.sources, documents=tuple(documents))

    def in_numbers(self) -> TrainingText:
        n_documents, n_bytes = self.bounds[:, -1].tolist(), self.bounds_bytes[:, -1].tolist()
        return TrainingText(
            n_bytes=sum(n_bytes),
            n_documents=sum(n_documents),
            passes=n_bytes[0] / self.sources[0].n_usable_bytes,
            sources={
                source.name: SourceText(
                    n_bytes=n_bytes[i],
                    n_documents=n_documents[i],
                    share=source.share,
                    passes=n_bytes[i] / source.n_usable_bytes,
                    n_held_out=source.n_held_out,
                    n_excluded=source.n_excluded,
                )
                for i, source in enumerate(self.sources)
            },
        )


def cut_text(
    sources: Sequence[ScannedSource], *, budget_bytes: int | None, stage_shares: Sequence[float], seed: int
) -> TextPlan:
    """Cut the text into the stages' slices.

    Every cut is at the document whose end is nearest to where the shares put it, in every source.

    Args:
        sources: the target first. Their shares of the bytes add up to 1, in every stage.
        budget_bytes: of all text; None for the target once and what its share leaves to the others.
        stage_shares: of the bytes; they add up to 1.
        seed: another one takes the documents in another order.

    Raises:
        OptionError: the budget is 0, or too small for a document of the target in each stage, or for one of another
            source in all.
    """
    shares = [source.share for source in sources]
    assert abs(sum(shares) - 1) < 1e-6, "the target's share is what the others leave"
    assert abs(sum(stage_shares) - 1) < 1e-6
    if budget_bytes is not None and budget_bytes < 1:
        raise OptionError(
            f"--budget {budget_bytes}: no text to train on. Give at least a few documents, or leave it out."
        )
    target_bytes = sources[0].n_usable_bytes if budget_bytes is None else round(budget_bytes * shares[0])
    per_source = [target_bytes, *(round(target_bytes / shares[0] * share) for share in shares[1:])]
    ends = np.cumsum(stage_shares)
    ends[-1] = 1
    cuts = [
        _cuts(source, seed, [0, *(round(float(end) * n_bytes) for end in ends)])
        for source, n_bytes in zip(sources, per_source, strict=True)
    ]
    plan = TextPlan(
        sources=tuple(sources),
        stage_shares=tuple(stage_shares),
        seed=seed,
        bounds=np.array([[n_documents for n_documents, _ in of_source] for of_source in cuts]),
        bounds_bytes=np.array([[n_bytes for _, n_bytes in of_source] for of_source in cuts]),
    )
    for source, bounds, n_bytes in zip(sources, plan.bounds, per_source, strict=True):
        average = f"{source.n_usable_bytes / source.n_usable:,.0f} bytes on average"
        empty = np.flatnonzero(np.diff(bounds) == 0).tolist()
        if source is not sources[0]:
            if bounds[-1] == 0:
                raise OptionError(
                    f"{source.name}: its share {source.share:g} of the training text is {n_bytes:,} bytes, which is no "
                    f"whole document (they are {average}). Raise its share or --budget, or give shorter documents."
                )
        elif empty and source.n_usable < plan.n_stages:
            n = source.n_usable
            raise OptionError(
                f"{source.name}: has {n} document{'s' if n > 1 else ''} to train on, and a stage takes whole ones: "
                f"{plan.n_stages} stages need more. Give text of more lines (files, with --unit file), or a plan of "
                "fewer stages (--plan full)."
            )
        elif empty:
            raise OptionError(
                f"{source.name}: stage {empty[0] + 1} is to have {stage_shares[empty[0]]:.1%} of {n_bytes:,} bytes, "
                f"which is no whole document (they are {average}). Raise --budget, or give more or shorter documents."
            )
    return plan


def _cuts(source: ScannedSource, seed: int, places: Sequence[int]) -> list[tuple[int, int]]:
    """For each place, which is in bytes of the source's text, the documents before the nearest end of one, and their
    bytes."""
    n_total = source.n_usable_bytes
    cuts: list[tuple[int, int]] = []
    ends: dict[int, NDArray[np.int64]] = {}
    for place in places:
        n_pass, rest = divmod(place, n_total)
        if n_pass not in ends:
            sizes = source.sizes[source.order(seed, n_pass)]
            ends[n_pass] = np.cumsum(np.concatenate([[0], sizes]), dtype=np.int64)
        after = int(np.searchsorted(ends[n_pass], rest))  # the first document's end that is there or later
        before = max(0, after - 1)
        nearest = after if ends[n_pass][after] - rest < rest - ends[n_pass][before] else before
        cuts.append((n_pass * source.n_usable + nearest, n_pass * n_total + int(ends[n_pass][nearest])))
    return cuts

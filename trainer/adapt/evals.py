"""The texts that an adaptation is measured on, and their scores."""

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch.distributed as dist
import xxhash
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from trainer.document_ends import DocumentEnds
from trainer.evaluate import Role, TextScore, role_of_text, score_text
from vocabopt.errors import CorpusError


@dataclass(frozen=True, kw_only=True)
class EvalText:
    """Documents that are measured, never trained on. role: of the target language, or of the base's."""

    name: str
    role: Role
    documents: tuple[str, ...]

    @property
    def n_bytes(self) -> int:
        return sum(len(document.encode()) for document in self.documents)


def eval_text(
    name: str, documents: Iterable[str], *, scripts: Sequence[str] | None, is_base: bool, max_bytes: int, place: str
) -> EvalText:
    """A text of at most `max_bytes`, its documents picked by content, so that the order of files does not matter.

    Args:
        scripts: of the target; None or empty where the script does not tell the languages apart.
        is_base: named to be of the base language; otherwise the script decides.
        place: where the documents are, for messages.

    Raises:
        CorpusError: there are no documents.
    """
    chosen = sorted(_picked(documents, max_bytes), key=lambda entry: entry[:2])
    if not chosen:
        raise CorpusError(
            f"{place}: no documents to measure on. Give text of more documents, or name one to measure on with --eval "
            "NAME=PATH and hold none out (--heldout 0)."
        )
    texts = tuple(text for _, _, text in chosen)
    return EvalText(name=name, role="base" if is_base else role_of_text(texts, scripts), documents=texts)


def _picked(documents: Iterable[str], max_bytes: int) -> list[tuple[int, int, str]]:
    """Those with the lowest content hashes that fit into max_bytes together, at least one; repeated ones stay."""
    kept: list[tuple[int, int, str]] = []  # a heap, the highest hash on top (negated)
    n_bytes = 0
    for number, document in enumerate(documents):
        heapq.heappush(kept, (-xxhash.xxh3_64_intdigest(document.encode()), -number, document))
        n_bytes += len(document.encode())
        while len(kept) > 1 and n_bytes > max_bytes:
            n_bytes -= len(heapq.heappop(kept)[2].encode())
    return [(-negated, -number, document) for negated, number, document in kept]


def score_all(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[EvalText],
    *,
    context_tokens: int,
    batch_size: int,
    ends: DocumentEnds | None = None,
    advance: Callable[[int], None] | None = None,
) -> dict[str, TextScore]:
    """Score every text; with several processes each takes its part of the documents, and all get the sums.

    Args:
        advance: told the bytes that this process has scored so far, of all texts.
    """
    rank, world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    scores: dict[str, TextScore] = {}
    for text in texts:
        n_before = sum(score.n_bytes for score in scores.values())
        scores[text.name] = score_text(
            model,
            tokenizer,
            text.documents[rank::world],
            context_tokens=context_tokens,
            batch_size=batch_size,
            ends=ends,
            advance=None if advance is None else partial(_from, advance, n_before),
        )
    if world == 1:
        return scores
    gathered: list[Mapping[str, TextScore] | None] = [None] * world
    dist.all_gather_object(gathered, scores)
    return {text.name: _sum(part[text.name] for part in gathered if part is not None) for text in texts}


def _from(advance: Callable[[int], None], n_before: int, n_bytes: int) -> None:
    advance(n_before + n_bytes)


def _sum(scores: Iterator[TextScore]) -> TextScore:
    total = next(scores)
    for score in scores:
        total += score
    return total


def bits_per_byte(scores: Mapping[str, TextScore]) -> dict[str, float]:
    """Name -> bits per byte, rounded to what its digits mean."""
    return {name: round(score.bits_per_byte, 6) for name, score in scores.items()}

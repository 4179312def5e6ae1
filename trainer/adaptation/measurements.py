"""The texts that an adaptation is measured on, and their scores, each kept by a hash of everything that moves it."""

import heapq
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
import xxhash
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from trainer.document_ends import DocumentEnds
from trainer.evaluate import Role, TextScore, loss_note, role_of_text, score_text
from trainer.processes import from_main, main_only, n_processes
from vocabopt.console import Console
from vocabopt.errors import CorpusError, tell
from vocabopt.fields import COUNT, NUMBER, Shape, check_fields
from vocabopt.folder import FORMAT_VERSION, digest, read_json, write_json_atomic

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


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
        advance: called with the bytes that this process has scored so far, of all texts.
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


#: Of the config, what names where a model lies and not what it computes.
_PLACES = ("_name_or_path", "transformers_version")
#: A score as it is kept; files with other fields are of another version, and have another name.
_SCORE: dict[str, Shape] = {field.name: NUMBER if field.name == "nll_nats" else COUNT for field in fields(TextScore)}


@dataclass(frozen=True, kw_only=True)
class Measurements:
    """The texts of a run and how they are measured.

    folder: a file for each measurement, named by a hash of the model's weights and config, the tokenizer, the texts,
    the windows and the kind of device: a run that is gone on with, its control and the cells of a probe find there what
    was measured before.
    """

    folder: Path
    texts: Sequence[EvalText]
    context_tokens: int
    batch_size: int
    ends: DocumentEnds
    console: Console

    def __call__(
        self, what: str, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase"
    ) -> dict[str, TextScore]:
        """Score every text, or take the scores that are there.

        Args:
            what: is measured, for the console.
        """
        path, scores = from_main(lambda: self._kept(model, tokenizer))
        if scores is None:
            scores = self._measured(what, model, tokenizer)
            by_text = {name: asdict(score) for name, score in scores.items()}
            main_only(lambda: write_json_atomic(path, {"format_version": FORMAT_VERSION, "texts": by_text}))
        for name, score in scores.items():
            losses = {"n_unknown_tokens": score.n_unknown_tokens, "n_lost_chars": score.n_lost_chars}
            if (note := loss_note(name, **losses)) is not None:
                # Every model of a run loses about the same of it.
                tell(f"lost in {name}", note)
        return scores

    def _measured(
        self, what: str, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase"
    ) -> dict[str, TextScore]:
        rank_bytes = sum(text.n_bytes for text in self.texts) // n_processes()
        with self.console.step(f"measure {what}", rank_bytes, "bytes") as advance:
            return score_all(
                model,
                tokenizer,
                self.texts,
                context_tokens=self.context_tokens,
                batch_size=self.batch_size,
                ends=self.ends,
                advance=advance,
            )

    def _kept(
        self, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase"
    ) -> tuple[Path, dict[str, TextScore] | None]:
        """Where the scores are kept, and those that are there."""
        path = self.folder / f"{self._key(model, tokenizer)}.json"
        if not path.is_file():
            return path, None
        next_step = "Remove it: it is measured again."
        kept = read_json(path, next_step=next_step)
        check_fields(kept, {"texts": {text.name: _SCORE for text in self.texts}}, path, next_step)
        return path, {
            text.name: TextScore(**{name: kept["texts"][text.name][name] for name in _SCORE}) for text in self.texts
        }

    def _key(self, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase") -> str:
        opened, device = self.ends.as_record(), model.device.type
        settings = [self.context_tokens, self.batch_size, opened, device, n_processes(), torch.__version__, [*_SCORE]]
        texts = [[text.name, *text.documents] for text in self.texts]
        return digest([_identity_of(model), _identity_of_tokenizer(tokenizer), digest(texts), settings])[:32]


def _identity_of(model: "PreTrainedModel") -> list[object]:
    """A hash of every weight. It takes a second for a few gigabytes, where measuring takes minutes."""
    hashed = xxhash.xxh3_128()
    for name, tensor in _tensors(model):
        hashed.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        data: Any = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        hashed.update(data)
    config = {name: value for name, value in model.config.to_dict().items() if name not in _PLACES}
    return [type(model).__name__, hashed.hexdigest(), json.dumps(config, sort_keys=True, default=str)]


def _tensors(model: "PreTrainedModel") -> Iterator[tuple[str, torch.Tensor]]:
    yield from model.named_parameters()
    yield from model.named_buffers()


def _identity_of_tokenizer(tokenizer: "PreTrainedTokenizerBase") -> list[object]:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    ids = json.dumps(tokenizer.get_vocab(), sort_keys=True) if backend is None else backend.to_str()
    return [type(tokenizer).__name__, digest([ids]), sorted(map(str, tokenizer.special_tokens_map.items()))]

"""The texts that an adaptation is measured on, and their scores, each kept by a hash of everything that moves it."""

import heapq
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import chain
from operator import add
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
import xxhash

from trainer.adaptation.record import MeasuredRecord
from trainer.document_ends import DocumentEnds
from trainer.evaluate import Role, TextScore, loss_note, role_of_text, score_text
from trainer.processes import from_main, main_only, n_processes
from vocabopt.console import Console
from vocabopt.errors import CorpusError
from vocabopt.folder import digest
from vocabopt.records import read_record, write_record
from vocabopt.text.notices import tell

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
    # Those with the lowest content hashes that fit together, at least one; repeated ones stay.
    kept: list[tuple[int, int, str]] = []  # a heap, the highest hash on top (negated)
    n_bytes = 0
    for number, document in enumerate(documents):
        heapq.heappush(kept, (-xxhash.xxh3_64_intdigest(document.encode()), -number, document))
        n_bytes += len(document.encode())
        while len(kept) > 1 and n_bytes > max_bytes:
            n_bytes -= len(heapq.heappop(kept)[2].encode())
    if not kept:
        raise CorpusError(
            f"{place}: no documents to measure on. Give text of more documents, or name one to measure on with --eval "
            "NAME=PATH and hold none out (--heldout 0)."
        )
    texts = tuple(text for _, _, text in sorted(kept, reverse=True))
    return EvalText(name=name, role="base" if is_base else role_of_text(texts, scripts), documents=texts)


def bits_per_byte(scores: Mapping[str, TextScore]) -> dict[str, float]:
    """Name -> bits per byte, rounded to what its digits mean."""
    return {name: round(score.bits_per_byte, 6) for name, score in scores.items()}


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
        path, kept = from_main(lambda: self._kept(model, tokenizer))
        scores = self._measured(what, model, tokenizer) if kept is None else kept
        if kept is None:
            main_only(lambda: write_record(path, MeasuredRecord(texts=scores)))
        for name, score in scores.items():
            losses = {"n_unknown_tokens": score.n_unknown_tokens, "n_lost_chars": score.n_lost_chars}
            if (note := loss_note(name, **losses)) is not None:
                # Every model of a run loses about the same of it.
                tell(f"lost in {name}", note)
        return scores

    def _measured(
        self, what: str, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase"
    ) -> dict[str, TextScore]:
        """With several processes each takes its part of the documents, and all get the sums."""
        rank, world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        rank_bytes = sum(text.n_bytes for text in self.texts) // n_processes()
        scores: dict[str, TextScore] = {}
        with self.console.step(f"measure {what}", rank_bytes, "bytes") as advance:
            n_before = 0

            def advance_from_before(n_bytes: int) -> None:
                advance(n_before + n_bytes)

            for text in self.texts:
                scores[text.name] = score_text(
                    model,
                    tokenizer,
                    text.documents[rank::world],
                    context_tokens=self.context_tokens,
                    batch_size=self.batch_size,
                    ends=self.ends,
                    advance=advance_from_before,
                )
                n_before += scores[text.name].n_bytes
        if world == 1:
            return scores
        gathered: list[Any] = [None] * world
        dist.all_gather_object(gathered, scores)
        return {text.name: reduce(add, (part[text.name] for part in gathered)) for text in self.texts}

    def _kept(
        self, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase"
    ) -> tuple[Path, dict[str, TextScore] | None]:
        """Where the scores are kept, and those that are there."""
        # Files with other fields are of another version, and have another name.
        fields = [*TextScore.__struct_fields__]
        opened, device = self.ends.as_record(), model.device.type
        settings = [self.context_tokens, self.batch_size, opened, device, n_processes(), torch.__version__, fields]
        texts = [[text.name, *text.documents] for text in self.texts]
        key = digest([_identity_of(model), _identity_of_tokenizer(tokenizer), digest(texts), settings])[:32]
        path = self.folder / f"{key}.json"
        kept = read_record(path, MeasuredRecord).texts if path.is_file() else {}
        return path, kept if kept.keys() == {text.name for text in self.texts} else None


def _identity_of(model: "PreTrainedModel") -> list[object]:
    """A hash of every weight. It takes a second for a few gigabytes, where measuring takes minutes."""
    hashed = xxhash.xxh3_128()
    for name, tensor in chain(model.named_parameters(), model.named_buffers()):
        hashed.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        data: Any = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        hashed.update(data)
    config = model.config.to_dict()
    for name in ("_name_or_path", "transformers_version"):  # where a model lies, and not what it computes
        config.pop(name, None)
    return [type(model).__name__, hashed.hexdigest(), json.dumps(config, sort_keys=True, default=str)]


def _identity_of_tokenizer(tokenizer: "PreTrainedTokenizerBase") -> list[object]:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    ids = json.dumps(tokenizer.get_vocab(), sort_keys=True) if backend is None else backend.to_str()
    return [type(tokenizer).__name__, digest([ids]), sorted(map(str, tokenizer.special_tokens_map.items()))]

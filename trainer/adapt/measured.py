"""Measurements, each made once: what was measured is kept by everything that moves it."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import xxhash

from trainer.adapt.evals import EvalText, score_all
from trainer.document_ends import DocumentEnds
from trainer.evaluate import TextScore, loss_note
from trainer.processes import from_main, main_only, n_processes
from vocabopt.artifacts import FORMAT_VERSION, digest, read_json, write_json_atomic
from vocabopt.console import Console
from vocabopt.fields import COUNT, NUMBER, Shape, check_fields
from vocabopt.text.notices import tell

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

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

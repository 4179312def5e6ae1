"""Text that a base model writes itself, for replay where nobody has the text that it was trained on.

    start token, or some random tokens -> sampled token by token, many documents at once -> a file for each batch
      -> own-text.json, whose presence means that all is there

A batch depends on its number and the seed alone, so a run that was killed goes on with the batches that are there and
ends with the same text.

Shapes: B documents at once, V rows of the output table.
"""

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from trainer.evaluate.score import positions_of
from trainer.init.models import eval_mode
from trainer.out_of_memory import memory_guard
from vocabopt.errors import ModelError, OptionError
from vocabopt.folder import write_bytes_atomic
from vocabopt.records import read_record, write_record
from vocabopt.text.utf8 import json_bytes
from vocabopt.training_record import DocumentEnds, OwnText

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

OWN_TEXT_JSON = "own-text.json"
_MOST_AT_ONCE = 64
#: Batches without a byte of text, one after another, after which the model is taken to write none.
_MOST_EMPTY = 4


@dataclass(frozen=True, kw_only=True)
class Writing:
    """What is written, and how. n_bytes: wanted; the last batch may hold more. length: tokens of a document at most,
    what it is begun with included. prompt_tokens: random ones behind the start token; None for none, or for one where
    documents have no start token."""

    n_bytes: int
    length: int
    temperature: float
    prompt_tokens: int | None
    seed: int


def write_own_text(
    model: Callable[[], "PreTrainedModel"],
    tokenizer: "PreTrainedTokenizerBase",
    ends: DocumentEnds,
    writing: Writing,
    folder: Path,
    advance: Callable[[int], None] = lambda n_bytes: None,
) -> OwnText:
    """Write documents of the model's own into a folder, as JSON Lines with the field "text", or take those there.

    A document ends where the model writes its end token or that of documents. Special tokens, and bytes that are no
    characters, are left out; documents without text stay blank, and are not read. A chat model continues plain text
    like any other: its template is not used.

    Args:
        model: loaded only where text is missing.
        tokenizer: the model's own.
        advance: called with the bytes that are there.

    Raises:
        OptionError: nothing begins a document. ModelError: the model writes no text. RunDirectoryError: the folder
            cannot be written, or holds a broken own-text.json. TrainingError: no memory.
    """
    done = folder / OWN_TEXT_JSON
    if done.is_file():
        return read_record(done, OwnText)
    n_prompt = (0 if ends.start_id is not None else 1) if writing.prompt_tokens is None else writing.prompt_tokens
    if ends.start_id is None and not n_prompt:
        raise OptionError(
            "--self-prompt 0: the model's tokenizer has no token that begins a document. Let it begin with random "
            "ones, --self-prompt 1, or name one with --document-start."
        )
    writer: _Writer | None = None
    n_bytes = n_documents = n_tokens = n_empty = number = 0
    seconds = 0.0
    while n_bytes < writing.n_bytes:
        path = folder / f"{number:06d}.jsonl"
        if not path.is_file():
            if writer is None:
                writer = _Writer(model(), tokenizer, ends, writing, n_prompt)
            began = time.perf_counter()
            written = writer.batch(number)
            each = round((time.perf_counter() - began) / len(written), 6)
            lines = [json_bytes({"text": text, "tokens": n, "seconds": each}, indent=None) for text, n in written]
            write_bytes_atomic(path, b"".join(line + b"\n" for line in lines))
        # As it lies there: what an earlier process wrote counts alike.
        records = [json.loads(line) for line in path.read_bytes().splitlines()]
        texts = [record["text"] for record in records if record["text"].strip()]
        n_tokens += sum(record["tokens"] for record in records)
        seconds += sum(record["seconds"] for record in records)
        size = sum(len(text.encode()) for text in texts)
        n_bytes, n_documents, number = n_bytes + size, n_documents + len(texts), number + 1
        n_empty = 0 if size else n_empty + 1
        if n_empty == _MOST_EMPTY:
            raise ModelError(
                f"--replay self: the model ended {n_empty * n_at_once(writing)} documents before their first "
                "character. Begin them with some random tokens (--self-prompt 4), or give text of the base's language "
                "(--replay en=PATH:0.2)."
            )
        advance(n_bytes)
    record = OwnText(
        bytes_wanted=writing.n_bytes,
        n_bytes=n_bytes,
        n_documents=n_documents,
        n_tokens=n_tokens,
        temperature=writing.temperature,
        prompt_tokens=n_prompt,
        length=writing.length,
        seed=writing.seed,
        seconds=round(seconds, 3),
    )
    write_record(done, record)
    return record


def n_at_once(writing: Writing) -> int:
    """Documents written at once: no more than the text needs where a token has a byte."""
    return max(1, min(_MOST_AT_ONCE, -(-writing.n_bytes // writing.length)))


class _Writer:
    """Samples batches of documents."""

    def __init__(
        self,
        model: "PreTrainedModel",
        tokenizer: "PreTrainedTokenizerBase",
        ends: DocumentEnds,
        writing: Writing,
        n_prompt: int,
    ) -> None:
        self._model, self._tokenizer, self._writing = model, tokenizer, writing
        self._opening = [] if ends.start_id is None else [ends.start_id]
        self._stops = {index for index in (tokenizer.eos_token_id, ends.end_id) if isinstance(index, int)}
        specials = set(tokenizer.all_special_ids)
        self._words = torch.tensor(sorted(set(tokenizer.get_vocab().values()) - specials))
        #: Rows of no token, which must not be sampled.
        self._n_ids = len(tokenizer)
        self._n_prompt = n_prompt
        positions = positions_of(model)
        self._length = writing.length if positions is None else min(writing.length, positions)

    def batch(self, number: int) -> list[tuple[str, int]]:
        """The texts of a batch, some of them blank, and how many tokens were sampled for each."""
        size, device = n_at_once(self._writing), self._model.device
        seeded = hashlib.sha256(f"{self._writing.seed} {number}".encode()).digest()
        seed = int.from_bytes(seeded[:7], "big")
        generator = torch.Generator(device).manual_seed(seed)
        # On the CPU, so that documents begin alike on every device.
        drawn = torch.randint(len(self._words), (size, self._n_prompt), generator=torch.Generator().manual_seed(seed))
        opening_BT = torch.tensor([self._opening] * size, dtype=torch.int64).reshape(size, -1)
        read_BT = torch.cat([opening_BT, self._words[drawn]], dim=1).to(device)
        advice = "Use --precision bf16, or shorter documents (--context)."
        with memory_guard("the model writes its own replay", lambda: advice), eval_mode(self._model):
            rows = self._sampled(read_BT, generator)
        return [(self._text_of(ids), len(ids)) for ids in rows]

    def _sampled(self, read_BT: Tensor, generator: torch.Generator) -> list[list[int]]:
        """Tokens of each document behind what it begins with, up to its end."""
        stops = torch.tensor(sorted(self._stops), device=read_BT.device)
        is_open = torch.ones(len(read_BT), dtype=torch.bool, device=read_BT.device)
        written: list[Tensor] = []
        cache: Any = None
        given = read_BT
        for _ in range(self._length - read_BT.shape[1]):
            answer = self._model(input_ids=given, past_key_values=cache, use_cache=True)
            logits_BV = answer.logits[:, -1].float() / self._writing.temperature
            logits_BV[:, self._n_ids :] = -torch.inf
            token_B1 = torch.multinomial(logits_BV.softmax(-1), 1, generator=generator)
            is_open &= ~torch.isin(token_B1[:, 0], stops)
            if not is_open.any():
                break
            # Behind its end a document goes on unread.
            written.append(torch.where(is_open, token_B1[:, 0], -1))
            read_BT = torch.cat([read_BT, token_B1], dim=1)
            cache = getattr(answer, "past_key_values", None)
            # A model without a cache reads all of it each time.
            given = token_B1 if cache is not None else read_BT
        if not written:
            return [[] for _ in read_BT]
        return [[index for index in row if index >= 0] for row in torch.stack(written, 1).tolist()]

    def _text_of(self, ids: list[int]) -> str:
        text = self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return str(text).replace("\ufffd", "")

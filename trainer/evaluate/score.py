"""Bits per byte of text under a model: the measure that does not depend on the tokenizer.

Loss per token cannot be compared across tokenizers: a vocabulary of shorter tokens has a lower one on the same text
without knowing more. Bits per byte divide what the whole text costs by what no tokenizer changes, its UTF-8 bytes.

    documents -> windows of tokens -> batches of similar length -> losses of single tokens -> TextScore

Shapes: B windows, T positions, P scored positions of a batch, V rows of the output table, D width.
"""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from trainer.document_ends import document_ends
from trainer.init.models import dtype_name, eval_mode
from trainer.lost_characters import LostCharacters
from trainer.out_of_memory import is_out_of_memory
from vocabopt.errors import ModelError, OptionError
from vocabopt.records import Record
from vocabopt.training_record import DocumentEnds

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


#: Batches that are sorted by length together; the more, the less padding, and the more is held in memory.
_SORTED_BATCHES = 32


class Window(NamedTuple):
    """Some tokens of one document, of which the last `n_scored` are scored; the others are context.

    The model reads the start token and all of them but the last, and is asked for each of them.
    """

    ids: Sequence[int]
    n_scored: int


def windows_of(ids: Sequence[int], context_tokens: int, stride: int | None) -> Iterator[Window]:
    """The windows of a document, each opened by the start token, which is one of the `context_tokens`.

    Args:
        stride: tokens that each window after the first one adds; the others repeat what comes before them. None: no
            overlap, so that every token is read once.
    """
    size = context_tokens - 1
    step = size if stride is None else stride
    assert 1 <= step <= size
    if ids:
        yield Window(ids[:size], min(size, len(ids)))
    for end in range(size + step, len(ids) + step, step):
        part = ids[end - size : end]
        yield Window(part, step - (end - min(end, len(ids))))


def batches_of(windows: Iterable[Window], batch_tokens: int) -> Iterator[list[Window]]:
    """Batches of windows of similar length: padded to the longest, each has at most `batch_tokens` tokens.

    A window that is longer than that is a batch of its own. All windows come, in another order.
    """
    left = iter(windows)
    while True:
        gathered: list[Window] = []
        n_gathered = 0
        while n_gathered < _SORTED_BATCHES * batch_tokens and (window := next(left, None)) is not None:
            gathered.append(window)
            n_gathered += len(window.ids)
        if not gathered:
            return
        batch: list[Window] = []
        # The longest first: what does not fit into memory fails at once.
        for window in sorted(gathered, key=lambda window: -len(window.ids)):
            if batch and (len(batch) + 1) * len(batch[0].ids) > batch_tokens:
                yield batch
                batch = []
            batch.append(window)
        yield batch


#: Of float32 logits held at once, where the model lets its head be asked in parts.
_LOGIT_BYTES = 256 << 20
_PROBE_TOKENS = 4


class TokenLosses:
    """Losses of single tokens under one model.

    Logits of a batch are its largest array by far: 8 windows of 2,048 tokens over 50,000 rows take 3.3 GB in float32.
    So the head is given a part of the positions at a time, where head(body(ids)) is what the model itself computes;
    models that scale or cap their logits behind the head are asked whole, a few windows at a time.
    """

    def __init__(self, model: "PreTrainedModel") -> None:
        self._model = model
        self._head: Callable[[Tensor], Tensor] | None = _separate_head(model)
        self._n_rows = n_rows_of(model)

    def __call__(self, input_BT: Tensor, target_BT: Tensor, is_scored_BT: Tensor) -> Tensor:
        """Losses [P] in float32, in the order of `is_scored_BT`. Logits are float32 before the softmax, always."""
        if self._head is not None:
            hidden_PD = _forward(self._model.base_model, input_BT).last_hidden_state[is_scored_BT]
            target_P = target_BT[is_scored_BT]
            step = max(1, _LOGIT_BYTES // (4 * self._n_rows))
            parts = zip(torch.split(hidden_PD, step), torch.split(target_P, step), strict=True)
            return torch.cat([_cross_entropy(self._head(hidden), target) for hidden, target in parts])
        step = max(1, _LOGIT_BYTES // (4 * self._n_rows * input_BT.shape[1]))
        losses = []
        for rows in range(0, len(input_BT), step):
            part = slice(rows, rows + step)
            logits_PV = _forward(self._model, input_BT[part]).logits[is_scored_BT[part]]
            losses.append(_cross_entropy(logits_PV, target_BT[part][is_scored_BT[part]]))
        return torch.cat(losses)


def _cross_entropy(logits_PV: Tensor, target_P: Tensor) -> Tensor:
    return torch.nn.functional.cross_entropy(logits_PV.float(), target_P, reduction="none")


def _forward(part: Any, input_BT: Tensor) -> Any:
    # Padding stands behind all that is scored, where causal attention does not look, so every position may count as
    # text: a mask would cost the fast attention, and none at all a warning about padding.
    return part(input_ids=input_BT, attention_mask=torch.ones_like(input_BT), use_cache=False)


def n_rows_of(model: "PreTrainedModel") -> int:
    """Rows of the input table, padding included."""
    embeddings: Any = model.get_input_embeddings()
    return int(embeddings.weight.shape[0])


def _separate_head(model: "PreTrainedModel") -> Callable[[Tensor], Tensor] | None:
    """The head, where the model's logits are it on the body's output and nothing else; found out by trying."""
    head: Any = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    if head is None or model.base_model is model:
        return None
    ids = torch.arange(_PROBE_TOKENS, device=model.device)[None]
    try:
        apart = head(_forward(model.base_model, ids).last_hidden_state)
    except (AttributeError, TypeError):  # a body of another shape than transformers' own
        return None
    # Logits within rounding of one another, but not by a factor or a cap.
    return head if torch.allclose(apart, _forward(model, ids).logits, rtol=1e-3, atol=1e-5) else None


#: Documents encoded at a time.
_ENCODED_DOCUMENTS = 256


class TextScore(Record, frozen=True, kw_only=True):
    """What a text costs under a model. Scores of parts of a text add up with +.

    n_tokens: all of them predicted; the start token of a window and the end of a document are not among them.
    nll_nats: negative log-likelihood of all tokens. n_unknown_tokens: that stand for text which the tokenizer cannot
    spell. n_lost_chars: characters of which a byte-level tokenizer lacks a byte, with or without an unknown token in
    their place. Both are lost, and cost too little or nothing.
    """

    n_documents: int
    n_bytes: int
    n_tokens: int
    nll_nats: float
    n_unknown_tokens: int = 0
    n_lost_chars: int = 0

    @property
    def bits_per_byte(self) -> float:
        return self.nll_nats / math.log(2) / self.n_bytes

    @property
    def tokens_per_byte(self) -> float:
        return self.n_tokens / self.n_bytes

    @property
    def nats_per_token(self) -> float:
        """The loss that training shows. Not comparable across tokenizers."""
        return self.nll_nats / self.n_tokens

    def __add__(self, other: "TextScore") -> "TextScore":
        fields = self.__struct_fields__
        return TextScore(**{name: getattr(self, name) + getattr(other, name) for name in fields})


def loss_note(name: str, score: TextScore) -> str | None:
    """What a text cost too little for; None where all of it was scored."""
    if score.n_lost_chars:
        return (
            f"{name}: the tokenizer has no token for {score.n_lost_chars:,} of its characters: they are lost and cost "
            "too little, so its bits per byte are too low."
        )
    if score.n_unknown_tokens:
        return (
            f"{name}: {score.n_unknown_tokens:,} tokens are unknown ones: that text is lost and cost too little, so "
            "its bits per byte are too low."
        )
    return None


def score_text(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    documents: Iterable[str],
    *,
    context_tokens: int,
    batch_size: int,
    stride: int | None = None,
    ends: DocumentEnds | None = None,
    advance: Callable[[int], None] | None = None,
) -> TextScore:
    """Score documents, each on its own: it is opened by the start token and sees no other.

    Where nothing opens documents, the first token of a window costs what any of the tokenizer's tokens would if all
    were equally likely: no model is asked for it, and leaving it out would make bits per byte too low.

    The result does not depend on `batch_size`, but for the rounding of sums in another order.

    Args:
        documents: read as they are needed; none give a score of no bytes.
        context_tokens: length of a window, the start token included. Longer documents are cut into windows.
        batch_size: windows computed at once; of shorter ones, as many as have no more tokens than that.
        stride: tokens that each further window of a document adds, the rest of it being context. None: no overlap.
        ends: what opens documents; None takes the tokenizer's own (`document_ends`).
        advance: called with the bytes of text scored so far.

    Raises:
        OptionError: the context is too short, or longer than the model's positions; no memory for the batch.
        ModelError: the tokenizer has more tokens than the model has rows; or losses are not numbers.
    """
    check_context(model, context_tokens, stride)
    reader = _Reader(model, tokenizer)
    windows = reader.windows(documents, context_tokens, stride)
    start = (ends or document_ends(tokenizer)).start_id
    nll_nats, n_scored = 0.0, 0
    try:
        with eval_mode(model):
            losses = TokenLosses(model)
            for batch in batches_of(windows, batch_size * (context_tokens - 1)):
                # float64, on the CPU: some devices have none.
                nll_nats += float(losses(*_tensors(batch, start, model.device)).cpu().double().sum())
                if start is None:
                    nll_nats += math.log(len(tokenizer)) * sum(window.n_scored == len(window.ids) for window in batch)
                n_scored += sum(window.n_scored for window in batch)
                if advance is not None:
                    advance(reader.n_bytes * n_scored // reader.n_tokens)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        smaller = "a smaller --batch (in adapt: --micro-batch)"
        fewer = smaller if batch_size > 1 else "a smaller --context, or --precision bf16"
        raise OptionError(
            f"--batch {batch_size}: {batch_size} windows of {context_tokens:,} tokens do not fit into the memory of "
            f"{model.device}. Try {fewer}."
        ) from error
    if not math.isfinite(nll_nats):
        raise ModelError(
            f"{type(model).__name__}: its losses are not numbers ({nll_nats}); its weights are broken, or too large "
            f"for {dtype_name(model.dtype)}. Try --precision fp32, or an earlier checkpoint."
        )
    return TextScore(
        n_documents=reader.n_documents,
        n_bytes=reader.n_bytes,
        n_tokens=reader.n_tokens,
        nll_nats=nll_nats,
        n_unknown_tokens=reader.n_unknown_tokens,
        n_lost_chars=reader.n_lost_chars,
    )


def positions_of(model: "PreTrainedModel") -> int | None:
    """How many positions the model has; None where its config sets no bound."""
    positions = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return None if positions is None else int(positions)


def check_context(model: "PreTrainedModel", context_tokens: int, stride: int | None) -> None:
    """Raises OptionError where the windows cannot be made or read."""
    if context_tokens < 2:
        raise OptionError(f"--context {context_tokens}: must be at least 2 tokens, of which one opens the window.")
    if stride is not None and not 1 <= stride < context_tokens:
        raise OptionError(
            f"--stride {stride}: must be from 1 to {context_tokens - 1:,}, which is the context of {context_tokens:,} "
            "tokens without its start token. Leave it out for windows without overlap."
        )
    positions = positions_of(model)
    if positions is not None and context_tokens > positions:
        raise OptionError(
            f"--context {context_tokens}: the model has {positions:,} positions (max_position_embeddings in its "
            f"config.json). Give at most {positions}."
        )


class _Reader:
    """Windows of all documents, and what was read so far."""

    def __init__(self, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase") -> None:
        self.n_documents = self.n_bytes = self.n_tokens = self.n_unknown_tokens = self.n_lost_chars = 0
        self._tokenizer, self._n_rows = tokenizer, n_rows_of(model)
        unknown = tokenizer.unk_token_id
        # GPT-2 names its end token as the unknown one, and needs none.
        self._unknown = None if unknown in (tokenizer.eos_token_id, tokenizer.bos_token_id) else unknown
        backend = getattr(tokenizer, "backend_tokenizer", None)
        self._lost = LostCharacters() if backend is None else LostCharacters.of(json.loads(backend.to_str()))

    def windows(self, documents: Iterable[str], context_tokens: int, stride: int | None) -> Iterator[Window]:
        left = iter(documents)
        while block := list(islice(left, _ENCODED_DOCUMENTS)):
            encoded = self._tokenizer(block, add_special_tokens=False, return_attention_mask=False, verbose=False)
            for document, ids in zip(block, encoded["input_ids"], strict=True):
                self.n_documents += 1
                self.n_bytes += len(document.encode())
                self.n_tokens += len(ids)
                self.n_unknown_tokens += 0 if self._unknown is None else ids.count(self._unknown)
                self.n_lost_chars += self._lost.count(document)
                if max(ids, default=0) >= self._n_rows:
                    raise ModelError(
                        f"{self._tokenizer.name_or_path or 'the tokenizer'}: gives the id {max(ids):,}, and the model "
                        f"has {self._n_rows:,} rows. Score it with its own tokenizer, or make its rows with vocabopt "
                        "init."
                    )
                yield from windows_of(ids, context_tokens, stride)


def _tensors(batch: list[Window], start: int | None, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Input, targets and what is scored of a batch, [B, T] each; padding comes last and is not scored.

    Without a start token the first token of a window is read and not asked for.
    """
    opening = [] if start is None else [start]
    filler = start or 0  # any id does: it stands where nothing that is scored can see it
    read = [[*opening, *window.ids[:-1]] for window in batch]
    asked = [[*window.ids[1 - len(opening) :]] for window in batch]
    width = max(1, *map(len, read))
    input_BT, target_BT = (
        torch.tensor([row + [filler] * (width - len(row)) for row in rows], device=device) for rows in (read, asked)
    )
    ends = torch.tensor([[len(row)] for row in asked])
    begins = torch.tensor([[max(0, len(row) - window.n_scored)] for row, window in zip(asked, batch, strict=True)])
    places = torch.arange(width)[None]
    is_scored = (places >= begins) & (places < ends)
    return input_BT, target_BT, is_scored.to(device)

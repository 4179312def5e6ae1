"""New input rows learned from text: Token Distillation (Dobler, Elliott and de Melo, arXiv 2505.20133).

A model builds the meaning of a word of several tokens in its first blocks, so no mean of their rows is as good a row
for one token in their place. Here the row is learned: such that the hidden states of the model, where it has read the
new token, are what they were behind the last of its old ones, and likewise at every token after it.

    snippet, new spelling -> model with the rows that are learned  -> hidden states behind each token
    snippet, old spelling -> model as it was                       -> hidden states behind the same text
                                                                      loss: mean squared distance

Nothing but the rows of new tokens changes. All new tokens of a snippet have the new spelling, as in the text that the
model is to read; the paper offers this beside one new token for each snippet.

Each row has an Adam of its own: most steps hold no snippet of it, and moments that go on without it would move it.

Shapes: B snippets, T tokens of the longest, P compared places, U distinct tokens of a batch, N new tokens, D width.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils.rnn import pad_sequence

from trainer.data.documents import mixed
from trainer.init.extension import Extension
from trainer.init.models import eval_mode
from trainer.init.snippets import Snippets, Spelling
from trainer.layout import layout_of
from trainer.out_of_memory import memory_guard
from trainer.row_options import RowOptions
from vocabopt.errors import TrainingError
from vocabopt.training_record import DistillLog

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_BETAS, _EPSILON = (0.9, 0.999), 1e-8
_METHOD = "distill"


class RowAdam:
    """Adam (arXiv 1412.6980) for rows that few steps hold: moments and bias correction of a row count its own steps."""

    def __init__(self, rows_ND: Tensor) -> None:
        self._rows = rows_ND
        self._first, self._second = torch.zeros_like(rows_ND), torch.zeros_like(rows_ND)
        self._n_steps = torch.zeros_like(rows_ND[:, :1])

    def step(self, which_U: Tensor, gradient_UD: Tensor, learning_rate: float) -> None:
        """Move the rows `which_U` in place; each is there once."""
        n_steps = self._n_steps[which_U] + 1
        first = self._first[which_U].lerp(gradient_UD, 1 - _BETAS[0])
        second = self._second[which_U].lerp(gradient_UD.square(), 1 - _BETAS[1])
        self._n_steps[which_U], self._first[which_U], self._second[which_U] = n_steps, first, second
        mean = first / (1 - _BETAS[0] ** n_steps)
        spread = (second / (1 - _BETAS[1] ** n_steps)).sqrt()
        self._rows[which_U] -= learning_rate * mean / (spread + _EPSILON)


class HiddenDistance:
    """The mean squared distance between hidden states of the two spellings of snippets.

    Args:
        taken_out: rows of base tokens that a swap took out, as they were, in the order of those new ids that are ids of
            the base.
        layer: block whose output is compared, from 1; None for the last, behind the last norm.
    """

    def __init__(self, model: "PreTrainedModel", extension: Extension, taken_out: Tensor, layer: int | None) -> None:
        self._model, self._taken_out, self._spelling = model, taken_out, Spelling(extension=extension)
        n_blocks = layout_of(model).n_blocks
        self._layer = None if layer == n_blocks else layer
        reused = reused_ids(extension)
        self._reused = torch.full((extension.n_tokens,), -1)
        self._reused[torch.tensor(reused, dtype=torch.int64)] = torch.arange(len(reused))

    def __call__(self, snippets: Sequence[NDArray[np.int64]], rows_ND: Tensor) -> "Compared":
        """Compare some snippets. rows_ND: of all new tokens, float32, in the order of Extension.new_ids."""
        spelling = self._spelling
        spelled = [spelling.before(ids) for ids in snippets]
        with torch.no_grad():
            old_ids = [torch.from_numpy(ids) for ids, _ in spelled]
            distinct, local = torch.unique(pad_sequence(old_ids, batch_first=True), return_inverse=True)
            old_BTD = self._hidden(self._base_rows(distinct), local)
        new_BT = pad_sequence([torch.from_numpy(ids) for ids in snippets], batch_first=True, padding_value=-1)
        slots_BT = torch.from_numpy(np.append(spelling.slots, -1))[new_BT]
        # Before the first new token both have read the same, and are equal.
        compared_BT = (slots_BT >= 0).cumsum(1).bool() & (new_BT >= 0)
        ends_BT = pad_sequence([torch.from_numpy(ends) for _, ends in spelled], batch_first=True)
        which, place = compared_BT.nonzero(as_tuple=True)
        device = rows_ND.device
        wanted_PD = old_BTD[which.to(device), ends_BT[which, place].to(device)]
        distinct, local = torch.unique(new_BT.clamp(min=0), return_inverse=True)
        slots = torch.from_numpy(spelling.slots)[distinct]
        is_new = slots >= 0
        read_U = slots[is_new].to(device)
        leaf_UD = rows_ND[read_U].requires_grad_()
        table = self._base_rows(distinct)
        table = table.index_copy(0, is_new.nonzero()[:, 0].to(device), leaf_UD.to(table.dtype))
        found_PD = self._hidden(table, local)[which.to(device), place.to(device)]
        loss = (found_PD.float() - wanted_PD.float()).square().mean()
        n_old = sum(len(ids) for ids, _ in spelled)
        return Compared(loss=loss, leaf=leaf_UD, which=read_U, n_new=sum(map(len, snippets)), n_old=n_old)

    def _base_rows(self, ids: Tensor) -> Tensor:
        """Rows of the base with these ids, [U, D]; those of new tokens are of no meaning where no swap is."""
        embed: Any = self._model.get_input_embeddings()
        table = embed.weight.detach()
        rows: Tensor = table[ids.to(table.device)]
        reused = self._reused[ids]
        if (reused >= 0).any():
            rows[(reused >= 0).to(table.device)] = self._taken_out[reused[reused >= 0].to(table.device)]
        return rows

    def _hidden(self, table_UD: Tensor, local_BT: Tensor) -> Tensor:
        """Hidden states [B, T, D] of ids that are places in a small table."""
        # The model's own module looks up: some scale what they look up.
        embed: Any = self._model.get_input_embeddings()
        embedded = functional_call(embed, {"weight": table_UD}, (local_BT.to(table_UD.device),))
        body: Any = self._model.base_model
        # Padding stands behind the text, where causal attention does not look.
        mask = torch.ones(embedded.shape[:2], dtype=torch.int64, device=embedded.device)
        given = {"inputs_embeds": embedded, "attention_mask": mask, "use_cache": False}
        if self._layer is None:
            hidden: Tensor = body(**given).last_hidden_state
        else:
            hidden = body(**given, output_hidden_states=True).hidden_states[self._layer]
        return hidden


def reused_ids(extension: Extension) -> list[int]:
    """New ids that were ids of base tokens before a swap, in the order of Extension.new_ids."""
    base = frozenset(extension.base_tokens)
    return [index for index in extension.new_ids if index in base]


@dataclass(frozen=True)
class Compared:
    """loss: a scalar. leaf: rows of the new tokens that were read, which its gradient is asked for; which: their
    places among all. n_new, n_old: tokens of both spellings."""

    loss: Tensor
    leaf: Tensor
    which: Tensor
    n_new: int
    n_old: int


def learn_rows(
    model: "PreTrainedModel",
    extension: Extension,
    snippets: Snippets,
    options: RowOptions,
    *,
    taken_out: Tensor,
    standard_deviation: float,
    seed: int,
    advance: Callable[[int], None] = lambda done: None,
) -> DistillLog:
    """Learn the new rows of the model's input table, in place, from the rows that are there.

    Rows of tokens that no snippet holds stay as they are, bit for bit, and so does every other number of the model. The
    same seed gives the same rows on one kind of device with as many threads.

    Args:
        taken_out: rows of base ids that are new ids too, as they were: of each in the order of Extension.new_ids.
        standard_deviation: of the base tokens' rows; learning rates are stated in it.
        seed: of the order of the snippets.
        advance: called with the steps that are done.

    Raises:
        TrainingError: no memory, or a loss that is not a number.
    """
    began = time.perf_counter()
    n_snippets, batch = len(snippets.ids), options.distill_batch
    n_steps = options.distill_steps or -(-n_snippets // batch)
    highest = options.distill_rate * standard_deviation
    embed: Any = model.get_input_embeddings()
    table = embed.weight
    new = torch.tensor(extension.new_ids, device=table.device)
    rows_ND = table.detach()[new].float()
    adam = RowAdam(rows_ND)
    compare = HiddenDistance(model, extension, taken_out, options.distill_layer)
    losses: list[Tensor] = []
    n_new = n_old = 0
    advice = f"Take fewer snippets at once (--distill-batch {max(1, batch // 2)}), or shorter ones (--distill-length)."
    with memory_guard("new rows are learned", lambda: advice), _frozen(model), eval_mode(model), torch.enable_grad():
        for step, numbers in enumerate(batches(n_snippets, batch, n_steps, seed)):
            found = compare([snippets.ids[number] for number in numbers], rows_ND)
            (gradient_UD,) = torch.autograd.grad(found.loss, found.leaf)
            with torch.no_grad():
                adam.step(found.which, gradient_UD, highest * (1 - step / n_steps))
            losses.append(found.loss.detach())
            n_new, n_old = n_new + found.n_new, n_old + found.n_old
            advance(step + 1)
    of_steps = torch.stack(losses).tolist()
    if not all(map(math.isfinite, of_steps)) or not bool(rows_ND.isfinite().all()):
        bad = next((step for step, loss in enumerate(of_steps, start=1) if not math.isfinite(loss)), n_steps)
        raise TrainingError(
            f"--init {_METHOD}: the distance of hidden states is no number in step {bad}. Lower --distill-rate "
            f"({options.distill_rate:g}), or compute in 32 bits (--precision fp32; for init: --dtype float32)."
        )
    with torch.no_grad():
        table[new] = rows_ND.to(table.dtype)
    tenth = max(1, n_steps // 10)
    n_full = int((snippets.counts >= snippets.wanted).sum())
    n_without = int((snippets.counts == 0).sum())
    return DistillLog(
        text=snippets.text,
        text_bytes=snippets.text_bytes,
        n_snippets=n_snippets,
        length=snippets.length,
        snippets_wanted=snippets.wanted,
        n_full=n_full,
        n_fewer=len(snippets.counts) - n_full - n_without,
        n_without_text=n_without,
        start="weighted",
        layer=options.distill_layer or layout_of(model).n_blocks,
        n_steps=n_steps,
        batch=batch,
        learning_rate=highest,
        rate=options.distill_rate,
        seed=seed,
        tokens_new=n_new,
        tokens_old=n_old,
        loss_first=sum(of_steps[:tenth]) / tenth,
        loss_last=sum(of_steps[-tenth:]) / tenth,
        seconds=round(time.perf_counter() - began, 3),
        flops=distill_flops(model, n_new, n_old),
    )


def batches(n_snippets: int, batch: int, n_steps: int, seed: int) -> Iterator[list[int]]:
    """Numbers of the snippets of every step: all once in an order of the seed, then again in another."""
    left: list[int] = []
    n_passes = 0
    for _ in range(n_steps):
        if not left:
            keys = mixed(np.arange(n_snippets, dtype=np.uint64), f"distill {seed} {n_passes}")
            left = np.argsort(keys, kind="stable").tolist()
            n_passes += 1
        yield left[:batch]
        left = left[batch:]


def distill_flops(model: "PreTrainedModel", n_new: int, n_old: int) -> int:
    """Of products with the blocks' weights: 2 a weight and token forward, twice, and 2 backward, where inputs alone
    have gradients. Left out: attention itself, which short snippets need little of, and the tables."""
    layout = layout_of(model)
    n_weights = sum(
        p.numel() for name, p in model.named_parameters() if layout.block_of(name) is not None and p.ndim > 1
    )
    return n_weights * (2 * n_old + 4 * n_new)


@contextmanager
def _frozen(model: nn.Module) -> Iterator[None]:
    """No parameter has a gradient, and the row of the padding token is looked up as any other."""
    wanted = [parameter for parameter in model.parameters() if parameter.requires_grad]
    embed: Any = model.get_input_embeddings()  # type: ignore[operator]
    # A place in the small tables is no id.
    padding, embed.padding_idx = embed.padding_idx, None
    model.requires_grad_(False)
    try:
        yield
    finally:
        embed.padding_idx = padding
        for parameter in wanted:
            parameter.requires_grad_(True)

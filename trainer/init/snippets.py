"""Snippets of text that hold new tokens, for rows that are learned (distill.py).

    documents of the target text, held-out ones never -> their ids -> snippets of one length, in a seeded order
      -> those that hold a token of which snippets are still wanted

A snippet has two spellings: its ids, and the same with every new token written as its base ids. Where the tokenizer was
grown that is the base's own encoding, since added merges come after the base's; after a swap or a union it is the same
pieces but for the new ones.

Shapes: W snippets, N new tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from trainer.data import DocumentEncoder, HeldOut, ScannedSource, scan_text, target_and_replays
from trainer.data.documents import mixed
from trainer.data.shards import ShardEncoder, jobs_of, texts_to_agree_on
from trainer.document_ends import document_ends
from trainer.init.extension import Extension
from trainer.row_options import RowOptions
from vocabopt.console import Console
from vocabopt.errors import CorpusError
from vocabopt.text.readers import ReadOptions
from vocabopt.training_record import DocumentEnds

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, kw_only=True)
class Snippets:
    """Snippets to learn from, in the order in which they are read.

    ids: of each with the new spelling, opened by the start token where documents are. counts: int64 [N], in how many
    each new token occurs, in the order of Extension.new_ids. text: the name of the text; text_bytes: of it, looked
    through. length: tokens of a snippet at most, without the start token. wanted: snippets of each new token.
    """

    ids: tuple[NDArray[np.int64], ...]
    counts: NDArray[np.int64]
    text: str
    text_bytes: int
    length: int
    wanted: int


@dataclass(frozen=True, kw_only=True)
class Spelling:
    """How new tokens were spelled before."""

    extension: Extension

    @cached_property
    def slots(self) -> NDArray[np.int64]:
        """Id -> place in Extension.new_ids, -1 for ids that are not new, [n_tokens]."""
        found = np.full(self.extension.n_tokens, -1, np.int64)
        found[np.asarray(self.extension.new_ids)] = np.arange(len(self.extension.new_ids))
        return found

    def before(self, ids: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The old spelling of some ids, and where in it each of them ends: the place of its last id."""
        parts = [
            self.extension.base_ids[slot] if slot >= 0 else (index,)
            for index, slot in zip(ids.tolist(), self.slots[ids].tolist(), strict=True)
        ]
        lengths = np.fromiter(map(len, parts), np.int64, len(parts))
        return np.fromiter((index for part in parts for index in part), np.int64), np.cumsum(lengths) - 1


def source_of_path(name: str, path: str, options: ReadOptions, *, heldout: float, console: Console) -> ScannedSource:
    """Text that is named by a path alone; what a sweep with this held-out share and its default seed held out is left
    out.

    Raises:
        CorpusError, OptionError: there is no text there, or it cannot be read.
    """
    sources = target_and_replays((name, path), {}, options)
    (source,) = scan_text(sources, held_out=HeldOut(share=heldout), console=console)
    return source


def find_snippets(
    source: ScannedSource,
    extension: Extension,
    tokenizer: "PreTrainedTokenizerBase",
    options: RowOptions,
    *,
    seed: int,
    n_positions: int | None,
    n_documents: int | None = None,
    ends: DocumentEnds | None = None,
) -> Snippets:
    """Look through the target text for snippets of every new token.

    Args:
        source: usable documents are read in the order in which a training with this seed reads them.
        tokenizer: the merged one.
        n_positions: of the model, None for no bound; snippets end where the old spelling would have more.
        n_documents: of them at most; None for all.
        ends: None takes the tokenizer's own.

    Raises:
        CorpusError: no new token occurs in the text. BaseTokenizerError, PromiseError: it cannot be encoded.
    """
    order = source.order(seed, 0)[:n_documents]
    sizes = np.cumsum(source.sizes[order], dtype=np.int64)
    # At least one document, however long.
    places = order[: max(1, int(np.searchsorted(sizes, options.distill_text_bytes, side="right")))]
    ends = ends or document_ends(tokenizer)
    encoder = DocumentEncoder.of(tokenizer, ends)
    encoder.use_fast(texts_to_agree_on([source]))
    encode = ShardEncoder(encoder)
    opening = [] if ends.start_id is None else [ends.start_id]
    lengths = np.ones(extension.n_tokens, np.int64)
    lengths[np.asarray(extension.new_ids)] = list(map(len, extension.base_ids))
    windows: list[NDArray[np.int64]] = []
    for job in jobs_of([source], [np.sort(places)]):
        part = encode(job)
        for stop, length in zip(np.cumsum(part.lengths).tolist(), part.lengths.tolist(), strict=True):
            text = part.ids[stop - length + len(opening) : stop - (ends.end_id is not None)].astype(np.int64)
            windows += [text[at : at + options.distill_length] for at in range(0, len(text), options.distill_length)]
    if n_positions is not None:
        most = n_positions - len(opening)
        windows = [window[: np.searchsorted(np.cumsum(lengths[window]), most, side="right")] for window in windows]
    text_bytes = int(source.sizes[places].sum(dtype=np.int64))
    chosen, counts = _chosen(windows, extension, options.distill_snippets, seed)
    if not chosen:
        raise CorpusError(
            f"{source.name}: none of the {len(extension.new_ids):,} new tokens occurs in the {text_bytes:,} bytes that "
            "were looked through for --init distill. Give text of the language that the tokenizer was extended for, or "
            "more of it (--distill-text)."
        )
    return Snippets(
        ids=tuple(np.concatenate([np.asarray(opening, np.int64), windows[number]]) for number in chosen),
        counts=counts,
        text=source.name,
        text_bytes=text_bytes,
        length=options.distill_length,
        wanted=options.distill_snippets,
    )


def _chosen(
    windows: Sequence[NDArray[np.int64]], extension: Extension, wanted: int, seed: int
) -> tuple[list[int], NDArray[np.int64]]:
    """Numbers of the windows to learn from, in a seeded order, and in how many of them each new token occurs."""
    slots = Spelling(extension=extension).slots
    counts = np.zeros(len(extension.new_ids), np.int64)
    chosen = []
    for number in np.argsort(mixed(np.arange(len(windows), dtype=np.uint64), f"snippets {seed}"), kind="stable"):
        found = slots[windows[number]]
        found = np.unique(found[found >= 0])
        if len(found) and counts[found].min() < wanted:
            counts[found] += 1
            chosen.append(int(number))
    return chosen, counts

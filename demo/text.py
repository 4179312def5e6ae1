"""The text of a demo base: what is learned from, what is held out, and blocks of tokens of it without end."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import xxhash
from numpy.typing import NDArray

from demo.options import DemoOptions
from vocabopt.errors import CorpusError
from vocabopt.text.corpus import named_set
from vocabopt.text.documents import content_hashes, documents_of_sets, is_held_out
from vocabopt.tokenizer import Tokenizer

#: Documents encoded at a time.
_ENCODED_DOCUMENTS = 4_096
IGNORED = -100


@dataclass(frozen=True, kw_only=True)
class MixedText:
    """Text of another language: what of it is learned from, and what was held out."""

    name: str
    training: tuple[str, ...]
    held_out: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class DemoText:
    """Documents in the order of their files. sha256: of all of them, held out or not, and of what is mixed in."""

    training: tuple[str, ...]
    held_out: tuple[str, ...]
    sha256: str
    mixed: tuple[MixedText, ...] = ()

    @property
    def all_training(self) -> tuple[str, ...]:
        return self.training + tuple(document for mixed in self.mixed for document in mixed.training)


def read_text(options: DemoOptions) -> DemoText:
    """Read the text and hold out of it what a sweep with this share and seed would, by content.

    Raises:
        CorpusError: it cannot be read, nothing is left to learn from or to measure on, or a text that is mixed in is
            too short for its share.
    """
    digest = hashlib.sha256()
    training, held_out = _split(options.paths, options, digest)
    n_bytes = n_bytes_of(training) / (1 - sum(share for _, share in options.mixes.values()))
    mixed = []
    for name, (path, share) in options.mixes.items():
        learned, measured = _split((path,), options, hashlib.sha256())
        if (there := n_bytes_of(learned)) < (wanted := round(n_bytes * share)):
            raise CorpusError(
                f"--mix {name}={path}:{share:g}: its {there:,} bytes are less than {share:.1%} of all text, which are "
                f"{wanted:,} bytes. Give more of it, a smaller share, or less of --text."
            )
        part = MixedText(name=name, training=tuple(some(learned, wanted)), held_out=tuple(measured))
        digest.update("\0".join((name, *part.training, *part.held_out)).encode())
        mixed.append(part)
    return DemoText(training=tuple(training), held_out=tuple(held_out), sha256=digest.hexdigest(), mixed=tuple(mixed))


def _split(paths: Sequence[str], options: DemoOptions, digest: "hashlib._Hash") -> tuple[list[str], list[str]]:
    """What is learned from, and what is held out."""
    parts: tuple[list[str], list[str]] = ([], [])
    text_set = named_set("text", tuple(paths), "eval", options.read_options())
    for block in documents_of_sets((text_set,), options.read_options()):
        digest.update(block.data)
        picks = is_held_out(content_hashes(block.data, block.starts, block.ends, options.seed), options.heldout)
        for start, end, is_picked in zip(block.starts.tolist(), block.ends.tolist(), picks.tolist(), strict=True):
            parts[is_picked].append(block.data[start:end].decode())
    training, held_out = parts
    if not training or not held_out:
        raise CorpusError(
            f"{', '.join(paths)}: of its documents {len(training):,} are left to learn from and "
            f"{len(held_out):,} held out; a base needs both. Give more text, or another --heldout."
        )
    return parts


def n_bytes_of(documents: Sequence[str]) -> int:
    return sum(len(document.encode()) for document in documents)


def some(documents: Sequence[str], n_bytes: int) -> list[str]:
    """Documents, by a hash of their content so that no file comes first, until they make as many bytes."""
    taken: list[str] = []
    for document in sorted(documents, key=lambda document: xxhash.xxh3_64_intdigest(document.encode())):
        if n_bytes <= 0:
            break
        taken.append(document)
        n_bytes -= len(document.encode())
    return taken


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """All documents as tokens, each with its start and end token: ids int32 [n_tokens], ends int64 [n_documents]."""

    ids: NDArray[np.int32]
    ends: NDArray[np.int64]

    @property
    def n_tokens(self) -> int:
        return len(self.ids)


def encode(base: Tokenizer, documents: Sequence[str], *, start: int, end: int) -> Encoded:
    """[start] ids [end] of every document, one after the other."""
    parts: list[NDArray[np.int32]] = []
    for first in range(0, len(documents), _ENCODED_DOCUMENTS):
        batch = list(documents[first : first + _ENCODED_DOCUMENTS])
        for encoding in base.full.encode_batch_fast(batch, add_special_tokens=False):
            parts.append(np.array([start, *encoding.ids, end], np.int32))
    return Encoded(ids=np.concatenate(parts), ends=np.cumsum([len(part) for part in parts]))


@dataclass(frozen=True)
class Batch:
    """One step's blocks, int64 [n_blocks, context_tokens].

    positions start at 0 at each document and each block: transformers then lets no document see another. A label is the
    token itself, or IGNORED at the start of a document or block, which nothing before it predicts.
    """

    ids: NDArray[np.int64]
    positions: NDArray[np.int64]
    labels: NDArray[np.int64]


def batches(text: Encoded, *, n_blocks: int, context_tokens: int, seed: int) -> Iterator[Batch]:
    """Blocks of text without end: every pass takes all documents, each in an order of its own."""
    size = n_blocks * context_tokens
    lengths = np.diff(text.ends, prepend=0)
    ids, is_start = np.empty(0, np.int32), np.empty(0, bool)
    n_pass = 0
    while True:
        while len(ids) < size:
            # All documents in a random order, and where each begins.
            order = np.random.default_rng((seed, n_pass)).permutation(len(text.ends))
            firsts = np.cumsum(lengths[order]) - lengths[order]
            source = np.repeat((text.ends - lengths)[order] - firsts, lengths[order]) + np.arange(text.n_tokens)
            starts = np.zeros(text.n_tokens, bool)
            starts[firsts] = True
            ids, is_start = np.concatenate([ids, text.ids[source]]), np.concatenate([is_start, starts])
            n_pass += 1
        blocks = ids[:size].reshape(-1, context_tokens).astype(np.int64)
        begins = is_start[:size].reshape(-1, context_tokens).copy()
        begins[:, 0] = True
        places = np.arange(context_tokens)[None]
        yield Batch(
            ids=blocks,
            positions=places - np.maximum.accumulate(np.where(begins, places, 0), axis=1),
            labels=np.where(begins, IGNORED, blocks),
        )
        ids, is_start = ids[size:], is_start[size:]

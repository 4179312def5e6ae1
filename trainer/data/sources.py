"""What is trained on: sources of text and their shares, what must not be among it, and how much of it is wanted."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vocabopt.choice.options import parse_bytes, parse_tokens
from vocabopt.errors import CorpusError, OptionError
from vocabopt.growth.counts import Documents
from vocabopt.text.corpus import TextSet, corpus_set
from vocabopt.text.documents import content_hashes, documents_of_sets, is_held_out
from vocabopt.text.readers import ReadOptions
from vocabopt.text.storage import STDIN

_EXAMPLES = {
    "--budget": "500kB, 10MB, 1.5GB, or in tokens 300Mtok, 2Btok",
    "--batch": "100kB, or in tokens 32768tok, 64ktok",
}


@dataclass(frozen=True, kw_only=True)
class TextSource:
    """Text to train on. share: of all training bytes; `options` says how it is read."""

    name: str
    text_set: TextSet
    share: float
    options: ReadOptions


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """Which documents a sweep with this share and seed held out, by their content."""

    share: float
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.share < 1:
            raise OptionError(f"held-out share {self.share}: must be at least 0 and below 1 (0.05 holds out 5 %).")

    @classmethod
    def of_sweep(cls, sweep: Mapping[str, Any]) -> "HeldOut":
        """That of the sweep whose sweep.json this is."""
        return cls(share=sweep["options"]["heldout"], seed=sweep["options"]["seed"])

    def picks(self, block: Documents) -> NDArray[np.bool_]:
        """Which documents of a block are held out, bool [n_documents]."""
        return is_held_out(content_hashes(block.data, block.starts, block.ends, self.seed), self.share)


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How much to train on, start and end tokens included where it is in tokens."""

    amount: int
    unit: Literal["bytes", "tokens"]


def parse_budget(value: str, option: str = "--budget") -> Budget:
    """`10MB`, `1.5GB`, `2Btok`: a number and its unit, which must be there, since 2B could be either.

    Raises:
        OptionError: it is no such amount, or less than one.
    """
    match = re.fullmatch(r"(.*?\d\s*[A-Za-z]*?)\s*tok(?:en)?s?", value.strip(), re.IGNORECASE)
    if match is None and not re.fullmatch(r".*\d\s*[KMGT]i?B", value.strip(), re.IGNORECASE):
        raise OptionError(f"{option} {value}: write a number and its unit: {_EXAMPLES[option]}.")
    try:
        if match is None:
            return Budget(amount=parse_bytes(value, option), unit="bytes")
        return Budget(amount=parse_tokens(match[1], option), unit="tokens")
    except OptionError as error:
        raise OptionError(f"{option} {value}: write a number above 0 and its unit: {_EXAMPLES[option]}.") from error


def target_and_replays(
    target: tuple[str, str], replays: Mapping[str, tuple[str, float]], options: ReadOptions
) -> tuple[TextSource, ...]:
    """The text to adapt to, as (name, path), and the base-language text mixed into it; the target comes first.

    Args:
        replays: name -> path and share of all training bytes, between 0 and 1, which leave the target something.
        options: how all of it is read.

    Raises:
        CorpusError: a path is missing or holds no text. OptionError: a path is standard input.
    """
    left = 1 - sum(share for _, share in replays.values())
    assert left > 1e-9, "checked with the options"
    name, path = target
    assert name not in replays, "checked with the options"
    found = [(name, _found(name, path, options, f"--text {name}={path}"), left)]
    for other, (where, share) in replays.items():
        found.append((other, _found(other, where, options, f"--replay {other}={where}:{share:g}"), share))
    return tuple(
        TextSource(name=name, text_set=text_set, share=share, options=options) for name, text_set, share in found
    )


def _found(name: str, path: str, options: ReadOptions, place: str) -> TextSet:
    if path == STDIN:
        raise OptionError(f"{place}: standard input can be read once, and training text is read twice. Save it first.")
    try:
        return corpus_set(name, path, options)
    except CorpusError as error:
        raise CorpusError(f"{place}: {error}") from error


def document_blocks(text_set: TextSet, options: ReadOptions) -> Iterator[Documents]:
    """The documents of a text set in its own order, in blocks, some of which may be empty."""
    return documents_of_sets((text_set,), options)


def held_out_documents(text_set: TextSet, options: ReadOptions, held_out: HeldOut) -> Iterator[str]:
    """The documents of a text set that are held out: text to evaluate on."""
    for block in document_blocks(text_set, options):
        for i in np.flatnonzero(held_out.picks(block)) if len(block.starts) else ():
            yield block.data[block.starts[i] : block.ends[i]].decode()


def hashes_of_documents(text_sets: Iterable[tuple[TextSet, ReadOptions]]) -> NDArray[np.uint64]:
    """Content hashes, sorted and distinct, of the documents of some text sets: what training must leave out."""
    found = [
        content_hashes(block.data, block.starts, block.ends)
        for text_set, options in text_sets
        for block in document_blocks(text_set, options)
        if len(block.starts)
    ]
    return np.unique(np.concatenate(found)) if found else np.zeros(0, np.uint64)

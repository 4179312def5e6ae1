"""The text to check with, read in batches, each document encoded once in every form.

The built-in lines come first: the hard strings, which look for rare faults, and plain English and code, which tell how
much of common text changed where nothing guards it. Then random strings, where rows were swapped or they are asked
for, and every document of --text and --protect.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import polars as pl

from vocabopt.console import Console
from vocabopt.options import N_RANDOM_STRINGS, VerifyOptions
from vocabopt.text.corpus import TextSet, n_stored_bytes, named_set
from vocabopt.text.readers import read_blocks
from vocabopt.text.scripts import contains_target
from vocabopt.text.utf8 import json_value
from vocabopt.tokenizer.encoders import Ids, Kind
from vocabopt.tokenizer.hard_strings import hard_strings
from vocabopt.verification.checks import BUILT_IN, PLAIN
from vocabopt.verification.pair import Pair, View

Role = Literal["hard", "random", "text", "protect"]

_BLOCK_BYTES = 1 << 20


def sets_of(options: VerifyOptions) -> list[TextSet]:
    """What --text and --protect name. Raises CorpusError where a path is missing or holds no text."""
    read = options.read_options()
    texts = [named_set(name, path, "eval", read) for name, path in options.texts.items()]
    return texts + [named_set(name, path, "protected", read) for name, path in options.protects.items()]


def _read(
    sets: list[TextSet], options: VerifyOptions, *, is_swapped: bool
) -> Iterator[tuple[Role, str, list[str], int]]:
    """Role and name of a text, some of its documents, and the stored bytes of the file that they come from."""
    yield "hard", BUILT_IN, list(hard_strings()), 0
    yield "hard", PLAIN, list(plain_lines()), 0
    n_random = options.random_strings
    if n_random is None:
        n_random = N_RANDOM_STRINGS if is_swapped else 0
    for texts in random_strings(n_random):
        yield "random", "random strings", texts, 0
    for text_set in sets:
        role: Role = "protect" if text_set.role == "protected" else "text"
        for file in text_set.files:
            for block in read_blocks(file, options.read_options(), block_bytes=_BLOCK_BYTES):
                yield role, f"--{role} {file.text_set}", block.documents.to_list(), block.n_stored_bytes


# --- The pass ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Documents with their ids, by form; of BASE only the forms that NEW has too, if there are any.

    name: of the text, as it was given. is_target: has characters of the target script. has_special: holds the string of
    an added token of either, which not every form takes for one.
    """

    role: Role
    name: str
    documents: Sequence[str]
    is_target: Sequence[bool]
    has_special: Sequence[bool]
    base: Mapping[Kind, Ids]
    new: Mapping[Kind, Ids]

    def __len__(self) -> int:
        return len(self.documents)

    def ids(self, view: View) -> tuple[Ids, Ids]:
        """What both give in a view."""
        if view.kind is not None:
            return self.base[view.kind], self.new[view.kind]
        return next(iter(self.base.values())), next(iter(self.new.values()))


class Observer(Protocol):
    """A check that sees all text, batch by batch."""

    def see(self, batch: Batch) -> None: ...


def read_through(
    pair: Pair, sets: list[TextSet], options: VerifyOptions, observers: Iterable[Observer], console: Console
) -> None:
    """Show all text to the observers. Raises CorpusError where a document cannot be read."""
    with console.step("encode", n_stored_bytes(sets) or None, "bytes") as advance:
        n_bytes = 0
        for role, name, documents, n_more in _read(sets, options, is_swapped=bool(pair.reused)):
            batch = batch_of(pair, role, name, documents)
            for observer in observers:
                observer.see(batch)
            n_bytes += n_more
            advance(n_bytes)


def batch_of(pair: Pair, role: Role, name: str, texts: list[str]) -> Batch:
    """Encode some documents in every form."""
    # Where nothing is new, no text is what new tokens are for.
    scripts = pair.scripts if pair.new_ids else ()
    before, after, names = pair.base.encoders, pair.new.encoders, pair.special_strings
    kinds = [kind for kind in before if kind in after] or list(before)[:1]
    holds = pl.Series(texts, dtype=pl.String).str.contains_any(names).to_list() if names else [False] * len(texts)
    return Batch(
        role=role,
        name=name,
        documents=texts,
        is_target=[bool(scripts) and contains_target(text, scripts) for text in texts],
        has_special=holds,
        base={kind: before[kind].encode(texts) for kind in kinds},
        new={kind: encoder.encode(texts) for kind, encoder in after.items()},
    )


def plain_lines() -> tuple[str, ...]:
    """50 sentences of English and 20 pieces of code, written for this."""
    value = json_value(Path(__file__).with_name("plain.json").read_bytes())
    return (*value["english"], *value["code"])


# --- Random strings ---------------------------------------------------------------------------------------------------

_MOST_CHARS = 24
_N_AT_ONCE = 20_000
#: First and last code point, and how often characters come from between: plain text, then scripts, then everything.
_RANGES = (
    (0x20, 0x7E, 4),
    (0x09, 0x0D, 1),
    (0x80, 0x24F, 2),
    (0x370, 0x1FFF, 2),
    (0x2000, 0x206F, 1),
    (0x3000, 0x9FFF, 2),
    (0xAC00, 0xD7A3, 2),
    (0xD7B0, 0xD7FF, 1),
    (0xE000, 0xFFFF, 1),
    (0x1F000, 0x1FAFF, 1),
    (0x10000, 0x10FFFF, 1),
)


def random_strings(n: int, seed: int = 0) -> Iterator[list[str]]:
    """`n` strings of 1 to 24 characters, in batches; the same for the same seed."""
    generator = np.random.default_rng(seed)
    first, last, share = (np.array(column) for column in zip(*_RANGES, strict=True))
    for done in range(0, n, _N_AT_ONCE):
        ends = np.cumsum(generator.integers(1, _MOST_CHARS, min(_N_AT_ONCE, n - done), endpoint=True) + 1)
        # A few of the ranges in each string, as text has it.
        n_strings, lengths = len(ends), np.diff(ends, prepend=0)
        of_string = generator.choice(len(share), (n_strings, 3), p=share / share.sum())
        kind = of_string[np.repeat(np.arange(n_strings), lengths), generator.integers(0, 3, ends[-1])]
        codes = generator.integers(first[kind], last[kind], endpoint=True).astype(np.uint32)
        codes[ends - 1] = 0
        yield codes.tobytes().decode("utf-32-le").split("\0")[:-1]

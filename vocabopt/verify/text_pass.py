"""One pass over the text: every document is encoded once in every form, and each check on text looks at the ids."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import polars as pl

from vocabopt.console import Console
from vocabopt.errors import quoted
from vocabopt.text.scripts import contains_target
from vocabopt.tokenizer.encoders import Ids, Kind
from vocabopt.verify.pair import Pair, View
from vocabopt.verify.text_files import Lines, Role, Texts

_MAX_SHOWN = 120


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Documents with their ids, by form; of BASE only the forms that NEW has too, if there are any.

    name: of the text, as it was given. is_target: has characters of the target script. has_special: holds the string of
    an added token of either side, which not every form takes for one.
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


def read_through(pair: Pair, texts: Texts, observers: Iterable[Observer], console: Console) -> None:
    """Show all text to the observers.

    Raises:
        CorpusError: a document cannot be read.
    """
    observers = tuple(observers)
    with console.step("encode", texts.n_bytes or None, "bytes") as advance:
        n_bytes = 0
        for lines in texts:
            batch = batch_of(pair, lines)
            for observer in observers:
                observer.see(batch)
            n_bytes += lines.n_stored_bytes
            advance(n_bytes)


def batch_of(pair: Pair, lines: Lines) -> Batch:
    """Encode some documents in every form."""
    texts = lines.documents
    # Where nothing is new, no text is what new tokens are for.
    scripts = pair.scripts if pair.new_ids else ()
    before, after = pair.base.encoders, pair.new.encoders
    kinds = [kind for kind in before if kind in after] or list(before)[:1]
    return Batch(
        role=lines.role,
        name=lines.name,
        documents=texts,
        is_target=[contains_target(text, scripts) for text in texts] if scripts else [False] * len(texts),
        has_special=_hold_any(texts, pair.special_strings),
        base={kind: before[kind].encode(texts) for kind in kinds},
        new={kind: encoder.encode(texts) for kind, encoder in after.items()},
    )


def _hold_any(texts: list[str], strings: list[str]) -> list[bool]:
    """Which of the texts hold one of the strings."""
    if not strings:
        return [False] * len(texts)
    return pl.Series(texts, dtype=pl.String).str.contains_any(strings).to_list()


def shown(text: str) -> str:
    """A document as an example shows it: on one line, not too long."""
    return quoted(text, _MAX_SHOWN)

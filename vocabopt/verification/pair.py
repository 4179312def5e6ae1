"""The two tokenizers: which tokens are new, which script they are for, and what encodes with both."""

import functools
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from vocabopt.errors import quoted
from vocabopt.merging.extension import EXTENSION_JSON, ExtensionRecord, ReusedId, WidenedPattern, read_extension
from vocabopt.text.scripts import find_target_scripts, parse_scripts
from vocabopt.tokenizer import Tokenizer
from vocabopt.tokenizer.encoders import Encoder, Kind

_MAX_SHOWN = 120


@dataclass(frozen=True, kw_only=True)
class View:
    """A form in which both can encode. name: that of its file, or both names where they share none."""

    name: str
    kind: Kind | None
    base: Encoder
    new: Encoder


@dataclass(frozen=True, kw_only=True)
class Pair:
    """BASE and NEW.

    scripts: the target of the new tokens, () where nothing guards other text; scripts_from: what they come from.
    """

    base: Tokenizer
    new: Tokenizer
    scripts: tuple[str, ...]
    scripts_from: str

    @functools.cached_property
    def reused(self) -> Mapping[int, ReusedId]:
        """Ids of BASE that stand for other pieces in NEW, as its extension.json says; {} where there are none."""
        extension = self.extension
        if extension is None or extension.base.sha256 != self.base.sha256:
            return {}
        return {reused.id: reused for reused in extension.reused}

    @functools.cached_property
    def widened(self) -> WidenedPattern | None:
        """How the split pattern of BASE was widened in NEW, as its extension.json says; None where it was not."""
        extension = self.extension
        return None if extension is None or extension.base.sha256 != self.base.sha256 else extension.widened

    @functools.cached_property
    def new_ids(self) -> list[int]:
        """Ids of new pieces: those that BASE does not have, and those that are reused."""
        return sorted((self.new.spelling.keys() - self.base.spelling.keys()) | self.reused.keys())

    @functools.cached_property
    def freed(self) -> frozenset[str]:
        """The pieces of BASE whose ids are reused."""
        return frozenset(reused.old_piece for reused in self.reused.values())

    @functools.cached_property
    def views(self) -> tuple[View, ...]:
        """What both can encode with, tokenizer.json first; never empty."""
        before, after = self.base.encoders, self.new.encoders
        shared = [View(name=kind, kind=kind, base=before[kind], new=after[kind]) for kind in before if kind in after]
        if shared:
            return tuple(shared)
        (old, old_encoder), (new, new_encoder) = next(iter(before.items())), next(iter(after.items()))
        return (View(name=f"{old} and {new}", kind=None, base=old_encoder, new=new_encoder),)

    @functools.cached_property
    def special_strings(self) -> list[str]:
        """The added tokens of both: strings that tokenizer.json takes out of text."""
        return sorted({*self.base.added_contents, *self.new.added_contents})

    @functools.cached_property
    def extension(self) -> ExtensionRecord | None:
        """What vocabopt wrote of NEW, where it did."""
        return extension_of(self.new)

    @functools.cached_property
    def has_same_writing(self) -> bool:
        """Are both tokenizer.json files, or made by vocabopt of one kind of file? If so every setting must be equal."""
        if self.base.written == self.new.written:
            return True
        return self.extension is not None and self.extension.base.sha256 == self.base.sha256

    def show(self, before: list[int], after: list[int]) -> tuple[str, str]:
        """What BASE and NEW give, from shortly before the first difference on."""
        return difference(self.base, before, self.new, after)


def difference(one: Tokenizer, before: list[int], other: Tokenizer, after: list[int]) -> tuple[str, str]:
    """Two encodings, with their pieces, from shortly before the first difference on."""
    pairs = enumerate(zip(before, after, strict=False))
    n_same = next((i for i, (a, b) in pairs if a != b), min(len(before), len(after)))
    return _shown(one, before, n_same), _shown(other, after, n_same)


def _shown(tokenizer: Tokenizer, ids: list[int], n_same: int) -> str:
    first, last = max(0, n_same - 1), n_same + 8
    return f"{'... ' if first else ''}{tokenizer.show(ids[first:last])}{' ...' if len(ids) > last else ''}"


def make_pair(base: Tokenizer, new: Tokenizer, scripts: str) -> Pair:
    """Pair two tokenizers; `scripts` is the option's value.

    Raises:
        OptionError: a script that there is not, in the option.
        RunDirectoryError: extension.json is broken, or a field of it is no value of its kind.
    """
    chosen = parse_scripts(scripts)
    if chosen is not None:
        return Pair(base=base, new=new, scripts=chosen, scripts_from="--script")
    if (extension := extension_of(new)) is not None and extension.scripts is not None:
        found = parse_scripts(",".join(extension.scripts) or "none")
        return Pair(base=base, new=new, scripts=found or (), scripts_from=EXTENSION_JSON)
    characters: Counter[str] = Counter()
    for index in new.spelling.keys() - base.spelling.keys():
        characters.update(new.texts.get(index, b"").decode(errors="ignore"))
    return Pair(base=base, new=new, scripts=find_target_scripts(characters), scripts_from="the new tokens")


def extension_of(tokenizer: Tokenizer) -> ExtensionRecord | None:
    """extension.json of a tokenizer made here; None where there is none."""
    if tokenizer.folder is None or not (tokenizer.folder / EXTENSION_JSON).is_file():
        return None
    return read_extension(tokenizer.folder, next_step="Merge again, or remove it: verify does without.")


def shown(text: str) -> str:
    """A document as an example shows it: on one line, not too long."""
    return quoted(text, _MAX_SHOWN)
